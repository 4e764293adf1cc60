"""Hold nuplan-devkit and ours together, both ways: python tests/peers/nuplan_bridge.py --peers DIR.

Writes logs of the embedded town, lets the devkit's scenario builder, map and simulation runner work on them, compares its scenarios
with what our own reader gives, and lets our policies drive its simulations. One row a check; a check that breaks is a row too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Found:
    """What a check found."""

    what: str
    compared: int
    mismatches: int
    error: float = 0.0  # the largest
    note: str = ""


Check = Callable[[], Iterator[Found]]


def borrow(peers: Path, python: str) -> None:
    """The devkit's source first on the path, and after all of ours the packages that only its interpreter has."""
    sys.path.insert(0, str(peers / "nuplan-devkit"))
    if Path(python).resolve() != Path(sys.executable).resolve() or python != sys.executable:
        script = "import sys, sysconfig; print(sys.version_info[:2], sysconfig.get_path('purelib'), sep='\\n')"
        version, folder = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.split("\n")[:2]
        if version != str(sys.version_info[:2]):
            raise SystemExit(f"{python} is Python {version}, this is {sys.version_info[:2]}: compiled packages would not fit")
        sys.path.append(folder)
    warnings.filterwarnings("ignore")  # the devkit's own, with newer pandas and geopandas than it pins


def write_town(folder: Path) -> Iterator[Found]:
    """Logs, by the command that a user gives."""
    command = [str(Path(sys.executable).with_name("wetool")), "data", "convert", "minitown", f"nuplan:{folder}", "--split", "val"]
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([*command, "--limit", "4"], check=True, stdout=subprocess.DEVNULL)
    yield Found("logs", len(list(folder.glob("*.db"))), 0, note="wetool data convert minitown nuplan:DIR")


def run(name: str, check: Check, table: Table, began: float) -> int:
    """Add the rows of a check; the number of those that do not agree."""
    print(f"[{time.perf_counter() - began:5.0f} s] {name}", flush=True)
    failed = 0
    try:
        for found in check():
            numbers = str(found.compared), str(found.mismatches), f"{found.error:.1e}" if found.error else "0"
            table.add_row(name, escape(found.what), *numbers, escape(found.note))
            failed += found.mismatches > 0
    except Exception as error:  # noqa: BLE001 - whatever breaks is a row
        traceback.print_exc()
        table.add_row(name, "broken", "", "", "", escape(f"{type(error).__name__}: {str(error)[:200]}"))
        failed += 1
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="folder with nuplan-devkit")
    parser.add_argument("--python", default=os.environ.get("PEERS_PYTHON", sys.executable), help="an interpreter with its packages")
    parser.add_argument("--windows", type=int, default=12, help="that are compared with our reader's")
    parser.add_argument("--only", default="", help="checks whose names begin so")
    parser.add_argument("--keep", action="store_true", help="use the logs written last time")
    options, began = parser.parse_args(), time.perf_counter()
    borrow(options.peers.resolve(), options.python)
    build = ROOT / "build" / "peers" / "bridge"
    build.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_CACHE_HOME"] = str(build / "cache")
    table = Table("check", "what", "compared", "mismatches", "largest error", "note", title="nuplan-devkit")
    failed = 0
    if not (options.keep and (build / "town").exists()):
        failed += run("writer", lambda: write_town(build / "town"), table, began)
    from nuplan_checks import checks

    for name, check in checks(build, options.windows):
        if name.startswith(options.only):
            failed += run(name, check, table, began)
    console = Console(record=True, width=150)
    console.print(table)
    print(f"{time.perf_counter() - began:.0f} s, {failed} rows do not agree")
    (build.parent / "bridge.txt").write_text(console.export_text())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
