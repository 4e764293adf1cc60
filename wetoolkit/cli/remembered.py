"""Broken promises, remembered for as long as the part's package is as it was, so that `wetool plugins` can say so."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from wetoolkit.discovery import cache_folder, locate
from wetoolkit.registry import Entry


def remember(entry: Entry, broken: Sequence[str]) -> None:
    """Note how a part broke its promises, or that it breaks none any more."""
    path, note = _path(entry), {"fingerprint": fingerprint(entry), "broken": list(broken)}
    with contextlib.suppress(OSError):  # a cache that cannot be written loses the note, nothing else
        if not broken:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(note))
        temporary.replace(path)


def recall(entries: Sequence[Entry]) -> Mapping[tuple[str, str], Sequence[str]]:
    """(kind/name, distribution) -> what was broken when it was checked last; nothing for parts that changed since."""
    found = {}
    for entry in entries:
        try:
            note = json.loads(_path(entry).read_text())
            if note["fingerprint"] == fingerprint(entry):
                found[entry.label, entry.source.distribution] = [str(how) for how in note["broken"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # never checked, kept every promise, or the cache is damaged
    return found


def fingerprint(entry: Entry) -> str:
    """Hash of every source file of the package that holds a part (of the module where it lies in none)."""
    module = entry.component.target.split(":")[0].split(".")[0]
    spec, digest = locate(module), hashlib.sha256(entry.distribution.encode())
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = sorted(path for folder in folders for path in Path(folder).rglob("*.py"))
    for path in files or ([Path(spec.origin)] if spec and spec.origin else []):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _path(entry: Entry) -> Path:
    name = f"{entry.source.distribution}-{entry.label}".replace("/", "-")
    return cache_folder() / "checks" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"
