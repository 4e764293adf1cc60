"""What runs inside a worker process. Light on purpose: the thread limits must stand before numpy or torch is imported there."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)
LONGEST = 20_000  # characters of an item's output that are kept


@dataclass(frozen=True)
class Attempt:
    """One try at one item, whichever process made it."""

    value: Any = None
    error: str = ""
    detail: str = ""
    again: bool = False  # whether another try may help
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss: int = 0


def attempt(function: Callable[[Any], Any], item: Any) -> Attempt:
    """Call and time it; an exception becomes a reason. Errors that state what is wrong with the input are final."""
    from wetoolkit.errors import StoreError, WetoolkitError

    wall, cpu = time.perf_counter(), time.process_time()
    value, error, detail, again = None, "", "", False
    try:
        value = function(item)
    except Exception as raised:  # noqa: BLE001 - an item's failure is a row, whatever it is
        error = " ".join(f"{type(raised).__name__}: {raised}".split())
        detail, again = traceback.format_exc(), not isinstance(raised, WetoolkitError) or isinstance(raised, StoreError)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    return Attempt(value, error, detail, again, seconds, cpu_seconds, peak_rss())


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_rss() -> int:
    """Largest resident set of this process so far, bytes."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Work:
    """The function of this worker process: it arrives once and stays. One process serves one ``map``."""

    function: Callable[[Any], Any]
    output: int  # file descriptor of the worker's stdout and stderr


def install(payload: bytes, folder: str) -> None:
    """Prepare a fresh worker: one thread for each numerical library, output to a file, an end with its parent, the function.

    Never raises (that would break the pool): a function that cannot be unpickled here fails each item with the reason.
    """
    os.environ.update(dict.fromkeys(THREADS, "1"))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _Work.output = os.open(output_file(folder, os.getpid()), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(_Work.output, 1)
    os.dup2(_Work.output, 2)
    try:
        _Work.function = pickle.loads(payload)  # noqa: S301 - made by our own parent process a moment ago
    except Exception as error:  # noqa: BLE001
        reason = f"the work could not be unpickled in the worker: {type(error).__name__}: {error}"
        _Work.function = _Unloadable(reason)


@dataclass(frozen=True)
class _Unloadable:
    reason: str

    def __call__(self, item: Any) -> Any:
        from wetoolkit.errors import PluginError

        raise PluginError(
            self.reason, way_out="define what is sent at the top level of an installed module, or use executor 'serial'"
        )


def work(item: bytes) -> bytes:
    """One pickled item in, one pickled ``Attempt`` out, with what the item printed in its detail."""
    os.ftruncate(_Work.output, 0)
    try:
        thing = pickle.loads(item)  # noqa: S301 - from our own parent
    except Exception as error:  # noqa: BLE001
        return pickle.dumps(Attempt(error=f"the item could not be unpickled in the worker: {type(error).__name__}: {error}"))
    done = attempt(_Work.function, thing)
    sys.stdout.flush()
    sys.stderr.flush()
    printed = os.pread(_Work.output, LONGEST, max(os.fstat(_Work.output).st_size - LONGEST, 0)).decode(errors="replace")
    facts = {**vars(done), "detail": done.detail + (f"output of the item:\n{printed}" if printed else "")}
    try:
        return pickle.dumps(Attempt(**facts))
    except Exception as error:  # noqa: BLE001 - pickling may raise anything
        reason = f"its result cannot be sent back: {type(error).__name__}: {error}"
        return pickle.dumps(Attempt(**{**facts, "value": None, "error": reason}))


def output_file(folder: str, pid: int) -> Path:
    """Where a worker's output goes; its parent reads it when the worker was killed."""
    return Path(folder) / f"{pid}.out"


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
