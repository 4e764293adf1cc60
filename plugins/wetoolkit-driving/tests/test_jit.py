"""The notice before the first compilation, and what is kept of an object."""

import io
import pickle
from types import SimpleNamespace

import numpy as np
from rich.console import Console
from wetoolkit_driving.jit import Notice
from wetoolkit_driving.pdm.kept import Kept


def compiling(module: str) -> SimpleNamespace:
    return SimpleNamespace(data={"dispatcher": SimpleNamespace(py_func=SimpleNamespace(__module__=module))})


def test_the_first_compilation_of_ours_is_announced_once():
    said = io.StringIO()
    notice = Notice(Console(file=said, width=200))
    notice.on_start(compiling("somebody.elses"))
    assert said.getvalue() == ""
    for module in ("wetoolkit_driving.pdm.kernels", "wetoolkit_driving.geometry"):
        notice.on_start(compiling(module))
        notice.on_end(compiling(module))
    assert said.getvalue().count("compiling kernels, once per version") == 1


def test_numba_tells_the_notice_when_it_compiles():
    """The event and its data are numba's; this fails if they change."""
    from numba import njit
    from numba.core import event

    seen = []

    class Spy(event.Listener):
        def on_start(self, happening):
            seen.append(happening.data["dispatcher"].py_func.__name__)

        def on_end(self, happening):
            pass

    with event.install_listener("numba:compile", Spy()):

        @njit
        def fresh(x):
            return x + 1

        assert fresh(1) == 2 and fresh(2) == 3
    assert seen == ["fresh"]


def test_results_are_kept_by_identity_and_bounded():
    kept, made = Kept(2), []

    def result(name):
        return lambda: made.append(name) or name

    one, two, three = np.zeros(1), np.zeros(1), np.zeros(1)
    assert kept.get((one,), 0, result("a")) == kept.get((one,), 0, result("b")) == "a"
    assert kept.get((two,), 0, result("c")) == "c" and kept.get((one,), 0, result("d")) == "a"
    assert kept.get((three,), 0, result("e")) == "e" and len(kept) == 2
    assert kept.get((two,), 0, result("f")) == "f"  # the least recently used had gone
    assert kept.get((three,), 1, result("g")) == "g"  # another key
    assert made == ["a", "c", "e", "f", "g"]


def test_a_copy_in_another_process_begins_empty():
    kept: Kept[int] = Kept(3)
    kept.get((kept,), 0, lambda: 1)
    again = pickle.loads(pickle.dumps(kept))
    assert again.size == 3 and len(again) == 0 and again.get((again,), 0, lambda: 2) == 2
