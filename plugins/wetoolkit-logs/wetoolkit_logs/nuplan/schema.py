"""What a nuPlan log and its map consist of: tables, columns, indexes, layers, names.

Source: what nuplan-devkit 1.2.2 queries (nuplan/database/nuplan_db, nuplan/common/maps/nuplan_map).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from wetoolkit_driving.types import AgentClass, AreaKind, Signal

_LINKS = "token BLOB PRIMARY KEY, next_token BLOB, prev_token BLOB"
_CALIBRATED = "token BLOB PRIMARY KEY, log_token BLOB, channel TEXT, model TEXT, translation BLOB, rotation BLOB"
_BOX = "x REAL, y REAL, z REAL, width REAL, length REAL, height REAL, vx REAL, vy REAL, vz REAL, yaw REAL, confidence REAL"
_MOTION = ", ".join(f"{name} REAL" for name in (
    "x", "y", "z", "qw", "qx", "qy", "qz", "vx", "vy", "vz", "acceleration_x", "acceleration_y", "acceleration_z",
    "angular_rate_x", "angular_rate_y", "angular_rate_z",
))  # fmt: skip
TABLES: Mapping[str, str] = {
    "log": "token BLOB PRIMARY KEY, vehicle_name TEXT, date TEXT, timestamp INTEGER, logfile TEXT, location TEXT, map_version TEXT",
    "lidar": _CALIBRATED,
    "camera": f"{_CALIBRATED}, intrinsic BLOB, distortion BLOB, width INTEGER, height INTEGER",
    "image": f"{_LINKS}, ego_pose_token BLOB, camera_token BLOB, filename_jpg TEXT, timestamp INTEGER",
    "ego_pose": f"token BLOB PRIMARY KEY, timestamp INTEGER, {_MOTION}, epsg INTEGER, log_token BLOB",
    "scene": "token BLOB PRIMARY KEY, log_token BLOB, name TEXT, goal_ego_pose_token BLOB, roadblock_ids TEXT",
    "lidar_pc": f"{_LINKS}, ego_pose_token BLOB, lidar_token BLOB, scene_token BLOB, filename TEXT, timestamp INTEGER",
    "category": "token BLOB PRIMARY KEY, name TEXT, description TEXT",
    "track": "token BLOB PRIMARY KEY, category_token BLOB, width REAL, length REAL, height REAL",
    "lidar_box": f"token BLOB PRIMARY KEY, lidar_pc_token BLOB, track_token BLOB, next_token BLOB, prev_token BLOB, {_BOX}",
    "scenario_tag": "token BLOB PRIMARY KEY, lidar_pc_token BLOB, type TEXT, agent_track_token BLOB",
    "traffic_light_status": "token BLOB PRIMARY KEY, lidar_pc_token BLOB, lane_connector_id INTEGER, status TEXT",
}
OWN_TABLES: Mapping[str, str] = {  # ours besides: what nuPlan has no column for; other readers never look at them
    "wetoolkit": "key TEXT PRIMARY KEY, value TEXT",
    "wetoolkit_track": "token BLOB PRIMARY KEY, name TEXT",
    "wetoolkit_ego": "token BLOB PRIMARY KEY, steering REAL, steering_rate REAL, yaw_acceleration REAL",
    "wetoolkit_signal": "lidar_pc_token BLOB, lane_fid INTEGER, state INTEGER",  # yellow, and lights of other lanes
}
COLUMNS: Mapping[str, tuple[str, ...]] = {
    table: tuple(part.split()[0] for part in declared.split(", ")) for table, declared in TABLES.items()
}
NEEDED_INDEXES: tuple[tuple[str, str], ...] = (  # those of devkit queries: without them a reader crawls
    ("lidar_box", "lidar_pc_token"), ("lidar_pc", "timestamp"), ("lidar_pc", "ego_pose_token"),
    ("traffic_light_status", "lidar_pc_token"), ("scenario_tag", "lidar_pc_token"),
)  # fmt: skip
INDEXES = (*NEEDED_INDEXES, ("lidar_pc", "scene_token"), ("ego_pose", "timestamp"), ("image", "timestamp"))
CATEGORIES: Mapping[str, AgentClass] = {kind.name.lower(): kind for kind in AgentClass}
STATUS: Mapping[str, Signal] = {"green": Signal.GREEN, "red": Signal.RED, "unknown": Signal.UNKNOWN}

EPSG = 32611  # UTM zone 11 north, that of the location below
LOCATION = "us-nv-las-vegas-strip"  # where written maps stand; the other hard-coded locations are links to it
LOCATIONS = ("sg-one-north", "us-ma-boston", LOCATION, "us-pa-pittsburgh-hazelwood")
MAP_INDEX = "nuplan-maps-v1.0.json"
LIDAR = "MergedPointCloud"
LAYERS = (
    "lanes_polygons", "lane_connectors", "gen_lane_connectors_scaled_width_polygons", "lane_groups_polygons",
    "lane_group_connectors", "baseline_paths", "boundaries", "intersections", "stop_polygons", "crosswalks", "walkways",
    "carpark_areas", "road_segments", "generic_drivable_areas", "meta",
)  # fmt: skip
OWN_AREAS, OWN_LINKS = "wetoolkit_areas", "wetoolkit_links"  # layers of ours: polygons and successions that nuPlan has no place for
AREA_LAYERS: Mapping[AreaKind, str] = {  # areas that stand in a layer as they are; lanes have theirs with them
    AreaKind.ROADBLOCK: "lane_groups_polygons",
    AreaKind.ROADBLOCK_CONNECTOR: "lane_group_connectors",
    AreaKind.INTERSECTION: "intersections",
    AreaKind.CARPARK: "carpark_areas",
    AreaKind.DRIVABLE_AREA: "generic_drivable_areas",
    AreaKind.CROSSWALK: "crosswalks",
    AreaKind.WALKWAY: "walkways",
    AreaKind.STOP_LINE: "stop_polygons",
}


def token(*parts: object) -> bytes:
    """8 bytes that name a row: equal for equal parts."""
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()


def tokens(log: str, table: str, count: int) -> list[bytes]:
    """Names of the rows of a table, rising, so that inserting them in order is fast and packs their index."""
    first = int.from_bytes(token(log, table)[:5], "big") << 24  # 2^40 prefixes: two logs of a large folder share none
    names: list[bytes] = (np.uint64(first) + np.arange(count, dtype=np.uint64)).astype(">u8").view("V8").tolist()
    return names
