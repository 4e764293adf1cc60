"""``log_map_archive_*.json`` -> map features in ScenarioNet's words, so that ``wetoolkit_logs.roads`` builds both.

Centre lines that the file lacks are half way between the boundaries, both resampled by their length. The drivable areas are
united (they touch and overlap) and handed on as the rings of their outline. Bicycle and bus lanes are lanes like the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from wetoolkit_driving.geometry import along, arc_lengths, drop_repeats

from wetoolkit.errors import DataError

Double = NDArray[np.float64]
SPACING = 2.0  # metres between the points of a centre line made here, at most


def features(path: Path) -> dict[str, dict[str, Any]]:
    """The features by id. Errors: ``DataError`` naming file and field."""
    try:
        raw = json.loads(path.read_bytes())
        lanes = {str(lane["id"]): lane for lane in raw["lane_segments"].values()}
        found = {f"lane/{name}": _lane(lane) for name, lane in lanes.items()}
        found |= {f"crossing/{c['id']}": _crossing(c) for c in raw.get("pedestrian_crossings", {}).values()}
        return found | _outline([_points(area["area_boundary"]) for area in raw["drivable_areas"].values()])
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file=str(path), way_out="fetch the file again") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, shapely.errors.GEOSException) as error:
        what = f"no map of Argoverse 2 ({type(error).__name__}: {error!s:.100})"
        raise DataError(what, file=str(path), way_out="fetch the file again") from error


def _points(points: Any) -> Double:
    found = np.array([(point["x"], point["y"]) for point in points], np.float64).reshape(-1, 2)
    if not np.isfinite(found).all():
        raise ValueError("a point is not finite")
    return found


def _lane(lane: Mapping[str, Any]) -> dict[str, Any]:
    left, right = _points(lane["left_lane_boundary"]), _points(lane["right_lane_boundary"])
    centre = _points(lane["centerline"]) if lane.get("centerline") else between(left, right)
    return {
        "type": "LANE_SURFACE_STREET",
        "polyline": centre,
        "polygon": np.concatenate([left, right[::-1]]),
        "interpolating": bool(lane["is_intersection"]),
        "exit_lanes": [f"lane/{name}" for name in lane["successors"]],
        "entry_lanes": [f"lane/{name}" for name in lane["predecessors"]],
    }


def between(left: Double, right: Double) -> Double:
    """The line [n, 2] half way between two boundaries, matched by the share of their length."""
    lines = [drop_repeats(line, 1e-3) for line in (left, right)]
    lengths = [float(arc_lengths(line)[-1]) for line in lines]
    share = np.linspace(0, 1, max(int(np.ceil(max(lengths) / SPACING)) + 1, 2))
    sides = [along(line, share * length)[:, :2] for line, length in zip(lines, lengths, strict=True)]
    return np.asarray((sides[0] + sides[1]) / 2, np.float64)


def _crossing(crossing: Mapping[str, Any]) -> dict[str, Any]:
    one, two = _points(crossing["edge1"]), _points(crossing["edge2"])
    ring = shapely.MultiPoint(np.concatenate([one, two])).convex_hull
    return {"type": "CROSSWALK", "polygon": shapely.get_coordinates(ring)}


def _outline(areas: list[Double]) -> dict[str, dict[str, Any]]:
    united = shapely.union_all([shapely.make_valid(shapely.Polygon(area)) for area in areas])
    polygons = [part for part in shapely.get_parts(united) if part.geom_type == "Polygon"]
    rings = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]
    kind = "ROAD_EDGE_BOUNDARY"
    return {f"boundary_{k}": {"type": kind, "polyline": shapely.get_coordinates(ring)} for k, ring in enumerate(rings)}
