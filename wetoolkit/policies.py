"""Trained policies on disk: safetensors with the config that builds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wetoolkit.errors import PluginError
from wetoolkit.kinds import SupportsState
from wetoolkit.store import read_state, write_state
from wetoolkit.types import Trained
from wetoolkit.work import Made, Session


def save_policy(session: Session, path: Path, trained: Trained, about: Mapping[str, Any]) -> None:
    """A trained policy as safetensors, with its config and its training's summary; its history as a table beside it."""
    part = session.experiment.policy
    if not isinstance(trained.policy, SupportsState):
        step = session.parts.step("policy")
        raise PluginError(
            "the trained policy has no state()", component=step.component, distribution=step.distribution,
            way_out="implement wetoolkit.kinds.SupportsState so that it can be saved",
        )  # fmt: skip
    config = {"use": part.use, "settings": part.settings, "summary": timeless(trained.summary), **about}
    write_state(path, trained.policy.state(), config)


def timeless(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without wall-clock times, which stand in the ledger: equal trainings give equal files."""
    plain = {key: value for key, value in values.items() if not key.endswith("seconds")}
    return {key: float(value) if isinstance(value, int | float | np.number) else value for key, value in plain.items()}


def load_policy(session: Session, made: Made) -> Any:
    """The policy of an artefact, built with the config that stands in it."""
    state, about = read_state(made.paths[0])
    return session.parts.registry.build("policy", about["use"], about["settings"]).with_state(state)
