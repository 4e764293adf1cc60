"""`wetool doctor`: what this machine has and what each plugin lacks."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from wetoolkit import __version__, discovery, workers
from wetoolkit.cli.output import show
from wetoolkit.registry import OK, Registry, load_registry

GIB = 2**30
LEAST_MEMORY, LEAST_DISK = 4 * GIB, 4 * GIB  # bytes: what the demo needs


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what it is, and what to do where it is not enough."""

    what: str
    value: str
    state: str = OK
    remedy: str = ""


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what this machine has (Python, cores, memory, disk, GPU, packages) and what each plugin lacks."""
    import polars as pl

    found = [*machine(), *packages(), *lacking(load_registry())]
    columns = tuple(Finding.__dataclass_fields__)
    show(pl.DataFrame([asdict(finding) for finding in found], schema=dict.fromkeys(columns, pl.String)), json, "doctor")


def machine() -> Iterator[Finding]:
    """Interpreter, cores, memory, disk, GPU."""
    yield Finding("wetoolkit", __version__)
    yield Finding("python", f"{platform.python_version()} ({sys.executable})")
    yield Finding("system", platform.platform())
    yield Finding("cores", f"{workers.cores()} of {os.cpu_count()}")
    free, total = memory()
    short = "fewer workers, or a smaller chunk in the experiment" if free < LEAST_MEMORY else ""
    yield Finding("memory", f"{free / GIB:.1f} GiB free of {total / GIB:.1f}", "low" if short else OK, short)
    disk = shutil.disk_usage(Path.cwd())
    short = f"make room, or run with --out on another disk than {Path.cwd()}" if disk.free < LEAST_DISK else ""
    yield Finding("disk", f"{disk.free / GIB:.1f} GiB free here", "low" if short else OK, short)
    yield from gpus()


def memory() -> tuple[int, int]:
    """(available, total) bytes: the machine's, or the container's where that is less."""
    import psutil

    state = psutil.virtual_memory()
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    if limit is None or limit >= state.total:
        return int(state.available), int(state.total)
    return min(int(state.available), limit - (used or 0)), limit


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # no such limit ("max"), or no Linux


def gpus() -> Iterator[Finding]:
    """The NVIDIA cards that the driver's own tool lists; torch is not imported for it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Finding("gpu", "none (no nvidia-smi); everything in the core and the default plugins runs without")
        return
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding("gpu", f"nvidia-smi failed: {error}", "broken", "repair the driver, or run on the CPU")
        return
    for index, line in enumerate(answer.strip().splitlines()):
        yield Finding(f"gpu {index}", line.strip())


def packages() -> Iterator[Finding]:
    """The core's own requirements and the versions that are installed."""
    for text in metadata.requires("wetoolkit") or ():
        if ";" in text:
            continue
        name = discovery.requirement_name(text)
        try:
            yield Finding(f"package {name}", f"{metadata.version(name)} (asked: {text.removeprefix(name)})")
        except metadata.PackageNotFoundError:
            yield Finding(f"package {name}", "not installed", "missing", f"pip install '{text}'")


def lacking(registry: Registry) -> Iterator[Finding]:
    """Each distribution with what is wrong about its parts; one line where nothing is."""
    rows = registry.rows()
    for name in sorted({row.distribution for row in rows}):
        own = [row for row in rows if row.distribution == name]
        faulty = [row for row in own if row.state != OK]
        if not faulty:
            yield Finding(f"plugin {name}", f"{own[0].version}, {len(own)} parts")
        for row in faulty:
            yield Finding(f"plugin {name}", f"{row.kind}/{row.name}: {row.reason}".removeprefix("/: "), row.state, row.remedy)
