"""What every value at the seams is made of: array types, checks, time, addresses and lineage. ``wetoolkit.types`` offers it all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wetoolkit.errors import ValidationError

Float = NDArray[np.floating[Any]]
Bool = NDArray[np.bool_]
Int = NDArray[np.integer[Any]]
Array = NDArray[Any]
UNSTORED = {"stored": False}  # metadata of a field that stays in its process


@runtime_checkable
class World(Protocol):
    """What a domain's world must be: a frozen dataclass of arrays (see ``wetoolkit.codec``) that can check itself."""

    def validate(self) -> None:
        """Raise ``ValidationError`` where shapes, ranges or references do not hold."""


W = TypeVar("W", bound=World)


def require(condition: bool, what: str, field_name: str, way_out: str) -> None:
    """Raise a ``ValidationError`` that names the field and the way out, unless ``condition`` holds."""
    if not condition:
        raise ValidationError(what, field=field_name, way_out=way_out)


def require_finite(array: Array, field_name: str) -> None:
    """Raise a ``ValidationError`` that counts the offending numbers and names the first, unless all are finite."""
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValidationError(
            f"{int(bad.sum())} of {array.size} numbers are NaN or infinite, the first at index {first}",
            field=field_name,
            way_out="mark missing steps in `valid` and fill them with zeros",
        )


@dataclass(frozen=True)
class Clock:
    """Uniform time. Step ``now`` is the present: steps before it are history, steps after it the future."""

    dt: float  # seconds per step
    now: int  # index of the present step
    steps: int  # number of recorded steps

    def validate(self) -> None:
        require(self.dt > 0, f"dt is {self.dt}", "clock.dt", "give seconds per step, above 0")
        require(0 <= self.now < self.steps, f"now={self.now} of {self.steps} steps", "clock.now", "0 <= now < steps")

    def at(self, now: int) -> Clock:
        """The same record seen from another present step."""
        return replace(self, now=now)


@dataclass(frozen=True)
class Step:
    """One link of a Lineage: which component, of which distribution, with which config and seed."""

    component: str  # "kind/name"
    distribution: str  # "name version"
    config: str  # content hash of the config
    seed: int | None = None


@dataclass(frozen=True)
class Lineage:
    """Where an artefact comes from: the log it goes back to and every component that had a hand in it, first to last."""

    dataset: str
    log: str
    scenario: str
    steps: tuple[Step, ...] = ()

    def then(self, step: Step) -> Lineage:
        """This lineage with one more link."""
        return replace(self, steps=(*self.steps, step))

    @property
    def synthetic(self) -> bool:
        """Whether anything but a dataset made it."""
        return any(not step.component.startswith("dataset/") for step in self.steps)


@dataclass(frozen=True)
class Ref:
    """A Scenario's address within a dataset's split, cheap to list and to send to a worker."""

    id: str
    split: str
    log: str
