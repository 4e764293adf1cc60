"""One signature for every backend: gaussians, cameras, poses of rigid groups and a background in; colour, depth and alpha out.

Gradients flow to every parameter of the gaussians, to the cameras' and groups' poses, to the background and, but for cuda, to the
intrinsics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, util
from typing import Literal

import torch
from torch import Tensor

from wetoolkit.errors import PluginError
from wetoolkit.types import require
from wetoolkit_splat.types import Cameras, Gaussians, Render, identity_poses

Backend = Literal["auto", "cpu", "cuda", "twin"]
Renderer = Callable[[Gaussians, Cameras, Tensor, Tensor], Render]


@dataclass(frozen=True)
class Settings:
    """How to render; what is rendered does not depend on it beyond rounding."""

    backend: Backend = "auto"
    threads: int = 1  # of the cpu backend; results do not depend on it
    megabytes: float | None = None  # the cpu backend may take; None: four fifths of what is free


def chosen(backend: Backend) -> str:
    """``auto``: cuda where there are a device and gsplat, else cpu. Asking for what is not there raises ``PluginError``."""
    ready = torch.cuda.is_available() and util.find_spec("gsplat") is not None
    if backend == "auto":
        return "cuda" if ready else "cpu"
    if backend == "cuda" and not ready:
        missing = "no CUDA device is visible to torch" if not torch.cuda.is_available() else "gsplat is not installed"
        raise PluginError(
            f"the backend 'cuda' cannot run: {missing}",
            plugin="wetoolkit-splat",
            way_out="pip install 'wetoolkit-splat[cuda]' on a machine with a GPU, or backend = 'cpu'",
        )
    return backend


def render(
    gaussians: Gaussians,
    cameras: Cameras,
    poses: Tensor | None = None,
    background: Tensor | None = None,
    settings: Settings | None = None,
) -> Render:
    """What the cameras see.

    Poses [G, 4, 4] put the groups into the world (the identity unless given); background [3] or [C, 3] is what shines through
    (black unless given). Raises ``ValidationError`` for wrong shapes and ``PluginError`` for a backend that cannot run here;
    ``WetoolkitError``, before it is taken, for more memory than there is.
    """
    settings = settings or Settings()
    poses = identity_poses(gaussians) if poses is None else poses
    last = int(gaussians.groups.max()) if len(gaussians) else 0
    require(poses.ndim == 3 and poses.shape[1:] == (4, 4), f"shape {tuple(poses.shape)}", "poses", "give [G, 4, 4]")
    require(last < len(poses), f"group {last} of {len(poses)} poses", "poses", "give one pose for each group")
    background = cameras.intrinsics.new_zeros(3) if background is None else background
    backgrounds = background.expand(len(cameras), 3)
    return _renderer(settings)(gaussians, cameras, poses, backgrounds)


def _renderer(settings: Settings) -> Renderer:
    """Backends are imported on use: gsplat and numba take seconds."""
    name = chosen(settings.backend)
    module = import_module(f"wetoolkit_splat.{name}")
    if name == "cpu":
        return lambda *given: module.render(*given, threads=settings.threads, megabytes=settings.megabytes)
    return module.render  # type: ignore[no-any-return]
