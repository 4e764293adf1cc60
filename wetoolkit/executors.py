"""The two executors of the core: one after the other, and a pool of spawned processes that outlives its workers."""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool
from pydantic import Field

from wetoolkit import workers
from wetoolkit.config import Config
from wetoolkit.errors import PluginError
from wetoolkit.flight import Flight, outcome_of, pickled
from wetoolkit.types import Outcome
from wetoolkit.workers import Attempt

I = TypeVar("I")  # noqa: E741 - as in wetoolkit.kinds
R = TypeVar("R")
REBUILDS = 3  # pools that may break one after the other without one item done


class SerialConfig(Config):
    """In this process."""

    retries: int = Field(0, ge=0, description="further tries after an unexpected error [1]")


class Serial:
    """One item after the other in this process. What items print is not captured here."""

    def __init__(self, config: SerialConfig) -> None:
        self.config = config

    def map(self, function: Callable[[I], R], items: Sequence[I]) -> Iterator[Outcome]:
        """One Outcome an item, each made when it is asked for."""
        for index, item in enumerate(items):
            tries = [workers.attempt(function, item)]
            while tries[-1].again and len(tries) <= self.config.retries:
                tries.append(workers.attempt(function, item))
            yield outcome_of(index, tries)


class ProcessConfig(Config):
    """A pool of spawned processes on this machine."""

    workers: int = Field(0, ge=0, description="processes; 0 takes the cores this process may use [1]")
    retries: int = Field(1, ge=0, description="further tries after an unexpected error, a time-out or a killed worker [1]")
    timeout: float = Field(0.0, ge=0, description="an item that takes longer is ended and is an error; 0 never [s]")


class Process:
    """Spawned workers of one thread each; the function is sent once to each worker, items one by one, order kept.

    A worker that is killed or runs out of time costs a try of its item and is replaced. Results do not depend on the number of
    workers. Ending the iteration early, Ctrl-C and the death of this process end the workers.
    """

    def __init__(self, config: ProcessConfig) -> None:
        self.config = config

    def map(self, function: Callable[[I], R], items: Sequence[I]) -> Iterator[Outcome]:
        """Outcomes in order; ``PluginError`` where the function cannot be sent to another process."""
        payload = pickled(function)
        count = min(self.config.workers or workers.cores(), max(len(items), 1))
        with tempfile.TemporaryDirectory(prefix="wetool-") as folder:
            flight = _Flight(count, self.config.retries, payload=payload, folder=folder, timeout=self.config.timeout)
            try:
                yield from flight.run(items)
            finally:
                flight.stop()


@dataclass
class _Flight(Flight):
    """One ``map`` over a pool."""

    payload: bytes = b""
    folder: str = ""
    timeout: float = 0.0  # seconds, 0 for none
    pool: ProcessPool | None = None
    scheduled: dict[Future[bytes], int] = field(default_factory=dict)
    broken: int = 0  # pools that broke since the last item was done

    def advance(self) -> None:
        """See ``Flight``."""
        self._schedule()
        if self.scheduled:
            self._collect(wait(self.scheduled, return_when=FIRST_COMPLETED).done)

    def _schedule(self) -> None:
        while self.waiting:
            if self.pool is None:
                self.pool = self._fresh_pool()
            try:
                future = self.pool.schedule(workers.work, args=(self.sent[self.waiting[0]],), timeout=self.timeout or None)
            except RuntimeError as error:  # the pool broke since
                self._break(error)
                continue
            self.scheduled[future] = self.waiting.pop(0)

    def _fresh_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self.workers,
            initializer=workers.install,
            initargs=(self.payload, self.folder),
            context=multiprocessing.get_context("spawn"),
        )

    def _collect(self, finished: set[Future[bytes]]) -> None:
        taken = sorted(((self.scheduled.pop(future), future) for future in finished), key=lambda pair: pair[0])
        for index, future in taken:
            try:
                answer: Attempt = pickle.loads(future.result())  # noqa: S301 - from our own worker
            except (BrokenExecutor, CancelledError) as error:  # not this item's fault
                self.waiting.append(index)
                self._break(error)
                continue
            except ProcessExpired as error:
                answer = Attempt(error=_death(error.exitcode), detail=self._last_words(error.pid), again=True)
            except TimeoutError:
                what = f"TimeoutError: took longer than {self.timeout:g} s"
                answer = Attempt(error=what, again=True, seconds=self.timeout)
            except Exception as error:  # noqa: BLE001 - a result that cannot be read
                answer = Attempt(error=f"{type(error).__name__}: {error}")
            self.note(index, answer)

    def note(self, index: int, answer: Attempt) -> None:
        """See ``Flight``; the pool works."""
        self.broken = 0
        super().note(index, answer)

    def _break(self, error: BaseException) -> None:
        """The pool itself is lost (every worker died at once): begin another, unless that keeps happening."""
        if self.pool is None:
            return
        self.stop()
        # Its other items go to the next pool; left here, their cancellation would look like a fault of that one.
        self.waiting += sorted(self.scheduled.values())
        self.scheduled.clear()
        self.broken += 1
        if self.broken > REBUILDS:
            way_out = "run with executor 'serial' to see why; check memory with `wetool doctor`"
            raise PluginError(f"the worker processes die before any item is done: {error}", way_out=way_out) from error

    def _last_words(self, pid: int | None) -> str:
        path = workers.output_file(self.folder, pid or 0)
        return f"output of the item:\n{path.read_text(errors='replace')[-workers.LONGEST :]}" if path.exists() else ""

    def stop(self) -> None:
        """End every worker."""
        if self.pool is not None:
            self.pool.stop()  # type: ignore[no-untyped-call]
            self.pool.join()
            self.pool = None


def _death(code: int) -> str:
    cause = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    hint = "; signal 9 often means that memory ran out" if code == -9 else ""
    return f"WorkerDied: the worker process ended ({cause}{hint})"
