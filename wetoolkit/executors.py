"""The two executors of the core: one after the other, and a pool of spawned processes that outlives its workers."""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool
from pydantic import Field

from wetoolkit import workers
from wetoolkit.config import Config
from wetoolkit.errors import PluginError
from wetoolkit.types import Outcome
from wetoolkit.workers import Attempt

I = TypeVar("I")  # noqa: E741 - as in wetoolkit.kinds
R = TypeVar("R")
AHEAD = 4  # items scheduled or waiting for their turn, for each worker: what bounds the memory of `map`
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
            yield _outcome(index, tries)


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
        payload = _pickled(function)
        count = min(self.config.workers or workers.cores(), max(len(items), 1))
        with tempfile.TemporaryDirectory(prefix="wetool-") as folder:
            flight = _Flight(payload, folder, count, self.config)
            try:
                yield from flight.run(items)
            finally:
                flight.stop()


@dataclass
class _Flight:
    """The state of one ``map``: what is scheduled, what is done and waits for its turn."""

    payload: bytes
    folder: str
    workers: int
    config: ProcessConfig
    pool: ProcessPool | None = None
    scheduled: dict[Future[bytes], int] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)  # to be scheduled (again)
    sent: dict[int, bytes] = field(default_factory=dict)
    tries: dict[int, list[Attempt]] = field(default_factory=dict)
    done: dict[int, Outcome] = field(default_factory=dict)
    broken: int = 0  # pools that broke since the last item was done

    def run(self, items: Sequence[Any]) -> Iterator[Outcome]:
        admitted = 0
        for turn in range(len(items)):
            while turn not in self.done:
                for index in range(admitted, min(turn + AHEAD * self.workers, len(items))):
                    self._admit(index, items[index])
                    admitted = index + 1
                self._schedule()
                if self.scheduled:
                    self._collect(wait(self.scheduled, return_when=FIRST_COMPLETED).done)
            yield self.done.pop(turn)

    def _admit(self, index: int, item: Any) -> None:
        try:
            self.sent[index] = pickle.dumps(item)
        except Exception as error:  # noqa: BLE001 - pickling may raise anything
            reason = f"the item cannot be sent to a worker: {type(error).__name__}: {error}"
            self.done[index] = Outcome(index, error=reason)
            return
        self.tries[index] = []
        self.waiting.append(index)

    def _schedule(self) -> None:
        while self.waiting:
            if self.pool is None:
                self.pool = self._fresh_pool()
            try:
                future = self.pool.schedule(workers.work, args=(self.sent[self.waiting[0]],), timeout=self.config.timeout or None)
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
                what = f"TimeoutError: took longer than {self.config.timeout:g} s"
                answer = Attempt(error=what, again=True, seconds=self.config.timeout)
            except Exception as error:  # noqa: BLE001 - a result that cannot be read
                answer = Attempt(error=f"{type(error).__name__}: {error}")
            self._note(index, answer)

    def _note(self, index: int, answer: Attempt) -> None:
        self.broken = 0
        self.tries[index].append(answer)
        if answer.again and len(self.tries[index]) <= self.config.retries:
            self.waiting.insert(0, index)
            return
        self.done[index] = _outcome(index, self.tries.pop(index))
        del self.sent[index]

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


def _outcome(index: int, tries: Sequence[Attempt]) -> Outcome:
    last = tries[-1]
    seconds, cpu = sum(t.seconds for t in tries), sum(t.cpu_seconds for t in tries)
    peak = max(t.peak_rss for t in tries)
    return Outcome(index, last.value, last.error, last.detail, len(tries), seconds, cpu, peak)


def _pickled(function: Callable[..., Any]) -> bytes:
    try:
        return pickle.dumps(function)
    except Exception as error:
        raise PluginError(
            f"the work cannot be sent to worker processes: {type(error).__name__}: {error}",
            way_out="use executor 'serial', or make every part picklable (no lambdas, open files or threads inside)",
        ) from error
