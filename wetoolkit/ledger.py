"""What each stage cost: one row a stage and start in ``ledger.parquet``; a resumed run adds rows, it never rewrites them."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from wetoolkit.errors import StoreError
from wetoolkit.store import read_table, write_table


@dataclass
class Cost:
    """One row. CPU seconds are those of this process and of the workers that ended in it; what a killed start spent is lost."""

    stage: str
    started: str  # ISO 8601, UTC
    wall: float = 0.0  # seconds
    cpu_seconds: float = 0.0
    peak_rss: int = 0  # bytes, of the largest process
    items: int = 0
    cached: int = 0  # of the items, found finished
    failed: int = 0  # of the items
    damaged: int = 0  # artefacts found damaged and made again
    gpu_seconds: float | None = None  # None where no part reported any


class Ledger:
    """The costs of a run folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.parquet"

    @contextmanager
    def stage(self, name: str) -> Iterator[Cost]:
        """Measure a stage; its row is written when it ends, also by an error."""
        cost = Cost(name, datetime.now(UTC).isoformat(timespec="seconds"))
        reset_peak()
        wall, cpu = time.perf_counter(), cpu_seconds()
        try:
            yield cost
        finally:
            cost.wall, cost.cpu_seconds = time.perf_counter() - wall, cpu_seconds() - cpu
            cost.peak_rss = max(cost.peak_rss, peak_rss())
            self.append(cost)

    def append(self, cost: Cost) -> None:
        """Add one row; an unreadable ledger is set aside."""
        row = pl.DataFrame([asdict(cost)], schema_overrides={"gpu_seconds": pl.Float64})
        if self.path.exists():
            try:
                row = pl.concat([read_table(self.path), row], how="vertical")
            except (StoreError, pl.exceptions.PolarsError):
                self.path.replace(self.path.with_suffix(".damaged"))
        write_table(self.path, row)


def cpu_seconds() -> float:
    """User and system seconds of this process and of its ended children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def reset_peak() -> None:
    """Start measuring the peak anew, where the system lets us (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_rss() -> int:
    """Bytes of resident memory at most since ``reset_peak`` (since the start of the process where that is not possible)."""
    with suppress(OSError, StopIteration):
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
