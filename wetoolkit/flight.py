"""What every executor over several workers shares: items admitted in order and only so far ahead, tries counted, order kept.

An executor of yours subclasses ``Flight`` with one method, ``advance``; ``wetoolkit.executors`` and wetoolkit-ray do so.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from wetoolkit.errors import PluginError
from wetoolkit.types import Outcome
from wetoolkit.workers import Attempt

AHEAD = 4  # items scheduled or waiting for their turn, for each worker: what bounds the memory of `map`


@dataclass
class Flight(ABC):
    """The state of one ``map``: what is scheduled, what is done and waits for its turn."""

    workers: int
    retries: int  # further tries of an item whose Attempt says ``again``
    waiting: list[int] = field(default_factory=list)  # to be scheduled (again)
    sent: dict[int, bytes] = field(default_factory=dict)  # item -> its pickle
    tries: dict[int, list[Attempt]] = field(default_factory=dict)
    done: dict[int, Outcome] = field(default_factory=dict)

    def run(self, items: Sequence[Any]) -> Iterator[Outcome]:
        """One Outcome an item, in order."""
        admitted = 0
        for turn in range(len(items)):
            while turn not in self.done:
                for index in range(admitted, min(turn + AHEAD * self.workers, len(items))):
                    self._admit(index, items[index])
                    admitted = index + 1
                if turn not in self.done:
                    self.advance()
            yield self.done.pop(turn)

    @abstractmethod
    def advance(self) -> None:
        """Schedule what is in ``waiting``, wait until something is finished, and ``note`` it."""

    def _admit(self, index: int, item: Any) -> None:
        try:
            self.sent[index] = pickle.dumps(item)
        except Exception as error:  # noqa: BLE001 - pickling may raise anything
            reason = f"the item cannot be sent to a worker: {type(error).__name__}: {error}"
            self.done[index] = Outcome(index, error=reason)
            return
        self.tries[index] = []
        self.waiting.append(index)

    def note(self, index: int, answer: Attempt) -> None:
        """Take in one try: the item is done, or waits for another."""
        self.tries[index].append(answer)
        if answer.again and len(self.tries[index]) <= self.retries:
            self.waiting.insert(0, index)
            return
        self.done[index] = outcome_of(index, self.tries.pop(index))
        del self.sent[index]


def outcome_of(index: int, tries: Sequence[Attempt]) -> Outcome:
    """The last of an item's tries, with the cost of all of them."""
    last = tries[-1]
    seconds, cpu = sum(t.seconds for t in tries), sum(t.cpu_seconds for t in tries)
    peak = max(t.peak_rss for t in tries)
    return Outcome(index, last.value, last.error, last.detail, len(tries), seconds, cpu, peak)


def pickled(function: Callable[..., Any]) -> bytes:
    """What ``workers.install`` takes; ``PluginError`` where the function cannot be sent to another process."""
    try:
        return pickle.dumps(function)
    except Exception as error:
        raise PluginError(
            f"the work cannot be sent to worker processes: {type(error).__name__}: {error}",
            way_out="use executor 'serial', or make every part picklable (no lambdas, open files or threads inside)",
        ) from error
