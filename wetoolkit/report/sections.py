"""The report's sections: a title, what to know, and a table each. Screen and Markdown show the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from wetoolkit import statistics
from wetoolkit.report.gather import Run

HEADLINE = ("success", "score")  # the rest are the reward's terms
_SHOWN = 30  # rows of failed items; all are in tables/failed.parquet


@dataclass(frozen=True)
class Section:
    """One part of a report. ``text`` is Markdown; ``table`` is shown below it."""

    title: str
    text: str = ""
    table: pl.DataFrame | None = None


def sections(run: Run, extra: Iterable[tuple[str, str]] = ()) -> list[Section]:
    """Every section that the run has something for; ``extra`` are those of plugins (title, Markdown)."""
    found = [
        _results(run), _comparisons(run), _reach(run), _terms(run),
        _survival(run), _events(run), _by_label(run), _mined(run), _recall(run), _trust(run), _costs(run), _latency(run),
        _repairs(run), _lineages(run), _failed(run), *(Section(title, text) for title, text in extra), _versions(run),
    ]  # fmt: skip
    return [section for section in found if section is not None]


def headline(run: Run) -> list[Section]:
    """What the run was for: results and comparisons."""
    return [section for section in (_results(run), _comparisons(run)) if section is not None]


def percent(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A share in percent, with its interval where it has one: "85.3 [81.2, 88.9]"."""
    if value is None:
        return "-"
    ends = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * value:.1f}{ends}"


def _wide(rows: pl.DataFrame, cell: pl.Expr) -> pl.DataFrame:
    """One row a policy, one column a question, in the order they came."""
    return rows.select("policy", column=_question(), cell=cell).pivot("column", index="policy", values="cell", maintain_order=True)


def _headline(table: pl.DataFrame) -> pl.DataFrame:
    """The rows that answer the question, one split after the other: scores, and successes of what was driven in closed loop."""
    asked = pl.col("measure").eq("score") | (pl.col("measure").eq("success") & pl.col("mode").eq("closed"))
    closed, common = pl.col("mode").eq("closed"), pl.col("split").ne("common")
    return table.filter(asked).sort(closed, common, pl.col("measure").eq("score"), maintain_order=True)


def _question() -> pl.Expr:
    """What a row is about: "closed rare success"."""
    return pl.concat_str(["mode", "split", "measure"], separator=" ")


def _cells() -> pl.Expr:
    """Estimate and interval in percent, as text."""
    return pl.struct("estimate", "low", "high").map_elements(
        lambda row: percent(row["estimate"], row["low"], row["high"]), return_dtype=pl.String
    )


def _results(run: Run) -> Section:
    if run.results is None or not len(run.results):
        done = ", ".join(run.manifest.stages) or "none"
        return Section("Results", f"There is no evaluation yet (status: {run.manifest.status}; stages done: {done}).")
    rows = _headline(run.results)
    level = rows["level"].drop_nulls().unique().to_list()
    stated = f"In percent, with {100 * level[0]:.0f} % intervals. " if level else ""
    lines = [stated + "A score is the mean of the metric's total, a success is what its domain says.", "", *_counted(run.results)]
    return Section("Results", "\n".join(lines), _wide(rows, _cells()))


def _counted(results: pl.DataFrame) -> Iterator[str]:
    """What each column rests on: items, logs, failures, metric, method."""
    for key, rows in results.filter(pl.col("measure") == "score").group_by("mode", "split", maintain_order=True):
        n, asked, logs = (int(rows[name].min() or 0) for name in ("n", "asked", "logs"))  # type: ignore[arg-type]
        over = str(n) if n == asked else f"{n} of {asked}"
        methods = ", ".join(rows["method"].unique(maintain_order=True).to_list())
        yield f"- {' '.join(map(str, key))}: {over} items from {logs} logs by `{rows['metric'][0]}`; {methods}.{_few(logs)}"


def _few(logs: int) -> str:
    """A warning that belongs beside intervals on few logs."""
    if logs >= statistics.FEW_LOGS:
        return ""
    return (
        f" **{logs} logs are few: an interval on them is wide and rests on the log means being roughly normal; read it as a hint.**"
    )


def _comparisons(run: Run) -> Section | None:
    if run.comparisons is None or not len(run.comparisons):
        return None
    rows = _headline(run.comparisons)
    change = pl.struct("difference", "low", "high").map_elements(
        lambda row: percent(row["difference"], row["low"], row["high"]), return_dtype=pl.String
    )
    pairs = pl.when(pl.col("n") == pl.col("asked")).then(pl.col("n").cast(pl.String)).otherwise(pl.format("{} of {}", "n", "asked"))
    table = rows.select(
        _question().alias("measure"), pl.format("{} against {}", "a", "b").alias("policies"),
        change.alias("points"), p("p"), p("p_holm").alias("p (Holm)"), "verdict", pairs.alias("pairs"), "discordant", "logs",
    )  # fmt: skip
    text = (
        "Differences over the same items and seeds, in percentage points. p is of sign flips at log level, two-sided; p (Holm) is "
        "adjusted over the comparisons of one measure, and the verdict is drawn from it."
    )
    return Section("Comparisons", text, table)


def p(name: str) -> pl.Expr:
    """A column of p-values as text."""
    return pl.col(name).map_elements(lambda value: f"{value:.4f}" if value >= 0.0001 else "< 0.0001", return_dtype=pl.String)


def _reach(run: Run) -> Section | None:
    """What the sample could have shown where it shows nothing: "not significant" on few pairs says little."""
    if run.comparisons is None or run.outcomes is None:
        return None
    rows = run.comparisons.filter(measure="success", mode="closed", verdict="not significant")
    lines = [_reached(run.outcomes, row) for row in rows.iter_rows(named=True)]
    if not lines:
        return None
    text = (
        "Where no difference was found: the smallest one in success that so many pairs, with so many that differ, show in 8 of 10 "
        "repetitions (McNemar's test at 5 %, the number of pairs divided by the design effect of the logs)."
    )
    return Section("What the sample could have shown", "\n".join([text, "", *lines]))


def _reached(outcomes: pl.DataFrame, row: dict[str, object]) -> str:
    n, discordant = int(str(row["n"])), int(str(row["discordant"]))
    name = f"- {row['mode']} {row['split']}, {row['a']} against {row['b']}: {n} pairs, {discordant} differ"
    asked = pl.col("mode").eq(row["mode"]) & pl.col("split").eq(row["split"]) & pl.col("error").eq("")
    a, b = (outcomes.filter(asked, pl.col("policy") == row[side]) for side in ("a", "b"))
    both = a.join(b, on=["id", "seed"])
    change = both["success"].cast(pl.Float64) - both["success_right"].cast(pl.Float64)
    effect = max(1.0, statistics.design_effect(change.to_numpy(), both["log"].to_list())) if discordant else 1.0
    least = statistics.detectable(n / effect, max(discordant, 1) / n) if effect == effect else float("nan")
    return f"{name}; " + (f"{100 * least:.1f} points" if least == least else "too few differ to show anything") + "."


def _terms(run: Run) -> Section | None:
    if run.results is None:
        return None
    rows = run.results.filter(~pl.col("measure").is_in(HEADLINE))
    if not len(rows):
        return None
    number = pl.struct("estimate", "low", "high", "method").map_elements(_number, return_dtype=pl.String)
    table = _wide(rows, number).transpose(include_header=True, header_name="term", column_names="policy")
    return Section("Terms", "Means of the metric's terms, with intervals; their scales are the metric's own.", table)


def _number(row: dict[str, float | str | None]) -> str:
    value, low, high = row["estimate"], row["low"], row["high"]
    if value is None:
        return str(row["method"])
    return f"{value:.3f}" + ("" if low is None or high is None else f" [{low:.3f}, {high:.3f}]")


_BARS = " ▁▂▃▄▅▆▇█"


def _survival(run: Run) -> Section | None:
    """How long each policy goes without a failure: the curve at a few times, and as a picture of characters."""
    table = run.survival
    if table is None or not len(table):
        return None
    end = float(table["time"].max())  # type: ignore[arg-type]
    times = [time for time in (1.0, 2.0, 4.0, 8.0, 15.0, 30.0) if time < end - 1e-9] + [end]
    found = table.group_by("split", "policy", maintain_order=True)
    groups = [(str(split), str(policy), part) for (split, policy), part in found]
    rows = [{"split": s, "policy": p, **{f"{t:g} s": _share_at(part, t) for t in times}, **_watched(part)} for s, p, part in groups]
    width = max(len(f"{split} {policy}") for split, policy, _ in groups)
    lines = [f"{f'{split} {policy}':<{width}} {_bars(part, end)}" for split, policy, part in groups]
    level = float(table["level"][0])
    text = (
        "Share of drives without a failure so far (Kaplan-Meier; drives that end without one, with their horizon or their log, "
        f"are censored), in percent, with {100 * level:.0f} % intervals over logs. `tables/survival.parquet` has every fall.\n\n```"
        "text\n"
        + "\n".join([*lines, f"{'':<{width}} 0 s{'':<{_COLUMNS - 12}}{end:>7.1f} s"])
        + "\n```\nThe bars stand for 0 to 100 %."
    )
    return Section("How long they drive without a failure", text, pl.DataFrame(rows))


_COLUMNS = 48


def _at(part: pl.DataFrame, time: float) -> dict[str, float | None] | None:
    """The row of a curve that holds at a time; None past its end, unless all have failed by then."""
    row = part.filter(pl.col("time") <= time + 1e-9).sort("time").row(-1, named=True)
    over = time > float(part["time"].max()) + 1e-9  # type: ignore[arg-type]
    return None if over and row["survival"] > 0 else row


def _share_at(part: pl.DataFrame, time: float) -> str:
    row = _at(part, time)
    return "not watched" if row is None else percent(row["survival"], row["low"], row["high"])


def _watched(part: pl.DataFrame) -> dict[str, str]:
    n, asked = int(part["n"][0]), int(part["asked"][0])
    return {"drives": str(n) if n == asked else f"{n} of {asked}", "failed": str(int(part["failed"].sum()))}


def _bars(part: pl.DataFrame, end: float) -> str:
    """The curve as characters, left to right from 0 s to ``end``."""
    rows = [_at(part, end * k / (_COLUMNS - 1)) for k in range(_COLUMNS)]
    return "".join("." if row is None else _BARS[round(8 * float(row["survival"] or 0.0))] for row in rows)


def _events(run: Run) -> Section | None:
    """What happens in closed loop, how often, how early and whose fault it is."""
    table = run.events
    if table is None or not len(table):
        return None
    drive = pl.struct("split", "id", "seed").n_unique()
    found = table.group_by("split", "policy", "kind", "fault", maintain_order=True).agg(
        pl.len().alias("events"), drive.alias("drives"), pl.col("fails").sum().alias("that fail"),
        pl.col("time").median().alias("median time [s]"), pl.col("speed").median().alias("median speed [m/s]"),
    )  # fmt: skip
    text = (
        "By closed-loop drive; who, when and how fast stand in `tables/events.parquet`, numbers of every step in "
        "`tables/steps.parquet`."
    )
    return Section("What happens", text, found.sort("split", "policy", "kind", "fault"))


def _by_label(run: Run) -> Section | None:
    """Closed-loop success by what the scene is about, where the data set knows."""
    table = run.outcomes
    if table is None or "label" not in table.columns:
        return None
    rows = table.filter(pl.col("mode") == "closed", pl.col("error") == "", pl.col("label") != "")
    if not len(rows):
        return None
    found = rows.group_by("label", "policy", maintain_order=True).agg(pl.col("success").mean(), pl.len().alias("scenes"))
    share = pl.struct("success", "scenes").map_elements(
        lambda r: f"{percent(r['success'])} ({r['scenes']})", return_dtype=pl.String
    )
    wide = found.with_columns(cell=share).pivot("policy", index="label", values="cell", maintain_order=True).sort("label")
    return Section(
        "Closed-loop success by kind of scene", "In percent, number of items in brackets; no intervals, for orientation.", wide
    )


def _mined(run: Run) -> Section | None:
    rows = [
        {
            "round": number, "kind": kind, "failures": len(part), "share": f"{percent(len(part) / len(table))} %",
            "median severity": part["severity"].median(), "logs": part["log"].n_unique(),
        }
        for number, table in run.failures.items()
        for (kind,), part in table.group_by("kind", maintain_order=True)
    ]  # fmt: skip
    if not run.failures:
        return None
    if not rows:
        return Section("Mined failures", "None was found.")
    return Section("Mined failures", "", pl.DataFrame(rows).sort("round", "failures", descending=[False, True]))


def _recall(run: Run) -> Section | None:
    """Of which kinds of scene the miner found failures, where the data set knows what they are about."""
    table = run.recall
    if table is None or not len(table.filter(pl.col("label") != "")):
        return None
    first = table.filter(pl.col("round") == table["round"].min())
    given, labelled = int(first["given"].sum()), int(first.filter(pl.col("label") != "")["given"].sum())
    cells = pl.struct("recall", "low", "high").map_elements(
        lambda r: percent(r["recall"], r["low"], r["high"]), return_dtype=pl.String
    )
    shown = table.with_columns(pl.when(pl.col("label") == "").then(pl.lit("none")).otherwise("label").alias("label"))
    text = (
        f"{labelled} of the {given} scenarios given to the miner ({percent(labelled / given)} %) carry a label of the data set. "
        "Neither the miner nor a policy sees labels: they are counted here, afterwards. In percent, with 95 % intervals."
    )
    return Section("Mined, by kind of scene", text, shown.select("round", "label", "given", "found", cells.alias("recall")))


def _costs(run: Run) -> Section | None:
    if run.ledger is None or not len(run.ledger):
        return None
    sums = [pl.col(name).sum() for name in ("wall", "cpu_seconds", "items", "cached", "failed", "damaged", "gpu_seconds")]
    table = run.ledger.group_by("stage", maintain_order=True).agg(pl.len().alias("starts"), *sums, pl.col("peak_rss").max())
    gpu = [pl.col("gpu_seconds").round(1).alias("GPU [s]")] if run.ledger["gpu_seconds"].is_not_null().any() else []
    shown = table.select(
        "stage", "starts", pl.col("wall").round(1).alias("wall [s]"), pl.col("cpu_seconds").round(1).alias("CPU [s]"), *gpu,
        (pl.col("peak_rss") / 2**20).round(0).cast(pl.Int64).alias("peak [MiB]"),
        "items", pl.col("cached").alias("found done"), "failed", "damaged",
    )  # fmt: skip
    wall, cpu = float(run.ledger["wall"].sum()), float(run.ledger["cpu_seconds"].sum())
    return Section("Cost", f"{wall:.0f} s wall, {cpu:.0f} CPU seconds over all starts.", shown)


def _trust(run: Run) -> Section | None:
    """How far the pictures that policies saw can be believed, and what was left out for it."""
    table = run.trust
    if table is None or not len(table):
        return None
    learned = table.filter(pl.col("stage") != "evaluate", pl.col("rejected").is_not_null())
    rejected, looks = int(learned["rejected"].sum()), int(learned["looks"].sum())
    unknown = int(table["unknown"].sum())
    text = (
        f"Of what was rendered for policies with cameras. {rejected} of {looks} decisions were left out of the experience because "
        f"their pictures were not trusted enough; of {unknown} nobody told the trust, they count as trusted. Scenes that failed "
        "(a reconstructor may refuse one) count as no score. In the evaluation nothing is left out: the trust is the least of a "
        "drive, and the success of those drives that were trusted throughout stands beside (for orientation: they are a selection)."
    )
    return Section(
        "What policies saw, and how far it can be believed", text, table.with_columns(pl.col("median", "p5", "least").round(3))
    )


def _latency(run: Run) -> Section | None:
    """How long policies and renderers took in closed loop."""
    table = run.latency
    if table is None or not len(table):
        return None
    shown = table.select(
        "stage", "policy", "part", "steps", "batch", pl.col("median").round(2).alias("median [ms]"),
        pl.col("p95").round(2).alias("p95 [ms]"),
    )  # fmt: skip
    text = (
        "By the clock, a step and scene: all cameras of one look, or a policy's answer, shared among the scenes of its batch. One "
        "row a start of a stage."
    )
    return Section("Latency in closed loop", text, shown)


def _repairs(run: Run) -> Section | None:
    if not run.repairs:
        return None
    table = pl.DataFrame(sorted(run.repairs.items()), schema=["repair", "count"], orient="row")
    return Section("What the data set mended or counted", "", table)


def _lineages(run: Run) -> Section | None:
    if run.lineages is None:
        return None
    return Section("Where the rollouts come from", "Every rollout carries its chain, with config hashes and seeds.", run.lineages)


def _failed(run: Run) -> Section | None:
    if not len(run.failed):
        return None
    table = run.failed.head(_SHOWN).select(
        "stage", "id", pl.format("{} ({})", "component", "distribution").alias("part"),
        pl.col("reason").str.replace_all("\n", "; "),
        pl.struct("artefact").map_elements(lambda row: repeat(run, row["artefact"]), return_dtype=pl.String).alias("to repeat it"),
    )  # fmt: skip
    more = f" The first {_SHOWN} are shown, all are in `tables/failed.parquet`." if len(run.failed) > _SHOWN else ""
    return Section("Failed items", f"{len(run.failed)} items failed; none of them counts as a score.{more}", table)


def repeat(run: Run, artefact: str) -> str:
    """The command that tries a failed item again: a chunk that was lost is tried by every start, another once it is removed."""
    again = f"wetool run {run.folder}"
    return f"rm {run.folder / artefact}; {again}" if artefact else again


def _versions(run: Run) -> Section:
    m = run.manifest
    rows = [
        ("experiment", m.experiment), ("status", m.status), ("seed", str(m.seed)), ("experiment hash", m.experiment_hash[:16]),
        ("wetoolkit", m.toolkit), ("contract", m.contract), ("Python", m.python), ("platform", m.platform),
        *sorted(m.distributions.items()),
    ]  # fmt: skip
    rows = list(dict.fromkeys(rows))
    text = f"The run stands in `{run.folder}`; `wetool run {run.folder}` goes on with it or finds it done."
    return Section("Versions and seeds", text, pl.DataFrame(rows, schema=["what", "value"], orient="row"))
