"""What must be true of any PDM scorer, whatever the scene: checked by asking it again about a scene that was changed.

Order, number and frame of things carry no meaning, so nothing may depend on them; who is taken away can no longer be hit; a drive
without a fault has the full score; a human drives better than a car that goes straight on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from wetoolkit.errors import PluginError, WetoolkitError
from wetoolkit.types import Check
from wetoolkit_driving.pdm.conformance_cases import Case, Inputs
from wetoolkit_driving.pdm.conformance_made import constant_velocity
from wetoolkit_driving.pdm.conformance_scorer import Results, Scorer
from wetoolkit_driving.pdm.variants import Variant

Double = NDArray[np.float64]
Change = Callable[[Case], Case]

DECISIONS = ("nc", "dac", "ttc", "comfort", "ddc", "tlc", "lk")
CLOSE = 1e-6  # scores of a scene in another frame: at 5000 km from the origin (UTM) the last bit of a float64 is a nanometre
SAME = 1e-9
MANY = 400  # plans that are scored on several threads
PROBES = 6  # objects taken out of a scene, one at a time


def of_results(scorer: Scorer, found: Sequence[Results], variant: Variant) -> Iterator[Check]:
    """Properties that can be read off the results."""
    yield full_marks(scorer.name, found, (*variant.gates, *variant.weights))
    yield closed_gates(scorer.name, found, variant.gates)
    yield mean_of_scenes(scorer)


def of_scorer(scorer: Scorer, cases: Sequence[Case]) -> Iterator[Check]:
    """Properties that need the scorer to be asked again; plans at 2 Hz are left out, they share everything with those at 10 Hz."""
    cases = [case for case in cases if float(case.inputs["plan_interval"]) == 0.1]
    yield human_beats_constant_velocity(scorer, cases)
    yield fewer_objects(scorer, cases)
    yield unchanged("translation", scorer, cases, to_origin, CLOSE)
    yield unchanged("rotation", scorer, [to_origin(case) for case in cases], lambda case: in_frame(case, 2.1, np.zeros(2)), CLOSE)
    yield unchanged("order of objects", scorer, cases, shuffled_objects, SAME)
    yield order_of_proposals(scorer, cases)
    yield single_proposals(scorer, cases)
    yield number_of_threads(scorer, cases)
    yield refuses_nan(scorer, cases)


def full_marks(subject: str, found: Sequence[Results], counted: Sequence[str]) -> Check:
    """All sub-scores 1 => score 1."""
    name = "all sub-scores 1: score 1"
    missing = [term for term in counted if any(term not in results for results in found)]
    if missing:
        return _open(name, subject, f"{', '.join(missing)} not returned")
    scores = [r["score"][np.all([r[term] == 1 for term in counted], 0)] for r in found]
    return _counted(name, subject, np.abs(np.concatenate(scores) - 1.0), SAME, "no proposal has them all at 1")


def closed_gates(subject: str, found: Sequence[Results], gates: Sequence[str]) -> Check:
    """A gate (NC, DAC, and what the variant counts among them) at 0 => score 0."""
    name = "a gate at 0: score 0"
    missing = [term for term in gates if any(term not in results for results in found)]
    if missing:
        return _open(name, subject, f"{', '.join(missing)} not returned")
    scores = [r["score"][np.any([r[term] == 0 for term in gates], 0)] for r in found]
    return _counted(name, subject, np.abs(np.concatenate(scores)), 0.0, "no gate is closed")


def mean_of_scenes(scorer: Scorer) -> Check:
    """A scene that could not be scored is left out of the mean, never a 0 in it."""
    name = "missing scenes are left out"
    if scorer.mean is None:
        return _open(name, scorer.name, "the module has no mean(scores)")
    asked: list[list[float | None]] = [[0.5, None, 1.0], [None, 0.25], [0.75], [1.0, 1.0, None, None]]
    due = [0.75, 0.25, 0.75, 1.0]
    try:
        error = np.array([abs(float(scorer.mean(scores)) - value) for scores, value in zip(asked, due, strict=True)])
    except Exception as fault:
        what = f"{scorer.name}: mean() failed: {type(fault).__name__}: {fault}"
        raise PluginError(what, way_out="take a list of scores, None for a scene that could not be scored") from fault
    return _counted(name, scorer.name, error, SAME, "")


def human_beats_constant_velocity(scorer: Scorer, cases: Sequence[Case]) -> Check:
    """On average over the cases that hold a drive."""
    name = "human >= constant velocity"
    driven = [case for case in cases if case.human is not None]
    if not driven:
        return _open(name, scorer.name, "no case holds human_10hz")
    pairs = [case.ask(np.stack([case.human, constant_velocity(case.inputs)])) for case in driven if case.human is not None]
    scores = np.array([scorer(case)["score"] for case in pairs])  # [cases, 2]
    human, straight = scores.mean(0)
    note = f"{human:.3f} against {straight:.3f} on average"
    worse = int((scores[:, 0] < scores[:, 1]).sum())
    return Check(name, scorer.name, len(driven), worse, max(0.0, straight - human), np.nan, bool(human >= straight), note)


def fewer_objects(scorer: Scorer, cases: Sequence[Case]) -> Check:
    """Taking an object away never lowers NC or TTC."""
    name, drops = "removing an object", []
    for case in cases:
        before = scorer(case)
        if "nc" not in before or "ttc" not in before:
            return _open(name, scorer.name, "nc or ttc not returned")
        for k in np.random.default_rng(0).permutation(case.objects)[:PROBES]:
            after = scorer(with_objects(case, np.delete(np.arange(case.objects), k)))
            drops.append(np.maximum(before["nc"] - after["nc"], before["ttc"] - after["ttc"]))
    return _counted(name, scorer.name, np.maximum(np.concatenate([np.zeros(0), *drops]), 0.0), 0.0, "no case holds an object")


def unchanged(name: str, scorer: Scorer, cases: Sequence[Case], change: Change, tolerance: float) -> Check:
    """Decisions stay equal and scores stay within a tolerance under a change that carries no meaning."""
    gaps = [np.zeros(0), *(_gap(scorer(case), scorer(change(case))) for case in cases)]
    return _counted(name, scorer.name, np.concatenate(gaps), tolerance, "")


def order_of_proposals(scorer: Scorer, cases: Sequence[Case]) -> Check:
    """A proposal's results go with it when the batch is shuffled."""
    gaps = [np.zeros(0)]
    for case in cases:
        order = np.random.default_rng(0).permutation(case.count)
        before, after = scorer(case), scorer(case.ask(case.inputs["proposals"][order]))
        gaps.append(_gap({name: values[order] for name, values in before.items()}, after))
    return _counted("order of proposals", scorer.name, np.concatenate(gaps), SAME, "")


def single_proposals(scorer: Scorer, cases: Sequence[Case]) -> Check:
    """With the normaliser ``pair`` a proposal has the same results alone as among others."""
    gaps = [np.zeros(0)]
    for case in cases:
        whole = scorer(case)
        for n in np.random.default_rng(0).permutation(case.count)[:PROBES]:
            alone = scorer(case.ask(case.inputs["proposals"][n : n + 1]))
            gaps.append(_gap({name: values[n : n + 1] for name, values in whole.items()}, alone))
    return _counted("alone and in a batch", scorer.name, np.concatenate(gaps), SAME, "")


def number_of_threads(scorer: Scorer, cases: Sequence[Case]) -> Check:
    """The same bits on one thread and on three, for more plans than a thread takes at a time."""
    name = "number of threads"
    if scorer.with_threads is None:
        return _open(name, scorer.name, "a module's threads are not ours to set")
    gaps = [np.zeros(0)]
    for case in cases[:3]:
        many = case.ask(np.tile(case.inputs["proposals"], (-(-MANY // max(case.count, 1)), 1, 1)))
        gaps.append(_gap(scorer(many), scorer.with_threads(3)(many)))
    return _counted(name, scorer.name, np.concatenate(gaps), 0.0, "no case")


def refuses_nan(scorer: Scorer, cases: Sequence[Case]) -> Check:
    """A plan with a NaN has no score: it is refused, or its own score is NaN and the others stand."""
    wrong = []
    for case in cases[:3]:
        plans = case.inputs["proposals"].copy()
        plans[0, 7, 1] = np.nan
        try:
            wrong.append(not np.isnan(scorer(case.ask(plans))["score"][0]))
        except WetoolkitError:
            wrong.append(False)
    return _counted("NaN in a plan has no score", scorer.name, np.array(wrong, np.float64), 0.0, "no case")


def _gap(a: Results, b: Results) -> Double:
    """[N] how far two results are apart: infinitely where a decision differs, else as far as their scores."""
    differ = np.any([a[name] != b[name] for name in DECISIONS if name in a and name in b] or [np.zeros(len(a["score"]), bool)], 0)
    gap = np.abs(a["score"] - b["score"])
    return np.where(differ | np.isnan(gap), np.inf, gap)


def _counted(name: str, subject: str, gap: Double, tolerance: float, empty: str) -> Check:
    if not len(gap):
        return _open(name, subject, empty)
    wrong = int((gap > tolerance).sum())
    return Check(name, subject, len(gap), wrong, float(gap.max()), np.nan, wrong == 0)


def _open(name: str, subject: str, why: str) -> Check:
    return Check(name, subject, 0, 0, np.nan, np.nan, None, why)


# The same scene, changed in a way that carries no meaning.

POINTS = ("map_xy", "obj_corners")  # [..., 2]
POSES = (
    "centerline",
    "ego_state",
    "ego_past",
    "pdm_closed_states",
    "obj_raw_2hz",
)  # [..., 2 or more]: x, y and, where there is one, a heading


def to_origin(case: Case) -> Case:
    """The scene moved so that the ego stands at the origin, where a float64 is finest."""
    return in_frame(case, 0.0, -np.asarray(case.inputs["ego_state"][:2], np.float64))


def in_frame(case: Case, angle: float, shift: Double) -> Case:
    """The scene turned about the ego by ``angle`` and moved by ``shift`` metres; plans are in the ego's frame and stay."""
    centre = np.asarray(case.inputs["ego_state"][:2], np.float64)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    changed = dict(case.inputs)
    for name in (*POINTS, *POSES):
        if name in changed:
            moved = np.array(changed[name], np.float64)
            moved[..., :2] = (moved[..., :2] - centre) @ turn.T + centre + shift
            if name in POSES and moved.shape[-1] > 2:
                moved[..., 2] = (moved[..., 2] + angle + np.pi) % (2 * np.pi) - np.pi
            changed[name] = moved
    changed["obj_first_velocity"] = np.asarray(changed["obj_first_velocity"], np.float64) @ turn.T
    if "obj_first_heading" in changed:
        changed["obj_first_heading"] = (changed["obj_first_heading"] + angle + np.pi) % (2 * np.pi) - np.pi
    if "obj_raw_2hz" in changed:
        changed["obj_raw_2hz"][..., 3:5] = changed["obj_raw_2hz"][..., 3:5] @ turn.T
    return _same_but(case, changed)


def shuffled_objects(case: Case) -> Case:
    """The same objects in another order."""
    return with_objects(case, np.random.default_rng(1).permutation(case.objects))


def with_objects(case: Case, rows: NDArray[np.int64]) -> Case:
    """The scene with some of its objects, in the order given."""
    changed = dict(case.inputs)
    for name in [name for name in changed if name.startswith("obj_")]:
        changed[name] = changed[name][:, rows] if name in ("obj_corners", "obj_order", "obj_raw_2hz") else changed[name][rows]
    return _same_but(case, changed)


def _same_but(case: Case, inputs: Inputs) -> Case:
    return Case(case.name, inputs, {}, case.human)
