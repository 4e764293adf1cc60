"""What happens while a policy acts: the value that rewards with ``SupportsEvents`` give, domain-free."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from wetoolkit.types import require


@dataclass(frozen=True)
class Event:
    """Something that happened to the acting body in a rollout, judged by a reward."""

    kind: str  # "collision", "off_road", ...
    step: int  # index in the rollout's clock at which it begins
    time: float  # seconds since the first decision
    fails: bool = False  # whether success is lost by it
    who: str = ""  # id of the other, "" where there is none
    fault: str = ""  # "self", "other", or "" where nobody is to blame or it is not known
    speed: float = 0.0  # m/s, of the acting body
    other_speed: float = 0.0  # m/s
    evidence: Mapping[str, float | str] = field(default_factory=dict)

    def validate(self) -> None:
        require(bool(self.kind), "the kind is empty", "event.kind", "name what happened")
        require(self.step >= 0 and 0 <= self.time < math.inf, f"step {self.step}, {self.time} s", "event.time", "from 0 on")
        require(self.fault in ("", "self", "other"), f"fault is {self.fault!r}", "event.fault", "self, other or empty")
