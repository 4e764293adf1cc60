"""`wetool conformance pdms`: our scorer, or anybody's, held to known results and to what must always be true of a PDM score.

A row is one result over all cases: decisions (NC, DAC, TTC, comfort, DDC and the like) must be equal, scores equal to 1e-9, states
and metres to 1e-6. Then come the properties (``conformance_properties``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetoolkit.types import Check
from wetoolkit_driving.pdm import conformance_properties as properties
from wetoolkit_driving.pdm.conformance_cases import KNIFE_EDGE, Case, read_cases
from wetoolkit_driving.pdm.conformance_made import make_cases
from wetoolkit_driving.pdm.conformance_scorer import Results, Scorer, fast, of_module, readable
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, Variant

Array = NDArray[Any]
Bool = NDArray[np.bool_]
Double = NDArray[np.float64]

MADE = 8  # scenes made where no folder is given
TOLERANCE = {"score": 1e-9, "ep": 1e-9, "ep_batch": 1e-9, "score_batch": 1e-9, "progress_raw": 1e-6, "simulated_states": 1e-6}
THREE = ("nc", "ddc")  # decisions that may be 0.5


def conform(variant: Variant, folder: Path | None, against: ModuleType | None) -> Iterator[Check]:
    """All rows: of ``against`` where it is given, else of our kernels and our readable text."""
    cases = made(MADE, variant) if folder is None else list(read_cases(folder, variant.name))
    ours = [fast(variant)] if folder is None else [fast(variant), readable(variant)]
    yield coverage(cases, variant)
    for scorer in [of_module(against)] if against else ours:
        yield from check(scorer, cases, variant)


def made(count: int, variant: Variant = NAVSIM_1_1, seed: int = 0) -> list[Case]:
    """Cases made on the spot; what is due is what the readable text finds."""
    text = readable(variant)
    return [replace(case, expected=text(case)) for case in make_cases(count, seed)]


def check(scorer: Scorer, cases: Sequence[Case], variant: Variant = NAVSIM_1_1) -> Iterator[Check]:
    """All rows of one scorer."""
    found, milliseconds = [], []
    for case in cases:
        results, spent = scorer.timed(case)
        found.append(results)
        milliseconds.append(spent)
    yield from compare(scorer.name, cases, found, float(np.median(milliseconds)))
    yield from properties.of_results(scorer, found, variant)
    if scorer.fast:
        yield from properties.of_scorer(scorer, cases)


def coverage(cases: Sequence[Case], variant: Variant = NAVSIM_1_1) -> Check:
    """Whether every outcome of every decision is due somewhere: a fault that needs one that is not cannot be found."""
    missing = []
    for name in dict.fromkeys(("nc", "dac", "ttc", "comfort", "ddc", *variant.gates, *variant.weights)):
        if name == "ep":
            continue
        values = (0.0, 0.5, 1.0) if name in THREE else (0.0, 1.0)
        due = np.concatenate([case.expected[name] for case in cases if name in case.expected] or [np.zeros(0)])
        missing += [f"{name} = {value:g}" for value in values if not (due == value).any()]
    count = sum(case.count for case in cases)
    note = f"never due: {', '.join(missing)}" if missing else f"{len(cases)} scenes, every outcome is due somewhere"
    return Check("outcomes", "the cases", count, len(missing), np.nan, np.nan, None if missing else True, note)


@dataclass
class Tally:
    """One result over the cases."""

    cases: int = 0
    mismatches: int = 0
    error: float = 0.0
    where: list[str] = field(default_factory=list)
    forgiven: int = 0

    def add(self, name: str, case: Case, found: Array) -> None:
        """Count one case's N proposals."""
        wrong, error = differences(name, found, np.asarray(case.expected[name], np.float64))
        self.cases += len(wrong)
        if name == "ttc_idx" and case.name.split()[0] in KNIFE_EDGE:
            self.forgiven += int(wrong.sum())
            return
        self.mismatches += int(wrong.sum())
        self.error = max(self.error, float(error.max(initial=0.0)))
        self.where += [case.name] * bool(wrong.any())

    @property
    def note(self) -> str:
        """Where it went wrong, and what was let pass."""
        places = f"in {len(self.where)} scenes, first {self.where[0]}" if self.where else ""
        edge = f"{self.forgiven} on a knife edge (the last bit of an arccos decides) not counted" if self.forgiven else ""
        return "; ".join(text for text in (places, edge) if text)


def compare(subject: str, cases: Sequence[Case], found: Sequence[Results], milliseconds: float) -> Iterator[Check]:
    """One row a result that is due, in the order in which the first case names them."""
    for name in dict.fromkeys(name for case in cases for name in case.expected):
        tally, absent = Tally(), 0
        for case, results in zip(cases, found, strict=True):
            if name in case.expected and name in results:
                tally.add(name, case, results[name])
            absent += name in case.expected and name not in results
        if absent:
            yield Check(name, subject, 0, 0, np.nan, np.nan, None, "not returned")
        else:
            yield Check(name, subject, tally.cases, tally.mismatches, tally.error, milliseconds, tally.mismatches == 0, tally.note)


def differences(name: str, found: Double, due: Double) -> tuple[Bool, Double]:
    """(which proposals differ by more than may be, by how much) [N]; NaN where a number is due counts as infinitely far."""
    same = (found == due) | (np.isnan(found) & np.isnan(due))
    with np.errstate(invalid="ignore"):  # infinity stands for "never" and may be due
        gap = np.abs(found - due)
        if name == "simulated_states":
            gap[..., 2] = np.abs((found[..., 2] - due[..., 2] + np.pi) % (2 * np.pi) - np.pi)  # headings the short way
    gap = np.where(same, 0.0, np.where(np.isnan(gap), np.inf, gap))
    gap = gap.reshape(len(gap), -1).max(1, initial=0.0)
    return gap > TOLERANCE.get(name, 0.0), gap


__all__ = ["check", "compare", "conform", "coverage", "differences", "made"]
