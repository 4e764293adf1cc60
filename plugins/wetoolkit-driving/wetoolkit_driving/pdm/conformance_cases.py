"""Cases to hold a PDM scorer to: read from a folder in the layout of the parity cases, or made on the spot.

A case is what a scorer is given (``inputs``) and what it has to find (``expected``); docs/conformance.md lists every key. Made
cases have no results of their own: the readable text (``score``) says what is due.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetoolkit.errors import DataError
from wetoolkit.types import require
from wetoolkit_driving.pdm.areas import index_areas
from wetoolkit_driving.pdm.scene import PdmScene
from wetoolkit_driving.types import AgentClass, Vehicle

Array = NDArray[Any]
Double = NDArray[np.float64]
Inputs = Mapping[str, Array]

FIRST = "navsim-1.1"  # the variant of files that name none
VEHICLE = "vehicle_half_width_half_length_rear_to_center_wheelbase"
NEEDED = (
    "ego_state",
    "map_xy",
    "map_off",
    "map_type",
    "map_on_route",
    "centerline",
    "obj_type",
    "obj_first_velocity",
    "obj_corners",
)
NEEDED += ("pdm_closed_states", "proposals_10hz")
PAIR_COLUMNS = ("nc", "dac", "ep", "ttc", "comfort", "ddc", "score")
BATCH = {  # result -> key of the parity layout, whose row 0 is PDM-Closed
    "ego_areas": "batch_ego_areas",
    "comfort6": "batch_comfort6",
    "progress_raw": "batch_progress_raw",
    "collision_idx": "batch_collision_idx",
    "ttc_idx": "batch_ttc_idx",
    "ep_batch": "batch_ep",
    "score_batch": "batch_score",
}
# The last ulp decides ttc_idx where somebody stands exactly dead ahead; these scenes are named in the parity cases' README.
KNIFE_EDGE = ("scene_008", "scene_017", "scene_026", "scene_036", "scene_044")


@dataclass(frozen=True)
class Case:
    """One scene with N proposals, what is due for them, and a drive that was really made, where there is one."""

    name: str
    inputs: Inputs  # as a scorer is given them; read-only arrays
    expected: Mapping[str, Array]  # result -> [N, ...]
    human: Double | None = None  # [40, 3] poses of 0.1 s in the ego's frame

    @property
    def count(self) -> int:
        """N."""
        return len(self.inputs["proposals"])

    @property
    def objects(self) -> int:
        """K."""
        return len(self.inputs["obj_type"])

    def ask(self, proposals: Double) -> Case:
        """The same scene with other proposals [N, 40, 3]; nothing is known of what is due for them."""
        return replace(self, inputs={**self.inputs, "proposals": proposals, "plan_interval": np.array(0.1)}, expected={})


def read_cases(folder: Path, variant: str = FIRST) -> Iterator[Case]:
    """Every case of a variant in a folder's .npz files, in the order of their names; ``DataError`` where there is none."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise DataError("holds no .npz file", file=folder, way_out="give a folder of cases as docs/conformance.md describes them")
    found, variants = 0, set()
    for path in files:
        values = _load(path)
        variants.add(str(values.get("variant", FIRST)))
        if str(values.get("variant", FIRST)) == variant:
            found += 1
            yield from _cases_of(path, values)
    if not found:
        known = ", ".join(sorted(variants))
        raise DataError(f"no case is of the variant {variant!r}", file=folder, there_are=known, way_out="use --variant")


def write_case(path: Path, case: Case, variant: str = FIRST) -> None:
    """A case at 10 Hz as a file that ``read_cases`` reads."""
    require(
        case.inputs["proposals"].shape[1:] == (40, 3), f"shape {case.inputs['proposals'].shape}", "proposals", "give [N, 40, 3]"
    )
    values = {name: value for name, value in case.inputs.items() if name not in ("proposals", "plan_interval")}
    values |= {"proposals_10hz": case.inputs["proposals"], "variant": np.array(variant)}
    values |= {f"expected_{name}": value for name, value in case.expected.items()}
    values |= {} if case.human is None else {"human_10hz": case.human}
    for name, value in values.items():  # before numpy 2, savez_compressed itself knows no allow_pickle
        require(
            not np.asarray(value).dtype.hasobject, f"dtype {np.asarray(value).dtype}", name, "give numbers, text or truth values"
        )
    np.savez_compressed(path, **values)


def _load(path: Path) -> dict[str, Array]:
    """The arrays of a file; nothing pickled is read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot be read: {error}", file=path, way_out="write it with numpy.savez, without objects") from error
    missing = [name for name in NEEDED if name not in values]
    if missing:
        way_out = "see docs/conformance.md for the keys of a case"
        raise DataError(f"lacks {', '.join(missing)}", file=path, field=missing[0], way_out=way_out)
    return values


def _cases_of(path: Path, values: dict[str, Array]) -> Iterator[Case]:
    """The case at 10 Hz and, where the file has results for it, the one of the same plans at 2 Hz."""
    plans = _plans(path, values)
    known = {name.removeprefix("expected_"): values.pop(name) for name in list(values) if name.startswith("expected_")}
    recorded = [name for name in values if name.startswith(("batch_", "pair10_", "pair2_"))]
    results = {name: values.pop(name) for name in recorded}
    human = values.pop("human_10hz", None)
    values.pop("variant", None)
    del values["proposals_10hz"]
    if "pair10_results" in results:
        known |= dict(zip(PAIR_COLUMNS, results["pair10_results"].T, strict=True))
    known |= {name: results[key][1:] for name, key in BATCH.items() if key in results}
    if "pair10_simulated_states" in results:
        known["simulated_states"] = results["pair10_simulated_states"]
    yield _case(path, path.stem, values, plans, 0.1, known, human)
    if "pair2_results" in results:
        slow = dict(zip(PAIR_COLUMNS, results["pair2_results"].T, strict=True))
        if "pair2_simulated_states" in results:
            slow["simulated_states"] = results["pair2_simulated_states"]
        yield _case(path, f"{path.stem} at 2 Hz", values, plans[:, 4::5], 0.5, slow, human)


def _plans(path: Path, values: dict[str, Array]) -> Double:
    plans = np.asarray(values["proposals_10hz"], np.float64)
    if plans.ndim != 3 or plans.shape[1:] != (40, 3):
        way_out = "give [N, 40, 3]: rear axle poses of 0.1 s in the ego's frame"
        raise DataError(f"shape {plans.shape}", file=path, field="proposals_10hz", way_out=way_out)
    return plans


def _case(
    path: Path, name: str, scene: Inputs, plans: Double, interval: float, known: dict[str, Array], human: Array | None
) -> Case:
    for result, array in known.items():
        if len(array) != len(plans):
            way_out = "give one result a proposal"
            raise DataError(f"{len(array)} results for {len(plans)} proposals", file=path, field=result, way_out=way_out)
    inputs = {**scene, "proposals": plans, "plan_interval": np.array(interval)}
    for array in inputs.values():
        array.setflags(write=False)
    return Case(name, inputs, known, None if human is None else np.asarray(human, np.float64))


def scene_of(inputs: Inputs) -> PdmScene:
    """The scene that a case's inputs describe; ``ValidationError`` where they do not fit together."""
    corners = np.asarray(inputs["obj_corners"], np.float64)  # [F, K, 4, 2]
    require(corners.ndim == 4 and corners.shape[2:] == (4, 2), f"shape {corners.shape}", "obj_corners", "give [F, K, 4, 2]")
    away = np.isnan(corners).all((2, 3))  # [F, K]; a box that is NaN in part is a fault, which validate() finds
    half_width, half_length, to_centre, base = inputs.get(VEHICLE, (1.1485, 2.588, 1.461, 3.089))
    scene = PdmScene(  # copies: the case's arrays are read-only, a type of its own for which kernels would be compiled once more
        ego=np.array(inputs["ego_state"], np.float64),
        areas=index_areas(inputs["map_xy"], inputs["map_off"], inputs["map_type"].astype(np.uint8), inputs["map_on_route"]),
        boxes=np.where(away[..., None, None], 0.0, corners),
        valid=~away,
        kind=inputs["obj_type"].astype(np.uint8),
        first_speed=_first_speed(inputs),
        centerline=np.array(inputs["centerline"], np.float64).reshape(len(inputs["centerline"]), -1)[:, :2].copy(),
        ids=tuple(map(str, inputs.get("obj_token", range(corners.shape[1])))),
        past=np.array(inputs.get("ego_past", np.zeros((0, 11))), np.float64),
        red=np.array(inputs.get("map_red", np.zeros((0, 0))), bool),
        vehicle=_vehicle(float(half_width), float(half_length), float(to_centre), float(base)),
    )
    scene.validate()
    return scene


def _first_speed(inputs: Inputs) -> Double:
    """[K] m/s; things have none to speak of, and files say NaN for them."""
    speed = np.hypot(*np.asarray(inputs["obj_first_velocity"], np.float64).reshape(-1, 2).T)
    if len(speed) != len(inputs["obj_type"]):
        return speed  # validate() says what does not fit
    return np.where(np.isnan(speed) & (inputs["obj_type"] > AgentClass.BICYCLE), 0.0, speed)


def _vehicle(half_width: float, half_length: float, to_centre: float, base: float) -> Vehicle:
    return Vehicle(2 * half_width, half_length + to_centre, half_length - to_centre, base)
