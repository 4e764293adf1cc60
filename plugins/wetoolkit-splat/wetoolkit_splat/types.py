"""What is rendered and what comes out: gaussians, cameras, an image. Conventions are gsplat's and OpenCV's.

A gaussian belongs to one rigid group; its mean, rotation and spherical harmonics are in the group's own frame, and a pose for each
group puts them into the world. A scene without groups has one, at the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from wetoolkit.types import require

SH_TERMS = (1, 4, 9, 16)  # coefficients of degrees 0 to 3
C0 = 0.28209479177387814  # the constant harmonic
T = TypeVar("T")


def _finite(tensor: Tensor, name: str) -> None:
    bad = ~torch.isfinite(tensor)
    if bool(bad.any()):
        first = tuple(int(i) for i in torch.nonzero(bad)[0])
        what = f"{int(bad.sum())} of {tensor.numel()} numbers are NaN or infinite, the first at index {first}"
        require(False, what, name, "leave these out: `Gaussians.select` takes a mask")


def _shape(tensor: Tensor, wanted: tuple[int, ...], name: str) -> None:
    require(tuple(tensor.shape) == wanted, f"shape {tuple(tensor.shape)} instead of {wanted}", name, "give one row a gaussian")


@dataclass(frozen=True)
class Gaussians:
    """N gaussians as they are optimised: every tensor free of constraints."""

    means: Tensor  # [N, 3] metres, in the group's frame
    quaternions: Tensor  # [N, 4] wxyz, any length above 0
    log_scales: Tensor  # [N, 3] log of metres
    opacity_logits: Tensor  # [N]
    sh: Tensor  # [N, K, 3] coefficients of degrees 0 to 3, K in 1, 4, 9, 16; colour is 0.5 + their sum, 0 at least
    groups: Tensor  # [N] int32: index of the rigid group

    def __len__(self) -> int:
        return int(self.means.shape[0])

    @property
    def degree(self) -> int:
        """Of the spherical harmonics."""
        return SH_TERMS.index(int(self.sh.shape[1]))

    def tensors(self) -> dict[str, Tensor]:
        """Name -> tensor, ``groups`` last."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def parameters(self) -> dict[str, Tensor]:
        """What can be optimised: all but ``groups``."""
        return {name: tensor for name, tensor in self.tensors().items() if name != "groups"}

    def map(self, function: Callable[[Tensor], Tensor]) -> Gaussians:
        """The same function over every tensor."""
        return Gaussians(**{name: function(tensor) for name, tensor in self.tensors().items()})

    def select(self, rows: Tensor) -> Gaussians:
        """Those of a mask or of indices."""
        return self.map(lambda tensor: tensor[rows])

    def to(self, dtype: torch.dtype) -> Gaussians:
        """In another precision; ``groups`` stay integers."""
        return replace(self, **{name: tensor.to(dtype) for name, tensor in self.parameters().items()})

    def validate(self) -> None:
        """Shapes, finite numbers, rotations that are none. Raises ``ValidationError``."""
        n = len(self)
        for name, tail in {"means": (3,), "quaternions": (4,), "log_scales": (3,), "opacity_logits": (), "groups": ()}.items():
            _shape(getattr(self, name), (n, *tail), f"gaussians.{name}")
        terms = int(self.sh.shape[1]) if self.sh.ndim == 3 else 0
        require(terms in SH_TERMS, f"{terms} coefficients", "gaussians.sh", "give [N, K, 3] with K one of 1, 4, 9, 16")
        _shape(self.sh, (n, terms, 3), "gaussians.sh")
        for name, tensor in self.parameters().items():
            _finite(tensor, f"gaussians.{name}")
        zero = int((self.quaternions.norm(dim=-1) == 0).sum())
        require(zero == 0, f"{zero} of {n} rotations are zero", "gaussians.quaternions", "give (1, 0, 0, 0) for no rotation")
        require(n == 0 or int(self.groups.min()) >= 0, "an index below 0", "gaussians.groups", "0 is the first group")


@dataclass(frozen=True)
class Cameras:
    """C pinhole cameras of one size."""

    world_to_camera: Tensor  # [C, 4, 4] OpenCV: x right, y down, z forward; metres
    intrinsics: Tensor  # [C, 3, 3] pixels; the middle of the first pixel is at 0.5
    width: int  # pixels
    height: int  # pixels

    def __len__(self) -> int:
        return int(self.world_to_camera.shape[0])

    def to(self, dtype: torch.dtype) -> Cameras:
        """In another precision."""
        return replace(self, world_to_camera=self.world_to_camera.to(dtype), intrinsics=self.intrinsics.to(dtype))

    def validate(self) -> None:
        """Shapes, finite numbers, focal lengths. Raises ``ValidationError``."""
        count = len(self)
        for name, wanted in {"world_to_camera": (count, 4, 4), "intrinsics": (count, 3, 3)}.items():
            tensor = getattr(self, name)
            require(tuple(tensor.shape) == wanted, f"shape {tuple(tensor.shape)}", f"cameras.{name}", f"give {wanted}")
            _finite(tensor, f"cameras.{name}")
        require(min(self.width, self.height) > 0, f"{self.width} x {self.height}", "cameras.width", "give at least one pixel")
        focal = self.intrinsics[:, [0, 1], [0, 1]]
        require(bool((focal > 0).all()), "a focal length of 0 or less", "cameras.intrinsics", "give fx and fy in pixels")
        odd = self.intrinsics[:, [0, 1, 2, 2], [1, 0, 0, 1]].abs().amax() + (self.intrinsics[:, 2, 2] - 1).abs().amax()
        require(float(odd) < 1e-6, "a skew, or a last row that is not 0 0 1", "cameras.intrinsics", "undistort the pictures first")
        middle = self.intrinsics[:, :2, 2] / self.intrinsics.new_tensor([self.width, self.height])
        require(bool(((middle > -1) & (middle < 2)).all()), "a middle far beside the image", "cameras.intrinsics", "give pixels")


@dataclass(frozen=True)
class Render:
    """What C cameras see."""

    colour: Tensor  # [C, H, W, 3] the background included
    depth: Tensor  # [C, H, W] sum of weight times z, metres; `expected_depth` divides by alpha
    alpha: Tensor  # [C, H, W] sum of the weights, in [0, 1)

    def expected_depth(self) -> Tensor:
        """[C, H, W] metres along the optical axis: the mean over what was seen; 0 where nothing was."""
        seen = self.alpha > 0
        return torch.where(seen, self.depth / torch.where(seen, self.alpha, 1.0), 0.0)


def identity_poses(gaussians: Gaussians) -> Tensor:
    """[G, 4, 4]: every group where it is."""
    count = int(gaussians.groups.max()) + 1 if len(gaussians) else 1
    return torch.eye(4, dtype=gaussians.means.dtype, device=gaussians.means.device).repeat(count, 1, 1)


def merged(parts: Mapping[T, Gaussians]) -> Gaussians:
    """Gaussians of several groups in one, the n-th part being group n; harmonics are padded to the highest degree."""
    terms = max(int(part.sh.shape[1]) for part in parts.values())
    padded = [
        replace(
            part,
            sh=torch.cat([part.sh, part.sh.new_zeros(len(part), terms - part.sh.shape[1], 3)], 1),
            groups=torch.full_like(part.groups, index),
        )
        for index, part in enumerate(parts.values())
    ]
    return Gaussians(**{name: torch.cat([getattr(part, name) for part in padded]) for name in padded[0].tensors()})
