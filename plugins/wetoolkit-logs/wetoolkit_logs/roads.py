"""ScenarioNet map features -> one scene's roads: lanes with areas and neighbours, roadblocks and the surface one may drive on.

The PDM score calls a place drivable where it lies in a ROADBLOCK, INTERSECTION or CARPARK polygon, which ScenarioNet files do not
have. They are derived here:

* roadblocks: lanes that run side by side in one direction, united (ROADBLOCK); connectors between the same two roadblocks, united
  (ROADBLOCK_CONNECTOR, which the score does not count as drivable);
* the surface: the nuScenes and nuPlan converters write the outline of the whole drivable area as closed ``boundary_*`` lines,
  outer rings and holes alike, so that a place is on the road where an odd number of them surrounds it. Where a file has no such
  rings, the surface is the union of all lane areas with gaps of up to ``2 * gap`` closed (the added area is counted). The surface
  is stored as ROADBLOCK areas "surface/0", ... and belongs to no lane.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry
from wetoolkit_driving.geometry import along, arc_lengths, drop_repeats, project, wrap_angle
from wetoolkit_driving.types import AreaKind

from wetoolkit_logs.recording import LANES

Double = NDArray[np.float64]

JOIN = 0.5  # metres between the end of a lane and the start of the next
TURN = np.deg2rad(60)  # at most so much between their directions there
ALIKE = np.deg2rad(30)  # lanes side by side differ by less
SEAM = 0.05  # metres by which lanes of a roadblock are grown to unite across hair-line gaps, and shrunk again
CLOSED = 0.01  # metres between the ends of a line that counts as a ring


@dataclass(frozen=True)
class Lane:
    """A lane or lane connector of a scene, in the file's frame."""

    id: str
    line: Double  # [n, 2] metres, in driving direction
    area: shapely.Polygon
    kind: AreaKind  # LANE or LANE_CONNECTOR
    speed_limit: float  # m/s, 0 where not known
    next: tuple[int, ...] = ()  # lanes one may drive on to
    left: int = -1  # neighbour in the same direction
    right: int = -1
    block: int = -1  # its roadblock


@dataclass(frozen=True)
class Roads:
    """Everything fixed in a scene, in the file's frame."""

    lanes: tuple[Lane, ...]
    blocks: tuple[tuple[AreaKind, shapely.Polygon], ...]  # ROADBLOCK or ROADBLOCK_CONNECTOR
    surface: BaseGeometry  # polygon(s) one may drive on
    others: tuple[tuple[str, AreaKind, shapely.Polygon], ...]  # crosswalks, walkways, driveways
    unavailable: tuple[str, ...]  # what the file cannot tell


def build(features: Mapping[str, Mapping[str, Any]], nuscenes: bool, half_width: float, gap: float, counts: Counter[str]) -> Roads:
    """The roads of a file; ``half_width`` [m] is given to centre lines without polygon, ``gap`` [m] closes seams."""
    typed = {str(name): f for name, f in features.items() if isinstance(f, Mapping) and "type" in f}
    counts["map_features_malformed"] += len(features) - len(typed)
    raw = {name: f for name, f in typed.items() if f["type"] in LANES}
    lanes = [lane for name, f in raw.items() if (lane := _lane(name, f, raw, nuscenes, half_width, counts)) is not None]
    lanes = _connect(lanes, raw, counts)
    lanes = _side_by_side(lanes)
    lanes, blocks = _roadblocks(lanes)
    others = tuple(area for name, f in typed.items() if f["type"] not in LANES and (area := _other(name, f, counts)) is not None)
    surface = _surface(typed, lanes, [area for _, kind, area in others if kind == AreaKind.CARPARK], gap, counts)
    missing = {
        "intersections": True,  # the format has no polygon for them
        "speed_limits": all(lane.speed_limit == 0 for lane in lanes),
        "lane_areas": all("polygon" not in f for f in raw.values()),
    }
    return Roads(tuple(lanes), blocks, surface, others, tuple(name for name, is_so in missing.items() if is_so))


def _lane(
    name: str, feature: Mapping[str, Any], raw: Mapping[str, Any], nuscenes: bool, half_width: float, counts: Counter[str]
) -> Lane | None:
    line = points_of(feature.get("polyline", ()))
    line = drop_repeats(line, 1e-3) if len(line) > 1 and np.ptp(line, axis=0).max() > 1e-3 else line[:1]
    if len(line) < 2:
        counts["lanes_without_centre_line"] += 1
        return None
    area = _polygon(feature["polygon"], counts) if "polygon" in feature else None
    limit = float(feature.get("speed_limit_kmh") or 0) / 3.6
    if nuscenes and limit:  # the converter writes 100 km/h on every connector, whatever the road
        counts["speed_limits_made_up"] += 1
        limit = 0.0
    connects = _connects(feature, nuscenes)
    if area is None:
        counts["lanes_widened_to_an_area"] += 1
        area = _widen(line, _half_width(feature, half_width))
    return Lane(name, line, area, AreaKind.LANE_CONNECTOR if connects else AreaKind.LANE, limit)


def _connects(feature: Mapping[str, Any], nuscenes: bool) -> bool:
    """nuScenes conversions give connectors no polygon, nuPlan's call them unstructured."""
    if "interpolating" in feature:
        return bool(feature["interpolating"])
    return feature["type"] == "LANE_SURFACE_UNSTRUCTURE" or ("polygon" not in feature and nuscenes)


def points_of(points: Any) -> Double:
    """Finite points [n, 2] of a polyline or polygon; a third column (z, or the heading in nuScenes files) is left out."""
    array = np.asarray(points, np.float64)
    if array.ndim != 2 or array.shape[1] < 2:
        return np.empty((0, 2))
    return array[np.isfinite(array[:, :2]).all(1), :2]


def _half_width(feature: Mapping[str, Any], usual: float) -> float:
    """Waymo conversions hold the distance to the left and right boundary at each point, 0 where not known."""
    widths = np.asarray(feature.get("width", ()), np.float64).reshape(-1)
    widths = widths[(widths > 0.5) & (widths < 5)]
    return float(np.median(widths)) if len(widths) else usual


def _widen(line: Double, half_width: float) -> shapely.Polygon:
    return largest(shapely.LineString(line).buffer(half_width, cap_style="flat"))


def largest(shape: BaseGeometry) -> shapely.Polygon:
    """The largest polygon of a shape, its holes filled."""
    parts = [part for part in shapely.get_parts(shape, return_index=False) if part.geom_type == "Polygon"]
    best = max(parts, key=lambda part: float(part.area), default=shapely.Polygon())
    return shapely.Polygon(best.exterior)


def _polygon(points: Any, counts: Counter[str]) -> shapely.Polygon | None:
    ring = points_of(points)
    polygon = shapely.Polygon(ring) if len(ring) >= 3 else shapely.Polygon()
    if not polygon.is_valid:
        counts["polygons_made_valid"] += 1
        polygon = largest(shapely.make_valid(polygon))
    if polygon.area < 0.1:
        counts["polygons_without_extent"] += 1
        return None
    return polygon


def _connect(lanes: Sequence[Lane], raw: Mapping[str, Mapping[str, Any]], counts: Counter[str]) -> list[Lane]:
    """Lanes with their successors: as told by ``exit_lanes`` and ``entry_lanes``, else where ends and starts meet."""
    index = {lane.id: i for i, lane in enumerate(lanes)}
    told = any(raw[lane.id].get("exit_lanes") or raw[lane.id].get("entry_lanes") for lane in lanes)
    follow: dict[int, set[int]] = defaultdict(set)
    if told:
        for i, lane in enumerate(lanes):
            for name in map(str, raw[lane.id].get("exit_lanes") or ()):
                if name in index:
                    follow[i].add(index[name])
            for name in map(str, raw[lane.id].get("entry_lanes") or ()):
                if name in index:
                    follow[index[name]].add(i)
    else:
        for i, j in _meeting(lanes):
            follow[i].add(j)
        counts["connections_from_end_points"] += sum(map(len, follow.values()))
    return [replace(lane, next=tuple(sorted(follow[i]))) for i, lane in enumerate(lanes)]


def _meeting(lanes: Sequence[Lane]) -> Iterable[tuple[int, int]]:
    """Pairs (i, j): lane j starts where lane i ends, in about the same direction."""
    starts = cKDTree(np.array([lane.line[0] for lane in lanes]))
    leave = [np.arctan2(*(lane.line[-1] - lane.line[-2])[::-1]) for lane in lanes]
    enter = [np.arctan2(*(lane.line[1] - lane.line[0])[::-1]) for lane in lanes]
    for i, near in enumerate(starts.query_ball_point(np.array([lane.line[-1] for lane in lanes]), JOIN)):
        yield from ((i, j) for j in near if j != i and abs(wrap_angle(enter[j] - leave[i])) < TURN)


def _side_by_side(lanes: Sequence[Lane]) -> list[Lane]:
    """Lanes (not connectors) with the neighbour on either side: the lane found half a lane beyond the border at mid length."""
    plain = [i for i, lane in enumerate(lanes) if lane.kind == AreaKind.LANE]
    if not plain:
        return list(lanes)
    tree = shapely.STRtree([lanes[i].area for i in plain])
    found = list(lanes)
    for i in plain:
        length = float(arc_lengths(lanes[i].line)[-1])
        middle = along(lanes[i].line, length / 2)
        reach = lanes[i].area.area / max(length, 1.0) / 2 + 1.5
        for side, sign in (("left", 1.0), ("right", -1.0)):
            place = middle[:2] + sign * reach * np.array([-np.sin(middle[2]), np.cos(middle[2])])
            hits = sorted(plain[int(k)] for k in tree.query(shapely.Point(place), predicate="within"))
            beside = next((j for j in hits if j != i and _runs_along(lanes[j].line, middle)), -1)
            found[i] = replace(found[i], **{side: beside})  # type: ignore[arg-type]
    return _mutual(found)


def _runs_along(line: Double, pose: Double) -> bool:
    """Whether a line passes the pose in about its direction, 2 to 6 m aside."""
    at, offset = project(line, pose[:2])
    return bool(abs(wrap_angle(along(line, at)[..., 2] - pose[2])) < ALIKE and 2 <= abs(offset) <= 6)


def _mutual(lanes: Sequence[Lane]) -> list[Lane]:
    """Neighbours made symmetric: where a has b on its left, b has a on its right unless it has another."""
    left, right = [lane.left for lane in lanes], [lane.right for lane in lanes]
    for i in range(len(lanes)):
        if left[i] >= 0 and right[left[i]] < 0:
            right[left[i]] = i
        if right[i] >= 0 and left[right[i]] < 0:
            left[right[i]] = i
    return [replace(lane, left=left[i], right=right[i]) for i, lane in enumerate(lanes)]


def _roadblocks(lanes: Sequence[Lane]) -> tuple[list[Lane], tuple[tuple[AreaKind, shapely.Polygon], ...]]:
    """Lanes with their roadblock, and the roadblocks: neighbours united; connectors united by where they come from and go to."""
    count = len(lanes)
    pairs = [(i, j) for i, lane in enumerate(lanes) for j in (lane.left, lane.right) if j >= 0]
    rows, columns = np.array(pairs, np.intp).reshape(-1, 2).T
    _, group = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), (count, count)), directed=False)
    before: dict[int, list[int]] = defaultdict(list)
    for i, lane in enumerate(lanes):
        for j in lane.next:
            before[j].append(i)
    members: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for i, lane in enumerate(lanes):
        ends = (min((int(group[j]) for j in near), default=-1 - i) for near in (before[i], lane.next))
        members[(int(group[i]),) if lane.kind == AreaKind.LANE else ("connector", *ends)].append(i)
    done, blocks = list(lanes), []
    for block, (key, group_lanes) in enumerate(members.items()):
        kind = AreaKind.ROADBLOCK_CONNECTOR if key[0] == "connector" else AreaKind.ROADBLOCK
        blocks.append((kind, largest(closed([lanes[i].area for i in group_lanes], SEAM))))
        for i in group_lanes:
            done[i] = replace(done[i], block=block)
    return done, tuple(blocks)


def closed(shapes: Sequence[BaseGeometry], gap: float) -> BaseGeometry:
    """The union of shapes with gaps of up to ``2 * gap`` closed (grown and shrunk again, corners kept)."""
    united = shapely.union_all(list(shapes))
    return united.union(united.buffer(gap, join_style="mitre").buffer(-gap, join_style="mitre"))


def _surface(
    features: Mapping[str, Mapping[str, Any]],
    lanes: Sequence[Lane],
    carparks: Sequence[BaseGeometry],
    gap: float,
    counts: Counter[str],
) -> BaseGeometry:
    rings = [points_of(f.get("polyline", ())) for name, f in features.items() if name.startswith("boundary_")]
    rings = [ring for ring in rings if len(ring) > 3 and np.linalg.norm(ring[0] - ring[-1]) < CLOSED]
    if rings:
        counts["surface_from_boundary_rings"] += 1
        shapes = [shapely.make_valid(shapely.Polygon(ring)) for ring in rings]
        return _odd(shapes)
    united = shapely.union_all([*(lane.area for lane in lanes), *carparks])
    surface = closed([united], gap)
    counts["widened_drivable_area_m2"] += round(surface.area - united.area)
    return surface


def _odd(shapes: Sequence[BaseGeometry]) -> BaseGeometry:
    """Where an odd number of the shapes overlap: the inside of an outline whose rings include its holes."""
    inside: BaseGeometry = shapely.Polygon()
    for shape in sorted(shapes, key=lambda shape: -float(shape.area)):
        inside = inside.symmetric_difference(shape)
    return inside


def _other(name: str, feature: Mapping[str, Any], counts: Counter[str]) -> tuple[str, AreaKind, shapely.Polygon] | None:
    """Crosswalks, sidewalks and driveways as areas; what the driving world has no place for is counted by its type."""
    kinds = {"CROSSWALK": AreaKind.CROSSWALK, "ROAD_EDGE_SIDEWALK": AreaKind.WALKWAY, "DRIVEWAY": AreaKind.CARPARK}
    kind = kinds.get(str(feature["type"]))
    outline = feature.get("polygon", feature.get("polyline", ()))  # old Waymo conversions hold crosswalks as polylines
    if kind is None or len(outline) < 3:
        used = name.startswith("boundary_")
        counts["map_features_not_used/" + str(feature["type"]).lower()] += not used
        return None
    polygon = _polygon(outline, counts)
    return None if polygon is None else (name, kind, polygon)
