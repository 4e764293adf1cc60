"""The reader of ETH/UCY text: what is written is read, whatever the layout; what is wrong is named by file and line."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_crowd.eth_ucy import EthUcy, EthUcyConfig, Recording, read
from wetoolkit_crowd.types import DT

from wetoolkit.errors import ConfigError, DataError


def write(folder: Path, *lines: str, name: str = "tracks.txt") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def straight(person: int, frames: int, start: int = 0, every: int = 10) -> list[str]:
    """Somebody who walks along x at 1 m/s."""
    return [f"{start + every * k} {person} {0.4 * k:.2f} {person}.0" for k in range(frames)]


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 6, 10, 12]),
    st.sampled_from(["\t", " ", ",", "   "]),
    st.booleans(),
    st.integers(0, 900),
)
@settings(max_examples=30, deadline=None)
def test_every_layout_gives_the_same_tracks(seed: int, every: int, apart: str, wide: bool, begin: int) -> None:
    """Positions at annotated times are those written; those in between lie on the straight line."""
    rng = np.random.default_rng(seed)
    tracks = {int(p): (int(rng.integers(10)), rng.uniform(-0.5, 0.5, (int(rng.integers(3, 20)), 2)).cumsum(0)) for p in range(1, 5)}
    rows = [(begin + every * (first + k), p, *xy) for p, (first, way) in tracks.items() for k, xy in enumerate(way)]
    rng.shuffle(rows)
    lines = [
        apart.join(map(str, (float(f), float(p), x, 0.0, y, 1.0, 0.0, 2.0) if wide else (float(f), float(p), x, y)))
        for f, p, x, y in rows
    ]
    with TemporaryDirectory() as folder:
        found = read(write(Path(folder), "# frame person x y", "", *lines), 0.4, 1)
    assert sorted(found.ids) == [str(p) for p in tracks]
    earliest = min(first for first, _ in tracks.values())
    for row, name in enumerate(found.ids):
        first, way = tracks[int(name)]
        steps = 2 * (first - earliest) + 2 * np.arange(len(way))
        assert found.valid[row].sum() == 2 * len(way) - 1 and found.valid[row, steps].all()
        np.testing.assert_allclose(found.position[row, steps], way, atol=1e-9)
        np.testing.assert_allclose(found.position[row, steps[:-1] + 1], (way[1:] + way[:-1]) / 2, atol=1e-9)
        assert (found.position[row, ~found.valid[row]] == 0).all()


def test_velocities_are_metres_per_second(tmp_path: Path) -> None:
    found = read(write(tmp_path, *straight(1, 10)), 0.4, 1)
    np.testing.assert_allclose(found.velocity[0], np.tile([1.0, 0.0], (19, 1)), atol=1e-9)


def test_gaps_are_bridged_or_split_and_counted(tmp_path: Path) -> None:
    lines = straight(1, 30)
    write(tmp_path, *lines[:5], *lines[6:15], *lines[20:])
    bridged: Recording = read(tmp_path / "tracks.txt", 0.4, 1)
    assert (bridged.ids, bridged.split, bridged.filled) == (("1", "1.1"), 1, 1)
    assert read(tmp_path / "tracks.txt", 0.4, 9).ids == ("1",)
    assert len(read(tmp_path / "tracks.txt", 0.4, 0).ids) == 3
    dataset = EthUcy(EthUcyConfig(folder=str(tmp_path), history=0.4, future=0.8, least=0.0))
    dataset.index("train")
    assert dataset.repairs() == {"tracks_split": 1, "frames_filled": 1}


@pytest.mark.parametrize(
    ("lines", "line", "says"),
    [
        (["0 1 0.0 0.0", "10 1 0.1"], 2, "3 columns where 4 are due"),
        (["0 1 0.0 0.0 7.0"], 1, "5 columns where 4 (frame person x y) or 8"),
        (["# a comment", "", "0 1 0.0 zero"], 3, "not a number"),
        (["0 1 0.0 0.0", "10 1 nan 0.0"], 2, "not finite"),
        (["0 1 0.0 0.0", "10 1 0.1 0.0", "10 1 0.2 0.0"], 3, "twice in frame 10"),
        (["0 1 0.0 0.0", "10 1 320.0 240.0"], 2, "moves at 1000.0 m/s"),
        ([*straight(1, 9), "33 2 0.0 0.0"], 10, "frame 33 does not lie on the steps of 10"),
        (["# nothing"], None, "no positions"),
        (["0 1 0.0 0.0", "0 2 0.0 0.0"], None, "only one frame"),
        (["0 1 0.0 0.0", "10 2 0.0 0.0"], None, "no track of two frames"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path: Path, lines: list[str], line: int | None, says: str) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(DataError) as caught:
        read(path, 0.4, 1)
    assert says in str(caught.value) and str(path) in str(caught.value) and caught.value.way_out
    assert line is None or caught.value.context["line"] == line


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tracks.txt").write_bytes(b"\xff\xfe0 1")
    with pytest.raises(DataError, match="cannot be read as text"):
        EthUcy(EthUcyConfig(folder=str(tmp_path))).index("train")


def test_an_empty_folder_an_empty_split_and_a_file_in_two_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \*\.txt file"):
        EthUcy(EthUcyConfig(folder=str(tmp_path))).index("train")
    write(tmp_path, *straight(1, 5))
    with pytest.raises(DataError, match="split 'train' is empty"):
        EthUcy(EthUcyConfig(folder=str(tmp_path))).index("train")
    with pytest.raises(ConfigError, match="in the splits train, test"):
        EthUcy(EthUcyConfig(folder=str(tmp_path), splits={"train": ["*"], "test": ["tracks"]})).index("train")


def test_one_of_the_people_stands_in_for_the_robot(tmp_path: Path) -> None:
    write(tmp_path, *straight(1, 40), *straight(2, 40), *[f"{10 * k} 3 5.0 9.0" for k in range(40)])
    dataset = EthUcy(EthUcyConfig(folder=str(tmp_path), stretch=0.0))
    refs = dataset.index("train")
    assert {ref.id.split("/")[1] for ref in refs} == {"1", "2"}  # the third gets nowhere
    scenario = dataset.load(refs[0])
    robot, now = scenario.world.robot, scenario.clock.now
    assert scenario.world.people.ids == ("2", "3") and scenario.log == "tracks"
    np.testing.assert_allclose(robot.states[:, 3:5], np.tile([1.0, 0.0], (len(robot.states), 1)), atol=1e-9)
    np.testing.assert_allclose(robot.goal + scenario.origin[:2], [0.4 * 39, 1.0], atol=1e-9)
    assert (now, scenario.clock.dt) == (8, DT)


def test_stretches_are_logs_and_windows_stay_in_one(tmp_path: Path) -> None:
    write(tmp_path, *straight(1, 120))  # 47.6 s
    dataset = EthUcy(EthUcyConfig(folder=str(tmp_path), stretch=20.0))
    refs = dataset.index("train")
    assert {ref.log for ref in refs} == {"tracks/0", "tracks/1", "tracks/2"}
    for ref in refs:
        now = int(ref.id.split("/")[-1]) * DT
        begin = 20.0 * int(ref.log.split("/")[1])
        assert begin - 1e-9 <= now - 1.6 and now + 4.8 < begin + 20.0 + 1e-9
