"""The executor ``ray`` on a real cluster of two cores, started by the first ``map`` of this module."""

import contextlib
import re
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import executor_jobs as jobs
import psutil
import pytest
import ray
from ray.exceptions import OutOfMemoryError
from toy_run import start, tables
from wetoolkit_ray.executor import Ray, RayConfig, _Actor, _Flight

from wetoolkit.errors import PluginError
from wetoolkit.executors import ProcessConfig
from wetoolkit.flight import AHEAD
from wetoolkit.registry import load_registry
from wetoolkit.testing import ExecutorContract

# One cluster: all tests of this file go to one pytest worker. Ray leaves sockets and files to the garbage collector.
pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    yield
    ray.shutdown()


def executor(**settings):
    return Ray(RayConfig(**{"workers": 2, "retries": 0, "store": 80, **settings}))


def test_no_cluster_is_an_error_that_names_the_address():
    script = "from wetoolkit_ray.executor import *; connect(RayConfig(address='auto'))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert "PluginError" in ended.stderr and "no Ray cluster" in ended.stderr and "address: auto" in ended.stderr


class TestRayKeepsTheContract(ExecutorContract):
    def make(self):
        return executor(workers=1)


def test_values_come_in_order_with_their_costs_from_workers_of_one_thread():
    outcomes = list(executor().map(jobs.slow_first, range(5)))
    assert [(o.index, o.value) for o in outcomes] == [(i, i) for i in range(5)]
    assert all(o.ok and o.attempts == 1 and o.seconds >= 0 and o.peak_rss > 1_000_000 for o in outcomes)
    (threads,) = executor().map(jobs.threads, [0])
    assert set(threads.value.values()) == {"1"}


def test_the_cluster_listens_on_loopback_only():
    list(executor().map(jobs.double, [1]))
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    sockets = []
    for process in family:
        with contextlib.suppress(psutil.Error):  # a worker may end meanwhile
            sockets += [socket for socket in process.net_connections("inet") if socket.status == psutil.CONN_LISTEN]
    assert len(sockets) >= 3 and {socket.laddr.ip for socket in sockets} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_an_exception_is_one_outcome_with_its_traceback_and_output():
    outcomes = list(executor(workers=1).map(jobs.fails_on_three, range(5)))
    assert [o.ok for o in outcomes] == [True, True, True, False, True]
    assert outcomes[3].error == "ValueError: three is not liked"
    assert "fails_on_three" in outcomes[3].detail and "looking at 3" in outcomes[3].detail
    assert "looking at 2" not in outcomes[3].detail


def test_a_killed_worker_costs_its_own_item_only_and_a_retry_may_save_it(tmp_path):
    outcomes = list(executor(retries=1).map(jobs.killed_on_three, range(6)))
    assert [o.value for o in outcomes if o.ok] == [0, 1, 2, 4, 5]
    assert "WorkerDied" in outcomes[3].error and outcomes[3].attempts == 2 and "working on 3" in outcomes[3].detail
    outcomes = list(executor(retries=1).map(partial(jobs.killed_once, str(tmp_path)), range(4)))
    assert [o.value for o in outcomes] == [0, 1, 2, 3] and [o.attempts for o in outcomes] == [1, 1, 2, 1]


def test_a_worker_that_ran_out_of_memory_says_so(monkeypatch):
    monkeypatch.setattr(_Flight, "_last_words", lambda self, actor: "")  # its node is gone
    flight = _Flight(1, 0, sent={0: b""}, tries={0: []})
    flight._bury(_Actor(None, None, 0.0, index=0), OutOfMemoryError("too much"))
    assert "memory ran out" in flight.done[0].error


def test_time_out_ends_the_item_and_the_others_go_on():
    outcomes = list(executor(timeout=2.0).map(jobs.sleeps_on_one, range(4)))
    assert [o.ok for o in outcomes] == [True, False, True, True]
    assert "longer than 2 s" in outcomes[1].error


def test_what_cannot_be_sent_is_said():
    with pytest.raises(PluginError, match="cannot be sent to worker processes"):
        list(executor().map(lambda item: item, [1]))
    good, bad = executor().map(jobs.double, [1, lambda: 1])
    assert good.value == 2 and "cannot be sent" in bad.error
    (answer,) = executor().map(jobs.no_answer, [1])
    assert "result cannot be sent back" in answer.error


def test_resources_that_the_cluster_has_not_are_said():
    with pytest.raises(PluginError, match="99 cores and 0 GPUs an item where the cluster has 2 cores"):
        list(executor(workers=0, cpus=99).map(jobs.double, [1]))
    with pytest.raises(PluginError, match="no worker could start in 2 s"):
        list(executor(memory=10**7, start_timeout=2.0).map(jobs.double, [1]))


def test_an_item_may_ask_for_both_cores():
    outcomes = list(executor(workers=0, cpus=2).map(jobs.CountsUnpickling(), range(4)))
    assert len({o.value[0] for o in outcomes}) == 1  # one worker at a time fits


class Watched(list):
    """Notes the furthest item that was asked for."""

    furthest = -1

    def __getitem__(self, index):
        self.furthest = max(self.furthest, index)
        return super().__getitem__(index)


def test_only_so_many_items_are_taken_ahead_and_workers_end_with_the_iteration(tmp_path):
    items = Watched(range(100))
    outcomes = executor().map(jobs.CountsUnpickling(), items)
    pid = next(outcomes).value[0]
    assert items.furthest < AHEAD * 2
    outcomes.close()
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=20)
    assert not psutil.pid_exists(pid)


def test_the_same_experiment_gives_the_same_tables_on_each_executor(tmp_path):
    registry = load_registry(["wetoolkit.testing.plugin"], only=["wetoolkit", "wetoolkit-ray"])
    for name, part in {"serial": {"use": "serial"}, "ray": {"use": "ray", "workers": 2, "store": 80}}.items():
        start(registry, tmp_path / name, {"rounds": 1, "executor": part})
    assert tables(tmp_path / "ray") == tables(tmp_path / "serial")


def test_the_pages_examples_are_settings_there_are():
    page = (Path(__file__).parents[3] / "docs" / "executors.md").read_text()
    tables = [tomllib.loads(text)["executor"] for text in re.findall(r"```toml\n(.*?)```", page, re.S)]
    configs = {"ray": RayConfig, "process": ProcessConfig}
    built = [configs[table.pop("use")](**table) for table in tables]
    assert [type(config).__name__ for config in built] == ["ProcessConfig", "RayConfig"]
