"""Logs on disk: one safetensors file each, written atomically, made again where broken. Several processes may share a folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

import safetensors
from safetensors.numpy import load_file, save

from wetoolkit_minitown.log import Log


def default_folder() -> Path:
    """The user's cache folder, as the XDG base directory specification says."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wetoolkit" / "minitown"


@lru_cache(maxsize=2)
def code_version(*parts: str) -> str:
    """A hash of the sources in these folders of the package, those of a log unless given: what another version made is not read."""
    digest, here = hashlib.sha256(), Path(__file__).parent
    for source in sorted(path for part in parts or ("", "events") for path in (here / part).glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def read_log(path: Path) -> Log | None:
    """The log in a file; None where there is none or it is not whole."""
    try:
        return Log(**load_file(path))
    except (OSError, safetensors.SafetensorError, TypeError, ValueError):
        return None


def write_log(path: Path, log: Log) -> bool:
    """Put a log into a file, all or nothing. False where the disk does not take it: the cache is a convenience, not a result."""
    data = save({field.name: getattr(log, field.name) for field in fields(log)})
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        return False
    return True
