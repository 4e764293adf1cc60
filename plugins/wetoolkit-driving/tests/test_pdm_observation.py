"""What each variant of the PDM score sees of the others, the past and the lights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wetoolkit_driving.pdm.observation import driven_past, red_areas
from wetoolkit_driving.pdm.scene import from_world
from wetoolkit_driving.pdm.variants import (
    EPDMS_2_2,
    NAVSIM_1_1,
    VARIANTS,
    WORLD_ENGINE,
    corrected,
)
from wetoolkit_driving.testing import actor, crossing_world, straight_world
from wetoolkit_driving.types import Signal

CASES = Path(__file__).with_name("cases")
PEERS = ("navsim-1.1", "epdms-2.2", "world-engine")


def seen_by(variant, who, **road):
    return from_world(straight_world([who], **road), 20, variant=variant)


def test_one_sample_counts_for_all_frames_where_navsim_says_so():
    who = actor(30, 3, seen=(25, 25))  # one frame, which is a sample
    assert seen_by(NAVSIM_1_1, who).valid.all() and seen_by(EPDMS_2_2, who).valid.all()
    assert seen_by(WORLD_ENGINE, who).valid[:, 0].nonzero()[0].tolist() == [5, 6, 7, 8, 9]  # stands still until the next sample
    assert seen_by(corrected(), who).valid[:, 0].nonzero()[0].tolist() == [5]
    assert seen_by(corrected(("single",)), who).valid[:, 0].nonzero()[0].tolist() == [5]


def test_between_samples_nothing_is_seen_at_2_hz():
    who = actor(30, 3, seen=(26, 29))
    assert seen_by(NAVSIM_1_1, who).valid.size == 0
    assert seen_by(corrected(), who).valid[:, 0].nonzero()[0].tolist() == [6, 7, 8, 9]


def test_gaps_are_bridged_or_stood_through():
    world = straight_world([actor(30, 0, 0, 5.0)])
    valid, pose = world.agents.valid.copy(), world.agents.pose.copy()
    valid[0, 23:37] = False  # samples at 25, 30 and 35 are missing
    agents = replace(world.agents, valid=valid, pose=np.where(valid[..., None], pose, 0).astype(np.float32))
    gappy = replace(world, agents=agents)
    bridged = from_world(gappy, 20)
    assert bridged.valid.all()
    assert bridged.boxes[10, 0, :, 0].mean() == pytest.approx(30 + 5.0, abs=1e-4)
    stood = from_world(gappy, 20, variant=WORLD_ENGINE)
    assert stood.valid[:, 0].nonzero()[0].tolist() == [0, 1, 2, 3, 4, *range(20, 41)]
    assert stood.boxes[4, 0, :, 0].mean() == pytest.approx(30.0, abs=1e-4)


def test_headings_turn_the_short_way_between_samples():
    who = actor(30, 0, 3.1)
    who.pose[:, 2] = np.where(np.arange(101) < 25, 3.1, -3.1)
    corners = seen_by(NAVSIM_1_1, who).boxes[:6, 0]
    forward = corners[:, 0] - corners[:, 1]
    heading = np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))
    assert heading - heading[0] == pytest.approx(np.linspace(0, 2 * np.pi - 6.2, 6), abs=1e-5)


def test_who_touches_the_ego_at_once_is_left_out_by_v22():
    world = straight_world([actor(2, 0), actor(30, 0)])
    assert from_world(world, 20).ids == ("a0", "a1")
    assert from_world(world, 20, variant=EPDMS_2_2).ids == ("a1",)


def test_frames_reach_as_far_as_each_variant_looks():
    world = straight_world([actor(30, 0)])
    assert {name: len(from_world(world, 20, variant=v).valid) for name, v in VARIANTS.items()} == {
        "navsim-1.1": 51, "epdms-2.2": 41, "world-engine": 41, "corrected": 51,
    }  # fmt: skip


def test_the_driven_past_is_fourteen_states_without_yaw_rates():
    world = straight_world(speed=8.0)
    world.ego.states[:, 9] = 0.3
    past = driven_past(world, 20, EPDMS_2_2)
    assert past.shape == (14, 11)
    assert past[:, 0] == pytest.approx(8.0 * np.arange(-1.5, -0.15, 0.1))  # the state 0.1 s before now is missing
    assert (past[:, [8, 9, 10]] == 0).all() and (past[:, 3] == 8.0).all()
    assert driven_past(world, 7, EPDMS_2_2).shape == (4, 11)
    assert driven_past(world, 3, EPDMS_2_2).shape == driven_past(world, 20, NAVSIM_1_1).shape == (0, 11)


def test_red_lights_hold_between_samples_and_only_on_the_route():
    world = crossing_world(signals=(Signal.GREEN, Signal.RED))
    signals = world.signals.copy()
    signals[0, 23:] = Signal.RED
    red = red_areas(replace(world, signals=signals), 20, 41, EPDMS_2_2)
    lit = np.flatnonzero(red.any(0))
    assert {world.map.area_kind[p] for p in lit} == {1} and world.on_route[lit].all()
    assert not red[:5].any() and red[5:, lit].all()
    assert red_areas(world, 20, 41, NAVSIM_1_1).size == 0
