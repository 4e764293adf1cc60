"""The promises of each kind as tests to inherit.

Subclass the contract of your kind in a test file as ``class TestMine(RewardContract)``, say how a part is made and what it is
tried on, and pytest runs every promise. A broken one fails with its name::

    class TestMine(RewardContract):
        examples = DrivingExamples()  # what it is tried on: a domain's examples, or methods of the class instead
        def make(self): return Mine(MineConfig())

What is shared by all kinds stands here; the kinds follow in ``data`` (dataset, domain, reconstructor, behaviour), ``acting``
(policy, miner, simulator), ``judging`` (reward), ``working`` (algorithm, executor) and ``distribution`` (the plugin module).
"""

from __future__ import annotations

import pickle
import re
import sys
from typing import Any

from wetoolkit.config import Config, checked
from wetoolkit.errors import ConfigError
from wetoolkit.testing.compare import difference, snapshot
from wetoolkit.testing.examples import Examples
from wetoolkit.testing.spawned import through_a_fresh_interpreter

NO_SUCH_SETTING = "no_such_setting"
_UNIT = re.compile(r"\[[^\]]+\]")
_NUMBERS = {"integer", "number"}


def promise(kept: bool, name: str, how: str = "") -> None:
    """Fail with the promise's name unless it is kept."""
    if not kept:
        raise AssertionError(f"broken promise: {name}" + (f" ({how})" if how else ""))


class Skipped(Exception):
    """A promise that was left out, where no pytest runs."""


def skipped() -> type[BaseException]:
    """What ``skip`` raises: pytest's own where pytest runs."""
    pytest = sys.modules.get("pytest")
    return pytest.skip.Exception if pytest else Skipped


def skip(reason: str) -> None:
    """Leave a promise out, visibly: it is about an ability that this part does not have."""
    raise skipped()(reason)


class Contract:
    """What every part promises. ``make``, ``inputs`` and ``call`` say what is tried."""

    tolerance: float = 0.0  # of batch = singles: 0 is exact; torch parts set 1e-5
    config_model: type[Config] | None = None  # needed where the part keeps no ``config`` attribute
    examples: Examples[Any] | None = None  # a domain's; what it gives need not be written in the test class

    def make(self) -> Any:
        """A fresh part, the same one each time."""
        raise NotImplementedError("say how a part is made: def make(self): return Part(PartConfig())")

    def inputs(self) -> tuple[Any, ...]:
        """Fresh inputs of ``call``, the same ones each time."""
        raise NotImplementedError

    def call(self, part: Any, *inputs: Any) -> Any:
        """The part's main method on inputs."""
        raise NotImplementedError

    def given(self, otherwise: str) -> Examples[Any]:
        """The domain's examples; an error that says what to write ``otherwise``."""
        if self.examples is None:
            raise NotImplementedError(f"examples = MyDomainExamples(), or {otherwise}")
        return self.examples

    def test_config_refuses_unknown_settings(self) -> None:
        model = self._model()
        try:
            checked(model, {NO_SUCH_SETTING: 1})
        except ConfigError as error:
            promise(NO_SUCH_SETTING in str(error), "config refuses unknown settings", "the error does not name the setting")
        else:
            promise(False, "config refuses unknown settings", f"{model.__name__} took {NO_SUCH_SETTING!r}")

    def test_a_wrong_setting_is_a_clear_error(self) -> None:
        model, name = self._model(), "a wrong setting is a clear error"
        for setting in _plain(model):
            try:
                checked(model, {setting: object()})
            except ConfigError as error:
                promise(setting in str(error), name, f"the error does not name {setting!r}")
            except Exception as error:  # noqa: BLE001 - any other error is the broken promise
                promise(False, name, f"{setting!r}: {type(error).__name__}: {error}")
            else:
                promise(False, name, f"{model.__name__} took an object() as its {setting!r}")

    def test_config_is_frozen_and_described(self) -> None:
        model = self._model()
        promise(bool(model.model_config.get("frozen")), "config is frozen and described", f"{model.__name__} is not frozen")
        bare = [name for name, field in model.model_fields.items() if not field.description]
        promise(not bare, "config is frozen and described", f"no description of {', '.join(bare)}")

    def test_numbers_have_units(self) -> None:
        bare = [key for key, described in _plain(self._model()).items() if described and not _UNIT.search(described)]
        promise(not bare, "numbers have units", f"no [unit] in the description of {', '.join(bare)}; [1] for counts and ratios")

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
        """Through an interpreter that has imported nothing yet, as a spawned worker would have it."""
        part, name = self.make(), "survives pickling into a worker"
        try:
            data = pickle.dumps(part)
        except Exception as error:  # noqa: BLE001 - pickling may raise anything
            promise(False, name, f"{type(error).__name__}: {error}")
        back, reason = through_a_fresh_interpreter(data)
        promise(not reason, name, f"in a fresh interpreter, {reason}")
        copy = pickle.loads(back)  # noqa: S301 - our own bytes
        found = difference(snapshot(self.call(part, *self.inputs())), snapshot(self.call(copy, *self.inputs())))
        promise(not found, name, found)

    def _model(self) -> type[Config]:
        model: type = self.config_model or type(getattr(self.make(), "config", None))
        promise(issubclass(model, Config), "config is a wetoolkit.config.Config", "set config_model in the test class")
        return model


def _plain(model: type[Config]) -> dict[str, str]:
    """Setting -> description, of those that are numbers (also lists of numbers, and numbers or none)."""
    found = {}
    for name, field in model.model_json_schema().get("properties", {}).items():
        options = [option.get("items", option) for option in field.get("anyOf", [field])]
        if {option.get("type") for option in options} & _NUMBERS:
            found[name] = field.get("description", "")
    return found
