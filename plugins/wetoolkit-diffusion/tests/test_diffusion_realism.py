"""The numbers by which traffic is judged, on cases whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from wetoolkit_diffusion.distributions import FAR, Samples, jackknifed, quantities
from wetoolkit_diffusion.diversity import apart, ends, shared
from wetoolkit_diffusion.plausible import breaks_rules
from wetoolkit_diffusion.realism import KNOWN, Tally, going_straight, judge, off_road, recorded, road, rows
from wetoolkit_diffusion.rules import ran_red, stops
from wetoolkit_diffusion.testing import NOW, SPEC, without_lanes
from wetoolkit_diffusion.tokens import encode
from wetoolkit_driving.geometry import compose
from wetoolkit_driving.testing import actor, crossing_world, straight_world
from wetoolkit_driving.types import AgentClass, Signal


def two() -> tuple:  # type: ignore[type-arg]
    world = straight_world([actor(20, 0, 0, 5.0), actor(40, 3.5, 0, 5.0), actor(10, -8, 0, 1.0, AgentClass.PEDESTRIAN)], speed=5.0)
    return world, encode(world, NOW, SPEC)


def test_the_log_has_no_error_and_a_shift_has_its_size() -> None:
    world, tokens = two()
    truth, there = recorded(tokens, world, NOW, 80)
    assert there.tolist() == [False, True, True, True]
    motion = np.repeat(truth[None], 3, 0)
    motion[0, 1:, :, 1] += 2.0
    motion[1, 1:, :, 1] += 1.0
    motion[2, 1:, -1, 0] += 0.5
    tally = Tally()
    judge(tokens, world, NOW, motion, tally, "log0")
    judge(tokens, world, NOW, motion[:2], tally, "log1")
    assert tally.values["vehicle", "minADE"] == pytest.approx([0.5 / 80] * 2 + [1.0] * 2, abs=1e-3)
    assert tally.values["vehicle", "minFDE"] == pytest.approx([0.5] * 2 + [1.0] * 2, abs=1e-3)
    assert len(tally.values["pedestrian", "minADE"]) == 2
    assert ("pedestrian", "off_road") not in tally.values
    table = rows({"some": tally})
    assert {row["class"] for row in table} == {"vehicle", "pedestrian"}
    mean = next(row for row in table if row["class"] == "vehicle" and row["number"] == "minFDE")
    assert mean["low"] <= mean["mean"] <= mean["high"]


def test_going_straight_is_exact_for_who_goes_straight() -> None:
    world, tokens = two()
    truth, _ = recorded(tokens, world, NOW, 80)
    np.testing.assert_allclose(going_straight(tokens, 80, 0.1)[0], truth, atol=1e-3)


def test_rates_count_what_happens() -> None:
    world, tokens = two()
    truth, _ = recorded(tokens, world, NOW, 80)
    row = tokens.rows.tolist().index(1)
    motion = np.repeat(truth[None], 2, 0)
    motion[0, row, :, 1] = np.linspace(0, 6.0, 80)  # off to the left in one sample of two
    motion[1, row, :, 0] = 14.0 * 0.1 * np.arange(1, 81) ** 1.2  # and at an impossible pace in the other
    tally = Tally()
    judge(tokens, world, NOW, motion, tally, "log0")
    order = [i for i in range(len(tokens)) if tokens.rows[i] in (0, 1)]
    at = order.index(row)
    assert tally.values["vehicle", "off_road"][at] == pytest.approx(0.5, abs=0.51)
    assert tally.values["vehicle", "off_road"][1 - at] == 0.0
    assert tally.values["vehicle", "violation"][at] >= 0.5
    assert tally.values["vehicle", "violation"][1 - at] == 0.0


@pytest.mark.parametrize("seed", range(8))
def test_who_leaves_the_road_sideways_is_counted_as_far_as_the_map_is_known(seed: int) -> None:
    rng = np.random.default_rng(seed)
    world = straight_world([actor(0, 0, 0, 5.0)])
    area, ego, frame = road(world.map), np.zeros(2), np.zeros((40, 3))
    left, bottom, right, top = area.bounds
    x = rng.uniform(max(left, -KNOWN) + 2.0, min(right, KNOWN) - 2.0, 40)
    out = rng.uniform(0.05, 20.0, 40) * rng.choice([-1.0, 1.0], 40)  # metres beyond the edge
    places = np.stack([x, np.where(out > 0, top + out, bottom + out), 0 * x], -1)  # [40, 3]
    frame[:, 0], frame[:, 1] = x, (top + bottom) / 2
    poses = np.repeat(frame[None, :, None], 20, 2)
    assert not off_road(area, poses, frame, ego).any()
    poses[0, :, rng.integers(0, 4) * 5 + 4] = places
    known = np.hypot(*places[:, :2].T) <= KNOWN
    assert known.sum() > 30
    np.testing.assert_array_equal(off_road(area, poses, frame, ego)[0], known)
    away = ego + np.array([right + KNOWN + 100.0, 0.0])  # nothing is known there
    assert not off_road(area, poses, frame, away).any()


def test_quantities_are_those_of_the_motion() -> None:
    world = straight_world([actor(50, 0, np.pi, 5.0)], speed=5.0)  # towards the ego at 10 m/s
    tokens = encode(world, NOW, SPEC)
    truth, there = recorded(tokens, world, NOW, 20)
    found = quantities(tokens, truth[None])
    np.testing.assert_allclose(found["speed"], 5.0, atol=1e-3)
    np.testing.assert_allclose(found["acceleration"], 0.0, atol=1e-2)
    np.testing.assert_allclose(found["yaw rate"], 0.0, atol=1e-3)
    gap = 50.0 - tokens.frame[0, 0] - 10.0 * np.array([0.5, 1.0, 1.5, 2.0])
    np.testing.assert_allclose(found["nearest"][0, 1], gap, atol=1e-2)
    touch = float(tokens.size[:, 1].sum()) / 2
    np.testing.assert_allclose(found["ttc"][0, 1], (gap - touch) / 10.0, atol=1e-2)
    alone = encode(straight_world([]), NOW, SPEC)
    assert (quantities(alone, np.zeros((1, 1, 20, 3)))["ttc"] == FAR).all()
    own, other = Samples(), Samples()
    own.add(tokens, truth[None], there)
    faster = truth.copy()
    faster[:, :, 0] *= 1.4
    other.add(tokens, faster[None], there)
    assert own.distances(own)["vehicle", "speed"] == 0.0
    assert other.distances(own)["vehicle", "speed"] == pytest.approx(2.0, abs=1e-2)


def test_distances_have_intervals_over_the_logs() -> None:
    rng, key = np.random.default_rng(3), ("vehicle", "speed")
    logs = {f"log{i}": rng.normal(10.0, 2.0, 200) for i in range(30)}
    by_log = lambda shift: {name: Samples({key: [some + shift]}) for name, some in logs.items()}  # noqa: E731
    same = jackknifed(by_log(0.7), by_log(0.0))[key]
    assert (same.estimate, same.low, same.high) == (pytest.approx(0.7),) * 3  # the same shift in every log
    found, part = (
        {f"log{i}": Samples({key: [some + rng.normal(0.7, 0.3)]}) for i, some in enumerate(logs.values())},
        list(logs)[:12],
    )
    wide = jackknifed(found, by_log(0.0))[key]
    assert wide.low < 0.7 < wide.high
    assert 0.1 < wide.high - wide.low < 0.8  # 4 standard errors of 0.3 / sqrt(30) are 0.22
    some = jackknifed({name: found[name] for name in part}, by_log(0.0))[key]
    assert (some.clusters, some.n) == (12, 2400)
    alone = jackknifed({"log0": found["log0"]}, by_log(0.0))[key]
    assert (alone.low, alone.high) == (0.0, np.inf)


def test_futures_are_apart_by_those_who_go_anywhere() -> None:
    world, tokens = two()
    one = recorded(tokens, world, NOW, 80)[0]
    other = one.copy()
    moved = tokens.rows >= 0
    row = tokens.rows.tolist().index(0)
    assert apart(one, other, moved) == 0.0
    other[row, :, 1] += 3.0
    assert apart(one, other, moved) == pytest.approx(1.0)  # of three who go somewhere one is 3 m aside
    standing = np.concatenate([one, np.zeros((4, 80, 3))]), np.concatenate([other, np.zeros((4, 80, 3))])
    assert apart(*standing, np.concatenate([moved, np.ones(4, bool)])) == pytest.approx(1.0)  # who stands does not dilute it
    assert apart(one * 0.0, one * 0.0 + 0.1, moved) == 0.0
    mean, differ = ends(np.stack([one, other, one]))
    assert mean[row] == pytest.approx(2.0)
    assert differ.tolist() == [float(i == row) for i in range(len(tokens))]
    a, b = shared(np.array([0, 7, 9]), np.array([9, 0, 5]), np.array([True] * 3), np.array([True, False, True]))
    assert (a.tolist(), b.tolist()) == ([2], [0])


@pytest.mark.parametrize(("signal", "runs"), [(Signal.RED, True), (Signal.GREEN, False), (Signal.YELLOW, False)])
def test_who_enters_on_red_is_found(signal: Signal, runs: bool) -> None:
    world = crossing_world([actor(5, 0, 0, 8.0)], signals=(signal, signal))
    tokens = encode(world, NOW, SPEC)
    truth = recorded(tokens, world, NOW, 80)[0]
    stopped = np.where(truth[..., :1] > 5.0, np.array([5.0, 0.0, 0.0]), truth)
    poses = compose(tokens.frame[:, None], np.stack([truth, stopped]))
    row = tokens.rows.tolist().index(0)
    found = ran_red(world, NOW, poses, tokens.frame)
    assert found[0, row] == runs
    assert not found[1, row]
    just = replace(world, signals=np.where(np.arange(world.steps) < NOW + 15, Signal.GREEN, world.signals).astype(np.uint8))
    assert not ran_red(just, NOW, poses[:, :, :20], tokens.frame)[0, row]  # it turned red half a second ago


def test_who_runs_a_light_without_need_breaks_the_rules() -> None:
    red = (Signal.RED, Signal.RED)
    goes, waits = (crossing_world([actor(5, 0, 0, speed)], signals=red) for speed in (8.0, 0.0))
    tokens = encode(waits, NOW, SPEC)
    through = recorded(encode(goes, NOW, SPEC), goes, NOW, 80)[0]
    futures, nobody = np.stack([through, through * 0.0]), np.zeros((2, len(tokens)), bool)
    assert breaks_rules(tokens, waits, NOW, futures, nobody).tolist() == [True, False]
    assert breaks_rules(tokens, waits, NOW, futures, ~nobody).tolist() == [False, False]  # a control told it to
    assert breaks_rules(tokens, goes, NOW, futures, nobody).tolist() == [False, False]  # the record does it, too


def test_one_of_two_lanes_that_begin_at_a_line_may_be_shut() -> None:
    world = crossing_world([], signals=(Signal.RED, Signal.RED))
    lines, shut = stops(world)
    assert shut.all() and shut.shape == (len(lines), world.steps)
    np.testing.assert_allclose(np.hypot(*lines[:, 2:].T), 1.0)
    lane = int(np.flatnonzero(world.map.lane_signal >= 0)[0])
    line = world.map.centre_line(lane)
    bare = world.map
    twice = replace(
        bare, lane_ids=(*bare.lane_ids, "left"), lane_xy=np.concatenate([bare.lane_xy, line]),
        lane_offset=np.append(bare.lane_offset, bare.lane_offset[-1] + len(line)).astype(np.int32),
        **{name: np.append(getattr(bare, name), getattr(bare, name)[lane]).astype(getattr(bare, name).dtype)
           for name in ("lane_area", "lane_roadblock", "lane_left", "lane_right", "lane_speed_limit")},
        lane_signal=np.append(bare.lane_signal, len(world.signals)).astype(np.int32),
    )  # fmt: skip
    green = np.concatenate([world.signals, np.full((1, world.steps), Signal.GREEN, np.uint8)])
    again, open_ = stops(replace(world, map=twice, signals=green))
    np.testing.assert_allclose(again[:-1], lines)
    np.testing.assert_allclose(again[-1], lines[0])
    there = np.hypot(*(again[:, :2] - line[0]).T) < 0.1  # three lanes and one more begin there
    assert there.sum() == 4 and (open_.any(1) == ~there).all()  # where the left turn is green one may pass
    assert stops(without_lanes(world))[0].shape == (0, 4)
