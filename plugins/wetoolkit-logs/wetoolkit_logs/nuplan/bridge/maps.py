"""What a nuplan-devkit map shows around a place, as the reader's own map: asked once, then kept until one has gone far.

Any ``AbstractMap`` will do. Its objects are put into the columns that the reader takes from ``map.gpkg``, so that names, order,
neighbours, successors and polygons with holes come out of the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from wetoolkit_driving.types import AreaKind

from wetoolkit.errors import DataError, PluginError
from wetoolkit_logs.nuplan.citymap import CityMap
from wetoolkit_logs.nuplan.layers import Columns
from wetoolkit_logs.nuplan.mapindex import NEEDED, OVER, index_of
from wetoolkit_logs.nuplan.schema import AREA_LAYERS

Double = NDArray[np.float64]
MARGIN = 60.0  # metres one may go before the map is asked again
SLACK = 60.0  # metres more are asked: the reader keeps what has its bounding box within reach, the devkit what has its shape there
DRIVABLE = "generic_drivable_areas"  # the part of the devkit's layer DRIVABLE_AREA that no other layer of areas has
LAYERS: Mapping[AreaKind, str] = {  # the devkit's names of the layers of areas that it has objects for
    AreaKind.ROADBLOCK: "ROADBLOCK",
    AreaKind.ROADBLOCK_CONNECTOR: "ROADBLOCK_CONNECTOR",
    AreaKind.INTERSECTION: "INTERSECTION",
    AreaKind.CARPARK: "CARPARK_AREA",
    AreaKind.CROSSWALK: "CROSSWALK",
    AreaKind.WALKWAY: "WALKWAYS",
    AreaKind.STOP_LINE: "STOP_LINE",
}


@dataclass(frozen=True)
class Place:
    """What the devkit's maps take as a point: only ``x`` and ``y`` are looked at."""

    x: float
    y: float


def devkit_layer(name: str) -> Any:
    """A member of the devkit's SemanticMapLayer. Errors: ``PluginError`` where the devkit is not installed."""
    try:
        from nuplan.common.maps.maps_datatypes import SemanticMapLayer
    except ImportError as error:
        raise PluginError("nuplan-devkit is not installed", module=str(error.name), way_out=INSTALL) from error
    return SemanticMapLayer[name]


INSTALL = "install it from its source tree: pip install -e /path/to/nuplan-devkit (docs/nuplan-bridge.md)"


class MapView:
    """A devkit map as arrays around a place; one for each simulation or series of scenarios on one map."""

    def __init__(self, api: Any, radius: float, layer: Callable[[str], Any] = devkit_layer) -> None:
        """``radius`` [m] is what every ``around`` surely shows; ``layer`` gives the devkit's layer of a name."""
        self.api = api
        self.radius = radius
        self.asked = 0  # how often the devkit was
        self._layer = layer
        self._centre = np.full(2, np.inf)
        self._route: tuple[str, ...] = ()
        self._city: CityMap | None = None

    def around(self, place: Double, route: Sequence[str] = ()) -> CityMap:
        """The map within ``radius`` of a place [2], and the lanes of the roadblocks of a route wherever they are."""
        far = float(np.abs(place - self._centre).max()) > MARGIN
        if self._city is None or far or tuple(route) != self._route:
            layers = self._layers(place, route)
            name = str(getattr(self.api, "map_name", "devkit map"))
            if not len(layers["baseline_paths"]["fid"]):
                what = f"no lane within {self._reach:.0f} m of {place[0]:.1f}, {place[1]:.1f} m on the map {name!r}"
                raise DataError(what, field="map_api", way_out="give the map of the scenario's own city")
            self._city = CityMap(Path(name), arrays=index_of(layers))
            self._centre, self._route, self.asked = place.copy(), tuple(route), self.asked + 1
        return self._city

    @property
    def _reach(self) -> float:
        return self.radius + MARGIN + SLACK

    def _layers(self, place: Double, route: Sequence[str]) -> dict[str, Columns]:
        names = ["LANE", "LANE_CONNECTOR", *LAYERS.values()]
        there = set(self.api.get_available_map_objects())
        asked = [layer for layer in map(self._layer, names) if layer in there]
        found = self.api.get_proximal_map_objects(Place(float(place[0]), float(place[1])), self._reach, asked)
        objects = {name: list(found.get(self._layer(name), ())) for name in names}
        for name in route:
            self._add_block(name, objects)
        unique = {name: _unique(items) for name, items in objects.items()}
        areas = {kind: _areas(unique[LAYERS[kind]]) for kind in AREA_LAYERS if kind in LAYERS}
        areas[AreaKind.DRIVABLE_AREA] = self._drivable(place, areas)
        layers = _lane_layers(unique["LANE"], unique["LANE_CONNECTOR"])
        return layers | {AREA_LAYERS[kind]: columns for kind, columns in areas.items()}

    def _add_block(self, name: str, objects: dict[str, list[Any]]) -> None:
        """A roadblock of the route, or a connector, with its lanes."""
        for block, lane in (("ROADBLOCK", "LANE"), ("ROADBLOCK_CONNECTOR", "LANE_CONNECTOR")):
            found = self.api.get_map_object(name, self._layer(block))
            if found is not None:
                objects[block].append(found)
                objects[lane] += [edge for edge in found.interior_edges if edge is not None]

    def _drivable(self, place: Double, areas: Mapping[AreaKind, Columns]) -> Columns:
        """Areas that are only drivable, by the maps of the devkit that hand out whole layers; none of others."""
        frame = self._frame()
        if frame is None:
            return {"fid": np.zeros(0, np.int64), "geometry": np.zeros(0, object)}
        low, high = place - self._reach, place + self._reach
        shapes = np.asarray(frame["geometry"], object)
        near = shapely.intersects(shapes, shapely.box(*low, *high)) if len(shapes) else np.zeros(0, bool)
        fids = np.array([int(float(fid)) for fid in np.asarray(frame["fid"])[near]], np.int64)
        new = ~np.isin(fids, np.concatenate([columns["fid"] for columns in areas.values()]))
        return {"fid": fids[new], "geometry": shapes[near][new]}

    def _frame(self) -> Any:
        """Columns ``fid`` and ``geometry`` of the drivable layer. The public part of the devkit can only ask it about points."""
        if hasattr(self.api, "_load_vector_map_layer"):
            return self.api._load_vector_map_layer(DRIVABLE)
        if hasattr(self.api, "_get_vector_map_layer"):
            return self.api._get_vector_map_layer(self._layer("DRIVABLE_AREA"))
        return None


def _unique(items: Iterable[Any]) -> list[Any]:
    """By fid, each once."""
    by_fid = {int(item.id): item for item in items}
    return [by_fid[fid] for fid in sorted(by_fid)]


def _areas(items: Sequence[Any]) -> Columns:
    return {"fid": _fids(int(item.id) for item in items), "geometry": _shapes(item.polygon for item in items)}


def _lane_layers(lanes: Sequence[Any], connectors: Sequence[Any]) -> dict[str, Columns]:
    """The columns of lanes and connectors that the reader's index needs (``NEEDED``)."""
    flat, over = ([int(item.id) for item in items] for items in (lanes, connectors))
    ends = [[_edge(item.incoming_edges), _edge(item.outgoing_edges)] for item in connectors]
    exits, entries = np.array(ends, np.int64).reshape(-1, 2).T
    nothing = np.full(len(flat) + len(over), np.nan)
    of_lane, of_connector = nothing.copy(), nothing.copy()
    of_lane[: len(flat)], of_connector[len(flat) :] = flat, over
    layers: dict[str, Columns] = {
        "lanes_polygons": {
            "fid": _fids(flat), "lane_group_fid": _fids(int(lane.get_roadblock_id()) for lane in lanes),
            "lane_index": _fids(int(lane.index) for lane in lanes), "speed_limit_mps": _limits(lanes),
            "geometry": _shapes(lane.polygon for lane in lanes),
        },
        "lane_connectors": {
            "fid": _fids(over), "exit_lane_fid": exits, "entry_lane_fid": entries,
            "lane_group_connector_fid": _fids(int(item.get_roadblock_id()) for item in connectors),
            "speed_limit_mps": _limits(connectors),
        },
        OVER: {"fid": _fids(over), "lane_connector_fid": _fids(over), "geometry": _shapes(item.polygon for item in connectors)},
        "baseline_paths": {
            "fid": _fids([*flat, *over]), "lane_fid": of_lane, "lane_connector_fid": of_connector,
            "geometry": _shapes(item.baseline_path.linestring for item in (*lanes, *connectors)),
        },
    }  # fmt: skip
    assert all(set(NEEDED[name]) <= set(columns) for name, columns in layers.items())
    return layers


def _edge(edges: Iterable[Any]) -> int:
    """fid of the lane at an end of a connector, -1 for none."""
    return next((int(edge.id) for edge in edges if edge is not None), -1)


def _limits(items: Sequence[Any]) -> Double:
    """m/s, NaN where not known."""
    return np.array([np.nan if item.speed_limit_mps is None else item.speed_limit_mps for item in items], np.float64)


def _fids(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, np.int64)


def _shapes(shapes: Iterable[Any]) -> NDArray[np.object_]:
    made = list(shapes)
    column = np.empty(len(made), object)
    column[:] = made
    return column


__all__ = ["INSTALL", "MARGIN", "MapView", "Place", "devkit_layer"]
