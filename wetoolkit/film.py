"""Films of rollouts: a domain that ``SupportsFilm`` draws the pictures, this module writes them as mp4 and as one sheet of stills.

Needs the extra ``video`` (imageio-ffmpeg, which brings ffmpeg along, and pillow); without it there is one clear error.
"""

from __future__ import annotations

import importlib
import itertools
import math
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from wetoolkit.errors import PluginError, StoreError
from wetoolkit.events import Event
from wetoolkit.kinds import SupportsFilm
from wetoolkit.types import Array, Rollout, require

EXTRA = "pip install 'wetoolkit[video]'"


def check_film(domain: Any) -> None:
    """``PluginError`` unless the domain can draw and the packages that write films are there. Call it before long work."""
    if not isinstance(domain, SupportsFilm):
        way_out = "give it a method frames (wetoolkit.kinds.SupportsFilm), or leave --video out"
        raise PluginError(f"the domain {getattr(domain, 'name', '?')!r} draws no films", way_out=way_out)
    check_packages()


def check_packages() -> None:
    """``PluginError`` unless the packages that write films and pictures are there."""
    for package in ("imageio_ffmpeg", "PIL"):
        needed(package)


def needed(package: str) -> Any:
    """A module of the extra ``video``; ``PluginError`` says how to install it where it is not there."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise PluginError(f"films need the package {package}: {error}", way_out=EXTRA) from error


def film(domain: SupportsFilm, rollout: Rollout[Any], logged: Any, events: Sequence[Event], path: Path) -> Array:
    """Write a rollout as an mp4 that plays in real time; returns a still [H, W, 3]: at the first failure, or in the middle."""
    still = _still(rollout, events)
    kept: list[Array] = []

    def watched() -> Iterator[Array]:
        for number, picture in enumerate(domain.frames(rollout, logged, events)):
            kept[:] = [picture] if number <= still else kept
            yield picture

    write_film(path, watched(), 1.0 / rollout.clock.dt)
    return kept[0]


def _still(rollout: Rollout[Any], events: Sequence[Event]) -> int:
    failing = [event.step - rollout.clock.now for event in events if event.fails]
    return min(failing, default=(rollout.end - rollout.clock.now) // 2)


def write_film(path: Path, pictures: Iterable[Array], rate: float) -> int:
    """Write pictures [H, W, 3] uint8 of one even size as an H.264 mp4, ``rate`` a second; whole or not at all. Returns how many."""
    program = str(needed("imageio_ffmpeg").get_ffmpeg_exe())
    rest = iter(pictures)
    first = next(rest, None)
    require(first is not None, "there are no pictures", "frames", "film at least one step")
    assert first is not None
    height, width = _size(first)
    temporary = path.with_name(f".{path.name}.tmp.mp4")
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{rate:g}", "-i", "-"]
    coded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-threads", "1", "-movflags", "+faststart", str(temporary)]
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with subprocess.Popen(
            [program, "-y", "-loglevel", "error", *source, *coded], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as ffmpeg:
            assert ffmpeg.stdin is not None and ffmpeg.stderr is not None
            with suppress(BrokenPipeError):  # ffmpeg gave up: it says why below
                for picture in itertools.chain([first], rest):
                    require(_size(picture) == (height, width), f"shape {picture.shape}", "frames", f"one size: {first.shape}")
                    ffmpeg.stdin.write(np.ascontiguousarray(picture).tobytes())
                    count += 1
                ffmpeg.stdin.close()
            said = ffmpeg.stderr.read().decode(errors="replace").strip()
        if ffmpeg.returncode:
            raise OSError(said or f"ffmpeg ended with {ffmpeg.returncode}")
        temporary.replace(path)
    except OSError as error:
        raise StoreError(
            f"the film cannot be written: {error}", file=path, way_out="make room, or choose another folder"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return count


def _size(picture: Array) -> tuple[int, int]:
    """(height, width) of a picture that can be filmed."""
    shape = picture.shape
    require(
        len(shape) == 3 and shape[2] == 3 and picture.dtype == np.uint8, f"{picture.dtype} {shape}", "frames", "[H, W, 3] uint8"
    )
    require(shape[0] % 2 == shape[1] % 2 == 0, f"shape {shape}", "frames", "H.264 needs an even height and width")
    return shape[0], shape[1]


def write_sheet(path: Path, stills: Sequence[Array], columns: int = 2) -> None:
    """Write stills [H, W, 3] of one size side by side as a png."""
    require(bool(stills), "there are no stills", "stills", "give at least one")
    image = needed("PIL.Image")
    height, width = stills[0].shape[:2]
    columns = min(columns, len(stills))
    sheet = np.full((math.ceil(len(stills) / columns) * height, columns * width, 3), 255, np.uint8)
    for number, still in enumerate(stills):
        row, column = divmod(number, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = still
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    image.fromarray(sheet).save(temporary, format="png")
    temporary.replace(path)


__all__ = ["check_film", "check_packages", "film", "needed", "write_film", "write_sheet"]
