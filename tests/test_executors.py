"""Executors: order, retries, time-outs, killed workers, back-pressure, nothing left behind."""

import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import executor_jobs as jobs
import psutil
import pytest

from wetoolkit import executors
from wetoolkit.errors import PluginError
from wetoolkit.executors import Process, ProcessConfig, Serial, SerialConfig
from wetoolkit.flight import AHEAD
from wetoolkit.workers import Attempt


def process(**settings):
    return Process(ProcessConfig(**{"workers": 2, "retries": 0, **settings}))


def children():
    return [child for child in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture(autouse=True)
def nothing_left_behind():
    yield
    assert children() == []


@pytest.mark.parametrize("executor", [Serial(SerialConfig()), process()], ids=["serial", "process"])
def test_values_come_in_order_with_their_costs(executor):
    outcomes = list(executor.map(jobs.double, [3, 1, 2]))
    assert [o.value for o in outcomes] == [6, 2, 4]
    assert [o.index for o in outcomes] == [0, 1, 2]
    assert all(o.ok and o.attempts == 1 and o.seconds >= 0 and o.peak_rss > 1_000_000 for o in outcomes)


def test_a_slow_item_keeps_its_place():
    assert [o.value for o in process().map(jobs.slow_first, range(6))] == list(range(6))


def test_no_items_need_no_pool():
    assert list(process().map(jobs.double, [])) == []


@pytest.mark.parametrize("executor", [Serial(SerialConfig()), process()], ids=["serial", "process"])
def test_an_exception_is_one_outcome_with_its_traceback(executor):
    outcomes = list(executor.map(jobs.fails_on_three, range(5)))
    assert [o.ok for o in outcomes] == [True, True, True, False, True]
    assert outcomes[3].error == "ValueError: three is not liked"
    assert "Traceback" in outcomes[3].detail and "fails_on_three" in outcomes[3].detail


def test_output_of_the_failed_item_only_is_in_its_detail():
    failed = list(process(workers=1).map(jobs.fails_on_three, range(5)))[3]
    assert "looking at 3" in failed.detail and "a warning" in failed.detail
    assert "looking at 2" not in failed.detail


def test_a_killed_worker_costs_its_own_item_only():
    outcomes = list(process(retries=1).map(jobs.killed_on_three, range(8)))
    assert [o.value for o in outcomes if o.ok] == [0, 1, 2, 4, 5, 6, 7]
    assert "signal 9" in outcomes[3].error and outcomes[3].attempts == 2
    assert "working on 3" in outcomes[3].detail


def test_a_retry_saves_an_item_whose_worker_was_killed_once(tmp_path):
    outcomes = list(process(retries=1).map(partial(jobs.killed_once, str(tmp_path)), range(4)))
    assert [o.value for o in outcomes] == [0, 1, 2, 3]
    assert [o.attempts for o in outcomes] == [1, 1, 2, 1]


def test_time_out_ends_the_item_and_the_pool_goes_on():
    began = time.monotonic()
    outcomes = list(process(timeout=0.5).map(jobs.sleeps_on_one, range(4)))
    assert [o.ok for o in outcomes] == [True, False, True, True]
    assert "longer than 0.5 s" in outcomes[1].error
    assert time.monotonic() - began < 20


def test_every_item_killed_is_every_item_an_error():
    outcomes = list(process().map(jobs.always_killed, range(3)))
    assert len(outcomes) == 3 and not any(o.ok for o in outcomes)


@pytest.mark.parametrize(("item", "calls"), [("data", 1), ("flaky", 3)])
def test_errors_that_blame_the_input_are_not_tried_again(tmp_path, item, calls):
    for executor in (Serial(SerialConfig(retries=2)), process(retries=2)):
        (tmp_path / "calls").write_text("")
        (outcome,) = executor.map(partial(jobs.counts_and_raises, str(tmp_path)), [item])
        assert not outcome.ok and outcome.attempts == calls
        assert (tmp_path / "calls").read_text() == "x" * calls


def test_workers_run_one_thread_and_leave_this_environment_alone():
    before = dict(os.environ)
    (outcome,) = process().map(jobs.threads, [0])
    assert set(outcome.value.values()) == {"1"}
    assert dict(os.environ) == before


def test_the_function_is_sent_once_to_each_worker():
    outcomes = list(process().map(jobs.CountsUnpickling(), range(10)))
    assert {times for _, times in (o.value for o in outcomes)} == {1}
    assert len({pid for pid, _ in (o.value for o in outcomes)}) <= 2


def test_what_cannot_be_sent_is_said():
    with pytest.raises(PluginError, match="cannot be sent to worker processes"):
        list(process().map(lambda item: item, [1]))
    good, bad = process().map(jobs.double, [1, lambda: 1])
    assert good.value == 2 and "cannot be sent" in bad.error
    (answer,) = process().map(jobs.no_answer, [1])
    assert "result cannot be sent back" in answer.error


def test_cost_is_the_items_own():
    (outcome,) = process().map(jobs.burns, [0])
    assert 0.15 < outcome.cpu_seconds < 2
    assert outcome.peak_rss > 50_000_000


class Watched(list):
    """Notes the furthest item that was asked for."""

    furthest = -1

    def __getitem__(self, index):
        self.furthest = max(self.furthest, index)
        return super().__getitem__(index)


def test_only_so_many_items_are_taken_ahead():
    items = Watched(range(100))
    outcomes = process().map(jobs.double, items)
    assert next(outcomes).value == 0
    assert items.furthest < AHEAD * 2
    outcomes.close()


def test_results_do_not_depend_on_the_number_of_workers():
    one, two = ([o.value for o in process(workers=n).map(jobs.double, range(20))] for n in (1, 2))
    assert one == two


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from functools import partial
import executor_jobs as jobs
from wetoolkit.executors import Process, ProcessConfig
if __name__ == "__main__":
    list(Process(ProcessConfig(workers=2)).map(partial(jobs.notes_pid_and_sleeps, {folder!r}), range(4)))
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "sigkill"])
def test_workers_end_with_their_parent(tmp_path, ending):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    parent = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL, start_new_session=True)
    until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    os.killpg(parent.pid, ending) if ending == signal.SIGINT else parent.send_signal(ending)
    parent.wait(20)
    until(lambda: not any(psutil.pid_exists(int(path.stem)) for path in tmp_path.glob("*.pid")))


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


class BreakingPool:
    """Stands in for pebble's pool: the first one breaks with one item, and ends the rest when it is stopped."""

    made = 0

    def __init__(self, **_settings):
        BreakingPool.made += 1
        self.breaks, self.futures = BreakingPool.made == 1, []

    def schedule(self, _function, args, timeout):
        future = Future()
        self.futures.append(future)
        if not self.breaks:
            future.set_result(pickle.dumps(Attempt(value=pickle.loads(args[0]))))
        elif len(self.futures) == 1:
            future.set_exception(BrokenProcessPool("gone"))
        return future

    def stop(self):
        for future in self.futures:
            future.cancel()

    def join(self):
        pass


def test_a_broken_pool_costs_one_new_pool_and_no_item(monkeypatch):
    monkeypatch.setattr(executors, "ProcessPool", BreakingPool)
    monkeypatch.setattr(BreakingPool, "made", 0)
    outcomes = list(process().map(jobs.double, range(6)))
    assert [outcome.value for outcome in outcomes] == list(range(6)) and all(outcome.ok for outcome in outcomes)
    assert BreakingPool.made == 2
