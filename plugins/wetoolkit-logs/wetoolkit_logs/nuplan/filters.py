"""Filter files: NAVSIM's scene filters and nuPlan's scenario filters (YAML) select the windows of a split.

What a filter asks and this reader does not do is an error, not a silently larger split; keys that only steer how a filter is
loaded (Hydra's ``_target_`` and the like) and empty ones are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wetoolkit.errors import ConfigError

NAVSIM_DT = 0.5  # seconds between the frames of NAVSIM, in which its filters count
_PASSED = ("_target_", "_convert_", "_partial_", "_recursive_", "include_synthetic_scenes", "synthetic_scene_tokens", "shuffle")
_WORDS = {"log_names": "logs", "tokens": "tokens", "scenario_tokens": "tokens", "scenario_types": "tags", "map_names": "maps"}
_EMPTY = ("", "null", "~", "None", "false", "False", [], {})
_COUNTS = {"num_history_frames", "num_future_frames", "frame_interval", "max_scenes", "limit_total_scenarios", "has_route"}


@dataclass(frozen=True)
class Filter:
    """Which windows a split has; None: any."""

    logs: tuple[str, ...] | None = None
    tokens: tuple[str, ...] | None = None  # of the present frame, hexadecimal
    tags: tuple[str, ...] | None = None  # scenario types, of which the present frame has one
    maps: tuple[str, ...] | None = None
    history: float | None = None  # seconds before the present
    future: float | None = None
    stride: float | None = None  # seconds between windows
    limit: int | None = None  # windows
    has_route: bool = False


def read_filter(path: Path) -> Filter:
    """The filter in a YAML file. Errors: ``ConfigError`` naming file and key."""
    way_out = "give a scene filter of NAVSIM or a scenario filter of nuPlan"
    try:
        raw = yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # texts only: a token such as 0123456789012345 is no number
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"no filter that can be read ({str(error)[:120]})", key=str(path), way_out=way_out) from error
    if not isinstance(raw, Mapping):
        raise ConfigError("a filter is a mapping", key=str(path), way_out=way_out)
    found: dict[str, Any] = {}
    for key, value in raw.items():
        if key in _PASSED or value in _EMPTY:
            continue
        if key in _WORDS:
            found[_WORDS[key]] = _words(path, key, value)
        elif key not in _COUNTS:
            raise ConfigError(f"this reader knows no {key!r}", key=f"{path}: {key}", way_out="take the key out, or set it to null")
    counts = {key: _count(path, key, raw[key]) for key in _COUNTS - {"has_route"} if raw.get(key, "") not in _EMPTY}
    frames = {"num_history_frames": ("history", -1), "num_future_frames": ("future", 0), "frame_interval": ("stride", 0)}
    found |= {name: (counts[key] + more) * NAVSIM_DT for key, (name, more) in frames.items() if key in counts}
    if "stride" not in found and "history" in found and "future" in found:
        found["stride"] = found["history"] + found["future"] + NAVSIM_DT  # NAVSIM's own default: scenes do not overlap
    limits = [counts[key] for key in ("max_scenes", "limit_total_scenarios") if key in counts]
    return Filter(**found, limit=min(limits, default=None), has_route=raw.get("has_route", "") not in _EMPTY)


def _words(path: Path, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ConfigError(f"a {type(value).__name__} where a list of words is due", key=f"{path}: {key}", way_out="write a list")
    return tuple(value)


def _count(path: Path, key: str, value: Any) -> int:
    least = 1 if key in ("num_history_frames", "frame_interval", "max_scenes", "limit_total_scenarios") else 0
    if not isinstance(value, str) or not value.isdecimal() or int(value) < least:
        raise ConfigError(f"{value!r} where a whole number from {least} is due", key=f"{path}: {key}", way_out="correct the filter")
    return int(value)
