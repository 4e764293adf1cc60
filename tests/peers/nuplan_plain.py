"""A written folder of nuPlan logs without what our writer adds for itself, so that our reader knows no more than the devkit."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
from wetoolkit_logs.nuplan.gpkg import _append, read_layer
from wetoolkit_logs.nuplan.schema import LAYERS, OWN_TABLES

OWN_COLUMNS = ("name", "area_name", "derived")
LINES = ("baseline_paths", "boundaries", "lane_connectors")


def plain(folder: Path, target: Path) -> Path:
    """A copy in ``target`` without our tables, layers and columns; tokens and fids are the same."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for log in sorted(folder.glob("*.db")):
        shutil.copy(log, target / log.name)
        with sqlite3.connect(target / log.name) as base:
            for table in OWN_TABLES:
                base.execute(f"DROP TABLE {table}")
    source = next(path for path in sorted((folder / "maps").glob("*/*/map.gpkg")) if not path.parents[1].is_symlink())
    shutil.copytree(folder / "maps", target / "maps", symlinks=True, ignore=shutil.ignore_patterns("map.gpkg", ".towns"))
    copy = target / source.relative_to(folder)
    for layer in LAYERS:
        columns, _ = read_layer(source, layer)
        kind = None if layer == "meta" else "LineString" if layer in LINES else "Polygon"
        if kind is None:
            columns.pop("fid")
        _append(copy, layer, {name: column for name, column in columns.items() if name not in OWN_COLUMNS}, kind)
    return target


def rows(folder: Path) -> dict[str, int]:
    """Layer -> its number of features, of the folder's map."""
    source = next(path for path in sorted((folder / "maps").glob("*/*/map.gpkg")) if not path.parents[1].is_symlink())
    return {layer: len(read_layer(source, layer)[0]["fid"]) for layer in LAYERS if layer != "meta"}


def fids(folder: Path, layer: str) -> np.ndarray:
    """All fids of a layer of the folder's map."""
    source = next(path for path in sorted((folder / "maps").glob("*/*/map.gpkg")) if not path.parents[1].is_symlink())
    return read_layer(source, layer)[0]["fid"]
