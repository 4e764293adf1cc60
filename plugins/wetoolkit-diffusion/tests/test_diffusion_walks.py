"""Where walkers may go: middle lines of areas, and chains of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.testing import NOW
from wetoolkit_diffusion.tokens import encode
from wetoolkit_diffusion.walks import BESIDE, FAR, chains, middle, walks
from wetoolkit_driving.geometry import along, project
from wetoolkit_driving.testing import actor, crossing_world
from wetoolkit_driving.types import AgentClass, AreaKind, RoadMap, Signal, World

PAVEMENT = np.array([[0.0, -8.0], [33.0, -8.0], [33.0, -5.0], [0.0, -5.0]])
ROUND = np.array([[33.0, -8.0], [36.0, -8.0], [36.0, -28.0], [33.0, -28.0]])  # leads off to the right
ZEBRA = np.array([[33.0, -5.0], [36.0, -5.0], [36.0, 5.0], [33.0, 5.0]])  # and over the road
WALKER = actor(20, -6, 0, 1.2, AgentClass.PEDESTRIAN)


def with_areas(road: RoadMap, rings: list[np.ndarray], kinds: list[AreaKind]) -> RoadMap:
    ends = len(road.area_xy) + np.cumsum([len(ring) for ring in rings])
    return replace(
        road, area_ids=(*road.area_ids, *(f"walk{i}" for i in range(len(rings)))), area_xy=np.vstack([road.area_xy, *rings]),
        area_kind=np.append(road.area_kind, kinds).astype(np.uint8),
        area_offset=np.append(road.area_offset, ends).astype(np.int32),
    )  # fmt: skip


def corner(signal: Signal = Signal.RED) -> World:
    world = crossing_world([WALKER, actor(40, 0, 0, 5.0)], signals=(signal,) * 2)
    road = with_areas(world.map, [PAVEMENT, ROUND, ZEBRA], [AreaKind.WALKWAY, AreaKind.WALKWAY, AreaKind.CROSSWALK])
    return replace(world, map=road, on_route=np.append(world.on_route, [False] * 3))


@pytest.mark.parametrize("seed", range(6))
def test_the_middle_of_a_strip_is_its_middle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    radius, width, turn, shift = rng.uniform(5, 40), rng.uniform(1.5, 3.0), rng.uniform(0.6, 2.5), rng.uniform(-50, 50, 2)
    angle = rng.uniform(0, 6) + np.linspace(0.0, turn, 40)
    unit = np.stack([np.cos(angle), np.sin(angle)], -1)
    ring = np.concatenate([(radius - width / 2) * unit, (radius + width / 2) * unit[::-1]]) + shift
    ring = np.roll(ring, int(rng.integers(0, len(ring))), 0)
    line = middle(ring)
    assert line is not None
    np.testing.assert_allclose(np.hypot(*(line - shift).T), radius, atol=0.02)
    ends = radius * unit[[0, -1]] + shift
    gap = np.hypot(*np.moveaxis(line[[0, -1], None] - ends, -1, 0))
    assert max(gap.min(0)) < 0.02


def test_an_outline_of_three_corners_has_no_middle() -> None:
    assert middle(np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])) is None
    assert middle(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 0.01], [0.0, 3.0]])) is None  # two of four are one


def test_chains_lead_round_the_corner_and_over_the_crossing() -> None:
    world = corner()
    found = chains(walks(world.map, world.signals[:, NOW]), np.array([20.0, -6.0, 0.0]))
    assert len(found) == 2
    over, round_ = sorted(found, key=lambda chain: chain.crossing)
    assert over.line[-1] == pytest.approx([34.5, 5.0], abs=0.1)
    assert round_.line[-1] == pytest.approx([34.5, -28.0], abs=0.1)
    assert over.crossing == pytest.approx(13.0, abs=0.5)
    assert (over.signal, round_.signal, round_.crossing) == (Signal.RED, 0, FAR)
    assert over.offset == pytest.approx(0.5)
    (back,) = chains(walks(world.map, world.signals[:, NOW]), np.array([20.0, -6.0, np.pi]))
    assert back.line[-1] == pytest.approx([0.0, -6.5])
    assert back.length == pytest.approx(20.0)
    assert not chains(walks(world.map, world.signals[:, NOW]), np.array([20.0, -6.5 + 1.5 + BESIDE, np.pi / 2]))


@pytest.mark.parametrize("seed", range(4))
def test_chains_do_not_depend_on_where_the_scene_lies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    world, frame = corner(), np.array([rng.uniform(5, 30), rng.uniform(-7.5, -5.5), rng.uniform(-1.2, 1.2)])
    turn, shift = rng.uniform(-3, 3), rng.uniform(-200, 200, 2)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    there = replace(world.map, area_xy=world.map.area_xy @ matrix + shift, lane_xy=world.map.lane_xy @ matrix + shift)
    signals = world.signals[:, NOW]
    before = chains(walks(world.map, signals), frame)
    after = chains(walks(there, signals), np.append(frame[:2] @ matrix + shift, frame[2] + turn))
    assert len(before) == len(after) > 0
    for one, other in zip(before, after, strict=True):
        at = np.linspace(one.place, one.place + one.length, 9)
        np.testing.assert_allclose(along(one.line, at)[:, :2] @ matrix + shift, along(other.line, at)[:, :2], atol=1e-6)
        assert (one.length, one.crossing, one.signal) == pytest.approx((other.length, other.crossing, other.signal))


def test_walkers_have_ways_that_hold_their_walk_and_drivers_keep_theirs() -> None:
    spec = TokenSpec()
    world = corner(Signal.GREEN)
    tokens, plain = encode(world, NOW, spec), encode(replace(crossing_world([WALKER, actor(40, 0, 0, 5.0)])), NOW, spec)
    row = int(np.flatnonzero(tokens.kind == AgentClass.PEDESTRIAN)[0])
    assert tokens.open[row].sum() == 2
    assert not plain.open[row].any()
    np.testing.assert_array_equal(np.delete(tokens.ways, row, 0), np.delete(plain.ways, row, 0))
    assert not tokens.rails[row].any()  # guidance leaves walkers alone
    walked = tokens.state[row, tokens.valid[row], :2].astype(float)
    for way in tokens.ways[row, :2].astype(float):
        assert np.abs(project(way, walked[walked[:, 0] > 0])[1]).max() < 0.6
    assert tokens.way_facts[row, :2, Signal.GREEN].sum() == 1
