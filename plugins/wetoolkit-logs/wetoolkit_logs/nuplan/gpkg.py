"""GeoPackage files through pyogrio: the map of all towns written whole or not at all, and layers read as arrays."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import shapely
from numpy.typing import NDArray

from wetoolkit.store import write_atomic
from wetoolkit_logs.nuplan.layers import Columns, layers_of, unsaid_links
from wetoolkit_logs.nuplan.schema import EPSG, LAYERS, LOCATION, LOCATIONS, MAP_INDEX, OWN_AREAS, OWN_LINKS
from wetoolkit_logs.nuplan.towns import Town, kept_towns, locked, read_town

VERSION = "wetoolkit-1"
_LINES = ("baseline_paths", "boundaries", "lane_connectors")


def write_map(maps: Path) -> list[Path]:
    """``map.gpkg`` of all towns of the folder, the links to it and the list of maps. Returns what it wrote, if anything.

    The list of maps goes last and names the towns, so that a kill in between is noticed the next time.
    """
    with locked(maps):
        kept, path, index = kept_towns(maps), maps / LOCATION / VERSION / "map.gpkg", maps / MAP_INDEX
        slots = [int(town.stem) for town in kept]
        if path.exists() and _slots(index) == slots:
            return []
        _write_whole(path, [read_town(town) for town in kept])
        for place in LOCATIONS:
            link = maps / place
            if place != LOCATION and not link.exists():
                link.symlink_to(LOCATION)
        facts = {place: {"version": VERSION, "layers": {}, "wetoolkit_towns": slots} for place in LOCATIONS}
        write_atomic(index, (json.dumps(facts, indent=1) + "\n").encode())
    return [path, index]


def _slots(index: Path) -> list[int] | None:
    try:
        return list(json.loads(index.read_text())[LOCATION]["wetoolkit_towns"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_whole(path: Path, towns: list[Town]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".map.", dir=path.parent) as folder:
        part = Path(folder) / "map.gpkg"
        with _settled():
            _write_layers(part, towns)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)


@contextmanager
def _settled() -> Iterator[None]:
    """GDAL syncs after every layer and notes the time unless told otherwise.

    One sync at the end is enough for a file that has no name yet, and without the time equal maps are equal files.
    """
    options = {"OGR_SQLITE_SYNCHRONOUS": "OFF", "OGR_CURRENT_DATE": "2020-09-13T00:00:00.000Z"}
    pyogrio.set_gdal_config_options(options)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(dict.fromkeys(options))


def _write_layers(path: Path, towns: list[Town]) -> None:
    parts = [layers_of(town) for town in towns]
    for layer in (*LAYERS[:-1], OWN_AREAS):
        columns = {name: np.concatenate([part[layer][name] for part in parts]) for name in parts[0][layer]}
        _append(path, layer, columns, "LineString" if layer in _LINES else "Polygon")
    meta = np.array([("projectedCoordSystem", f"EPSG:{EPSG}"), ("made_by", VERSION)], object)
    _append(path, "meta", {"key": meta[:, 0], "value": meta[:, 1]}, None)
    links = np.concatenate([unsaid_links(town) for town in towns])
    _append(path, OWN_LINKS, {"from_fid": links[:, 0], "to_fid": links[:, 1]}, None)


def _append(path: Path, layer: str, columns: Columns, kind: str | None) -> None:
    values = {name: column for name, column in columns.items() if name != "geometry"}
    shapes = shapely.to_wkb(columns["geometry"]) if kind else None
    pyogrio.raw.write(
        str(path), shapes, list(values.values()), list(values), layer=layer, driver="GPKG", geometry_type=kind,
        crs=f"EPSG:{EPSG}" if kind else None, append=path.exists(),
    )  # fmt: skip


def read_layer(path: Path, layer: str) -> tuple[Columns, dict[str, Any]]:
    """Columns of a layer with ``fid`` and (as shapely's) ``geometry``, and what pyogrio says of it."""
    facts, fids, shapes, values = pyogrio.raw.read(str(path), layer=layer, return_fids=True)
    columns: Columns = dict(zip(facts["fields"], values, strict=True))
    columns["fid"] = np.asarray(fids, np.int64)
    if shapes is not None:
        columns["geometry"] = np.asarray(shapely.from_wkb(shapes))
    return columns, facts


def read_meta(path: Path) -> dict[str, NDArray[Any]]:
    """Columns of a layer without shapes."""
    return read_layer(path, "meta")[0]
