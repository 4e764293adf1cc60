"""Files of gaussians: there and back, bad ones, real ones."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement
from wetoolkit_splat.files import read, write
from wetoolkit_splat.testing import random_gaussians
from wetoolkit_splat.types import Gaussians

from wetoolkit.errors import DataError, UnknownName, ValidationError

COMPRESSED = pytest.param(".compressed.ply", marks=pytest.mark.slow)  # gsply compiles for 10 s
DATA = Path(os.environ.get("WETOOL_DATA", "../shared/data"))


def unit(gaussians: Gaussians) -> torch.Tensor:
    """Rotations up to their sign."""
    q = torch.nn.functional.normalize(gaussians.quaternions, dim=-1)
    return q * torch.where(q[:, :1] < 0, -1.0, 1.0)


@pytest.mark.parametrize("terms", [1, 4, 9, 16])
def test_ply_keeps_every_bit(tmp_path: Path, terms: int) -> None:
    scene = random_gaussians(20, 0, terms)
    write(tmp_path / "a.ply", scene)
    seen, dropped = read(tmp_path / "a.ply")
    assert dropped == 0
    assert all(torch.equal(one, other) for one, other in zip(scene.parameters().values(), seen.parameters().values(), strict=True))
    table = PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    if terms > 1:  # red's coefficients first
        assert np.array_equal(table["f_rest_1"], scene.sh[:, 2, 0] if terms > 2 else None)
        assert np.array_equal(table[f"f_rest_{terms - 1}"], scene.sh[:, 1, 1])


@pytest.mark.parametrize("suffix", [COMPRESSED, ".spz"])
def test_packed_formats_keep_what_they_promise(tmp_path: Path, suffix: str) -> None:
    scene = random_gaussians(300, 0, 4)
    scene = replace(scene, sh=scene.sh.clamp(-0.9, 0.9))
    write(tmp_path / f"a{suffix}", scene)
    seen, _ = read(tmp_path / f"a{suffix}")
    assert len(seen) == len(scene)
    order = torch.cdist(scene.means, seen.means).argmin(1)  # the compressed PLY sorts
    assert sorted(order.tolist()) == list(range(len(scene)))
    seen = seen.select(order)
    assert float((seen.means - scene.means).abs().max()) < 4e-3
    assert float((seen.log_scales - scene.log_scales).abs().max()) < 0.05
    assert float((seen.opacity_logits.sigmoid() - scene.opacity_logits.sigmoid()).abs().max()) < 0.01
    assert float((seen.sh - scene.sh).abs().max()) < 0.05
    assert float((unit(seen) * unit(scene)).sum(1).abs().min()) > 0.999


def changed(path: Path, fields: dict[str, str | None]) -> Path:
    """A PLY whose fields are renamed, or left out where the new name is None."""
    write(path, random_gaussians(5, 0))
    table = np.array(PlyData.read(str(path))["vertex"].data)
    kept = [name for name in table.dtype.names if fields.get(name, name) is not None]
    new = np.array([tuple(row) for row in table[kept]], [(fields.get(name) or name, "<f4") for name in kept])
    PlyData([PlyElement.describe(new, "vertex")]).write(str(path))
    return path


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"opacity": None}, "has no field opacity"),
        ({"nx": "semantic"}, "fields that no gaussian has: semantic"),
        ({"f_rest_8": None}, "has 8 fields f_rest"),
        ({"f_rest_0": "f_rest_9"}, "has 9 fields f_rest"),
    ],
)
def test_a_ply_with_other_fields_is_refused_by_name(tmp_path: Path, fields: dict[str, str | None], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(changed(tmp_path / "a.ply", fields))


@pytest.mark.parametrize("suffix", [".ply", COMPRESSED, ".spz"])
def test_files_that_are_cut_short_or_absent_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, random_gaussians(300, 0))
    data = path.read_bytes()
    for length in (len(data) - 7, len(data) // 2, 3, 0):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match="cut short"):
            read(path)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


def test_a_splat_of_broken_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.splat").write_bytes(bytes(33))
    with pytest.raises(DataError, match="33 bytes"):
        read(tmp_path / "a.splat")


def test_rows_that_are_no_gaussians_are_refused_or_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.ply", random_gaussians(6, 0))
    ply = PlyData.read(str(tmp_path / "a.ply"), mmap=False)
    ply["vertex"]["scale_1"][2] = np.nan
    for k in range(4):
        ply["vertex"][f"rot_{k}"][4] = 0
    ply.write(str(tmp_path / "a.ply"))
    with pytest.raises(DataError, match="2 of 6 rows hold NaN, infinity or no rotation, the first is row 2"):
        read(tmp_path / "a.ply")
    seen, dropped = read(tmp_path / "a.ply", drop_broken=True)
    assert (len(seen), dropped) == (4, 2)


def test_what_cannot_be_written_is_not(tmp_path: Path) -> None:
    scene = random_gaussians(3, 0)
    with pytest.raises(ValidationError, match="NaN"):
        write(tmp_path / "a.ply", replace(scene, opacity_logits=scene.opacity_logits * float("nan")))
    with pytest.raises(UnknownName, match="did you mean"):
        write(tmp_path / "a.plyy", scene)
    assert not list(tmp_path.iterdir())


@pytest.mark.realdata
@pytest.mark.skipif(not (DATA / "gs_capture_plant").exists(), reason="no ../shared/data/gs_capture_plant")
@pytest.mark.parametrize(
    ("name", "count"), [("gs_capture_plant/plant.splat", 113_648), ("gs_trained_playcanvas/guitar.compressed.ply", 90_854)]
)
def test_trained_scenes_load_and_are_exported_again(tmp_path: Path, name: str, count: int) -> None:
    scene, dropped = read(DATA / name)
    assert (len(scene), dropped) == (count, 0)
    write(tmp_path / "a.ply", scene)
    again, _ = read(tmp_path / "a.ply")
    assert torch.equal(again.means, scene.means)
