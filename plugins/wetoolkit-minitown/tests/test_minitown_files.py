"""Minitown through nuPlan logs: whole drives and windows come back as they were."""

from pathlib import Path

import numpy as np
import pytest
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.types import Signal, World
from wetoolkit_minitown import files
from wetoolkit_minitown.cache import code_version
from wetoolkit_minitown.dataset import Minitown, MinitownConfig

from wetoolkit.errors import ConfigError
from wetoolkit.registry import load_registry
from wetoolkit.types import ObservationSpec, Scenario, Situation

SPEC = ObservationSpec(history=16, fields=("ego", "agents", "lanes", "route"), limits={"agents": 24, "lanes": 32})

pytest.importorskip("wetoolkit_logs", reason="the nuPlan writer and reader are part of wetoolkit-logs")


@pytest.fixture(scope="module")
def through(config: MinitownConfig, tmp_path_factory: pytest.TempPathFactory):
    """The same data set by way of files, everything below temporary folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield Minitown(config.model_copy(update={"files": "nuplan"}))


def named(names: tuple[str, ...]) -> dict[str, int]:
    return {name: k for k, name in enumerate(names)}


def same_drive(a: Scenario[World], b: Scenario[World]) -> np.ndarray:
    """Poses to 1 mm, states and boxes equal; the shift of the origin."""
    shift = np.subtract(b.origin[:2], a.origin[:2])
    one, other = a.world.ego, b.world.ego
    assert np.abs(one.states[:, :2] - other.states[:, :2] - shift).max() < 1e-3
    assert np.abs(one.states[:, 2:] - other.states[:, 2:]).max() < 1e-9
    assert one.vehicle == other.vehicle and b.world.unavailable == a.world.unavailable
    there, found = a.world.agents, b.world.agents
    assert there.ids == found.ids
    for name in ("kind", "size", "valid", "velocity"):
        assert np.array_equal(getattr(there, name), getattr(found, name)), name
    assert np.abs(there.pose[..., :2] - found.pose[..., :2] - shift)[there.valid].max(initial=0) < 1e-3
    assert np.abs(there.pose[..., 2] - found.pose[..., 2]).max(initial=0) < 1e-6
    return shift


def same_roads(a: World, b: World, shift: np.ndarray, within: float) -> None:
    """Lanes and areas are those of ``a`` to 1 cm, with their links, limits and, ``within`` metres of the ego, their signals."""
    lane, area = named(b.map.lane_ids), named(b.map.area_ids)
    assert a.map.lane_ids == b.map.lane_ids
    assert set(a.map.area_ids) <= set(area)  # files: by the boxes around them
    for k, name in enumerate(a.map.lane_ids):
        row = lane[name]
        assert np.abs(a.map.centre_line(k) - b.map.centre_line(row) - shift).max() < 1e-2
        assert a.map.lane_speed_limit[k] == b.map.lane_speed_limit[row]
        if a.map.lane_signal[k] >= 0:
            near = np.hypot(*(a.map.centre_line(k)[0] - a.ego.states[:, :2]).T) < within - 1
            states = b.signals[b.map.lane_signal[row]] if b.map.lane_signal[row] >= 0 else np.full(b.steps, Signal.UNKNOWN)
            assert np.array_equal(a.signals[a.map.lane_signal[k]][near], states[near])
    for k, name in enumerate(a.map.area_ids):
        assert np.abs(a.map.area(k) - b.map.area(area[name]) - shift).max() < 1e-2
        assert a.map.area_kind[k] == b.map.area_kind[area[name]]
    links = [{(world.map.lane_ids[i], world.map.lane_ids[j]) for i, j in world.map.successors.tolist()} for world in (a, b)]
    assert links[0] <= links[1]
    routes = [[world.map.lane_ids[k] for k in world.route] for world in (a, b)]
    assert routes[0] == routes[1]


def test_whole_drives_come_back(town_data: Minitown, tmp_path: Path) -> None:
    registry = load_registry()
    refs = town_data.recordings("train")[:2]
    sources = [town_data.recording(ref) for ref in refs]
    registry.load(registry.exporter("nuplan"))(sources, tmp_path)
    settings = {"folder": str(tmp_path), "splits": {"all": 1.0}, "radius": 5000, "cache": False}
    data = registry.build("dataset", "nuplan", settings)
    found = {ref.log: data.recording(ref) for ref in data.recordings("all")}
    for source in sources:
        shift = same_drive(source, found[source.log])
        same_roads(source.world, found[source.log].world, shift, np.inf)
        assert set(found[source.log].world.map.area_ids) == set(source.world.map.area_ids)


@pytest.mark.parametrize("split", ["train", "val-rare"])
def test_windows_are_the_same_by_way_of_files(town_data: Minitown, through: Minitown, split: str) -> None:
    assert through.index(split) == town_data.index(split) and through.labels(split) == town_data.labels(split)
    for ref in town_data.index(split)[::6]:
        direct, found = town_data.load(ref), through.load(ref)
        assert (found.id, found.log, found.split, found.clock) == (direct.id, direct.log, direct.split, direct.clock)
        assert [step.component for step in found.lineage.steps] == ["dataset/minitown", "dataset/nuplan"]
        same_roads(direct.world, found.world, same_drive(direct, found), files.LIGHTS)
        seen = [Driving().observe([Situation(one.id, one.log, one.world, one.clock.now)], SPEC).arrays for one in (direct, found)]
        assert all(np.allclose(seen[0][name], seen[1][name], atol=1e-3) for name in ("ego", "agents", "route"))
        lanes = [np.sort(arrays["lanes"], axis=None) for arrays in seen]
        assert np.allclose(*lanes, atol=1e-3)  # in any order where two are equally near
        on = [{world.map.area_ids[k] for k in np.flatnonzero(world.on_route)} for world in (direct.world, found.world)]
        assert on[0] <= on[1]


def test_only_drives_that_are_asked_for_are_written(config: MinitownConfig, through: Minitown) -> None:
    ref = through.index("test-common")[0]
    place = files.folder_of(Path(config.cache) / code_version())
    before = set(place.glob("*.db"))
    found = through.load(ref)
    assert len(set(place.glob("*.db")) - before) == 1
    assert np.array_equal(through.load(ref).world.agents.pose, found.world.agents.pose)


def test_files_need_a_folder() -> None:
    with pytest.raises(ConfigError, match="files"):
        Minitown(MinitownConfig(cache="off", files="nuplan"))
