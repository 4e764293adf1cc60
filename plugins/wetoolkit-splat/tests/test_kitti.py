"""Stereo pairs of KITTI: the matcher on made pictures, a clip of a made drive, and the real one where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("wetoolkit_driving", reason="driving is not installed")
pytest.importorskip("PIL", reason="pillow is not installed")

from PIL import Image
from scipy import ndimage
from wetoolkit_splat.kitti import clip_of, disparity
from wetoolkit_splat.train import FitConfig, fit

from wetoolkit.errors import DataError, ValidationError

DRIVE = Path(os.environ.get("WETOOL_DATA", "../shared/data")) / "kitti_odom_stereo" / "seq1"


def pair(shifts: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A textured left picture and its right one, whose row r is moved by ``shifts[r]`` pixels."""
    height, width = len(shifts), 160
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).random((height, width + 40)), 1.2)
    columns = np.arange(width, dtype=float)
    rows = np.arange(height)[:, None] * np.ones(width)
    left = ndimage.map_coordinates(texture, [rows, columns + 0 * rows], order=3)
    right = ndimage.map_coordinates(texture, [rows, columns + shifts[:, None]], order=3)
    return left.astype(np.float32), right.astype(np.float32)


def test_disparities_of_a_slope_are_found_to_a_fraction_of_a_pixel() -> None:
    shifts = np.linspace(6, 14, 60)
    found = disparity(*pair(shifts))
    inside = found[:, 20:-20]
    known = inside > 0
    assert known.mean() > 0.9
    assert np.median(np.abs(inside - shifts[:, None])[known]) < 0.2


def test_what_has_no_counterpart_gets_no_answer() -> None:
    rng = np.random.default_rng(0)
    unrelated = disparity(rng.random((60, 160), np.float32), rng.random((60, 160), np.float32))
    assert (unrelated > 0).mean() < 0.04


def drive(folder: Path, count: int = 4) -> Path:
    """A wall 5.37 m ahead that the camera does not move towards."""
    left, right = pair(np.full(64, 10.0))
    for side, picture in (("l", left), ("r", right)):
        (folder / f"image_{side}").mkdir(parents=True)
        for n in range(count):
            Image.fromarray((255 * picture).clip(0, 255).astype(np.uint8)).save(folder / f"image_{side}" / f"{n:06d}.png")
    lens = np.array([[100.0, 0, 80, 0], [0, 100, 32, 0], [0, 0, 1, 0]])
    other = lens.copy()
    other[0, 3] = -100 * 0.537
    np.savetxt(folder / "calib.txt", np.stack([lens, other]).reshape(2, 12))
    np.savetxt(folder / "poses.txt", np.tile(np.eye(4)[:3].ravel(), (count, 1)))
    return folder


def test_a_drive_becomes_a_clip_upright_and_in_metres(tmp_path: Path) -> None:
    clip = clip_of(drive(tmp_path), 4, 0, shrink=1, points=500)
    clip.validate()
    assert [frame.camera for frame in clip.frames[:2]] == ["left", "right"]
    eyes = [np.linalg.inv(frame.world_to_camera.numpy())[:3, 3] for frame in clip.frames[:2]]
    assert np.allclose(eyes[1] - eyes[0], [0, -0.537, 0], atol=1e-6)  # the right camera is to the right: y is left
    depth = clip.frames[0].depth
    assert depth is not None
    assert float(depth[depth > 0].median()) == pytest.approx(5.37, rel=0.02)
    near = clip.bodies["scene"].points[clip.bodies["scene"].points.norm(dim=1) < 30]
    assert float(near[:, 0].median()) == pytest.approx(5.37, rel=0.02)  # x is ahead


def test_files_at_fault_are_named(tmp_path: Path) -> None:
    folder = drive(tmp_path)
    with pytest.raises(DataError, match=r"4 matrices, 9 are needed(.|\n)*poses\.txt"):
        clip_of(folder, 9, 0)
    (folder / "image_r" / "000002.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"000002\.png"):
        clip_of(folder, 4, 0)
    np.savetxt(folder / "calib.txt", np.tile(np.eye(4)[:3].ravel(), (2, 1)))
    with pytest.raises(ValidationError, match="right camera"):
        clip_of(folder, 4, 0)


@pytest.mark.realdata
@pytest.mark.skipif(not DRIVE.exists(), reason="no ../shared/data/kitti_odom_stereo")
def test_a_real_drive_is_fitted() -> None:
    clip = clip_of(DRIVE, 7, 0, shrink=4, points=6000)
    depth = clip.frames[0].depth
    assert depth is not None
    assert float((depth > 0).float().mean()) > 0.4
    config = FitConfig(steps=150, budget=9000, held_out=6, look_every=150, backend="cpu")
    look = fit(clip, config, 0).looks[-1]
    assert look["psnr"] > 16
    assert look["depth error"] < 0.1
