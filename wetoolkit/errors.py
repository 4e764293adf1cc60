"""One family of errors. Each says what went wrong, where (plugin, distribution, file, field), what was asked and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WetoolkitError(Exception):
    """Base of all: a sentence, then `key: value` lines of context, then the way out."""

    def __init__(self, what: str, *, way_out: str = "", **context: object) -> None:
        self.what = what
        self.way_out = way_out
        self.context = {key: value for key, value in context.items() if value not in (None, "")}
        super().__init__(what, way_out, self.context)

    def __str__(self) -> str:
        lines = [self.what, *(f"  {key.replace('_', ' ')}: {value}" for key, value in self.context.items())]
        return "\n".join([*lines, f"  way out: {self.way_out}"] if self.way_out else lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors travel back from worker processes; keyword arguments would be lost by the default.
        return _rebuild, (type(self), self.what, self.way_out, self.context)


def _rebuild(kind: type[WetoolkitError], what: str, way_out: str, context: dict[str, object]) -> WetoolkitError:
    error = kind.__new__(kind)
    WetoolkitError.__init__(error, what, way_out=way_out, **context)
    return error


class ValidationError(WetoolkitError):
    """A value that crosses a seam does not hold what it promises."""


class ConfigError(WetoolkitError):
    """An experiment or a component's config is wrong: names the key."""


class PluginError(WetoolkitError):
    """A plugin could not be loaded, or does not do what its kind asks."""


class DataError(WetoolkitError):
    """Input from outside cannot be read: names the file and the field."""


class MetricMismatch(WetoolkitError):
    """Scores of different metrics, versions or settings were about to be compared or averaged."""


class StoreError(WetoolkitError):
    """The run folder cannot be read or written."""


LISTED = 60  # names that are all told; of more the nearest few: a data set may have thousands of windows


class UnknownName(WetoolkitError):
    """A name that nobody registered: says what exists and what is nearest."""

    def __init__(self, what: str, name: str, known: Iterable[str], *, way_out: str = "", **context: object) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else way_out or "use one of those"
        shown = names if len(names) <= LISTED else difflib.get_close_matches(name, names, n=5, cutoff=0.0)
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        super().__init__(f"{what} {name!r} is not known", way_out=hint, known=(", ".join(shown) or "none") + more, **context)
