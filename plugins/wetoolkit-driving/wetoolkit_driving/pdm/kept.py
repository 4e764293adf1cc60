"""What is made once of an object and kept for a while: a map's index, a situation's reference plan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """At most ``size`` results, the least recently used dropped first.

    Results belong to objects by identity, not by content: worlds are large and frozen, and a changed world is another object. The
    objects are held as long as their result is, so that their identities stay their own. A copy of the owner in another process
    begins empty. Threads may share one; two that ask for the same at once may both make it, and equal inputs make equal results.
    """

    def __init__(self, size: int) -> None:
        self.size, self.made = size, 0
        self._kept: OrderedDict[Hashable, tuple[tuple[object, ...], T]] = OrderedDict()
        self._lock = Lock()

    def get(self, owners: tuple[object, ...], key: Hashable, make: Callable[[], T]) -> T:
        """The result kept for these objects and this key, or ``make()``, which is kept from now on."""
        place = (tuple(id(owner) for owner in owners), key)
        with self._lock:
            if place in self._kept:
                self._kept.move_to_end(place)
                return self._kept[place][1]
        result = make()
        with self._lock:
            self._kept[place], self.made = (owners, result), self.made + 1
            while len(self._kept) > self.size:
                self._kept.popitem(last=False)
        return result

    def __len__(self) -> int:
        return len(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["size"])  # type: ignore[misc]
