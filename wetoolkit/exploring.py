"""Scenes to walk through: an ability of a reconstructor, as those at the end of ``wetoolkit.kinds``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from wetoolkit.types import Array, Scene


class Explorer(Protocol):
    """A viewer in the browser that serves until it is closed."""

    @property
    def url(self) -> str:
        """Where it is, on 127.0.0.1."""

    def close(self) -> None:
        """Stop serving."""


@runtime_checkable
class SupportsExplore(Protocol):
    """A reconstructor whose scenes, and files of its formats, can be walked through in a browser and seen from around."""

    @classmethod
    def recognise(cls, path: Path) -> bool:
        """Whether ``path`` is a scene or a file that it can show. Cheap: names and first bytes."""

    def orbit(self, path: Path, count: int, resolution: tuple[int, int]) -> Iterator[Mapping[str, Array]]:
        """``count`` pictures (width, height) of a file from around: keys as in ``wetoolkit.kinds.SupportsRender``."""

    def explore(self, path: Path, port: int) -> Explorer:
        """A viewer of a file, at ``port`` (0: any that is free)."""

    def explore_scene(self, scene: Scene[Any], world: Any, port: int) -> Explorer:
        """A viewer of a scene with everybody where ``world`` has them at each step."""


__all__ = ["Explorer", "SupportsExplore"]
