"""COLMAP's models: both kinds of files, pycolmap's own among them, pictures and points that are missing, lenses that distort."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="pillow is not installed")

from PIL import Image
from wetoolkit_splat.colmap import clip_of, read
from wetoolkit_splat.train import FitConfig, fit

from wetoolkit.errors import DataError

WIDTH, HEIGHT, COUNT = 64, 48, 4
LENS = (70.0, 72.0, 31.5, 24.25)
POINTS = [(1, 0.1, -0.2, 0.3, 255, 128, 0, 0.5), (7, -1.0, 0.5, 0.25, 0, 64, 255, 1.5), (9, 0.0, 0.0, 0.0, 9, 9, 9, 7.0)]
QUATERNIONS = [(0.5, 0.5, -0.5, 0.5), (1.0, 0, 0, 0), (0.0, 1.0, 0, 0), (0.6, 0.0, 0.8, 0.0)]


def write_text(folder: Path, model: str = "PINHOLE", lens: tuple[float, ...] = LENS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.txt").write_text(f"# a comment\n3 {model} {WIDTH} {HEIGHT} {' '.join(map(str, lens))}\n")
    rows = [f"{n + 1} {' '.join(map(str, q))} 0.1 0.2 {3 + n} 3 view-{n}.png\n\n" for n, q in enumerate(QUATERNIONS)]
    (folder / "images.txt").write_text("# a comment\n" + "".join(rows))
    (folder / "points3D.txt").write_text("".join(" ".join(map(str, point)) + "\n" for point in POINTS))  # none seen anywhere


def write_binary(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.bin").write_bytes(struct.pack("<QiiQQ4d", 1, 3, 1, WIDTH, HEIGHT, *LENS))
    rows = [
        struct.pack("<i7di", n + 1, *q, 0.1, 0.2, 3 + n, 3) + f"view-{n}.png".encode() + struct.pack("<bQddq", 0, 1, 5.0, 6.0, -1)
        for n, q in enumerate(QUATERNIONS)
    ]
    (folder / "images.bin").write_bytes(struct.pack("<Q", COUNT) + b"".join(rows))
    points = [struct.pack("<Q3d3BdQ4i", *point, 2, 1, 0, 2, 0) for point in POINTS]
    (folder / "points3D.bin").write_bytes(struct.pack("<Q", len(points)) + b"".join(points))


def pictures(folder: Path, size: tuple[int, int] = (WIDTH, HEIGHT), count: int = COUNT) -> Path:
    folder.mkdir(exist_ok=True)
    for n in range(count):
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (size[1], size[0], 3), np.uint8)).save(folder / f"view-{n}.png")
    return folder


@pytest.mark.parametrize("write", [write_text, write_binary], ids=["text", "binary"])
def test_both_kinds_of_files_say_the_same(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "model")
    model = read(tmp_path / "model")
    assert list(model.poses) == [f"view-{n}.png" for n in range(COUNT)]
    camera, pose = model.poses["view-0.png"]
    assert camera == 3
    turned = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # (1 + i - j + k) / 2
    assert np.allclose(pose, [[*turned[0], 0.1], [*turned[1], 0.2], [*turned[2], 3], [0, 0, 0, 1]])
    assert np.allclose(model.points, [point[1:4] for point in POINTS])
    assert np.allclose(model.colours * 255, [point[4:7] for point in POINTS])
    clip = clip_of(tmp_path / "model", pictures(tmp_path / "pictures"), 0)
    assert clip.repairs == {"pictures_missing": 0, "points_of_large_error": 1, "clips_without_points": 0}
    assert torch.allclose(clip.frames[0].intrinsics, torch.tensor([[70.0, 0, 31.5], [0, 72, 24.25], [0, 0, 1]]))
    assert [frame.time for frame in clip.frames] == [0, 1, 2, 3]


def test_pycolmap_writes_what_is_read_and_projects_as_we_do(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    write_text(tmp_path / "text")
    theirs = pycolmap.Reconstruction(str(tmp_path / "text"))
    (tmp_path / "binary").mkdir()
    theirs.write_binary(str(tmp_path / "binary"))
    ours = read(tmp_path / "binary")
    assert len(ours.poses) == COUNT
    for image in theirs.images.values():
        _, pose = ours.poses[image.name]
        assert np.allclose(pose[:3], image.cam_from_world().matrix(), atol=1e-12)
        camera = ours.lenses[3].intrinsics(tmp_path) @ (pose[:3, :3] @ ours.points[0] + pose[:3, 3])
        projected = image.project_point(ours.points[0])
        if projected is not None:
            assert np.allclose(camera[:2] / camera[2], projected, atol=1e-9)


def test_smaller_copies_of_pictures_are_taken_and_missing_ones_counted(tmp_path: Path) -> None:
    write_text(tmp_path / "model", "SIMPLE_RADIAL", (70.0, 32.0, 24.0, 0.0))
    clip = clip_of(tmp_path / "model", pictures(tmp_path / "pictures", (32, 24), 3), 0)
    assert clip.repairs["pictures_missing"] == 1
    assert torch.allclose(clip.frames[0].intrinsics, torch.tensor([[35.0, 0, 16], [0, 35, 12], [0, 0, 1]]))


def test_a_model_without_points_begins_with_guesses_in_front_of_its_cameras(tmp_path: Path) -> None:
    write_text(tmp_path / "model")
    (tmp_path / "model" / "points3D.txt").write_text("# none\n")
    clip = clip_of(tmp_path / "model", pictures(tmp_path / "pictures"), 0, fallback=300)
    assert clip.repairs["clips_without_points"] == 1
    assert len(clip.bodies["scene"].points) == 300
    assert fit(clip, FitConfig(steps=3, budget=400, backend="cpu", held_out=0), 0).skipped == 0


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("images.bin", lambda data: data[:-30], "ends within"),
        ("cameras.bin", lambda data: data[:12] + b"\x63" + data[13:], "unknown model 99"),
        ("points3D.bin", lambda data: data[:24] + struct.pack("<d", np.nan) + data[32:], "NaN"),
    ],
)
def test_files_that_are_cut_short_or_altered_are_refused(tmp_path: Path, name: str, change, said: str) -> None:  # type: ignore[no-untyped-def]
    write_binary(tmp_path)
    (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
    with pytest.raises(DataError, match=said):
        read(tmp_path)


def test_lenses_that_distort_and_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "model", "OPENCV", (*LENS, 0.1, 0, 0, 0))
    with pytest.raises(DataError, match=r"OPENCV distorts(.|\n)*image_undistorter"):
        clip_of(tmp_path / "model", pictures(tmp_path / "pictures"), 0)
    with pytest.raises(DataError, match="none of 4 pictures"):
        clip_of(tmp_path / "model", tmp_path, 0)
    with pytest.raises(DataError, match=r"cameras\.txt"):
        read(tmp_path / "pictures")
