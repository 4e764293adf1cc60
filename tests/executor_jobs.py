"""Top-level functions that tests send to worker processes."""

import os
import signal
import sys
import time
from pathlib import Path

from wetoolkit.errors import DataError


def double(item):
    return 2 * item


def slow_first(item):
    time.sleep(0.6 if item == 0 else 0.0)
    return item


def fails_on_three(item):
    print(f"looking at {item}")
    sys.stderr.write("a warning\n")
    if item == 3:
        raise ValueError("three is not liked")
    return item


def killed_on_three(item):
    print(f"working on {item}", flush=True)
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def killed_once(folder, item):
    mark = Path(folder) / "killed"
    if item == 2 and not mark.exists():
        mark.write_text("")
        time.sleep(0.5)  # killed at once, before its pool has read that it took the item, it would be sent again at no cost
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def sleeps_on_one(item):
    time.sleep(60 if item == 1 else 0)
    return item


def always_killed(item):
    os.kill(os.getpid(), signal.SIGKILL)


def counts_and_raises(folder, item):
    with (Path(folder) / "calls").open("a") as file:
        file.write("x")
    raise DataError("a truncated file", file="a.pkl") if item == "data" else RuntimeError("flaky")


def threads(item):
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}


def no_answer(item):
    return lambda: item


def burns(item):
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    return bytearray(50_000_000)[:1]


def notes_pid_and_sleeps(folder, item):
    (Path(folder) / f"{os.getpid()}.pid").write_text("")
    time.sleep(60)


class CountsUnpickling:
    """Says how often it was unpickled in this process."""

    times = 0

    def __setstate__(self, state):
        type(self).times += 1

    def __getstate__(self):
        return {"x": 1}

    def __call__(self, item):
        return os.getpid(), type(self).times
