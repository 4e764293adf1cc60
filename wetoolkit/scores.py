"""What a reward answers: totals, successes and named terms, stamped with their metric. ``wetoolkit.types`` offers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from wetoolkit.base import Bool, Float, Int, require, require_finite


class Role(StrEnum):
    """What a named term does in a score's total."""

    GATE = "gate"  # multiplies the total
    WEIGHTED = "weighted"  # part of the weighted mean
    REPORTED = "reported"  # shown, not counted


@dataclass(frozen=True)
class Term:
    """One named part of a score. ``values`` has the shape of the total; ``weight`` counts for weighted terms only."""

    values: Float
    role: Role
    weight: float = 0.0
    available: bool = True  # False where the data cannot tell (then the values are neutral, and it is said)


@dataclass(frozen=True)
class Metric:
    """A metric's name, version and settings that move its numbers. Scores compare only where all three are equal."""

    name: str
    version: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        settings = ",".join(f"{key}={value}" for key, value in sorted(self.settings.items()))
        return f"{self.name}-{self.version}" + (f"[{settings}]" if settings else "")


@dataclass(frozen=True)
class Scores:
    """Scores of B situations x N proposals (shape [B, N]), or of B rollouts (shape [B])."""

    metric: Metric
    total: Float  # in [0, 1]
    success: Bool  # the domain's own notion: nothing went wrong that must not
    terms: Mapping[str, Term] = field(default_factory=dict)

    def validate(self) -> None:
        require_finite(self.total, "scores.total")
        inside = bool(((self.total >= 0) & (self.total <= 1 + 1e-9)).all())
        require(inside, "totals outside [0, 1]", "scores.total", "scale the total into [0, 1]")
        for name, values in {"success": self.success, **{k: t.values for k, t in self.terms.items()}}.items():
            require(values.shape == self.total.shape, f"shape {values.shape}, total {self.total.shape}", name, "one value each")

    def rows(self, index: Int | slice) -> Scores:
        """The scores of some of the B items."""
        terms = {name: replace(term, values=term.values[index]) for name, term in self.terms.items()}
        return replace(self, total=self.total[index], success=self.success[index], terms=terms)


__all__ = ["Metric", "Role", "Scores", "Term"]
