"""A written folder of nuPlan logs without what our writer adds for itself, so that our reader knows no more than the devkit."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pyogrio.raw
import shapely
from wetoolkit_logs.nuplan.gpkg import _append, read_layer
from wetoolkit_logs.nuplan.layers import Columns
from wetoolkit_logs.nuplan.schema import EPSG, LAYERS, OWN_TABLES

OWN_COLUMNS = ("name", "area_name", "derived")
LINES = ("baseline_paths", "boundaries", "lane_connectors")


def plain(folder: Path, target: Path, degrees: bool = False) -> Path:
    """A copy in ``target`` without our tables, layers and columns; tokens and fids are the same.

    ``degrees``: shapes in longitude and latitude, as in nuPlan's own maps.
    """
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
        kept = {name: column for name, column in columns.items() if name not in OWN_COLUMNS}
        if degrees and kind is not None:
            _append_degrees(copy, layer, kept, kind)
        else:
            _append(copy, layer, kept, kind)
    return target


def _append_degrees(path: Path, layer: str, columns: Columns, kind: str) -> None:
    from pyproj import Transformer  # only where the devkit's packages are

    back = Transformer.from_crs(EPSG, 4326, always_xy=True)
    shapes = shapely.transform(columns["geometry"], lambda xy: np.stack(back.transform(*xy.T), 1) if len(xy) else xy)
    values = {name: column for name, column in columns.items() if name != "geometry"}
    pyogrio.raw.write(
        str(path), shapely.to_wkb(shapes), list(values.values()), list(values), layer=layer, driver="GPKG", geometry_type=kind,
        crs="EPSG:4326", append=path.exists(),
    )  # fmt: skip


def rows(folder: Path) -> dict[str, int]:
    """Layer -> its number of features, of the folder's map."""
    source = next(path for path in sorted((folder / "maps").glob("*/*/map.gpkg")) if not path.parents[1].is_symlink())
    return {layer: len(read_layer(source, layer)[0]["fid"]) for layer in LAYERS if layer != "meta"}


def fids(folder: Path, layer: str) -> np.ndarray:
    """All fids of a layer of the folder's map."""
    source = next(path for path in sorted((folder / "maps").glob("*/*/map.gpkg")) if not path.parents[1].is_symlink())
    return read_layer(source, layer)[0]["fid"]
