"""One stage on a run folder or on artefacts from elsewhere: `wetool pretrain | mine | ... | evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wetoolkit.cli.run import EXPERIMENT, JSON, OUT, SET, locate, start

INPUT = Annotated[
    list[Path] | None,
    typer.Option("--input", metavar="FILE", help="Artefact from elsewhere in the place of the stage before. Repeatable."),
]
POLICY = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="Policy (safetensors) in the place of the base policy.")
]
ROUND = Annotated[int, typer.Option("--round", min=1, help="Round of the loop.")]


def pretrain(experiment: EXPERIMENT, settings: SET = None, out: OUT = None, json: JSON = False) -> None:
    """Train the base policy on the demonstrations. Example: wetool pretrain docs/quickstart.toml"""
    start(experiment, settings or [], out, "pretrain", "pretrain", {}, json)


def stage(
    name: str,
    experiment: Path,
    settings: list[str] | None,
    out: Path | None,
    files: list[Path] | None,
    policy: Path | None,
    json: bool,
) -> None:
    """Run one stage with what was given for it, and show what came of it."""
    from wetoolkit.pipeline import stage_given

    given = stage_given(locate(experiment, settings or [], out)[0], name, files or [], policy)
    start(experiment, settings or [], out, name, name, given, json)


def mine(
    experiment: EXPERIMENT, settings: SET = None, out: OUT = None, policy: POLICY = None, number: ROUND = 1, json: JSON = False
) -> None:
    """Find the steps at which the policy fails. Example: wetool mine runs/quickstart --policy base.safetensors"""
    stage(f"mine-{number}", experiment, settings, out, None, policy, json)


def reconstruct(
    experiment: EXPERIMENT, settings: SET = None, out: OUT = None, files: INPUT = None, number: ROUND = 1, json: JSON = False
) -> None:
    """Turn failures into scenes. Example: wetool reconstruct runs/quickstart --input failures.parquet"""
    stage(f"reconstruct-{number}", experiment, settings, out, files, None, json)


def rollout(
    experiment: EXPERIMENT, settings: SET = None, out: OUT = None, files: INPUT = None, policy: POLICY = None, number: ROUND = 1,
    video: Annotated[bool, typer.Option("--video", help="Also write films to videos/.")] = False,
    films: Annotated[int, typer.Option("--films", min=0, help="So many films, spread evenly; 0: one of every rollout.")] = 8,
    json: JSON = False,
) -> None:  # fmt: skip
    """Let the policy act in scenes. Example: wetool rollout runs/quickstart --input a.safetensors --policy b.safetensors"""
    if not video:
        return stage(f"rollout-{number}", experiment, settings, out, files, policy, json)
    from wetoolkit.cli.films import check, write

    check(experiment, settings or [], out)
    ended = None
    try:
        stage(f"rollout-{number}", experiment, settings, out, files, policy, json)
    except typer.Exit as error:  # some items failed: the others are filmed
        ended = error
    write(experiment, settings or [], out, number, files or [], films)
    if ended is not None:
        raise ended
    return None


def train(
    experiment: EXPERIMENT, settings: SET = None, out: OUT = None, files: INPUT = None, policy: POLICY = None, number: ROUND = 1,
    json: JSON = False,
) -> None:  # fmt: skip
    """Post-train the policy, and the controls, on experience. Example: wetool train runs/quickstart --input a.safetensors"""
    stage(f"train-{number}", experiment, settings, out, files, policy, json)


def evaluate(
    experiment: EXPERIMENT, settings: SET = None, out: OUT = None, files: INPUT = None, policy: POLICY = None, json: JSON = False
) -> None:
    """Measure the policies; --input puts a policy in the place of the post-trained one. Example: wetool evaluate runs/quickstart"""
    stage("evaluate", experiment, settings, out, files, policy, json)
