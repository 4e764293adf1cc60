"""What a plugin announces: Components and Domains by name and import string, never by import."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["dataset", "policy", "miner", "reconstructor", "behaviour", "simulator", "reward", "algorithm", "executor"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CONTRACT = "1.1"  # version of the contracts in kinds.py: additions raise the minor one; another major one is a broken row
ANY = "any"  # the domain of components that serve all

_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Component:
    """One swappable part. ``target`` and ``config`` are "package.module:Class" strings, imported on first use."""

    kind: Kind
    name: str  # lower case, dashes
    target: str  # called as target(config)
    config: str  # a wetoolkit.config.Config subclass
    summary: str  # one line, shown by `wetool plugins`
    domain: str = ANY
    needs: tuple[str, ...] = ()  # packages beyond its distribution's own requirements, such as "gsplat"
    contract: str = ""  # version of the contracts it was written for; "" is taken for the present one

    def problems(self) -> list[str]:
        """What is wrong with this announcement; empty where nothing is."""
        found = [] if self.kind in KINDS else [f"kind {self.kind!r} is none of {', '.join(KINDS)}"]
        if not _NAME.fullmatch(self.name):
            found.append(f"name {self.name!r} is not lower case letters, digits, dots and dashes")
        for label, text in (("target", self.target), ("config", self.config)):
            if not _TARGET.fullmatch(text):
                found.append(f"{label} {text!r} is not of the form 'package.module:Class'")
        if self.contract and self.contract.split(".")[0] != CONTRACT.split(".")[0]:
            found.append(f"built for contract {self.contract}, this toolkit has {CONTRACT}")
        if not self.summary:
            found.append("the summary is empty")
        return found


@dataclass(frozen=True)
class Domain:
    """A field of use, such as driving: ``target`` names a class that implements ``wetoolkit.kinds.Domain``.

    ``examples`` names a ``wetoolkit.testing.Examples`` of it: what `wetool plugins check` tries parts on.
    """

    name: str
    target: str
    summary: str
    examples: str = ""


@dataclass(frozen=True)
class Exporter:
    """A format that whole recordings can be written in.

    ``target`` names a function (recordings, folder, sensors, progress) -> paths: an iterator of Scenarios (whole recordings), where
    to, a function from such a Scenario to the domain's sensors (or None), and a ``wetoolkit.kinds.Progress`` (or None). It writes
    each file atomically, one recording in memory at a time, and returns the paths of what it wrote.
    """

    name: str  # the format's
    target: str
    summary: str
    domain: str = ANY
    needs: tuple[str, ...] = ()  # as Component.needs
