"""Scorers as the conformance kit calls them: a function from a case's inputs to named results. Ours, and anybody's.

A module under test offers ``score(case) -> results`` and may offer ``mean(scores) -> float``; docs/conformance.md lists the keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetoolkit.errors import PluginError
from wetoolkit_driving.dynamics import check_plans, reference_poses, simulate, simulate_readable
from wetoolkit_driving.pdm import kernels
from wetoolkit_driving.pdm.conformance_cases import Case, Inputs, scene_of
from wetoolkit_driving.pdm.result import NEVER, Marks, ego_progress, total
from wetoolkit_driving.pdm.scene import PdmScene
from wetoolkit_driving.pdm.score import score_readable
from wetoolkit_driving.pdm.variants import Variant

Array = NDArray[Any]
Double = NDArray[np.float64]
Results = Mapping[str, Double]
Mean = Callable[[Sequence[float | None]], float]

SHAPES: dict[str, tuple[int, ...]] = {  # what may be returned -> shape after [N]
    **dict.fromkeys(("score", "nc", "dac", "ttc", "comfort", "ddc", "tlc", "lk", "ep", "ep_batch", "score_batch"), ()),
    **dict.fromkeys(("progress_raw", "collision_idx", "ttc_idx"), ()),
    "comfort6": (6,),
    "ego_areas": (41, 3),
    "simulated_states": (41, 11),
}


@dataclass(frozen=True)
class Scorer:
    """Something that scores cases. ``mean`` averages scenes, None standing for one that could not be scored."""

    name: str
    function: Callable[[Inputs], Mapping[str, Any]]
    mean: Mean | None = None
    fast: bool = True  # False: too slow for checks that score a scene many times
    with_threads: Callable[[int], Scorer] | None = None  # the same on so many threads

    def __call__(self, case: Case) -> Results:
        """Checked results of a case; ``PluginError`` where the function fails or returns something else."""
        try:
            found = self.function(case.inputs)
        except Exception as error:
            what = f"{self.name}: score() failed on {case.name}: {type(error).__name__}: {error}"
            raise PluginError(what, way_out="mend it, or run it on this case alone with --debug") from error
        return {name: self._checked(name, value, case) for name, value in self._mapping(found).items()}

    def timed(self, case: Case) -> tuple[Results, float]:
        """Results and the milliseconds of this thread's clock that they took."""
        start = time.perf_counter()
        found = self(case)
        return found, (time.perf_counter() - start) * 1e3

    def _mapping(self, found: object) -> Mapping[str, Any]:
        if not isinstance(found, Mapping) or "score" not in found:
            what = f"{self.name}: score() returned {type(found).__name__} without 'score'"
            raise PluginError(what, way_out="return a dict of arrays that has at least 'score' [N]")
        unknown = [name for name in found if name not in SHAPES]
        if unknown:
            what = f"{self.name}: score() returned {unknown[0]!r}, which is no result"
            raise PluginError(what, known=", ".join(SHAPES), way_out="leave it out")
        return found

    def _checked(self, name: str, value: object, case: Case) -> Double:
        shape = (case.count, *SHAPES[name])
        try:
            array = np.asarray(value).astype(np.float64)  # booleans become 0 and 1: what they can no longer tell is a mismatch
        except (TypeError, ValueError) as error:
            raise PluginError(f"{self.name}: {name} is not numeric: {error}", way_out=f"return numbers {shape}") from error
        if array.shape != shape:
            what = f"{self.name}: {name} of {case.name} has shape {array.shape} where {shape} is due"
            raise PluginError(what, way_out="return one row a proposal, in their order")
        return array


def of_module(module: ModuleType) -> Scorer:
    """The scorer of a module; ``PluginError`` where it has no ``score``."""
    name = getattr(module, "__name__", "module")
    function, mean = getattr(module, "score", None), getattr(module, "mean", None)
    if not callable(function):
        what = f"the module {name!r} has no function score(case)"
        raise PluginError(what, way_out="write one as docs/conformance.md shows")
    return Scorer(name, function, mean if callable(mean) else None)


def fast(variant: Variant, threads: int = 1) -> Scorer:
    """Our kernels."""

    def score(case: Inputs) -> Results:
        def judge(scene: PdmScene, poses: Double) -> tuple[Marks, Double]:
            states = simulate(np.repeat(scene.ego[None], len(poses), 0), poses, scene.vehicle, true_jerk=variant.true_jerk)
            return kernels.drive(scene, poses, variant, threads, every_state=True), states

        return _score(case, judge)

    return Scorer("kernels", score, mean, with_threads=lambda count: fast(variant, count))


def readable(variant: Variant) -> Scorer:
    """Our readable text."""

    def score(case: Inputs) -> Results:
        def judge(scene: PdmScene, poses: Double) -> tuple[Marks, Double]:
            start = np.repeat(scene.ego[None], len(poses), 0)
            states = simulate_readable(start, poses, scene.vehicle, variant.true_jerk)
            return score_readable(scene, states, variant), states

        return _score(case, judge)

    return Scorer("readable", score, mean, fast=False)


def mean(scores: Sequence[float | None]) -> float:
    """Mean of the scenes that were scored. Those that were not are counted beside it, never as 0; NaN where none was."""
    known = [value for value in scores if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _score(case: Inputs, judge: Callable[[PdmScene, Double], tuple[Marks, Double]]) -> dict[str, Double]:
    """All results of a case; ``judge`` gives marks and states [N, 41, 11] of cars that track world poses [N, 41, 3]."""
    scene = scene_of(case)
    plans = np.asarray(case["proposals"], np.float64)
    check_plans(plans)
    time_us = int(case["ego_time_us"]) if "ego_time_us" in case else None
    ego = np.repeat(scene.ego[None], len(plans), 0)
    poses = reference_poses(ego, plans, float(case["plan_interval"]), time_us=time_us)  # [N, 41, 3]
    target = np.asarray(case["pdm_closed_states"], np.float64)[None, :, :3]
    marks, states = judge(scene, np.concatenate([poses, target]))  # the reference last: trajectories know nothing of each other
    best = np.maximum(marks.masked_progress[-1], marks.masked_progress)  # [N + 1] metres
    ep, ep_batch = ego_progress(marks, best), ego_progress(marks, float(best.max()))
    terms = ("nc", "dac", "ttc", "comfort", "ddc", *(("tlc",) if marks.variant.tlc else ()), *(("lk",) if marks.variant.lk else ()))
    found = {
        **{name: getattr(marks, name) for name in terms},
        "ep": ep,
        "score": total(marks, ep),
        "ep_batch": ep_batch,
        "score_batch": total(marks, ep_batch),
        "progress_raw": marks.progress,
        "comfort6": marks.comfort6,
        "ego_areas": marks.areas,
        "collision_idx": np.where(marks.collision_step == NEVER, np.inf, marks.collision_step),
        "ttc_idx": np.where(marks.ttc_step == NEVER, np.inf, marks.ttc_step),
        "simulated_states": states,
    }
    return {name: values[:-1] for name, values in found.items()}
