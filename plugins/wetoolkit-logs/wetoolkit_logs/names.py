"""File names of logs."""

from __future__ import annotations

import hashlib
import re


def file_stem(log: str) -> str:
    """A name that any file system takes; logs whose names differ only in signs that none takes stay apart."""
    stem = re.sub(r"[^\w.-]+", "_", log)[-80:]
    return stem if stem == log else f"{stem}_{hashlib.sha256(log.encode()).hexdigest()[:8]}"
