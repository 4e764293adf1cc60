"""Tables of `bench_attacks`: what drives came to, by policy and sort of variant, and whether that is what issue 7 asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wetoolkit.statistics import Interval, mean_interval, paired, ratio_interval

LOG, RULES, ATTACK, PLANNED = "log", "perturb", "attack", "attack on its plan"
VALID, TIMES = 0.7, 5.0  # asked: share of variants that are valid, and how often frames are critical, in the log's rates


@dataclass(frozen=True)
class Drive:
    """What became of one variant that was asked for, under one policy; what is not valid was not driven."""

    policy: str
    sort: str  # LOG, RULES, ATTACK or PLANNED
    how: str  # the intent or the rule
    scene: str
    log: str
    reasons: tuple[str, ...]  # it is not valid for
    frames: float = 0.0  # share of critical frames
    touch: bool = False
    failed: bool = False  # by the PDM score: at fault in a collision, or off the road

    @property
    def valid(self) -> bool:
        return not self.reasons


Measure = Callable[[Drive], float]
SHOWN: dict[str, Measure] = {
    "critical": lambda drive: drive.frames > 0, "touch": lambda drive: drive.touch, "fails": lambda drive: drive.failed,
    "critical frames": lambda drive: drive.frames,
}  # fmt: skip


def some(drives: Iterable[Drive], policy: str, sort: str, how: str = "") -> list[Drive]:
    """Those of one policy and sort (and intent or rule)."""
    return [drive for drive in drives if drive.policy == policy and drive.sort == sort and how in ("", drive.how)]


def kept(drives: Iterable[Drive]) -> list[Drive]:
    """Those that are valid."""
    return [drive for drive in drives if drive.valid]


def rate(drives: Sequence[Drive], measure: Measure) -> Interval | None:
    """Mean and interval, clustered by log; None of no drives."""
    return mean_interval([float(measure(d)) for d in drives], [d.log for d in drives], seed=0) if drives else None


def times(drives: Sequence[Drive], others: Sequence[Drive]) -> Interval | None:
    """How many times as often frames are critical in some drives as in others."""
    if not drives or not others:
        return None
    one, other = (([d.frames for d in found], [d.log for d in found]) for found in (drives, others))
    return ratio_interval(*one, *other, seed=0)


def more(drives: Sequence[Drive], others: Sequence[Drive]) -> tuple[Interval, float] | None:
    """Difference of the share of variants asked for that are valid and critical, paired by scene, and its p."""
    mine, theirs = by_scene(drives), by_scene(others)
    both, logs = sorted(set(mine) & set(theirs)), {drive.scene: drive.log for drive in drives}
    if not both:
        return None
    found = paired([mine[s] for s in both], [theirs[s] for s in both], [logs[s] for s in both], seed=0)
    return found.difference, found.p


def by_scene(drives: Iterable[Drive]) -> dict[str, float]:
    """Scene -> share of its variants that are valid and critical."""
    found: dict[str, list[float]] = {}
    for drive in drives:
        found.setdefault(drive.scene, []).append(float(drive.valid and drive.frames > 0))
    return {scene: float(np.mean(values)) for scene, values in found.items()}


def said(one: Interval | None, places: int = 3) -> str:
    """An estimate and its interval."""
    if one is None:
        return "none"
    return f"{one.estimate:.{places}f} [{one.low:.{places}f}, {one.high:.{places}f}]"


def policy_rows(drives: Sequence[Drive], usual: Sequence[Drive]) -> list[dict[str, Any]]:
    """One row a policy and sort: of all asked the valid, of these the critical, and how much oftener that is than in the log."""
    rows = []
    for policy in dict.fromkeys(drive.policy for drive in drives):
        for sort in (LOG, RULES, ATTACK, PLANNED):
            asked = some(drives, policy, sort)
            if asked:
                row = {"policy": policy, "variants": sort, "asked": len(asked), "valid": said(rate(asked, lambda d: d.valid))}
                row |= {title: said(rate(kept(asked), measure)) for title, measure in SHOWN.items()}
                row["x the log"] = said(times(kept(asked), usual), 1)
                row["x this policy's unchanged"] = "" if sort == LOG else said(times(kept(asked), some(drives, policy, LOG)), 1)
                rows.append(row)
    return rows


def intent_rows(drives: Sequence[Drive]) -> list[dict[str, Any]]:
    """One row an intent or rule: of all asked the valid and why the others are not, of these the critical by policy."""
    policies = list(dict.fromkeys(drive.policy for drive in drives))
    rows = []
    for sort in (RULES, ATTACK):
        for how in sorted({drive.how for drive in drives if drive.sort == sort}):
            asked = some(drives, policies[0], sort, how)
            why = Counter(reason for drive in asked for reason in drive.reasons)
            row = {"variants": sort, "how": how, "asked": len(asked), "valid": said(rate(asked, lambda d: d.valid), 2)}
            row["rejected"] = ", ".join(f"{count} {reason}" for reason, count in why.most_common()) or "none"
            for policy in policies:
                row[f"critical, {policy}"] = said(rate(kept(some(drives, policy, sort, how)), SHOWN["critical"]), 2)
            rows.append(row)
    return rows


def verdict_rows(drives: Sequence[Drive], usual: Sequence[Drive]) -> list[dict[str, Any]]:
    """What issue 7 asks of attacks, what was found, whether that holds, and whether the interval leaves doubt."""
    policies = list(dict.fromkeys(drive.policy for drive in drives))
    valid = rate(some(drives, policies[0], ATTACK), lambda drive: drive.valid)
    rows = [_verdict("all", "variants that are valid at the first try", VALID, valid)]
    for policy in policies:
        mine, own = some(drives, policy, ATTACK), some(drives, policy, LOG)
        rows.append(_verdict(policy, "critical frames, times those of the log", TIMES, times(kept(mine), usual)))
        rows.append(_verdict(policy, "critical frames, times its own in the unchanged windows", TIMES, times(kept(mine), own)))
        gain = more(mine, some(drives, policy, RULES))
        if gain is not None:
            rows.append(_verdict(policy, f"valid and critical, more than perturb (p {gain[1]:.2g})", 0.0, gain[0]))
    return rows


def _verdict(policy: str, asked: str, least: float, found: Interval | None) -> dict[str, Any]:
    if found is None:
        holds = "nothing was found"
    else:
        does = found.estimate >= least
        surely = found.low >= least if does else found.high < least
        holds = ("yes" if does else "no") + ("" if surely else ", not surely")
    return {"policy": policy, "asked": asked, "at least": f"{least:g}", "found": said(found), "holds": holds}


__all__ = [
    "ATTACK", "LOG", "PLANNED", "RULES", "SHOWN", "Drive", "intent_rows", "kept", "more", "policy_rows", "rate", "said", "some",
    "times", "verdict_rows",
]  # fmt: skip
