"""Sub-metrics where the variants of the PDM score differ, in scenes one can follow by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wetoolkit_driving.pdm.comfort import accelerations, comfort_readable
from wetoolkit_driving.pdm.result import NEVER
from wetoolkit_driving.pdm.scene import from_world
from wetoolkit_driving.pdm.score import angle_to, score_readable
from wetoolkit_driving.pdm.variants import (
    EPDMS_2_2,
    NAVSIM_1_1,
    STRETCHES,
    VARIANTS,
    WORLD_ENGINE,
)
from wetoolkit_driving.testing import actor, crossing_world, straight_world
from wetoolkit_driving.types import AgentClass, Signal, Vehicle

CASES = Path(__file__).with_name("cases")
PEERS = ("navsim-1.1", "epdms-2.2", "world-engine")


def straight_states(speed: float, steps: int = 41, y: float = 0.0) -> np.ndarray:
    states = np.zeros((1, steps, 11))
    states[0, :, 0], states[0, :, 1], states[0, :, 3] = speed * 0.1 * np.arange(steps), y, speed
    return states


def test_a_red_light_is_run_where_the_box_touches_its_connector():
    world = crossing_world(signals=(Signal.RED, Signal.GREEN), distance=20.0)
    scene = from_world(world, 20, variant=EPDMS_2_2)
    begin = min(scene.areas.xy[scene.areas.offset[p] : scene.areas.offset[p + 1], 0].min() for p in np.flatnonzero(scene.red[0]))
    stop, run = straight_states(0.0), straight_states(10.0)
    marks = score_readable(scene, np.concatenate([stop, run]), EPDMS_2_2)
    assert marks.tlc.tolist() == [1.0, 0.0] and marks.gate[1] == 0
    assert marks.tlc_step.tolist() == [NEVER, int(np.ceil(begin - scene.vehicle.front))]
    assert score_readable(scene, run, NAVSIM_1_1).tlc.tolist() == [1.0]


@pytest.mark.parametrize(("away", "steps", "kept"), [(0.49, 41, 1.0), (0.51, 41, 0.0), (0.51, 19, 1.0), (0.51, 20, 0.0)])
def test_lane_keeping_fails_after_two_seconds_beside_the_line(away, steps, kept):
    scene = from_world(straight_world(speed=5.0), 20, variant=WORLD_ENGINE)
    line = scene.centerline[0, 1]
    states = straight_states(5.0, y=line)
    states[:, 5 : 5 + steps, 1] += away
    marks = score_readable(scene, states, WORLD_ENGINE)
    assert marks.lk[0] == kept and marks.lk_step[0] == (NEVER if kept else 24)


def test_an_intersection_neither_counts_nor_breaks_a_run():
    scene = from_world(straight_world(speed=5.0), 20)
    exempt = np.zeros((1, 41), bool)
    exempt[0, 15:30] = True
    states = straight_states(5.0, y=scene.centerline[0, 1] + 0.8)
    from wetoolkit_driving.pdm.score import lane_keeping

    assert lane_keeping(scene, states, exempt, EPDMS_2_2)[1].tolist() == [34]  # 15 before it and the 5th behind it
    assert lane_keeping(scene, states, exempt, WORLD_ENGINE)[1].tolist() == [19]


def test_direction_sums_a_second_a_stretch_or_nothing_in_an_intersection():
    from wetoolkit_driving.pdm.score import driving_direction

    scene, states = from_world(straight_world(), 20), straight_states(1.5)  # 1.65 m in 11 steps, 6 m in all
    oncoming, free = np.ones((1, 41), bool), np.zeros((1, 41), bool)
    assert WORLD_ENGINE.ddc_window == STRETCHES
    assert driving_direction(scene, states, oncoming, free, NAVSIM_1_1).tolist() == [1.0]
    assert driving_direction(scene, states, oncoming, free, WORLD_ENGINE).tolist() == [0.0]
    broken = oncoming.copy()
    broken[0, 20] = False  # two stretches of 3 m
    assert driving_direction(scene, states, broken, free, WORLD_ENGINE).tolist() == [0.5]
    fast_states = straight_states(9.0)
    assert driving_direction(scene, fast_states, oncoming, oncoming, EPDMS_2_2).tolist() == [1.0]
    assert driving_direction(scene, fast_states, oncoming, oncoming, NAVSIM_1_1).tolist() == [0.0]


def test_dead_ahead_is_nan_without_the_clip():
    rng = np.random.default_rng(0)
    states = np.zeros((2000, 11))
    states[:, 2] = rng.uniform(-3, 3, 2000)
    ahead = np.stack([np.cos(states[:, 2]), np.sin(states[:, 2])], -1) * 7.3
    raw = np.array([angle_to(s[None], np.repeat(a[None], 4, 0))[0] for s, a in zip(states, ahead, strict=True)])
    cut = np.array([angle_to(s[None], np.repeat(a[None], 4, 0), clip=True)[0] for s, a in zip(states, ahead, strict=True)])
    assert np.isnan(raw).any() and not np.isnan(cut).any() and (cut < 1e-6).all()


def test_without_kinds_a_roadblock_ends_multi_lane_and_lanes_are_road():
    scene = from_world(straight_world(lanes=2), 20)
    states = straight_states(5.0, y=1.75)  # astride two lanes of one roadblock
    assert score_readable(scene, states, NAVSIM_1_1).areas[..., 0].any()
    assert not score_readable(scene, states, replace(NAVSIM_1_1, typed_areas=False)).areas[..., 0].any()


def test_v22_adds_both_yaw_terms_along_the_car():
    states = np.zeros((1, 3, 11))
    states[..., 5], states[..., 6], states[..., 9], states[..., 10] = 1.0, 0.2, 0.5, 0.3
    lon, lat = accelerations(states, EPDMS_2_2, Vehicle())
    arm = Vehicle().rear_to_center
    assert lon == pytest.approx(np.full((1, 3), 1.0 + arm * 0.25 + arm * 0.3)) and (lat == 0.2).all()


def test_comfort_looks_at_the_past_and_without_one_is_content():
    states = straight_states(8.0)
    past = straight_states(8.0, 14)[0]
    past[:, 0] -= 12.0
    jolt = past.copy()
    jolt[5:, 5] = 6.0
    assert comfort_readable(states, variant=EPDMS_2_2, past=past).all()
    assert not comfort_readable(states, variant=EPDMS_2_2, past=jolt)[0, 0]
    rough = states.copy()
    rough[..., 5] = 6.0
    assert comfort_readable(rough, variant=EPDMS_2_2).all() and not comfort_readable(rough).all()


def test_things_are_half_a_collision_in_every_variant():
    scene = from_world(straight_world([actor(20, 0, kind=AgentClass.BARRIER)]), 20)
    for variant in VARIANTS.values():
        assert score_readable(scene, straight_states(10.0), variant).nc.tolist() == [0.5]
