"""The promises of each kind as tests to inherit.

Subclass the contract of your kind in a test file as ``class TestMine(RewardContract)``, say how a part is made and what it is
tried on, and pytest runs every promise. A broken one fails with its name::

    class TestPdms(RewardContract):
        def make(self): return PdmReward(PdmRewardConfig())
        def situations(self): return [...]
        def proposals(self): return plans  # [N, T, D]

What is shared by all kinds stands here; the kinds follow in ``data`` (dataset, domain, reconstructor, behaviour) and ``acting``.
"""

from __future__ import annotations

import pickle
from typing import Any

from wetoolkit.config import Config, checked
from wetoolkit.errors import ConfigError
from wetoolkit.testing.compare import difference, snapshot

NO_SUCH_SETTING = "no_such_setting"


def promise(kept: bool, name: str, how: str = "") -> None:
    """Fail with the promise's name unless it is kept."""
    if not kept:
        raise AssertionError(f"broken promise: {name}" + (f" ({how})" if how else ""))


def skip(reason: str) -> None:
    """Leave a promise out, visibly: it is about an ability that this part does not have."""
    import pytest

    pytest.skip(reason)


class Contract:
    """What every part promises. ``make``, ``inputs`` and ``call`` say what is tried."""

    tolerance: float = 0.0  # of batch = singles: 0 is exact; torch parts set 1e-5
    config_model: type[Config] | None = None  # needed where the part keeps no ``config`` attribute

    def make(self) -> Any:
        """A fresh part, the same one each time."""
        raise NotImplementedError("say how a part is made: def make(self): return Part(PartConfig())")

    def inputs(self) -> tuple[Any, ...]:
        """Fresh inputs of ``call``, the same ones each time."""
        raise NotImplementedError

    def call(self, part: Any, *inputs: Any) -> Any:
        """The part's main method on inputs."""
        raise NotImplementedError

    def test_config_refuses_unknown_settings(self) -> None:
        model = self._model()
        try:
            checked(model, {NO_SUCH_SETTING: 1})
        except ConfigError as error:
            promise(NO_SUCH_SETTING in str(error), "config refuses unknown settings", "the error does not name the setting")
        else:
            promise(False, "config refuses unknown settings", f"{model.__name__} took {NO_SUCH_SETTING!r}")

    def test_config_is_frozen_and_described(self) -> None:
        model = self._model()
        promise(bool(model.model_config.get("frozen")), "config is frozen and described", f"{model.__name__} is not frozen")
        bare = [name for name, field in model.model_fields.items() if not field.description]
        promise(not bare, "config is frozen and described", f"no description of {', '.join(bare)}")

    def test_equal_arguments_give_equal_results(self) -> None:
        part = self.make()
        first = snapshot(self.call(part, *self.inputs()))
        again = difference(first, snapshot(self.call(part, *self.inputs())))
        promise(not again, "equal arguments give equal results", f"called again, {again}")
        fresh = difference(first, snapshot(self.call(self.make(), *self.inputs())))
        promise(not fresh, "equal arguments give equal results", f"from a fresh part, {fresh}")

    def test_inputs_are_not_changed(self) -> None:
        inputs = self.inputs()
        before = snapshot(inputs)
        self.call(self.make(), *inputs)
        changed = difference(before, snapshot(inputs))
        promise(not changed, "inputs are not changed", changed)

    def test_survives_pickling(self) -> None:
        part = self.make()
        try:
            copy = pickle.loads(pickle.dumps(part))  # noqa: S301 - our own bytes
        except Exception as error:  # noqa: BLE001 - pickling may raise anything
            promise(False, "survives pickling into a worker", f"{type(error).__name__}: {error}")
        found = difference(snapshot(self.call(part, *self.inputs())), snapshot(self.call(copy, *self.inputs())))
        promise(not found, "survives pickling into a worker", found)

    def _model(self) -> type[Config]:
        model: type = self.config_model or type(getattr(self.make(), "config", None))
        promise(issubclass(model, Config), "config is a wetoolkit.config.Config", "set config_model in the test class")
        return model
