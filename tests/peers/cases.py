"""Small numeric cases for the tests of the driving plugin: arrays in, a peer's numbers out, cut to what the proposals can reach."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from wetoolkit_driving.pdm.closed_forecast import expect
from wetoolkit_driving.pdm.closed_path import find_path
from wetoolkit_driving.pdm.conformance_cases import Case, write_case
from wetoolkit_driving.pdm.variants import EPDMS_2_2
from wetoolkit_driving.types import World

Arrays = Mapping[str, Any]
PLANS = 12  # proposals kept of each scene
REACH = 30.0  # metres around the driven states that are kept
RESULTS = ("nc", "dac", "ttc", "ddc", "tlc", "lk", "comfort", "comfort6", "ep", "score", "progress_raw", "collision_idx", "ttc_idx")


def write(folder: Path, variant: str, name: str, case: Arrays, seen: Arrays, whole: bool) -> None:
    """One file; ``whole`` keeps states and areas of every step too."""
    states = seen["simulated_states"][:PLANS, :, :2].reshape(-1, 2)
    low, high = states.min(0) - REACH, states.max(0) + REACH
    areas = _near_areas(case, low, high)
    boxes = seen["obj_corners"].reshape(51, -1, 4, 2)
    near = ((boxes > low) & (boxes < high)).all(-1).any((0, 2))  # NaN compares false: never seen, never near
    offsets = case["map_off"]
    inputs = {
        "ego_state": case["ego_state"],
        "map_xy": np.concatenate([case["map_xy"][offsets[p] : offsets[p + 1]] for p in areas]),
        "map_off": np.concatenate([[0], np.cumsum([offsets[p + 1] - offsets[p] for p in areas])]),
        "map_type": case["map_type"][areas],
        "map_on_route": case["map_on_route"][areas],
        "centerline": case["centerline"][:, :2],
        "obj_type": case["obj_type"][near],
        "obj_first_velocity": seen["obj_first_velocity"][near],
        "obj_corners": boxes[:, near],
        "pdm_closed_states": seen["reference"],
        "proposals": case["proposals_10hz"][:PLANS],
        "plan_interval": np.array(0.1),
    }
    if variant != "world-engine":
        inputs["ego_time_us"] = case["ego_time_us"]  # NAVSIM's times are cut to microseconds
    if variant == "epdms-2.2":
        inputs |= {"ego_past": seen["ego_past"], "map_red": seen["map_red"][:, areas]}
    keys = RESULTS + (("ego_areas", "simulated_states") if whole else ())
    expected = {key: np.asarray(seen[key], np.float64)[:PLANS] for key in keys if key in seen}
    if whole:
        expected["ego_areas"] = seen["ego_areas"][:PLANS]
    write_case(folder / f"{variant}_{name}.npz", Case(f"{variant}_{name}", inputs, expected), variant)


def write_closed(path: Path, world: World, step: int, seen: Mapping[str, Arrays]) -> None:
    """One file of PDM-Closed: what the others are expected to do, the line, and the proposals, scores and choice of each peer."""
    found, scene = find_path(world, step, 0.0), expect(world, step, 41, 1, np.zeros((0, 2)), EPDMS_2_2)
    road = world.map
    inputs = {
        "ego_state": scene.ego,
        "map_xy": road.area_xy,
        "map_off": road.area_offset,
        "map_type": road.area_kind,
        "map_on_route": world.on_route,
        "map_red": scene.red[0] if len(scene.red) else np.zeros(len(road.area_kind), bool),
        "path": found.poses,
        "limit": np.array(found.limit),  # 0: not known
        "red_xy": np.concatenate([np.zeros((0, 2)), *found.red]),
        "red_off": np.cumsum([0, *map(len, found.red)]),
        "obj_corners": scene.boxes[0],
        "obj_velocity": (scene.boxes[10, :, 0] - scene.boxes[0, :, 0]) / 1.0,  # of the forecast: along the box, backwards too
        "obj_speed": scene.first_speed,
        "obj_type": scene.kind,
    }
    expected = {f"{peer}_{key}": arrays[f"closed_{key}"] for peer, arrays in seen.items() for key in ("scores", "index")}
    expected |= {f"{peer}_proposals": arrays["closed_proposals"][:, :41] for peer, arrays in seen.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **inputs, **expected)


def _near_areas(case: Arrays, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Polygons whose bounds meet the kept square; those left out hold no point that anybody asks for."""
    offsets, keep = case["map_off"], []
    for p in range(len(case["map_type"])):
        ring = case["map_xy"][offsets[p] : offsets[p + 1]]
        if (ring.min(0) <= high).all() and (ring.max(0) >= low).all():
            keep.append(p)
    return np.array(keep, np.int64)
