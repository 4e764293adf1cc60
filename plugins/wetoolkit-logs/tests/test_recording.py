"""Reading a ScenarioDescription: rates, masks, lights, and each thing that makes a file unusable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from wetoolkit_driving.types import AgentClass, Signal
from wetoolkit_logs.recording import parse

from wetoolkit.errors import DataError

Make = Callable[..., dict[str, Any]]


def test_tracks_keep_their_class_and_nobody_is_dropped(make: Make) -> None:
    recording = parse(make(), "a.pkl")
    assert recording.steps == 131
    kinds = {track.id: track.kind for track in recording.others}
    assert kinds == {
        "car": AgentClass.VEHICLE,
        "walker": AgentClass.PEDESTRIAN,
        "rider": AgentClass.BICYCLE,
        "cone": AgentClass.TRAFFIC_CONE,
        "fence": AgentClass.BARRIER,
        "thing": AgentClass.GENERIC_OBJECT,
    }
    assert recording.counts == {}


@pytest.mark.parametrize("dt", [0.5, 0.05, 0.2, 0.125])
def test_other_rates_are_resampled_to_10_hz(make: Make, dt: float) -> None:
    recording = parse(make(steps=int(12 / dt) + 1, dt=dt), "a.pkl")
    assert recording.counts["resampled_to_10_hz"] == 1
    assert recording.steps == 121
    assert recording.ego.valid.all()
    np.testing.assert_allclose(recording.ego.pose[:, 0], 0.8 * np.arange(121), atol=1e-9)
    np.testing.assert_allclose(recording.ego.velocity[:, 0], 8.0, atol=1e-9)


def test_sample_rate_may_be_seconds_or_hertz(make: Make) -> None:
    for rate, steps in ((0.5, 25), (2.0, 25)):
        raw = make(steps=25, dt=0.5)
        del raw["metadata"]["ts"]
        raw["metadata"]["sample_rate"] = rate
        assert parse(raw, "a.pkl").steps == (steps - 1) * 5 + 1


def test_resampling_bridges_no_gap_and_turns_the_short_way(make: Make) -> None:
    raw = make(steps=25, dt=0.5)
    state = raw["tracks"]["car"]["state"]
    state["heading"] = np.where(np.arange(25) % 2, np.pi - 0.1, -np.pi + 0.1)
    state["valid"][10] = 0
    car = parse(raw, "a.pkl").others[0]
    assert not car.valid[46:55].any()  # between samples 9 and 11 only the ends are known
    assert car.valid[:46].all() and car.valid[55:].all()
    assert (np.abs(car.pose[car.valid, 2]) >= np.pi - 0.1 - 1e-9).all()


def test_jittered_10_hz_stamps_are_taken_as_they_are(make: Make) -> None:
    raw = make()
    raw["metadata"]["ts"] = raw["metadata"]["ts"] + np.random.default_rng(0).uniform(-0.002, 0.002, 131)
    recording = parse(raw, "a.pkl")
    assert "resampled_to_10_hz" not in recording.counts
    np.testing.assert_array_equal(recording.ego.pose[:, :2], raw["tracks"]["ego"]["state"]["position"][:, :2])


def test_nan_poses_become_invalid_and_are_counted(make: Make) -> None:
    raw = make()
    raw["tracks"]["car"]["state"]["position"][5:8] = np.nan
    raw["tracks"]["rider"]["state"]["heading"][3] = np.inf
    recording = parse(raw, "a.pkl")
    car = recording.others[0]
    assert recording.counts["nan_poses_marked_invalid"] == 4
    assert not car.valid[5:8].any() and car.valid.sum() == 128
    assert np.isfinite(car.pose).all() and (car.pose[5:8] == 0).all()


def test_single_steps_and_absent_tracks_are_counted(make: Make) -> None:
    raw = make()
    raw["tracks"]["car"]["state"]["valid"][:] = np.eye(131)[70]
    raw["tracks"]["cone"]["state"]["valid"][:] = 0
    recording = parse(raw, "a.pkl")
    assert recording.counts == {"one_step_tracks": 1, "tracks_never_seen": 1}
    assert [track.id for track in recording.others] == ["car", "walker", "rider", "fence", "thing"]


def test_boxes_without_extent_are_counted(make: Make) -> None:
    raw = make()
    raw["tracks"]["car"]["state"]["length"][:] = 0
    del raw["tracks"]["walker"]["state"]["width"]
    assert parse(raw, "a.pkl").counts["boxes_without_extent"] == 2


def test_lights_are_read_by_lane(make: Make) -> None:
    raw = make()
    states = ["LANE_STATE_STOP"] * 50 + ["LANE_STATE_CAUTION"] * 20 + ["TRAFFIC_LIGHT_GREEN"] * 60 + [None]
    raw["dynamic_map_states"] = {"7": {"type": "TRAFFIC_LIGHT", "lane": "r2", "state": {"object_state": states}}}
    lights = parse(raw, "a.pkl").lights
    expected = [Signal.RED] * 50 + [Signal.YELLOW] * 20 + [Signal.GREEN] * 60 + [Signal.UNKNOWN]
    np.testing.assert_array_equal(lights["r2"], np.array(expected, np.uint8))


def _no_lanes(raw: dict[str, Any]) -> None:
    raw["map_features"] = {name: f for name, f in raw["map_features"].items() if not f["type"].startswith("LANE")}


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        *way, last = path.split(".")
        for key in way:
            raw = raw[key]
        if value is KeyError:
            del raw[last]
        else:
            raw[last] = value

    return change


BAD: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no map": (_no_lanes, "a scene without a map"),
    "no id": (_set("id", ""), "no scenario id"),
    "no tracks": (_set("tracks", KeyError), "'tracks' is missing"),
    "tracks of another type": (_set("tracks", [1, 2]), "a list where"),
    "no metadata": (_set("metadata", KeyError), "'metadata' is missing"),
    "no ego": (_set("metadata.sdc_id", "nobody"), "the ego 'nobody'"),
    "ego never known": (_set("tracks.ego.state.valid", np.zeros(131)), "the ego is known at no step"),
    "ego of NaN": (_set("tracks.ego.state.position", np.full((131, 3), np.nan)), "the ego is known at no step"),
    "no state": (_set("tracks.car.state", KeyError), "no state"),
    "no heading": (_set("tracks.car.state.heading", KeyError), "'heading' is missing"),
    "too few steps": (_set("tracks.car.state.heading", np.zeros(7)), r"shape \(7,\)"),
    "no y": (_set("tracks.ego.state.position", np.zeros((131, 1))), r"shape \(131, 1\)"),
    "text for numbers": (_set("tracks.ego.state.velocity", ["fast"] * 131), "velocity"),
    "number for an array": (_set("tracks.ego.state.valid", 1), "valid"),
    "time runs backwards": (_set("metadata.ts", np.arange(131)[::-1]), "do not rise"),
    "NaN time": (_set("metadata.ts", np.full(131, np.nan)), "do not rise"),
    "few stamps": (_set("metadata.ts", np.arange(5) * 0.1), "5 time stamps for 131"),
    "one step": (_set("length", 1), "1 steps"),
    "lights of another type": (_set("dynamic_map_states", [1]), "dynamic_map_states"),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_files_name_file_field_and_way_out(make: Make, name: str) -> None:
    change, message = BAD[name]
    raw = make()
    change(raw)
    with pytest.raises(DataError, match=message) as caught:
        parse(raw, "bad.pkl")
    assert "bad.pkl" in str(caught.value) and "way out" in str(caught.value) and "field" in str(caught.value)


MALFORMED: dict[str, Callable[[dict[str, Any]], None]] = {
    "length": _set("length", "long"),
    "list of lengths": _set("length", [1, 2]),
    "sample rate": _set("metadata", {"sdc_id": "ego", "sample_rate": "ten"}),
    "stamps of text": _set("metadata.ts", ["a"] * 131),
    "stamps in another unit": _set("metadata.ts", np.arange(131) * 1e8),
    "line of None": _set("map_features.r1.polyline", None),
    "line of a number": _set("map_features.r1.polyline", 5),
    "light without state": _set("dynamic_map_states", {"7": {"lane": "r1", "state": None}}),
    "light of a number": _set("dynamic_map_states", {"7": {"lane": "r1", "state": {"object_state": 5}}}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_content_never_escapes_as_another_error(make: Make, name: str) -> None:
    raw = make()
    MALFORMED[name](raw)
    with pytest.raises(DataError) as caught:
        parse(raw, "bad.pkl")
    assert "bad.pkl" in str(caught.value) and "way out" in str(caught.value)


@pytest.mark.parametrize("raw", [None, [], "text", np.zeros(3)])
def test_something_else_altogether(raw: Any) -> None:
    with pytest.raises(DataError, match="not a ScenarioDescription"):
        parse(raw, "bad.pkl")
