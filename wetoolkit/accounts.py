"""What a behaviour may say of the variants it makes, and by which names it can be asked for them. Ask with ``isinstance``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, runtime_checkable

from wetoolkit.types import Scene, W, require


@dataclass(frozen=True)
class Account(Generic[W]):
    """Variants of one scene with what there is to say about each, and how often each reason rejected one."""

    scenes: tuple[Scene[W], ...]
    rows: tuple[Mapping[str, float | str], ...] = ()  # one for each scene: column (with its unit) -> value
    rejected: Mapping[str, int] = field(default_factory=dict)

    def validate(self) -> None:
        """``ValidationError`` unless there is a row for each scene, or none at all."""
        count = len(self.scenes)
        require(len(self.rows) in (0, count), f"{len(self.rows)} rows for {count} scenes", "account.rows", "one each, or none")


@runtime_checkable
class SupportsAccount(Protocol):
    """A behaviour that says of every variant what was done by whom and how it was judged, and what it rejected."""

    def account(self, scene: Scene[Any], count: int, seed: int) -> Account[Any]:
        """What ``vary`` gives for the same arguments, accounted for."""


@runtime_checkable
class SupportsPresets(Protocol):
    """A behaviour some settings of which have a name: its controls."""

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Name -> settings of its config; those of several names are merged, table by table."""


__all__ = ["Account", "SupportsAccount", "SupportsPresets"]
