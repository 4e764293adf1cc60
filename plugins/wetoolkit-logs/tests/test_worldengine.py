"""World Engine's scenes: made here in its words, read as ScenarioNet's are; the file of many scenes; what is broken in it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wetoolkit_driving.geometry import ego_center
from wetoolkit_driving.types import AgentClass, AreaKind, Signal, Vehicle
from wetoolkit_logs.recording import parse
from wetoolkit_logs.scenarionet import ScenarioNet
from wetoolkit_logs.worldengine import WorldEngine, WorldEngineConfig, read

from wetoolkit.errors import DataError
from wetoolkit.testing import DatasetContract

Make = Callable[..., dict[str, Any]]
PACIFICA = Vehicle()


def engine(raw: dict[str, Any], rate: int = 10) -> dict[str, Any]:
    """A ScenarioDescription in World Engine's words, with the further keys that its converter writes."""
    tracks = raw["tracks"]
    for key, value in (("length", PACIFICA.length), ("width", PACIFICA.width), ("height", PACIFICA.height)):
        tracks["ego"]["state"][key][:] = value
    for name, feature in raw["map_features"].items():
        if feature["type"].startswith("LANE"):
            connector = name.endswith("2")
            feature |= {"type": "LANE_SURFACE_UNSTRUCTURE" if connector else "LANE_SURFACE_STREET", "roadblock_id": "7"}
            feature.pop("speed_limit_kmh", None)
            feature["exit_lanes"] = {"1": [f"{name[0]}2"], "2": [f"{name[0]}3"], "3": []}[name[1]]
            feature["entry_lanes"] = {"1": [], "2": [f"{name[0]}1"], "3": [f"{name[0]}2"]}[name[1]]
    lights = ["TRAFFIC_LIGHT_RED"] * 10 + ["TRAFFIC_LIGHT_GREEN"] * (raw["length"] - 10)
    return {
        "id": raw["id"], "name": raw["id"], "dataset": "digitaltwin.nuplan", "map": "us-nv-las-vegas-strip", "token": raw["id"],
        "log_length": raw["length"], "sample_rate": rate, "base_timestamp": 1_623_000_000_000_000, "sdc_id": "ego",
        "metadata": {
            "nuplan_lidar_pc_tokens": ["a"] * raw["length"], "old_origin_in_current_coordinate": np.zeros(2),
            "openscene_data_infos_dict": {"a": {"gt_names": np.array(["vehicle", "sign"]), "ego2global": np.eye(4)}},
        },
        "cameras": {"CAM_F0": {"channel": "CAM_F0", "intrinsic": np.eye(3), "height": 1080, "width": 1920}},
        "lidar": {"channel": "LIDAR_TOP", "sensor2ego_translation": np.zeros(3)},
        "object_track": tracks,
        "dynamic_map_states": {
            "r2": {
                "type": "TRAFFIC_LIGHT", "traffic_light_lane": "r2", "traffic_light_position": [100.0, 0.0],
                "state": {"traffic_light_state": lights}, "metadata": {"type": "TRAFFIC_LIGHT", "object_id": "r2"},
            }
        },
        "map_features": raw["map_features"],
    }  # fmt: skip


@pytest.fixture
def scene(make: Make) -> Callable[..., dict[str, Any]]:
    return lambda name="a", steps=24: engine(make(name, steps=steps, dt=0.5, dataset="nuplan"))


def reader(folder: Path, **settings: Any) -> WorldEngine:
    settings.setdefault("splits", {"train": ["*"]})
    return WorldEngine(WorldEngineConfig(folder=str(folder), **{"cache": False, **settings}))


def merged(folder: Path, **scenes: Any) -> Path:
    (folder / "all_scenarios.pkl").write_bytes(pickle.dumps(scenes))
    return folder


def test_scenes_of_one_file_are_windows_of_their_own(scene: Make, tmp_path: Path) -> None:
    data = reader(merged(tmp_path, a=scene("a"), b=scene("b", 30)), stride=1.0)
    refs = data.index("train")
    assert {ref.log for ref in refs} == {"a", "b"} and refs[0].id == "worldengine/a/20"
    world = data.load(refs[0]).world
    assert world.ego.vehicle == PACIFICA and world.steps == 101 and len(world.agents) == 6
    road = world.map
    kinds = {road.lane_ids[i]: AreaKind(road.area_kind[road.lane_area[i]]) for i in range(road.lanes)}
    assert kinds["r2"] == AreaKind.LANE_CONNECTOR and kinds["r1"] == AreaKind.LANE
    assert [road.lane_ids[i] for i in world.route] == ["r1", "r2", "r3"]
    np.testing.assert_allclose(world.ego.states[:, 3], 8.0, atol=1e-6)
    row = road.lane_signal[road.lane_ids.index("r2")]
    assert (world.signals[row, :50] == Signal.RED).all() and (world.signals[row, 50:] == Signal.GREEN).all()
    centre = ego_center(world.ego.states, world.ego.vehicle)[:, 0] + data.load(refs[0]).origin[0]
    np.testing.assert_allclose(centre, 0.8 * np.arange(101), atol=1e-6)  # the file's positions are centres
    facts = data.inspect()
    assert facts["logs"] == "2 readable, 0 not" and "calibrations" in facts["sensors"]


def test_the_egos_curve_is_filled_in(scene: Make) -> None:
    """A bend of 15 m radius at a speed that rises and falls, at 2 Hz: against its own formula."""
    raw, radius = scene(), 15.0
    way = lambda t: 5 * t + 1.5 * np.sin(1.2 * t)  # noqa: E731 - metres along the arc
    place = lambda t: np.stack([radius * np.sin(way(t) / radius), radius * (1 - np.cos(way(t) / radius))], 1)  # noqa: E731
    state, times = raw["object_track"]["ego"]["state"], 0.5 * np.arange(24)
    state["position"][:, :2], state["heading"] = place(times), (way(times) / radius + np.pi) % (2 * np.pi) - np.pi
    ego = read(raw, "x").ego
    due = place(0.1 * np.arange(len(ego.pose)))
    inner = slice(10, -10)
    assert np.abs(ego.pose[inner, :2] - due[inner]).max() < 0.02
    linear = np.stack([np.interp(0.1 * np.arange(len(due)), times, state["position"][:, k]) for k in (0, 1)], 1)
    assert np.abs(linear[inner] - due[inner]).max() > 0.05  # what straight lines would give
    turn = (ego.pose[inner, 2] - way(0.1 * np.arange(len(due)))[inner] / radius + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(turn).max() < 0.01


def test_steps_in_which_the_ego_is_not_known_stay_unknown(scene: Make) -> None:
    raw = scene()
    raw["object_track"]["ego"]["state"]["valid"][8] = 0
    raw["object_track"]["ego"]["state"]["position"][8] = np.nan
    ego = read(raw, "x").ego
    assert ego.valid[:36].all() and not ego.valid[36:45].any() and ego.valid[45:].all()
    assert np.isfinite(ego.pose).all() and not ego.pose[40].any()


def test_classes_are_those_of_the_family(scene: Make) -> None:
    raw = scene()
    raw["object_track"]["thing"]["type"] = "TRAFFIC_OBJECT"
    kinds = {track.id: track.kind for track in read(raw, "x").others}
    assert kinds == {
        "car": AgentClass.VEHICLE, "walker": AgentClass.PEDESTRIAN, "rider": AgentClass.BICYCLE,
        "cone": AgentClass.TRAFFIC_CONE, "fence": AgentClass.BARRIER, "thing": AgentClass.GENERIC_OBJECT,
    }  # fmt: skip


def test_a_file_or_its_folder_is_recognised_by_one_reader_only(scene: Make, tmp_path: Path) -> None:
    (tmp_path / "chunks").mkdir()
    (tmp_path / "chunks" / "a.pkl").write_bytes(pickle.dumps({"a": scene("a")}))
    assert WorldEngine.recognise(tmp_path) is None and reader(tmp_path).index("train")
    merged(tmp_path, a=scene("a"))
    assert WorldEngine.recognise(tmp_path) == {"folder": str(tmp_path)} and ScenarioNet.recognise(tmp_path) is None
    file = tmp_path / "all_scenarios.pkl"
    assert WorldEngine.recognise(file) == {"folder": str(file)} and WorldEngine.recognise(tmp_path / "chunks" / "a.pkl") is None
    assert [ref.id for ref in reader(file).recordings("train")] == ["a"]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("owned",))


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        (lambda raw: raw.pop("object_track"), "object_track", "missing"),
        (lambda raw: raw.pop("map_features"), "map_features", "missing"),
        (lambda raw: raw.update(log_length=1), "log_length", "1 steps"),
        (lambda raw: raw.pop("sample_rate"), "sample_rate", "do not rise"),
        (lambda raw: raw.update(sdc_id="me"), "sdc_id", "'me' is not among"),
        (lambda raw: raw["object_track"]["car"]["state"].pop("heading"), "object_track.car.state.heading", "missing"),
        (lambda raw: raw["object_track"]["car"].pop("state"), "object_track.car", "no state"),
        (lambda raw: raw.update(log_length="many"), "", "malformed"),
    ],
)
def test_a_broken_scene_is_named_by_its_own_words(scene: Make, tmp_path: Path, change: Any, field: str, says: str) -> None:
    raw = scene("b")
    change(raw)
    with pytest.raises(DataError, match=says) as caught:
        read(raw, "b")
    assert str(caught.value.context.get("field", "")) == field
    data = reader(merged(tmp_path, a=scene("a"), b=raw))
    assert [ref.id for ref in data.recordings("train")] == ["a"]
    (defect,) = [d for d in data.defects() if d.handling == "skipped"]
    assert defect.file == "all_scenarios.pkl/b"


@pytest.mark.parametrize("data", [b"", b"\x80\x05", pickle.dumps([1]), pickle.dumps({}), pickle.dumps({"a": Evil()})])
def test_a_file_that_is_none_is_an_error_that_names_it(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "all_scenarios.pkl").write_bytes(data)
    with pytest.raises(DataError, match=r"all_scenarios\.pkl"):
        reader(tmp_path).index("train")
    assert "owned" not in capsys.readouterr().out


def test_the_same_scene_in_both_words_reads_the_same(scene: Make, make: Make) -> None:
    ours, theirs = read(scene(), "x"), parse(make("a", steps=24, dt=0.5), "x")
    for one, two in zip(ours.others, theirs.others, strict=True):
        np.testing.assert_allclose(one.pose, two.pose)
        np.testing.assert_array_equal(one.valid, two.valid)


class TestContract(DatasetContract):
    """The promises of every data set."""

    @pytest.fixture(autouse=True)
    def _files(self, scene: Make, tmp_path: Path) -> None:
        self.folder = merged(tmp_path, a=scene("a"), b=scene("b"))

    def make(self) -> WorldEngine:
        return reader(self.folder, splits={"train": ["a"], "test": ["b"]}, stride=1.0)
