"""How long a policy takes to answer and a renderer to make its pictures, by the clock: beside the artefacts, never in them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wetoolkit.errors import StoreError
from wetoolkit.kinds import SupportsRender, SupportsRenderers
from wetoolkit.store import read_table, write_table
from wetoolkit.types import Step

SCHEMA = {
    **dict.fromkeys(["stage", "started", "part", "policy"], pl.String),
    "steps": pl.Int64,  # situations that were looked at
    "batch": pl.Float64,  # of them in one call, median
    "median": pl.Float64,  # milliseconds a step
    "p95": pl.Float64,
}


@dataclass(frozen=True)
class Sample:
    """One call of a policy for ``steps`` situations, or all pictures of one situation."""

    part: str  # "policy" or "render"
    policy: str  # for whom
    seconds: float
    steps: int


@dataclass
class Stopwatch:
    """Takes the time of copies of parts; the parts themselves are not touched, and their types stay what they are."""

    name: str  # of the policy
    calls: list[tuple[float, int]] = field(default_factory=list)
    looks: dict[tuple[str, int], float] = field(default_factory=dict)  # (scene, step) -> seconds of all its cameras

    def policy(self, policy: Any) -> Any:
        """A copy of a policy whose answers are timed."""

        def noted(seconds: float, observation: Any, *rest: Any) -> None:
            self.calls.append((seconds, observation.size))

        return _timed(policy, ("act", "act_each"), noted)

    def simulator(self, simulator: Any, renderers: Mapping[Step, SupportsRender]) -> Any:
        """The simulator with renderers whose pictures are timed."""

        def noted(seconds: float, scene: Any, world: Any, step: int, *rest: Any) -> None:
            self.looks[scene.id, step] = self.looks.get((scene.id, step), 0.0) + seconds

        if not renderers or not isinstance(simulator, SupportsRenderers):
            return simulator
        return simulator.with_renderers({link: _timed(part, ("render",), noted) for link, part in renderers.items()})

    def samples(self) -> list[Sample]:
        """What was measured so far."""
        answers = [Sample("policy", self.name, seconds, steps) for seconds, steps in self.calls if steps]
        return [*answers, *(Sample("render", self.name, seconds, 1) for seconds in self.looks.values())]


def _timed(part: Any, methods: Sequence[str], noted: Callable[..., None]) -> Any:
    """A shallow copy with these methods timed; the part itself where it does not let its attributes be set."""
    twin = copy.copy(part)
    try:
        for name in methods:
            if hasattr(part, name):
                object.__setattr__(twin, name, _watched(getattr(part, name), noted))
    except AttributeError:  # __slots__
        return part
    return twin


def _watched(call: Callable[..., Any], noted: Callable[..., None]) -> Callable[..., Any]:
    def timed(*given: Any, **named: Any) -> Any:
        with _taken(lambda seconds: noted(seconds, *given, *named.values())):
            return call(*given, **named)

    return timed


@contextmanager
def _taken(note: Callable[[float], None]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    note(time.perf_counter() - start)


def latency_table(stage: str, started: str, samples: Sequence[Sample]) -> pl.DataFrame:
    """One row a part and policy: median and 95th percentile of milliseconds a step; a call's time is shared by its situations."""
    rows = []
    for part, policy in dict.fromkeys((sample.part, sample.policy) for sample in samples):
        own = [sample for sample in samples if (sample.part, sample.policy) == (part, policy)]
        each = np.repeat([1e3 * sample.seconds / sample.steps for sample in own], [sample.steps for sample in own])
        median, late = np.percentile(each, [50, 95]).tolist()
        batch = float(np.median([sample.steps for sample in own]))
        rows.append((stage, started, part, policy, len(each), batch, median, late))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def append_latency(folder: Path, table: pl.DataFrame) -> None:
    """Add rows to a run's ``latency.parquet``, as to its ledger; an unreadable one is set aside."""
    path = folder / "latency.parquet"
    if path.exists():
        try:
            table = pl.concat([read_table(path), table], how="vertical")
        except (StoreError, pl.exceptions.PolarsError):
            path.replace(path.with_suffix(".damaged"))
    write_table(path, table)


__all__ = ["Sample", "Stopwatch", "append_latency", "latency_table"]
