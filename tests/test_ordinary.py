"""Scenes of scenarios in which nothing failed: rebuilt and varied besides the failures, by behaviours that are meant for them."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_run import DATA, rows, start

from wetoolkit.errors import ConfigError
from wetoolkit.experiment import parse_experiment
from wetoolkit.pipeline import stage_given
from wetoolkit.progress import Silent, Watch
from wetoolkit.registry import Registry
from wetoolkit.stages import failure_table, unfailing
from wetoolkit.store import read_block, write_block, write_table
from wetoolkit.testing.fakes import ToyWorld
from wetoolkit.types import Failure, Ref, Scene
from wetoolkit.work import Failed, Made

MINED = 3  # of the eight scenarios of the toy's fleet


class Notes(Silent):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def varied(done: Path, registry: Registry, folder: Path, watch: Watch | None = None, **changes: Any) -> list[Scene[ToyWorld]]:
    """The scenes of a run in which only the first ``MINED`` scenarios failed."""
    failures = rows(done, "failures-1").unique("id", keep="first", maintain_order=True).head(MINED)
    write_table(folder / "some.parquet", failures)
    given = stage_given(parse_experiment(DATA), "reconstruct-1", [folder / "some.parquet"], None)
    start(registry, folder / "run", changes, given=given, last="vary", watch=watch or Silent())
    return [
        scene
        for path in sorted((folder / "run/scenes").glob("vary-1-*.safetensors"))
        for scene in read_block(path, Scene, ToyWorld)[0]
    ]


def test_each_behaviour_varies_what_it_is_meant_for(done: Path, registry: Registry, tmp_path: Path) -> None:
    parts = [{"use": "toy", "count": 2, "of": "failures"}, {"use": "toy", "count": 1, "of": "ordinary"}]
    scenes = varied(done, registry, tmp_path, vary={"ordinary": 2}, behaviour=parts)
    logged = [scene for scene in scenes if scene.variant == "logged"]
    assert [bool(scene.failure) for scene in logged] == [True] * MINED + [False] * 2
    failing, ordinary = ({scene.scenario.id for scene in logged if bool(scene.failure) is failed} for failed in (True, False))
    assert not failing & ordinary and {scene.scenario.split for scene in logged} == {"rare-train"}
    for scene in logged:
        made = [one for one in scenes if one.scenario == scene.scenario and one.variant != "logged"]
        assert len(made) == (2 if scene.failure else 1) and {one.failure for one in made} == {scene.failure}


def test_they_are_drawn_by_the_seed_and_unless_asked_for_there_are_none(done: Path, registry: Registry, tmp_path: Path) -> None:
    drawn = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        scenes = varied(done, registry, tmp_path / name, vary={"ordinary": 2, "logged": True}, behaviour=[], seed=seed)
        drawn.append([scene.id for scene in scenes if not scene.failure])
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[2]) == 2
    assert all(scene.failure for scene in varied(done, registry, tmp_path / "none"))


def test_behaviours_of_ordinary_scenes_without_any_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"behaviour.1 \(toy\) varies ordinary scenes, of which there are none"):
        parse_experiment({**DATA, "behaviour": [{"use": "toy"}, {"use": "toy", "of": "ordinary"}]})


def test_fewer_than_asked_for_is_said(done: Path, registry: Registry, tmp_path: Path) -> None:
    watch = Notes()
    scenes = varied(done, registry, tmp_path, watch, vary={"ordinary": 50}, behaviour=[])
    assert sum(not scene.failure for scene in scenes) == 8 - MINED
    assert any(f"50 are asked for, and in {8 - MINED} scenarios only" in note for note in watch.said)


def test_what_could_not_be_mined_is_not_taken_for_ordinary(tmp_path: Path) -> None:
    refs = [Ref(f"rare-train/000/{item:02d}", "rare-train", "train-000") for item in range(4)]
    broken, lost = (Failed("mine-1", ref.id, ref.log, "miner/toy", "wetoolkit", "broke") for ref in refs[1:3])
    write_block(tmp_path / "part.safetensors", [], {"failed": [asdict(broken)]})
    write_table(tmp_path / "failures.parquet", failure_table([Failure(refs[0], "collision", 4, 1.0)]))
    mined = Made("mine-1", paths=(tmp_path / "part.safetensors", tmp_path / "failures.parquet"))
    assert unfailing(SimpleNamespace(lost=[lost]), refs, mined) == [refs[3]]  # type: ignore[arg-type]
