"""The network of ``vocabulary-camera``: what vectors say and what pictures show -> one logit for each anchor.

Every camera's picture goes through the same small stack of convolutions (stride 2 each, so that five make a cell of 32x32 pixels),
and each cell of what comes out is a token, marked with its camera and place. These stand beside the tokens of the vector fields;
from there on it is the network of ``vocabulary-vector``: tokens attend to one another, and the acting body asks them what to do.

Nothing looks at more than one picture at a time (group normalisation, no batch normalisation), so a batch equals its singles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from wetoolkit_learning.network import Inputs, Shape, VocabularyNetwork

GROUP = 8  # channels normalised together


class Eye(nn.Module):
    """Pictures [N, 3, H, W] of 0 to 255 -> tokens [N, cells, width]."""

    def __init__(self, resolution: tuple[int, int], channels: Sequence[int], width: int, jitter: float) -> None:
        super().__init__()
        self.jitter = jitter
        sizes = [3, *channels]
        kernels = [5] + [3] * (len(channels) - 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, kernel, stride=2, padding=kernel // 2)
            for a, b, kernel in zip(sizes[:-1], sizes[1:], kernels, strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(max(1, count // GROUP), count) for count in channels)
        self.out = nn.Linear(channels[-1], width)
        self.cells = cells(resolution, len(channels))

    def forward(self, pictures: Tensor) -> Tensor:
        """Each picture is shifted and scaled to mean 0 and deviation 1 in each colour first: exposures are not what it shows."""
        seen = pictures.float()
        spread, mean = torch.std_mean(seen, (2, 3), keepdim=True, correction=0)
        seen = (seen - mean) / (spread + 1.0)
        if self.training and self.jitter:
            gain, lift = (torch.randn_like(mean) * self.jitter for _ in range(2))
            seen = seen * gain.exp() + lift
        seen = seen.contiguous(memory_format=torch.channels_last)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            seen = functional.relu(norm(conv(seen)))
        tokens: Tensor = self.out(seen.flatten(2).transpose(1, 2))
        return tokens


def cells(resolution: tuple[int, int], layers: int) -> int:
    """Tokens of a picture of (width, height) pixels after so many convolutions of stride 2."""
    width, height = resolution
    for _ in range(layers):
        width, height = (width + 1) // 2, (height + 1) // 2
    return width * height


class CameraNetwork(VocabularyNetwork):
    """A VocabularyNetwork with tokens of pictures besides."""

    def __init__(
        self, shape: Shape, width: int, layers: int, heads: int, dropout: float, stride: int,
        cameras: Sequence[str], eye: Callable[[], Eye],
    ) -> None:  # fmt: skip
        super().__init__(shape, width, layers, heads, dropout, stride)
        self.eye = eye()
        self.places = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(self.eye.cells, width)) for name in cameras})

    def tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Those of the vectors, then those of each camera: [B, S, width], and which are there [B, S]."""
        vectors, valid = super().tokens(inputs)
        pictures = torch.stack([inputs[name][0] for name in self.places], 1)  # [B, cameras, 3, H, W]
        seen = self.eye(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])  # [B, cameras, cells, width]
        seen = seen + torch.stack(list(self.places.values()))
        return torch.cat([vectors, seen.flatten(1, 2)], 1), functional.pad(valid, (0, seen.shape[1] * seen.shape[2]), value=True)
