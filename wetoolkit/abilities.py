"""What a dataset may be able to do besides. Ask with ``isinstance(part, SupportsX)``; ``wetoolkit.kinds`` has them too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from wetoolkit.types import Defect, Ref, Scenario


@runtime_checkable
class SupportsLabels(Protocol):
    """A dataset that knows what its scenarios are about. For evaluation only: no miner, policy or algorithm is given it."""

    def labels(self, split: str) -> Mapping[str, str]:
        """Scenario id -> label, "" for ordinary ones."""


@runtime_checkable
class SupportsMake(Protocol):
    """A dataset that makes its recordings itself, or indexes them, and can do so piece by piece in workers."""

    def pending(self, splits: Sequence[str]) -> Sequence[Any]:
        """What is still to be made for these splits: picklable pieces; none where all is there."""

    def make(self, piece: Any) -> None:
        """Make one of them where every process finds it. What cannot be made is left to ``index`` to report."""


@runtime_checkable
class SupportsFiles(Protocol):
    """A dataset that reads files of the user's: where one of them changes, what was made of them is made again."""

    def files(self) -> Sequence[Path]:
        """Every file that ``index`` and ``load`` depend on; they need not be opened to be listed."""


@runtime_checkable
class SupportsReport(Protocol):
    """A dataset that counts what it repaired, skipped or could not offer."""

    def repairs(self) -> Mapping[str, int]:
        """What was done -> how often, for the split files read so far."""


@runtime_checkable
class SupportsRecordings(Protocol):
    """A dataset that hands over whole recordings, so that they can be written in another format."""

    def recordings(self, split: str) -> Sequence[Ref]:
        """Every whole recording of a split: ``Ref.id`` is the log's name, the same as in the Refs of its windows."""

    def recording(self, ref: Ref) -> Scenario[Any]:
        """All of one recording as one Scenario, its present at the first step."""


@runtime_checkable
class SupportsSensors(Protocol):
    """A dataset whose windows and recordings come with what sensors saw."""

    def sensors(self, ref: Ref, cameras: Sequence[str] | None = None, steps: Sequence[int] | None = None) -> Any:
        """The domain's own type: which sensors there were and which files they filled; files are named, not opened.

        ``cameras``: only these; ``steps``: only what was recorded at these steps of the scenario's clock, a time between two steps
        counted to the later one (None: all). ``DataError`` where a file that the data name is missing.
        """


@runtime_checkable
class SupportsInspect(Protocol):
    """A dataset that can tell its own format by a look, say what a folder holds and list what is wrong in it."""

    @classmethod
    def recognise(cls, path: Path) -> Mapping[str, Any] | None:
        """The settings with which this dataset reads ``path``, None where it is not its format. Cheap: names and first bytes."""

    def inspect(self) -> Mapping[str, str]:
        """Facts by name: format, logs, windows, rates, classes, map, sensors, licence note."""

    def defects(self) -> Iterator[Defect]:
        """Everything wrong in the data, file by file; reads them all."""
