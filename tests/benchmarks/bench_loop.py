"""The loop of docs/benchmark.toml for several seeds: does post-training beat the base and the controls?

Each seed is a run of its own (`wetool run`), resumed where it was killed. Printed, and written to build/bench/loop.{json,md}: the
measures of every policy and seed, the paired p-values within each seed (Holm-adjusted over the run's comparisons), and over the
seeds the mean difference with a t-interval.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import polars as pl

from wetoolkit.statistics import mean_interval

MEASURES = {("closed", "rare", "success"): "closed rare success", ("open", "common", "score"): "open common score"}
POST = "post-trained"


def run(experiment: Path, seed: int, folder: Path) -> Path:
    """One seed's run folder; a finished one is not run again."""
    command = [str(Path(sys.executable).with_name("wetool")), "run", str(experiment), "--set", f"seed={seed}", "--out", str(folder)]
    subprocess.run(command, check=True)
    return folder


def measured(table: pl.DataFrame) -> pl.DataFrame:
    """The rows of the measures that are compared here."""
    wanted = pl.DataFrame([{"mode": m, "split": s, "measure": n, "name": name} for (m, s, n), name in MEASURES.items()])
    return table.join(wanted, on=["mode", "split", "measure"])


def within(folder: Path, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(results, comparisons) of one run with its seed."""
    tables = [measured(pl.read_parquet(folder / "tables" / f"{name}.parquet")) for name in ("results", "comparisons")]
    return tables[0].with_columns(pl.lit(seed).alias("seed")), tables[1].with_columns(pl.lit(seed).alias("seed"))


def over_seeds(results: pl.DataFrame) -> list[dict[str, object]]:
    """Post-trained against every other policy: the mean over seeds of the difference, with its t-interval."""
    rows: list[dict[str, object]] = []
    for (name, other), group in results.filter(pl.col("policy") != POST).group_by("name", "policy", maintain_order=True):
        post = results.filter((pl.col("policy") == POST) & (pl.col("name") == name)).select("seed", post="estimate")
        pairs = group.join(post, on="seed")
        gap = (pairs["post"] - pairs["estimate"]).to_numpy()
        interval = mean_interval(gap, pairs["seed"].cast(pl.String).to_list(), seed=0, bounds=(-1.0, 1.0))
        rows.append({
            "measure": name, "against": other, "seeds": len(gap), "mean": pairs["estimate"].mean(),
            "post-trained": pairs["post"].mean(),
            "difference": interval.estimate, "low": interval.low, "high": interval.high, "method": interval.method,
        })  # fmt: skip
    return rows


def markdown(results: pl.DataFrame, comparisons: pl.DataFrame, summary: list[dict[str, object]]) -> str:
    """The three tables, in percent and percentage points."""
    lines = ["| measure | seed | " + " | ".join(policies := results["policy"].unique(maintain_order=True).to_list()) + " |"]
    lines.append("|---" * (len(policies) + 2) + "|")
    for (name, seed), group in results.group_by("name", "seed", maintain_order=True):
        cells = [f"{100 * e:.1f} [{100 * a:.1f}, {100 * b:.1f}]" for e, a, b in group.select("estimate", "low", "high").iter_rows()]
        lines.append(f"| {name} | {seed} | " + " | ".join(cells) + " |")
    lines += ["", "| measure | seed | post-trained against | points | p (Holm) |", "|---|---|---|---|---|"]
    for row in comparisons.filter(pl.col("a") == POST).iter_rows(named=True):
        points = f"{100 * row['difference']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
        lines.append(f"| {row['name']} | {row['seed']} | {row['b']} | {points} | {row['p_holm']:.4f} |")
    lines += ["", "| measure | post-trained against | seeds | mean of the other | mean | difference |", "|---|---|---|---|---|---|"]
    for row in summary:
        values = {key: 100 * float(row[key]) for key in ("mean", "post-trained", "difference", "low", "high")}  # type: ignore[arg-type]
        gap = f"{values['difference']:.1f} [{values['low']:.1f}, {values['high']:.1f}]"
        means = f"{values['mean']:.1f} | {values['post-trained']:.1f}"
        lines.append(f"| {row['measure']} | {row['against']} | {row['seeds']} | {means} | {gap} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the seeds and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--experiment", type=Path, default=Path("docs/benchmark.toml"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    asked = parser.parse_args()
    found = []
    for seed in asked.seeds:
        found.append(within(run(asked.experiment, seed, asked.runs / f"{asked.experiment.stem}-{seed}"), seed))
        results, comparisons = (pl.concat(tables) for tables in zip(*found, strict=True))
        summary = over_seeds(results) if len(found) > 1 else []
        folder = Path("build/bench")
        folder.mkdir(parents=True, exist_ok=True)
        text = markdown(results, comparisons, summary)
        (folder / "loop.md").write_text(text)
        tables = {"results": results.to_dicts(), "comparisons": comparisons.to_dicts(), "over_seeds": summary}
        (folder / "loop.json").write_text(json.dumps(tables, indent=1))
        print(text, flush=True)


if __name__ == "__main__":
    main()
