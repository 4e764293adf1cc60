"""Trained policies on disk: safetensors with the config that builds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wetoolkit.errors import PluginError, StoreError, WetoolkitError
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


def trained_on(path: Path) -> set[str] | None:
    """The logs that a policy's training saw, that of the policy it started from included; None where its file does not tell."""
    logs = read_state(path)[1].get("logs")
    return None if logs is None else set(logs)


def load_policy(session: Session, made: Made) -> Any:
    """The policy of an artefact, built with the config that stands in it."""
    path = made.paths[0]
    state, about = read_state(path)
    if not {"use", "settings"} <= set(about):
        raise StoreError("no trained policy: it does not say what to build", file=path, way_out="give a file of a run's policies/")
    try:
        return session.parts.registry.build("policy", about["use"], about["settings"]).with_state(state)
    except WetoolkitError:
        raise
    except Exception as error:
        what = f"its arrays do not fit the policy {about['use']!r}: {type(error).__name__}: {error}"
        raise StoreError(what, file=path, way_out="train it again with the plugin that is installed") from error
