"""The readable path that ``bench_data`` compares with: rows of the log to objects, frame by frame, every shape of the map asked.

What a reader looks like before anybody measures it: a joined query a frame, an object a row, shapely for the map, no index of ours.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pyogrio.raw
import shapely

LAYERS = (
    "lanes_polygons", "lane_connectors", "gen_lane_connectors_scaled_width_polygons", "lane_groups_polygons",
    "lane_group_connectors", "intersections", "crosswalks", "walkways", "carpark_areas", "baseline_paths",
)  # fmt: skip


@dataclass
class Pose:
    x: float
    y: float
    z: float
    qw: float
    qx: float
    qy: float
    qz: float
    vx: float
    vy: float
    ax: float
    ay: float
    yaw_rate: float


@dataclass
class Box:
    track: str
    kind: str
    x: float
    y: float
    yaw: float
    vx: float
    vy: float
    length: float
    width: float
    height: float


@dataclass
class Frame:
    time: int
    ego: Pose
    boxes: list[Box]
    lights: dict[int, str]
    blocks: list[str]


class NaiveReader:
    """A log and its map."""

    def __init__(self, log: Path, gpkg: Path) -> None:
        self.base = sqlite3.connect(log)
        self.shapes = {}
        for layer in LAYERS:
            _, fids, shapes, _ = pyogrio.raw.read(str(gpkg), layer=layer, return_fids=True)
            self.shapes[layer] = list(zip(fids, shapely.from_wkb(shapes), strict=True))

    def window(
        self, now: int, before: float, after: float, rate: float, radius: float
    ) -> tuple[list[Frame], dict[str, list[object]]]:
        """Frames around a time [microseconds], and the shapes within ``radius`` metres."""
        steps = range(-round(before * rate), round(after * rate) + 1)
        frames = [self.frame(now + round(k / rate * 1e6)) for k in steps]
        here = frames[round(before * rate)].ego
        place = shapely.Point(here.x, here.y)
        near = {layer: [(fid, s) for fid, s in shapes if s.distance(place) <= radius] for layer, shapes in self.shapes.items()}
        return frames, near

    def frame(self, time: int) -> Frame:
        """The frame nearest to a time."""
        token, stamp, blocks, *pose = self.base.execute(
            "SELECT p.token, p.timestamp, s.roadblock_ids, e.x, e.y, e.z, e.qw, e.qx, e.qy, e.qz, e.vx, e.vy, e.acceleration_x, "
            "e.acceleration_y, e.angular_rate_z FROM lidar_pc p JOIN ego_pose e ON e.token = p.ego_pose_token "
            "JOIN scene s ON s.token = p.scene_token WHERE p.timestamp BETWEEN ? AND ? ORDER BY abs(p.timestamp - ?) LIMIT 1",
            (time - 30_000, time + 30_000, time),
        ).fetchone()
        boxes = [
            Box(row[0].hex(), *row[1:])
            for row in self.base.execute(
                "SELECT b.track_token, c.name, b.x, b.y, b.yaw, b.vx, b.vy, b.length, b.width, b.height FROM lidar_box b "
                "JOIN track t ON t.token = b.track_token JOIN category c ON c.token = t.category_token WHERE b.lidar_pc_token = ?",
                (token,),
            )
        ]
        lights = dict(
            self.base.execute("SELECT lane_connector_id, status FROM traffic_light_status WHERE lidar_pc_token = ?", (token,))
        )
        return Frame(stamp, Pose(*pose), boxes, lights, blocks.split())
