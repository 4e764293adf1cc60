"""What the learned model of traffic is worth: the loop with its variants, with rule-based ones, and with none.

    make bench-worth                                   # five seeds, four arms; each seed that is done is printed
    python tests/benchmarks/bench_worth.py --model FILE --seeds 0 --arms logged attack
    ... --seeds 10 --set splits.rare=val-rare splits.common=val-common dataset.val_staged=200      # to try settings out
    ... --labels jaywalker cut-in --set 'dataset.fleet_without=["jaywalker", "cut-in"]'    # of what the failures are never about

All arms of a seed share its base policy, its mined failures and its scenes; they differ in what is made of the scenes. Every arm
learns from equally many frames: ``steps`` batches of 64, 48 of them from rollouts and 16 from the log. Where it has variants it
has exactly ``variants`` of each scene beside the scene as logged; what is rejected is made up for by the arm's next behaviour, at
last by the scene as logged. The arm ``logged`` has no variants, so its frames come up the oftener (the policy takes its likeliest
plan, so rolling a scene out again would repeat them); ``more-logs`` has as many further failures in their place, which variants
are to save. ``perturb-ordinary`` and ``attack-ordinary`` vary scenes in which nothing failed (``vary.ordinary``), one variant
each and as many as the others make of the failures, which are there as logged.

In all arms only rollout frames with something to learn are learned from (World Engine's filter: a good plan was there and a bad
one taken), and variants are made of the scene with what the base policy does in it as the record of the ego (``vary.foresee``):
an attack on where the ego was recorded misses a policy that drives elsewhere. Both were chosen on val-rare (docs/log.md).

Runs resume, so several processes may share the seeds between them, each with its own ``--out``; the same command for all seeds
then reads what they did. Tables (build/bench/worth.{json,md}): measures of each arm and seed; every arm against ``logged`` and
``perturb``, paired over the scenes within each seed, and over scenes and seeds (clustered by log: all differences of one scene
change sign together), Holm-adjusted; the t-interval and t-test over the seeds; what was learned from; success by the label of the
scene. No log of the test splits may be among those the model was trained on.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import polars as pl
import polars.selectors as cs
from bench_diffusion import FILE, trained
from bench_loop import MEASURES as OF_LOOP
from scipy.stats import ttest_1samp
from wetoolkit_diffusion.checkpoint import load
from wetoolkit_driving.types import World

from wetoolkit.errors import ValidationError
from wetoolkit.evaluation import compare, summarise
from wetoolkit.experiment import Experiment, load_experiment
from wetoolkit.pipeline import run
from wetoolkit.progress import watch
from wetoolkit.registry import Registry, load_registry
from wetoolkit.statistics import mean_interval
from wetoolkit.store import Store, key_of, read_block, read_facts, read_state, read_table, write_block, write_table
from wetoolkit.types import Scene
from wetoolkit.work import file_made

BEFORE, AGAINST = "logged", "perturb"
ARMS = (
    "logged", "more-logs", "perturb", "idm", "resampled", "near", "attack", "attack-perturb", "perturb-ordinary", "attack-ordinary",
)  # fmt: skip
ASKED = 2  # ordinary scenarios for each variant that is wanted: not every one can be attacked
NEAR = 0.3  # noise level from which the record is taken up: what happened happens again, a little otherwise
MEASURES = {**OF_LOOP, ("closed", "rare", "score"): "closed rare score", ("closed", "rare", "ep"): "closed rare progress"}


@dataclass(frozen=True)
class Options:
    """What is the same in all arms."""

    experiment: Path
    model: Path
    runs: Path
    failures: int
    variants: int
    epochs: int
    steps: int
    common: int
    rare: int  # test scenes, 0: all
    filter: bool
    foresee: bool
    changes: tuple[str, ...]


def arms(options: Options) -> dict[str, tuple[list[dict[str, Any]], int, int]]:
    """For each of ``ARMS`` its behaviours, the first of which is asked first, how many failures it rebuilds, and how many ordinary
    scenarios."""
    n, few, many = options.variants, options.failures, options.failures * (1 + options.variants)
    learned = {"use": "diffusion", "count": n, "checkpoint": str(options.model.resolve())}
    attack = {**learned, "attack": {}, "others": "recorded"}
    near = {**learned, "near": NEAR}
    rules, plain = {"use": "perturb", "count": n}, ASKED * n * few
    return {
        "logged": ([], few, 0),
        "more-logs": ([], many, 0),
        "perturb": ([rules], few, 0),
        "idm": ([{"use": "idm", "count": n}], few, 0),
        "resampled": ([learned], few, 0),
        "near": ([near], few, 0),
        "attack": ([attack], few, 0),
        "attack-perturb": ([{**attack, "count": n // 2}, rules], few, 0),
        "perturb-ordinary": ([{**rules, "count": 1, "of": "ordinary"}], few, plain),
        "attack-ordinary": ([{**attack, "count": 1, "of": "ordinary"}], few, plain),
    }


def planned(options: Options, seed: int, arm: str) -> Experiment:
    """The experiment of one arm and seed."""
    behaviours, failures, ordinary = arms(options)[arm]
    changes = [
        f"seed={seed}",
        f"limits.failures={failures}",
        f"algorithm.steps={options.steps}",
        f"algorithm.filter={str(options.filter).lower()}",
        f"vary.foresee={str(options.foresee).lower()}",
        f"vary.ordinary={ordinary}",
        f"pretrain.epochs={options.epochs}",
        *options.changes,
    ]
    base = load_experiment(options.experiment, changes)
    data = base.model_dump(mode="json", exclude_none=True)
    data |= {"behaviour": behaviours, "controls": {}, "executor": {"use": "serial"}}
    data["limits"] |= {"common": options.common, "rare": options.rare}
    data["evaluate"]["policies"], data["frames"]["terms"] = [], options.filter
    return Experiment.model_validate(data)


def check_model(model: Path) -> None:
    """``ValidationError`` unless the model tells the logs it was trained on; the run refuses it where one of them serves for the
    evaluation (``wetoolkit.stages.check_given``)."""
    if "logs" not in (load(model).about or {}):
        raise ValidationError("the model does not tell the logs it was trained on", file=model, way_out="train it by wetool fit")


def evened(scenes: Sequence[Scene[World]], variants: int) -> tuple[list[Scene[World]], dict[str, int]]:
    """Each failure's scene as logged, then exactly so many of its variants: the first of those there are, and the scene again where
    there are too few. And what was counted."""
    out: list[Scene[World]] = []
    counts: Counter[str] = Counter()
    groups: list[list[Scene[World]]] = []
    for scene in (one for one in scenes if one.failure):
        (groups.append([scene]) if "~" not in scene.id else groups[-1].append(scene))
    for logged, *made in groups:
        kept = made[:variants]
        again = [replace(logged, id=f"{logged.id}~again.{i}") for i in range(variants - len(kept))]
        out += [logged, *kept, *again]
        counts.update(scene.variant.split(";")[0].split(" ")[0].rstrip(":") or "variant" for scene in kept)
        counts.update({"again": len(again), "scenes": 1})
    return out, dict(counts)


def pooled(scenes: Sequence[Scene[World]], variants: int) -> tuple[list[Scene[World]], dict[str, int]]:
    """Each failure's scene as logged, and of the variants of ordinary scenes exactly so many for each of them: the first of those
    there are, and failures' scenes again where there are too few."""
    logged = [scene for scene in scenes if scene.failure]
    made = [scene for scene in scenes if not scene.failure and "~" in scene.id][: variants * len(logged)]
    short = range(variants * len(logged) - len(made))
    again = [replace(logged[i % len(logged)], id=f"{logged[i % len(logged)].id}~again.{i // len(logged)}") for i in short]
    counts = Counter(scene.variant.split(";")[0].split(" ")[0].rstrip(":") or "variant" for scene in made)
    return [*logged, *made, *again], {**counts, "again": len(again), "scenes": len(logged)}


def even(folder: Path, arm: str, options: Options) -> tuple[list[Path], dict[str, int]]:
    """The files of an arm's scenes, evened, and what was counted."""
    store, made, total = Store(folder), [], Counter[str]()
    files = [read_block(folder / name, Scene, World)[0] for name in store.manifest.stages["vary-1"].artefacts]
    behaviours, _, ordinary = arms(options)[arm]
    many, parts = options.variants if behaviours else 0, [[scene for file in files for scene in file]] if ordinary else files
    for number, scenes in enumerate(parts):
        some, counts = pooled(scenes, many) if ordinary else evened(scenes, many)
        total.update(counts)
        path = store.path("scenes", f"worth-{arm}-{number}.safetensors")
        write_block(path, some, {"ids": [s.id for s in some], "logs": [s.log for s in some], "failed": []})
        made.append(path)
    return made, dict(total)


def drive(options: Options, seed: int, arm: str, registry: Registry) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Outcomes of an arm's policy and of the base, and what the arm learned from; read where they are done."""
    experiment, folder = planned(options, seed, arm), options.runs / f"worth-{seed}"
    learns = any(part["use"] == "diffusion" for part in arms(options)[arm][0])
    about = load(options.model).digest if learns else ""
    key = key_of(experiment.model_dump(mode="json"), options.variants, about)[:12]
    table, facts = folder / "worth" / f"{arm}-{key}.parquet", folder / "worth" / f"{arm}-{key}.json"
    if not (table.exists() and facts.exists()):
        run(experiment, registry, folder, watch=watch(), last="vary")
        scenes, counts = even(folder, arm, options)
        run(experiment, registry, folder, watch=watch(), given={"vary-1": file_made("vary-1", scenes)})
        found = read_table(folder / "tables" / "outcomes.parquet")
        named = found.with_columns(pl.col("policy").replace({"post-trained": arm}), pl.lit(seed, pl.Int64).alias("seed"))
        write_table(table, named)
        facts.write_text(json.dumps({"arm": arm, "seed": seed, **counts, **learned_from(folder)}))
    return read_table(table), json.loads(facts.read_text())


def learned_from(folder: Path) -> dict[str, Any]:
    """Frames of the pool that the newest policy was trained on, and failed items of the run."""
    store = Store(folder)
    policy = folder / store.manifest.stages["train-1"].artefacts[0]
    summary = read_state(policy)[1]["summary"]
    failed = sum(len(read_facts(folder / name).get("failed", ())) for name in store.manifest.stages["experience-1"].artefacts)
    names = ("steps", "rollout_frames", "log_frames", "held_out_frames", "filtered_frames")
    return {**{name: int(summary[name]) for name in names}, "failed items": failed}


def joined(tables: Mapping[tuple[int, str], pl.DataFrame]) -> pl.DataFrame:
    """One outcome table of what is compared here: each arm under its name and, once a seed, the base."""
    firsts = dict(reversed(tables))  # (seed, arm) pairs: the first arm of each seed stays
    wanted = {key: [key[1], "base"] if firsts[key[0]] == key[1] else [key[1]] for key in tables}
    asked = pl.DataFrame([{"mode": mode, "split": split} for mode, split, _ in MEASURES])
    other = cs.starts_with("term.") - cs.by_name("term.ep")
    parts = [table.filter(pl.col("policy").is_in(wanted[key])).drop(other) for key, table in tables.items()]
    return pl.concat(parts).join(asked, on=["mode", "split"], how="semi")


def measured(table: pl.DataFrame) -> pl.DataFrame:
    """The rows of the measures that are compared here."""
    wanted = pl.DataFrame([{"mode": m, "split": s, "measure": n, "name": name} for (m, s, n), name in MEASURES.items()])
    return table.join(wanted, on=["mode", "split", "measure"])


def compared(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Every arm against ``BEFORE`` and ``AGAINST``, over the scenes and seeds that are in ``outcomes``."""
    names = outcomes["policy"].unique(maintain_order=True).to_list()
    pairs = [(name, AGAINST) for name in names if AGAINST in names and name not in (AGAINST, BEFORE, "base")]
    return measured(compare(outcomes, BEFORE if BEFORE in names else names[0], pairs, seed=0))


def over_seeds(outcomes: pl.DataFrame) -> list[dict[str, Any]]:
    """The mean over the seeds of each difference to ``BEFORE`` and ``AGAINST``, seeds being the independent units."""
    rows = []
    means = {}
    for seed, part in outcomes.group_by("seed", maintain_order=True):
        for row in measured(summarise(part, 0)).iter_rows(named=True):
            means[row["name"], row["policy"], seed[0]] = row["estimate"]
    names, policies = list(dict.fromkeys(key[0] for key in means)), list(dict.fromkeys(key[1] for key in means))
    seeds = list(dict.fromkeys(key[2] for key in means))
    for name in names:
        for other in (BEFORE, AGAINST):
            for policy in (p for p in policies if p != other):
                both = [s for s in seeds if (name, policy, s) in means and (name, other, s) in means]
                gaps = [means[name, policy, s] - means[name, other, s] for s in both]
                if len(gaps) > 1:
                    found = mean_interval(gaps, [str(s) for s in both], seed=0, bounds=(-1.0, 1.0))
                    rows.append({"measure": name, "a": policy, "b": other, "seeds": len(gaps), "difference": found.estimate,
                                 "low": found.low, "high": found.high, "positive": sum(g > 0 for g in gaps),
                                 "p": float(ttest_1samp(gaps, 0.0).pvalue)})  # fmt: skip
    return rows


def markdown(outcomes: pl.DataFrame, learned: Sequence[Mapping[str, Any]]) -> str:
    """All tables, in percent and percentage points."""
    policies = outcomes["policy"].unique(maintain_order=True).to_list()
    seeds = outcomes["seed"].unique(maintain_order=True).to_list()
    lines = ["| measure | seed | " + " | ".join(policies) + " |", "|---" * (len(policies) + 2) + "|"]
    for name in MEASURES.values():
        for seed in [*seeds, "all"]:
            part = outcomes if seed == "all" else outcomes.filter(pl.col("seed") == seed)
            rows = {row["policy"]: row for row in measured(summarise(part, 0)).filter(pl.col("name") == name).iter_rows(named=True)}
            lines.append(f"| {name} | {seed} | " + " | ".join(percent(rows.get(policy), "estimate") for policy in policies) + " |")
    lines += ["", "| measure | seeds | arm | against | points | p | p (Holm) | scenes x seeds | logs |", "|---" * 9 + "|"]
    for seed in ["all", *seeds]:
        part = outcomes if seed == "all" else outcomes.filter(pl.col("seed") == seed)
        for row in compared(part).iter_rows(named=True):
            ends = percent(row, "difference")
            lines.append(f"| {row['name']} | {seed} | {row['a']} | {row['b']} | {ends} | {row['p']:.4f} | {row['p_holm']:.4f} "
                         f"| {row['n']} | {row['logs']} |")  # fmt: skip
    lines += [
        "",
        "| measure | arm | against | seeds | of them above 0 | mean difference, t-interval over seeds | p (t) |",
        "|---" * 7 + "|",
    ]
    for row in over_seeds(outcomes):
        told = f"{row['measure']} | {row['a']} | {row['b']} | {row['seeds']} | {row['positive']}"
        lines.append(f"| {told} | {percent(row, 'difference')} | {row['p']:.4f} |")
    columns = ("arm", "seed", "scenes", "again", "rollout_frames", "filtered_frames", "log_frames", "failed items")
    lines += ["", "| " + " | ".join(name.replace("_", " ") for name in columns) + " | frames learned from |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for row in learned:
        lines.append("| " + " | ".join(str(row.get(name, 0)) for name in columns) + f" | {row['steps']} x 64 |")
    return "\n".join([*lines, "", *by_label(outcomes)]) + "\n"


def by_label(outcomes: pl.DataFrame) -> list[str]:
    """Closed rare success in percent by the label of the scene, over all seeds."""
    rare = outcomes.filter((pl.col("mode") == "closed") & (pl.col("split") == "rare"), pl.col("error") == "")
    table = rare.group_by("label", "policy").agg(pl.len(), pl.col("success").cast(pl.Float64).mean() * 100.0)
    policies = outcomes["policy"].unique(maintain_order=True).to_list()
    found = {(row["label"], row["policy"]): row for row in table.iter_rows(named=True)}
    lines = ["| label | scenes x seeds | " + " | ".join(policies) + " |", "|---" * (len(policies) + 2) + "|"]
    for label in sorted({label for label, _ in found}):
        cells = [f"{found[label, policy]['success']:.1f}" if (label, policy) in found else "-" for policy in policies]
        most = max(row["len"] for (name, _), row in found.items() if name == label)
        lines.append(f"| {label or 'ordinary'} | {most} | " + " | ".join(cells) + " |")
    return lines


def percent(row: Mapping[str, Any] | None, name: str) -> str:
    """An estimate with its interval, in percent."""
    if row is None or row[name] is None:
        return "-"
    low, high = (f"{100 * row[end]:.1f}" if row[end] is not None else "?" for end in ("low", "high"))
    return f"{100 * row[name]:.1f} [{low}, {high}]"


def main() -> None:
    """Run seed by seed and write the tables of what is done."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    asked.add_argument("--arms", nargs="+", default=["logged", "perturb", "perturb-ordinary", "attack-ordinary"], choices=ARMS)
    asked.add_argument("--model", type=Path, default=FILE, help="trained on the split `train` where there is none")
    asked.add_argument("--experiment", type=Path, default=Path("docs/benchmark.toml"))
    asked.add_argument("--runs", type=Path, default=Path("runs"))
    asked.add_argument("--failures", type=int, default=40, help="scenes rebuilt")
    asked.add_argument("--variants", type=int, default=3, help="of each scene")
    asked.add_argument("--epochs", type=int, default=30, help="of pre-training; the loss no longer falls by then")
    asked.add_argument("--steps", type=int, default=300, help="of post-training")
    asked.add_argument("--common", type=int, default=100, help="common test scenes, open loop")
    asked.add_argument("--rare", type=int, default=0, help="rare test scenes, closed loop; 0: all")
    asked.add_argument("--filter", action=argparse.BooleanOptionalAction, default=True, help="learn from hard rollout frames only")
    asked.add_argument("--foresee", action=argparse.BooleanOptionalAction, default=True, help="vary what the base policy does")
    asked.add_argument(
        "--set", dest="changes", nargs="+", default=[], help="key=value of the experiment, such as splits.rare=val-rare"
    )
    asked.add_argument("--labels", nargs="+", default=[], help="tables of the rare scenes with these labels only")
    asked.add_argument("--out", type=Path, default=Path("build/bench/worth"))
    given = asked.parse_args()
    options = Options(
        given.experiment,
        given.model,
        given.runs,
        given.failures,
        given.variants,
        given.epochs,
        given.steps,
        given.common,
        given.rare,
        given.filter,
        given.foresee,
        tuple(given.changes),
    )
    registry = load_registry()
    trained(options.model, 25.0)
    check_model(options.model)
    tables: dict[tuple[int, str], pl.DataFrame] = {}
    learned: list[dict[str, Any]] = []
    for seed in given.seeds:
        for arm in given.arms:
            tables[seed, arm], facts = drive(options, seed, arm, registry)
            learned.append(facts)
        outcomes = joined(tables)
        if given.labels:
            outcomes = outcomes.filter((pl.col("split") != "rare") | pl.col("label").is_in(given.labels))
        text = markdown(outcomes, learned)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.with_suffix(".md").write_text(text)
        found = {"compared": compared(outcomes).to_dicts(), "over_seeds": over_seeds(outcomes), "learned": learned}
        given.out.with_suffix(".json").write_text(json.dumps(found, indent=1))
        print(text, flush=True)


if __name__ == "__main__":
    main()
