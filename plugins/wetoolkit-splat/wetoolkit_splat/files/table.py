"""What every format of gaussians holds, as numpy columns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wetoolkit_splat.types import Gaussians

Array = NDArray[Any]


@dataclass(frozen=True)
class Columns:
    """N rows; scales are logarithms, opacities logits, rotations wxyz, harmonics [N, K, 3]."""

    means: Array  # [N, 3]
    quaternions: Array  # [N, 4]
    log_scales: Array  # [N, 3]
    opacity_logits: Array  # [N]
    sh: Array  # [N, K, 3]

    def broken(self) -> NDArray[np.bool_]:
        """[N] rows that no renderer can use."""
        bad: NDArray[np.bool_] = ~np.any(self.quaternions, axis=1)
        for field in fields(self):
            values = getattr(self, field.name)
            bad |= ~np.isfinite(values).reshape(len(bad), -1).all(1)
        return bad

    def select(self, rows: Array) -> Columns:
        """Those of a mask."""
        return Columns(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def gaussians(self) -> Gaussians:
        """All in one group."""
        tensors = {field.name: torch.from_numpy(np.array(getattr(self, field.name), np.float32)) for field in fields(self)}
        return Gaussians(**tensors, groups=torch.zeros(len(self.means), dtype=torch.int32))


def whole(gaussians: Gaussians) -> Columns:
    """Gaussians as columns."""
    return Columns(**{name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in gaussians.parameters().items()})
