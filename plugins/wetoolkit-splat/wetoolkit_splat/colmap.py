"""From a COLMAP model (Schoenberger and Frahm 2016) to a clip: its cameras, its pictures' poses and its points to begin with.

A model is a folder of ``cameras``, ``images`` and ``points3D``, each ``.bin`` or ``.txt``. The three tables are read here, in a
hundred lines: pycolmap, which reads them too, brings all of COLMAP along. COLMAP's conventions are ours: OpenCV's axes, world to
camera, quaternions wxyz, the middle of the first pixel at 0.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wetoolkit.errors import DataError
from wetoolkit_splat.clip import Body, Clip, Frame
from wetoolkit_splat.depths import guessed
from wetoolkit_splat.twin import rotations

Double = NDArray[np.float64]
# Name, how many parameters, by COLMAP's number. Those of one focal length are listed apart.
MODELS = (
    ("SIMPLE_PINHOLE", 3),
    ("PINHOLE", 4),
    ("SIMPLE_RADIAL", 4),
    ("RADIAL", 5),
    ("OPENCV", 8),
    ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12),
)
ONE_FOCAL = {"SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"}
PINHOLE_IF_ZERO = {"SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV"}
WAY_OUT = "run `colmap model_converter` or export the model again"


@dataclass(frozen=True)
class Lens:
    """One camera of a model."""

    model: str
    size: tuple[int, int]  # width, height in pixels
    parameters: Double  # in COLMAP's order

    def intrinsics(self, file: Path) -> Double:
        """[3, 3] pixels; ``DataError`` where the lens distorts: gaussians are drawn through pinholes."""
        focal = 1 if self.model in ONE_FOCAL else 2
        if self.model not in PINHOLE_IF_ZERO or np.any(self.parameters[focal + 2 :]):
            raise DataError(f"a camera of the model {self.model} distorts", file=file, way_out="run `colmap image_undistorter`")
        fx, fy = self.parameters[0], self.parameters[focal - 1]
        cx, cy = self.parameters[focal : focal + 2]
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


@dataclass(frozen=True)
class Model:
    """The three tables."""

    lenses: dict[int, Lens]
    poses: dict[str, tuple[int, Double]]  # picture's name -> (camera, [4, 4] world to camera)
    points: Double  # [N, 3] in the model's own unit
    colours: Double  # [N, 3] in [0, 1]
    errors: Double  # [N] pixels, of the reprojection


class _Bytes:
    """A file read from its beginning; what is cut short is said."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, path.read_bytes(), 0

    def take(self, kind: str) -> tuple[Any, ...]:
        kind = "<" + kind
        if self.at + struct.calcsize(kind) > len(self.data):
            raise DataError("ends within a row", file=self.path, way_out=WAY_OUT)
        found = struct.unpack_from(kind, self.data, self.at)
        self.at += struct.calcsize(kind)
        return found

    def skip(self, count: int) -> None:
        if self.at + count > len(self.data):
            raise DataError("ends within a row", file=self.path, way_out=WAY_OUT)
        self.at += count

    def name(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise DataError("ends within a name", file=self.path, way_out=WAY_OUT)
        found, self.at = self.data[self.at : end].decode("utf-8", "replace"), end + 1
        return found


def _cameras(source: _Bytes) -> Iterator[tuple[int, Lens]]:
    for _ in range(source.take("Q")[0]):
        number, model, width, height = source.take("iiQQ")
        if not 0 <= model < len(MODELS):
            raise DataError(f"a camera of the unknown model {model}", file=source.path, way_out="run `colmap image_undistorter`")
        name, count = MODELS[model]
        yield number, Lens(name, (width, height), np.array(source.take(f"{count}d")))


def _poses(source: _Bytes) -> Iterator[tuple[str, tuple[int, Double]]]:
    for _ in range(source.take("Q")[0]):
        _, *numbers, camera = source.take("i7di")
        yield source.name(), (camera, _pose(np.array(numbers)))
        source.skip(24 * source.take("Q")[0])


def _points(source: _Bytes) -> Iterator[tuple[float, ...]]:
    for _ in range(source.take("Q")[0]):
        _, x, y, z, r, g, b, error, seen = source.take("Q3d3BdQ")
        yield x, y, z, r, g, b, error
        source.skip(8 * seen)


def _lines(path: Path) -> list[str]:
    return [line.rstrip("\n") for line in path.read_text(errors="replace").splitlines() if not line.startswith("#")]


def _pose(numbers: Double) -> Double:
    """[4, 4] of a quaternion wxyz and a translation."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotations(torch.from_numpy(numbers[None, :4]))[0].numpy(), numbers[4:]
    return pose


def _text(folder: Path) -> tuple[dict[int, Lens], dict[str, tuple[int, Double]], list[tuple[float, ...]]]:
    lenses, poses, points = {}, {}, []
    path = folder / "cameras.txt"
    try:
        for line in filter(None, _lines(path)):
            number, model, width, height, *rest = line.split()
            lenses[int(number)] = Lens(model, (int(width), int(height)), np.array(rest, np.float64))
        path = folder / "images.txt"
        for line in _lines(path)[::2]:  # every second line lists pixels, and may be empty
            _, *numbers, camera, name = line.split(maxsplit=9)
            poses[name] = int(camera), _pose(np.array(numbers, np.float64))
        path = folder / "points3D.txt"
        points = [tuple(float(v) for v in line.split()[1:8]) for line in filter(None, _lines(path))]
    except (OSError, ValueError) as error:
        raise DataError(f"is no table of COLMAP: {error}", file=path, way_out=WAY_OUT) from error
    return lenses, poses, points


def read(folder: Path) -> Model:
    """The model in a folder, binary where there is one. ``DataError`` names the file that is missing or cut short."""
    if (folder / "cameras.bin").exists():
        try:
            sources = [_Bytes(folder / f"{name}.bin") for name in ("cameras", "images", "points3D")]
        except OSError as error:
            raise DataError(f"cannot be read: {error}", file=folder, way_out="give the folder of the whole model") from error
        lenses, poses, points = dict(_cameras(sources[0])), dict(_poses(sources[1])), list(_points(sources[2]))
    else:
        lenses, poses, points = _text(folder)
    table = np.array(points, np.float64).reshape(-1, 7)
    if not np.isfinite(table).all() or not all(np.isfinite(pose).all() for _, pose in poses.values()):
        raise DataError("holds NaN or infinity", file=folder, way_out=WAY_OUT)
    return Model(lenses, poses, table[:, :3], table[:, 3:6] / 255, table[:, 6])


def _frame(path: Path, camera: int, lens: Lens, pose: Double, time: float, folder: Path) -> Frame:
    from PIL import Image

    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.float32) / 255
    height, width = pixels.shape[:2]
    k = np.diag([width / lens.size[0], height / lens.size[1], 1.0]) @ lens.intrinsics(folder)  # pictures may be smaller copies
    view = torch.from_numpy(pose).float()
    return Frame(f"camera-{camera}", time, torch.from_numpy(pixels), view, torch.from_numpy(k).float())


def clip_of(folder: Path, pictures: Path, seed: int, most_error: float = 2.0, fallback: int = 20_000) -> Clip:
    """A clip of all pictures that are there, their times being their places in the order of names.

    Points of a larger error than ``most_error`` [pixels] are left out; a model without points begins with ``fallback`` guesses. All
    that is left out is counted.
    """
    model, rng = read(folder), np.random.default_rng(seed)
    frames, repairs = [], {"pictures_missing": 0, "points_of_large_error": 0, "clips_without_points": 0}
    for time, name in enumerate(sorted(model.poses)):
        camera, pose = model.poses[name]
        if camera not in model.lenses:
            raise DataError(f"picture {name} is of camera {camera}, which is not there", file=folder, way_out=WAY_OUT)
        if not (pictures / name).is_file():
            repairs["pictures_missing"] += 1
            continue
        try:
            frames.append(_frame(pictures / name, camera, model.lenses[camera], pose, float(time), folder))
        except OSError as error:
            raise DataError(f"cannot be read: {error}", file=pictures / name, way_out="fetch the picture again") from error
    if not frames:
        raise DataError(f"none of {len(model.poses)} pictures is there", file=pictures, way_out="give the pictures' folder")
    good = model.errors <= most_error
    repairs["points_of_large_error"] = int((~good).sum())
    points = np.concatenate([model.points, model.colours], 1)[good]
    if not len(points):
        repairs["clips_without_points"] = 1
        centres = np.stack([np.linalg.inv(frame.world_to_camera.double().numpy())[:3, 3] for frame in frames])
        spread = max(float(np.linalg.norm(centres - centres.mean(0), axis=1).max()), 1.0)
        points = guessed(frames, fallback, rng, (0.2 * spread, 20 * spread))
    body = Body(torch.from_numpy(points[:, :3]).float(), torch.from_numpy(points[:, 3:]).float())
    return Clip(tuple(frames), {"scene": body}, repairs)
