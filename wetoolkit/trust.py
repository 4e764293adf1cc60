"""How far what policies saw in closed loop can be believed: one row a round of training and one a policy of the evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wetoolkit.store import Manifest, read_facts
from wetoolkit.work import is_block

SCHEMA = {
    **dict.fromkeys(["stage", "policy"], pl.String),
    **dict.fromkeys(["scenes", "failed", "looks", "unknown", "rejected"], pl.Int64),
    **dict.fromkeys(["median", "p5", "least"], pl.Float64),
    "trusted": pl.Int64,
    "success_trusted": pl.Float64,
}


COUNTS = {"looks": "looks", "unknown": "trust_unknown", "rejected": "distrusted"}  # column -> column of the outcomes


def trust_table(folder: Path, manifest: Manifest, outcomes: pl.DataFrame | None) -> pl.DataFrame:
    """Of the rounds whose policy saw pictures, and of the policies of the evaluation that did.

    ``scenes`` were asked for; ``failed`` of them were refused by the reconstructor, or not shown or driven: they have no score.
    ``looks`` are decisions with pictures, ``unknown`` those whose trust nobody told, ``rejected`` those below [frames] least_trust:
    left out of the experience (by its stride, perhaps with the rest of their rollout), only counted in the evaluation. ``median``,
    ``p5`` and ``least`` are of the known trust: of decisions, in the evaluation of the least of a drive. There ``trusted`` drives
    have no rejected decision, and ``success_trusted`` is the share of successes among them.
    """
    numbers = (name.partition("-")[2] for name in manifest.stages if name.startswith("rollout-"))
    rows = [row for number in numbers if (row := _round(folder, manifest, number))["looks"]]
    return pl.DataFrame([*rows, *_evaluated(outcomes)], schema=SCHEMA, orient="row")


def _facts(folder: Path, manifest: Manifest, stage: str) -> Iterator[Mapping[str, Any]]:
    record = manifest.stages.get(stage)
    paths = (folder / name for name in (record.artefacts if record else ()))
    return (read_facts(path) for path in paths if is_block(path) and path.is_file())


def _round(folder: Path, manifest: Manifest, number: str) -> dict[str, Any]:
    trust = [value for facts in _facts(folder, manifest, f"rollout-{number}") for value in facts.get("trust", ())]
    learned = [facts for facts in _facts(folder, manifest, f"experience-{number}") if "rejected" in facts]
    rebuilt, driven = (manifest.stages.get(f"{stage}-{number}") for stage in ("reconstruct", "rollout"))
    refused, asked = rebuilt.failed if rebuilt else 0, driven.items if driven else 0
    return {
        "stage": f"rollout-{number}", "policy": "", "scenes": asked + refused,
        "failed": refused + (driven.failed if driven else 0), "looks": len(trust), "unknown": sum(value is None for value in trust),
        "rejected": sum(facts["rejected"] for facts in learned) if learned else None,
        **_spread([value for value in trust if value is not None]), "trusted": None, "success_trusted": None,
    }  # fmt: skip


def _evaluated(outcomes: pl.DataFrame | None) -> Iterator[dict[str, Any]]:
    if outcomes is None or "looks" not in outcomes.columns:
        return
    driven = outcomes.filter(pl.col("mode") == "closed")
    for (policy,), part in driven.group_by("policy", maintain_order=True):
        if not part["looks"].sum():
            continue
        trusted = part.filter(pl.col("error") == "", pl.col("distrusted") == 0)
        yield {
            "stage": "evaluate", "policy": policy, "scenes": len(part), "failed": int((part["error"] != "").sum()),
            **{name: int(part[column].sum()) for name, column in COUNTS.items()},
            "trusted": len(trusted), "success_trusted": trusted["success"].cast(pl.Float64).mean(),
            **_spread(part["trust"].drop_nulls().to_list()),
        }  # fmt: skip


def _spread(values: list[float]) -> dict[str, float | None]:
    if not values:
        return {"median": None, "p5": None, "least": None}
    low, middle = np.percentile(values, [5, 50]).tolist()
    return {"median": middle, "p5": low, "least": min(values)}


__all__ = ["trust_table"]
