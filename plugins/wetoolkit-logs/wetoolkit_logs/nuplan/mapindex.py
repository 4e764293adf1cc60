"""A nuPlan map (``map.gpkg``) as arrays: the lane graph and all areas of a city, made once by pyogrio and kept.

Lanes and lane connectors come by their fids, areas by theirs with the lanes' polygons last. Names are those of the town where our
writer left them, else ``<layer's kind>/<fid>``. What cannot be used is left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from wetoolkit_driving.types import AreaKind

from wetoolkit.errors import DataError
from wetoolkit_logs.nuplan import utm
from wetoolkit_logs.nuplan.arrays import Arrays
from wetoolkit_logs.nuplan.gpkg import read_layer, read_meta
from wetoolkit_logs.nuplan.layers import Columns
from wetoolkit_logs.nuplan.schema import AREA_LAYERS, OWN_AREAS, OWN_LINKS
from wetoolkit_logs.window import pieces

Double = NDArray[np.float64]
Int = NDArray[np.int64]
APART = 3.0  # metres between the ends of two lanes of which one follows the other, at most
OVER = "gen_lane_connectors_scaled_width_polygons"
NEEDED: Mapping[str, tuple[str, ...]] = {
    "lanes_polygons": ("lane_group_fid", "lane_index", "speed_limit_mps"),
    "lane_connectors": ("exit_lane_fid", "entry_lane_fid", "lane_group_connector_fid", "speed_limit_mps"),
    OVER: ("lane_connector_fid",),
    "baseline_paths": ("lane_fid", "lane_connector_fid"),
    **dict.fromkeys(AREA_LAYERS.values(), ()),
}


def read_map(path: Path) -> Arrays:
    """The map in a file. Errors: ``DataError`` naming file, layer and column."""
    return index_of(read_layers(path))


def index_of(layers: Mapping[str, Columns]) -> Arrays:
    """The arrays of a map's layers, in metres: those of NEEDED but "meta", our own where they are there."""
    counts: Counter[str] = Counter()
    lanes, lines = _lanes(layers, counts)
    areas = _areas(layers)
    block = _rows_of(areas["fid"], lanes["block"])
    derived = np.append(areas["derived"], False)[block]
    bodies, alone = _bodies(layers, lanes, lines)
    kept = np.flatnonzero(~areas["derived"])  # what our writer only made up is not given back
    names = [*areas["name"][kept], *lanes["area_name"][~alone]]
    rings = [*areas["ring"][kept], *bodies]
    lane_area = np.where(alone, -1, len(kept) + np.cumsum(~alone) - 1)
    offsets = lambda parts: np.cumsum([0, *map(len, parts)], dtype=np.int64)  # noqa: E731
    arrays = {
        "area_kind": np.concatenate([areas["kind"][kept], lanes["kind"][~alone]]).astype(np.uint8),
        "area_fid": np.concatenate([areas["fid"][kept], lanes["fid"][~alone]]).astype(np.int64),
        "area_xy": np.concatenate([np.zeros((0, 2)), *rings]), "area_offset": offsets(rings), "area_box": _boxes(rings),
        "lane_xy": np.concatenate([np.zeros((0, 2)), *lines]), "lane_offset": offsets(lines), "lane_box": _boxes(lines),
        "lane_fid": lanes["fid"], "lane_area": lane_area.astype(np.int32),
        "lane_roadblock": np.where(derived | (block < 0), -1, np.append(_rows_of(kept, np.arange(len(areas["fid"]))), -1)[block]),
        "lane_block_fid": lanes["block"], "lane_speed_limit": lanes["speed"].astype(np.float32),
        **dict(zip(("lane_left", "lane_right"), _neighbours(lanes), strict=True)),
        "successors": _successors(layers, lanes, lines, counts),
    }  # fmt: skip
    arrays["lane_roadblock"] = arrays["lane_roadblock"].astype(np.int32)
    facts = {"areas": names, "lanes": list(lanes["name"]), "counts": {name: n for name, n in counts.items() if n}}
    return Arrays(arrays, facts)


def read_layers(path: Path) -> dict[str, Columns]:
    """Every layer that is read, in metres of the map's zone. Errors: ``DataError`` naming file, layer and column."""
    way_out = "fetch the map again, or name the folder of the maps"
    try:
        there = {str(name) for name, _ in pyogrio.list_layers(path)}
        lost = [layer for layer in (*NEEDED, "meta") if layer not in there]
        if lost:
            raise DataError(f"no layer {', '.join(lost)}", file=str(path), table=lost[0], way_out=way_out)
        meta = read_meta(path)
        epsg = dict(zip(map(str, meta["key"]), map(str, meta["value"]), strict=True)).get("projectedCoordSystem", "")
        layers = {layer: _layer(path, layer, epsg) for layer in (*NEEDED, *({OWN_AREAS, OWN_LINKS} & there))}
    except DataError:
        raise
    except Exception as error:  # whatever pyogrio, shapely or numpy say of a damaged file
        what = f"no map that can be read ({type(error).__name__}: {error!s:.120})"
        raise DataError(what, file=str(path), way_out=way_out) from error
    for layer, columns in NEEDED.items():
        lost = [name for name in columns if name not in layers[layer]]
        if lost:
            raise DataError(f"no column {', '.join(lost)}", file=str(path), table=layer, way_out=way_out)
    if not len(layers["baseline_paths"]["fid"]):
        raise DataError("a map without lanes", file=str(path), table="baseline_paths", way_out=way_out)
    return layers


def _layer(path: Path, layer: str, epsg: str) -> Columns:
    columns, facts = read_layer(path, layer)
    crs = str(facts.get("crs") or epsg)
    if "geometry" in columns and len(columns["fid"]) and crs != epsg:
        zone = utm.zone_of(int(epsg.rpartition(":")[2] or 0))
        if crs != "EPSG:4326" or not zone:
            raise DataError(f"coordinates in {crs} where {epsg or 'a projectedCoordSystem in the layer meta'} is due",
                            file=str(path), table=layer, way_out="fetch the map again")  # fmt: skip
        columns["geometry"] = shapely.transform(columns["geometry"], lambda degrees: utm.project(degrees, zone))
    return columns


def _lanes(layers: Mapping[str, Columns], counts: Counter[str]) -> tuple[dict[str, NDArray[Any]], list[Double]]:
    """Columns of lanes and connectors that have a centre line, by fid, and these lines."""
    base = layers["baseline_paths"]
    owner = np.where(np.isnan(_float(base["lane_fid"])), _float(base["lane_connector_fid"]), _float(base["lane_fid"]))
    line_of = {int(fid): k for k, fid in enumerate(owner) if np.isfinite(fid)}
    parts = []
    for layer, group, kind in (("lanes_polygons", "lane_group_fid", AreaKind.LANE),
                               ("lane_connectors", "lane_group_connector_fid", AreaKind.LANE_CONNECTOR)):  # fmt: skip
        columns = layers[layer]
        count = len(columns["fid"])
        texts = columns["fid"].astype(str).astype(object)
        parts.append({
            "fid": columns["fid"], "block": _fids(columns[group]), "kind": np.full(count, kind, np.uint8),
            "index": _fids(columns["lane_index"]) if "lane_index" in columns else np.full(count, -9),
            "speed": np.nan_to_num(_float(columns["speed_limit_mps"])), "name": columns.get("name", texts),
            "area_name": columns.get("area_name", "lane/" + texts),
        })  # fmt: skip
    lanes = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(lanes["fid"], kind="stable")
    lines = {k: _points(base["geometry"][line_of[fid]]) for k, fid in enumerate(lanes["fid"].tolist()) if fid in line_of}
    kept = [int(k) for k in order if k in lines and len(lines[k]) > 1]
    counts["lanes_without_a_centre_line"] += len(order) - len(kept)
    return {name: column[kept] for name, column in lanes.items()}, [lines[k] for k in kept]


def _points(line: Any) -> Double:
    """[n, 2] finite points without repeats; fewer than two where it is no line."""
    points: Double = shapely.get_coordinates(line)
    points = points[np.isfinite(points).all(1)]
    return points[np.append(True, (np.diff(points, axis=0) != 0).any(1))] if len(points) else points


def _areas(layers: Mapping[str, Columns]) -> dict[str, NDArray[Any]]:
    """Areas that are no lane's, by fid: those with holes or of several parts come as several, the largest first."""
    rows: list[tuple[int, int, str, bool, Double]] = []
    for kind, layer in AREA_LAYERS.items():
        columns = layers[layer]
        derived = columns.get("derived", np.zeros(len(columns["fid"]), np.int32))
        for k, fid in enumerate(columns["fid"].tolist()):
            name = columns["name"][k] if "name" in columns and columns["name"][k] else f"{kind.name.lower()}/{fid}"
            rows += [(fid, kind, name if n == 0 else f"{name}#{n}", bool(derived[k]), ring)
                     for n, ring in enumerate(_rings(columns["geometry"][k]))]  # fmt: skip
    for fid, kind, name, shape in (
        zip(*(layers[OWN_AREAS][c] for c in ("fid", "kind", "name", "geometry")), strict=True) if (OWN_AREAS in layers) else ()
    ):
        rows += [(int(fid), int(kind), str(name), False, ring) for ring in _rings(shape)]
    rows.sort(key=lambda row: row[0])
    rings = np.empty(len(rows), object)
    rings[:] = [row[4] for row in rows]
    fids, kinds, names, derived = (np.array([row[c] for row in rows], kind) for c, kind in enumerate((np.int64, int, object, bool)))
    return {"fid": fids, "kind": kinds, "name": names, "derived": derived, "ring": rings}


def _rings(shape: Any) -> list[Double]:
    """Rings [n, 2], not closed, largest first."""
    if shape is None or shape.is_empty:
        return []
    simple = shape.geom_type == "Polygon" and not len(shape.interiors)
    parts = [shape] if simple else sorted(pieces(shape if shape.is_valid else shapely.make_valid(shape)), key=lambda p: -p.area)
    rings = [shapely.get_coordinates(part.exterior)[:-1] for part in parts]
    return [ring for ring in rings if len(ring) >= 3 and np.isfinite(ring).all()]


def _bodies(
    layers: Mapping[str, Columns], lanes: Mapping[str, NDArray[Any]], lines: list[Double]
) -> tuple[list[Double], NDArray[np.bool_]]:
    """The polygons of the lanes that have one, and which [L] have none."""
    flat, over = layers["lanes_polygons"], layers[OVER]
    shapes = dict(zip(flat["fid"].tolist(), flat["geometry"], strict=True))
    shapes |= dict(zip(_fids(over["lane_connector_fid"]).tolist(), over["geometry"], strict=True))
    rings = [_rings(shapes.get(fid)) if name else [] for fid, name in zip(lanes["fid"].tolist(), lanes["area_name"], strict=True)]
    return [ring[0] for ring in rings if ring], np.array([not ring for ring in rings], bool)


def _rows_of(keys: Int, asked: Int) -> Int:
    """Row of each asked key, -1 where there is none. The first row of equal keys."""
    row: dict[int, int] = {}
    for k, key in enumerate(keys.tolist()):
        row.setdefault(key, k)
    return np.array([row.get(key, -1) for key in np.asarray(asked).tolist()], np.int64)


def _boxes(parts: list[Double]) -> Double:
    """[4, n] least x, least y, greatest x, greatest y."""
    found = np.array([[*part.min(0), *part.max(0)] for part in parts], np.float64).reshape(-1, 4)
    return np.ascontiguousarray(found.T)


def _neighbours(lanes: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """([L], [L]) lanes to the left and right: those of one lane group are counted from the left."""
    keys = list(zip(lanes["block"].tolist(), lanes["index"].tolist(), lanes["kind"].tolist(), strict=True))
    row = {key: k for k, key in enumerate(keys) if key[2] == AreaKind.LANE}
    left, right = (
        np.array(
            [row.get((block, index + step, kind), -1) if kind == AreaKind.LANE else -1 for block, index, kind in keys], np.int32
        )
        for step in (-1, 1)
    )
    return left, right


def _successors(
    layers: Mapping[str, Columns], lanes: Mapping[str, NDArray[Any]], lines: list[Double], counts: Counter[str]
) -> NDArray[np.int32]:
    """[E, 2] pairs of lanes, sorted: as told, but for those whose ends lie apart."""
    over = layers["lane_connectors"]
    said = [np.stack([_fids(over["exit_lane_fid"]), over["fid"]], 1), np.stack([over["fid"], _fids(over["entry_lane_fid"])], 1)]
    if OWN_LINKS in layers:
        said.append(np.stack([_fids(layers[OWN_LINKS][name]) for name in ("from_fid", "to_fid")], 1))
    told = np.concatenate(said)
    told = told[(told >= 0).all(1)]
    pairs = np.stack([_rows_of(lanes["fid"], told[:, c]) for c in (0, 1)], 1)
    counts["links_to_no_lane"] += int((pairs < 0).any(1).sum())
    pairs = np.unique(pairs[(pairs >= 0).all(1)], axis=0).astype(np.int32)
    ends, starts = (np.array([line[k] for line in lines]).reshape(-1, 2) for k in (-1, 0))
    apart = np.hypot(*(starts[pairs[:, 1]] - ends[pairs[:, 0]]).T) > APART
    counts["links_between_lanes_apart"] += int(apart.sum())
    return pairs[~apart]


def _float(column: NDArray[Any]) -> Double:
    return np.array([np.nan if value is None else value for value in column], np.float64)


def _fids(column: NDArray[Any]) -> Int:
    """Whole numbers, -1 where nothing is told."""
    values = _float(column)
    return np.where(np.isfinite(values), np.nan_to_num(values), -1).astype(np.int64)
