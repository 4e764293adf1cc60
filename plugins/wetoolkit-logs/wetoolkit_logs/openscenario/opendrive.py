"""A road map as OpenDRIVE 1.7: one road a lane, its reference line the lane's centre line, its width that of the lane's polygon.

Coordinates are the scenario's own; the header's offset leads back to the log's. What OpenDRIVE roads of one lane cannot say is
left out: neighbours, roadblocks, intersections, car parks and walkways.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement

import numpy as np
import shapely
from numpy.typing import NDArray
from wetoolkit_driving.geometry import relative
from wetoolkit_driving.types import AreaKind, RoadMap

from wetoolkit_logs import __version__
from wetoolkit_logs.openscenario.joints import shaped
from wetoolkit_logs.openscenario.lines import Piece, Width, beside
from wetoolkit_logs.openscenario.network import Link, network

Double = NDArray[np.float64]
TRAFFIC_LIGHT = "1000001"  # a light with three lamps, as in the catalogue that OpenDRIVE's examples use
NARROW = 0.005  # metres by which a width may differ from the lane's own
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)  # equal recordings give equal files


def opendrive(road: RoadMap, origin: Sequence[float], name: str) -> Element:
    """The document's root."""
    root = Element("OpenDRIVE")
    _header(root, road, origin, name)
    links = network(road)
    parts, bodies = shaped(road)
    crosswalks = _crosswalks(road)
    for lane in range(road.lanes):
        part, body = parts[lane], bodies[lane]
        node = _road(root, lane, road.lane_ids[lane], links.junction[lane], part)
        _links(node, links.before[lane], links.after[lane])
        _type(node, float(road.lane_speed_limit[lane]))
        _plan(node, part)
        _lane(node, body, links.before[lane], links.after[lane])
        _objects(node, road, lane, part, crosswalks)
        if road.lane_signal[lane] >= 0:
            _signal(node, lane, road.lane_ids[lane], body)
    for number, edges in links.crossings.items():
        _junction(root, number, edges, "connectingRoad", "default")
    for number, edges in links.direct.items():
        _junction(root, number, edges, "linkedRoad", "direct")
    return root


def text(value: float) -> str:
    """A number to a micrometre and better."""
    return f"{float(value):.12g}"


def put(parent: Element, tag: str, **attributes: object) -> Element:
    """A child with attributes, numbers written in full."""
    said = {key: text(value) if isinstance(value, float) else str(value) for key, value in attributes.items()}
    return SubElement(parent, tag, said)


def _header(root: Element, road: RoadMap, origin: Sequence[float], name: str) -> None:
    low, high = road.lane_xy.min(0), road.lane_xy.max(0)
    header = put(
        root, "header", revMajor=1, revMinor=7, name=name, version=1, date=EPOCH.strftime("%Y-%m-%dT%H:%M:%S"),
        north=float(high[1]), south=float(low[1]), east=float(high[0]), west=float(low[0]), vendor=f"wetoolkit-logs {__version__}",
    )  # fmt: skip
    put(header, "offset", x=float(origin[0]), y=float(origin[1]), z=float(origin[2]), hdg=0.0)


def _road(root: Element, lane: int, name: str, junction: int, part: Sequence[Piece]) -> Element:
    return put(root, "road", name=name, length=part[-1].s + part[-1].length, id=lane, junction=junction, rule="RHT")


def _links(node: Element, before: Link | None, after: Link | None) -> None:
    link = put(node, "link")
    for tag, found, touches in (("predecessor", before, "end"), ("successor", after, "start")):
        if found is not None:
            contact = {"contactPoint": touches} if found[0] == "road" else {}
            put(link, tag, elementType=found[0], elementId=found[1], **contact)


def _type(node: Element, limit: float) -> None:
    kind = put(node, "type", s=0.0, type="town")
    if limit > 0:
        put(kind, "speed", max=limit, unit="m/s")


def _plan(node: Element, part: Sequence[Piece]) -> None:
    plan = put(node, "planView")
    for piece in part:
        shape = put(plan, "geometry", s=piece.s, x=piece.x, y=piece.y, hdg=piece.heading, length=piece.length)
        if piece.straight:
            put(shape, "line")
            continue
        cubics = dict(zip(("aU", "bU", "cU", "dU", "aV", "bV", "cV", "dV"), (*piece.u, *piece.v), strict=True))
        put(shape, "paramPoly3", pRange="normalized", **cubics)


def _lane(node: Element, body: Width, before: Link | None, after: Link | None) -> None:
    """One lane to the right of the lane offset, which is the lane's left border."""
    lanes = put(node, "lanes")
    for s, a, b in _slopes(body.s, body.left):
        put(lanes, "laneOffset", s=s, a=a, b=b, c=0.0, d=0.0)
    section = put(lanes, "laneSection", s=0.0)
    put(put(section, "center"), "lane", id=0, type="none", level="false")
    lane = put(put(section, "right"), "lane", id=-1, type="driving", level="false")
    link = put(lane, "link")
    for tag, found in (("predecessor", before), ("successor", after)):
        if found is not None and found[0] == "road":
            put(link, tag, id=-1)
    for s, a, b in _slopes(body.s, body.left + body.right):
        put(lane, "width", sOffset=s, a=a, b=b, c=0.0, d=0.0)


def _slopes(s: Double, value: Double) -> list[tuple[float, float, float]]:
    """(start, value, slope) of each stretch of a function that is linear between stations, to ``NARROW`` metres."""
    at, kept = shapely.get_coordinates(shapely.LineString(np.stack([s, value], 1)).simplify(NARROW)).T
    return list(zip(at[:-1].tolist(), kept[:-1].tolist(), (np.diff(kept) / np.diff(at)).tolist(), strict=True))


def _crosswalks(road: RoadMap) -> dict[int, list[int]]:
    """Lane -> the crosswalk areas that it is the nearest to."""
    areas = np.flatnonzero(road.area_kind == AreaKind.CROSSWALK).tolist()
    tree = shapely.STRtree([shapely.LineString(road.centre_line(lane)) for lane in range(road.lanes)])
    found: dict[int, list[int]] = {}
    for area in areas:
        lane = int(tree.nearest(shapely.Polygon(road.area(area))))
        found.setdefault(lane, []).append(area)
    return found


def _objects(node: Element, road: RoadMap, lane: int, part: Sequence[Piece], crosswalks: dict[int, list[int]]) -> None:
    if lane not in crosswalks:
        return
    objects, line = put(node, "objects"), road.centre_line(lane)
    for area in crosswalks[lane]:
        ring = road.area(area)
        s, t, (x, y, heading) = beside(part, line, np.asarray(shapely.get_coordinates(shapely.Polygon(ring).centroid))[0])
        local = relative(np.array([x, y, heading]), np.append(ring, np.zeros((len(ring), 1)), 1))[:, :2]
        extent = np.ptp(local, axis=0)
        one = put(
            objects, "object", id=area, name=road.area_ids[area], type="crosswalk", s=s, t=t, zOffset=0.0, hdg=0.0,
            orientation="none", length=float(extent[0]), width=float(extent[1]), height=0.0,
        )  # fmt: skip
        outline = put(put(one, "outlines"), "outline", id=0, outer="true", closed="true", laneType="driving")
        for number, (u, v) in enumerate(local.tolist()):
            put(outline, "cornerLocal", id=number, u=u, v=v, z=0.0, height=0.0)


def _signal(node: Element, lane: int, name: str, body: Width) -> None:
    """A light at the right border where the lane begins; the scenario sets its lamps."""
    put(
        put(node, "signals"), "signal", s=0.0, t=-float(body.right[0]), id=f"light-{lane}", name=name, dynamic="yes",
        orientation="+", zOffset=4.0, type=TRAFFIC_LIGHT, subtype="-1", country="OpenDRIVE", height=0.9, width=0.3,
    )  # fmt: skip


def _junction(root: Element, number: int, edges: Sequence[tuple[int, int]], onto: str, kind: str) -> None:
    junction = put(root, "junction", id=number, name=f"{kind} {number}", type=kind)
    for count, (incoming, road) in enumerate(edges):
        connection = put(junction, "connection", id=count, incomingRoad=incoming, contactPoint="start", **{onto: road})
        put(connection, "laneLink", **{"from": -1, "to": -1})
