"""Small worlds made in code, for tests: a straight road, a signalled crossing, and actors with a given motion.

Every world has dt = 0.1 s and, at step ``now``, the ego's rear axle at the origin heading along +x with ``speed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely

from wetoolkit.types import Clock, Lineage, Ref, Scenario, Scene
from wetoolkit_driving.types import (
    AgentClass,
    Agents,
    AreaKind,
    Bool,
    Control,
    Double,
    Ego,
    RoadMap,
    Signal,
    Vehicle,
    World,
)

DT = 0.1
LANE_WIDTH = 3.5
SIZES = {
    AgentClass.VEHICLE: (4.6, 1.9, 1.6),
    AgentClass.PEDESTRIAN: (0.6, 0.7, 1.7),
    AgentClass.BICYCLE: (1.8, 0.7, 1.7),
    AgentClass.TRAFFIC_CONE: (0.4, 0.4, 0.8),
    AgentClass.BARRIER: (0.5, 2.0, 1.0),
    AgentClass.CZONE_SIGN: (0.5, 0.5, 1.5),
    AgentClass.GENERIC_OBJECT: (1.0, 1.0, 1.0),
}


@dataclass(frozen=True)
class Actor:
    """One track: its motion over all steps."""

    kind: AgentClass
    pose: Double  # [T, 3] box centre
    velocity: Double  # [T, 2] m/s, world axes
    valid: Bool  # [T]
    size: tuple[float, float, float]
    control: Control = Control.REPLAY


def actor(
    x: float,
    y: float,
    heading: float = 0.0,
    speed: float | Sequence[float] = 0.0,
    kind: AgentClass = AgentClass.VEHICLE,
    *,
    steps: int = 101,
    now: int = 20,
    size: tuple[float, float, float] | None = None,
    seen: tuple[int, int] | None = None,
    control: Control = Control.REPLAY,
) -> Actor:
    """A track that goes straight: at ``now`` at (x, y); ``speed`` [m/s] is one or one a step; ``seen`` = first and last step."""
    speeds = np.broadcast_to(np.asarray(speed, float), (steps,))
    travelled = np.concatenate([[0.0], np.cumsum(speeds[:-1] * DT)])
    travelled -= travelled[now]
    direction = np.array([np.cos(heading), np.sin(heading)])
    first, last = seen or (0, steps - 1)
    valid = (np.arange(steps) >= first) & (np.arange(steps) <= last)
    pose = np.column_stack([np.array([x, y]) + travelled[:, None] * direction, np.full(steps, heading)])
    velocity = speeds[:, None] * direction
    return Actor(kind, pose * valid[:, None], velocity * valid[:, None], valid, size or SIZES[kind], control)


def gather(actors: Sequence[Actor], steps: int) -> Agents:
    """Actors as one Agents table, ids ``a0``, ``a1``, ...; all must have been made for ``steps`` steps."""
    count = len(actors)
    odd = {len(a.pose) for a in actors} - {steps}
    if odd:
        raise ValueError(f"actors of {sorted(odd)} steps in a world of {steps}: make them with actor(..., steps={steps})")
    return Agents(
        tuple(f"a{i}" for i in range(count)),
        np.array([a.kind for a in actors], np.uint8),
        np.array([a.size for a in actors], np.float32).reshape(count, 3),
        np.array([a.pose for a in actors], np.float32).reshape(count, steps, 3),
        np.array([a.velocity for a in actors], np.float32).reshape(count, steps, 2),
        np.array([a.valid for a in actors], bool).reshape(count, steps),
        np.array([a.control for a in actors], np.uint8),
    )


@dataclass(frozen=True)
class Lane:
    """A lane to be put on a map. ``block`` names the roadblock it belongs to, "" for none."""

    id: str
    xy: Double  # [n, 2] centre line
    block: str = ""
    connector: bool = False
    follows: tuple[str, ...] = ()  # ids of its successors
    left: str = ""
    right: str = ""
    limit: float = 13.9  # m/s
    signal: int = -1
    width: float = LANE_WIDTH


def _strip(lane: Lane) -> shapely.Polygon:
    return shapely.LineString(lane.xy).buffer(lane.width / 2, cap_style="flat", join_style="mitre")


def build_map(lanes: Sequence[Lane], areas: Sequence[tuple[str, AreaKind, Double]] = ()) -> RoadMap:
    """A RoadMap of lanes (each with its polygon), the roadblocks that unite them, and further areas."""
    kinds = [AreaKind.LANE_CONNECTOR if lane.connector else AreaKind.LANE for lane in lanes]
    shapes = [np.asarray(_strip(lane).exterior.coords)[:-1] for lane in lanes]
    names = [lane.id for lane in lanes]
    blocks = sorted({lane.block for lane in lanes if lane.block})
    for block in blocks:
        members = [lane for lane in lanes if lane.block == block]
        # A hair of buffer closes the seam between neighbours, so that the union is one ring.
        union = shapely.unary_union([_strip(lane).buffer(1e-6, join_style="mitre") for lane in members])
        kinds.append(AreaKind.ROADBLOCK_CONNECTOR if members[0].connector else AreaKind.ROADBLOCK)
        shapes.append(np.asarray(union.exterior.coords)[:-1])
    names += [*blocks, *(name for name, _, _ in areas)]
    kinds += [kind for _, kind, _ in areas]
    shapes += [ring for _, _, ring in areas]
    index = {lane.id: i for i, lane in enumerate(lanes)} | {"": -1}
    return RoadMap(
        tuple(names),
        np.array(kinds, np.uint8),
        np.concatenate(shapes),
        np.cumsum([0, *(len(shape) for shape in shapes)], dtype=np.int32),
        tuple(lane.id for lane in lanes),
        np.concatenate([lane.xy for lane in lanes]).astype(float),
        np.cumsum([0, *(len(lane.xy) for lane in lanes)], dtype=np.int32),
        np.arange(len(lanes), dtype=np.int32),
        np.array([len(lanes) + blocks.index(lane.block) if lane.block else -1 for lane in lanes], np.int32),
        np.array([index[lane.left] for lane in lanes], np.int32),
        np.array([index[lane.right] for lane in lanes], np.int32),
        np.array([lane.limit for lane in lanes], np.float32),
        np.array([lane.signal for lane in lanes], np.int32),
        np.array([(i, index[s]) for i, lane in enumerate(lanes) for s in lane.follows], np.int32).reshape(-1, 2),
    )


def ego_states(speed: float | Sequence[float], steps: int = 101, now: int = 20, y: float = 0.0) -> Double:
    """States [T, 11] of a body that goes along +x and is at (0, y) at ``now``; one speed [m/s], or one a step."""
    speeds = np.broadcast_to(np.asarray(speed, float), (steps,))
    states = np.zeros((steps, 11))
    x = np.concatenate([[0.0], np.cumsum(speeds[:-1] * DT)])
    states[:, 0], states[:, 1], states[:, 3] = x - x[now], y, speeds
    states[:, 5] = np.gradient(speeds, DT)
    return states


def _on_route(road: RoadMap, route: Sequence[int]) -> Bool:
    blocks = {int(road.lane_roadblock[i]) for i in route} - {-1}
    flags = np.zeros(len(road.area_ids), bool)
    flags[[int(road.lane_area[i]) for i in range(road.lanes) if i in route or int(road.lane_roadblock[i]) in blocks]] = True
    flags[list(blocks)] = True
    return flags


def _straight_piece(piece: int, k: int, lanes: int, signal: bool, limit: float) -> Lane:
    xs = np.arange(-150.0 + 100 * piece, -49.0 + 100 * piece, 5.0)
    return Lane(
        f"l{piece}.{k}",
        np.column_stack([xs, np.full(len(xs), k * LANE_WIDTH)]),
        f"b{piece}",
        follows=(f"l{piece + 1}.{k}",) if piece < 3 else (),
        left=f"l{piece}.{k + 1}" if k + 1 < lanes else "",
        right=f"l{piece}.{k - 1}" if k else "",
        limit=limit,
        signal=0 if signal and piece == 2 else -1,
    )


def straight_map(lanes: int = 2, signal: bool = False, limit: float = 13.9, crosswalk: float | None = None) -> RoadMap:
    """Four pieces of 100 m from x = -150 to 250 m: lane ``k`` has its centre at y = k * 3.5 m, all in direction +x.

    With ``signal``, row 0 governs entering the third piece (stop line at x = 50 m). ``crosswalk`` is the x [m] of a crossing.
    """
    drafts = [_straight_piece(piece, k, lanes, signal, limit) for piece in range(4) for k in range(lanes)]
    low, high = -LANE_WIDTH / 2, (lanes - 0.5) * LANE_WIDTH
    areas = []
    if crosswalk is not None:
        ring = np.array([[-2, low], [2, low], [2, high], [-2, high]], float) + np.array([crosswalk, 0.0])
        areas.append(("crosswalk", AreaKind.CROSSWALK, ring))
    return build_map(drafts, areas)


def straight_world(
    actors: Sequence[Actor] = (),
    *,
    speed: float | Sequence[float] = 10.0,
    lanes: int = 2,
    steps: int = 101,
    now: int = 20,
    signal: Sequence[Signal] | Signal | None = None,
    limit: float = 13.9,
    crosswalk: float | None = None,
) -> World:
    """The ego in the rightmost lane of a straight road (see ``straight_map``), with ``actors`` made by ``actor``."""
    road = straight_map(lanes, signal is not None, limit, crosswalk)
    route = [i for i, name in enumerate(road.lane_ids) if name.endswith(".0")]
    rows = np.zeros((0, steps)) if signal is None else np.broadcast_to(np.asarray(signal), (1, steps))
    world = World(
        Ego(ego_states(speed, steps, now), np.ones(steps, bool), Vehicle()),
        gather(actors, steps),
        road,
        np.array(rows, np.uint8),
        np.array(route, np.int32),
        _on_route(road, route),
        DT,
    )
    world.validate()
    return world


def _turned(xy: Double, quarter: int, centre: Double) -> Double:
    c, s = (1, 0, -1, 0)[quarter], (0, 1, 0, -1)[quarter]
    turned: Double = xy @ np.array([[c, s], [-s, c]], float) + centre
    return turned


def crossing_map(distance: float = 40.0, limit: float = 13.9) -> RoadMap:
    """A crossing of two roads, one lane each way, its centre ``distance`` metres ahead; the ego's lane centre is y = 0.

    Arms are 0 from the west (the ego's), 1 from the south, 2 from the east, 3 from the north. Lanes: ``in<arm>``, ``out<arm>``
    (left by traffic that came in by that arm and went straight), connectors ``straight<arm>``, ``right<arm>``, ``left<arm>``.
    Signal row 0 governs the connectors of arms 0 and 2, row 1 the others.
    """
    half, reach, offset = 8.0, 150.0, LANE_WIDTH / 2
    centre = np.array([distance, offset])
    drafts = []
    for arm in range(4):
        signal = arm % 2
        incoming = np.column_stack([np.linspace(-reach, -half, 30), np.full(30, -offset)])
        through = np.column_stack([np.linspace(-half, half, 9), np.full(9, -offset)])
        outgoing = np.column_stack([np.linspace(half, reach, 30), np.full(30, -offset)])
        phi = np.linspace(0, np.pi / 2, 9)
        right = np.column_stack([-half + (half - offset) * np.sin(phi), -half + (half - offset) * np.cos(phi)])
        left = np.column_stack([-half + (half + offset) * np.sin(phi), half - (half + offset) * np.cos(phi)])
        options = (
            ("straight", through, arm),
            ("right", right, (arm - 1) % 4),
            ("left", left, (arm + 1) % 4),
        )
        drafts.append(
            Lane(
                f"in{arm}",
                _turned(incoming, arm, centre),
                f"bin{arm}",
                follows=tuple(f"{n}{arm}" for n, _, _ in options),
                limit=limit,
            )
        )
        drafts.append(Lane(f"out{arm}", _turned(outgoing, arm, centre), f"bout{arm}", limit=limit))
        for name, line, to in options:
            line = _turned(line, arm, centre)
            drafts.append(Lane(f"{name}{arm}", line, f"c{name}{arm}", True, (f"out{to}",), limit=limit, signal=signal))
    square = np.array([[-half, -half], [half, -half], [half, half], [-half, half]]) + centre
    return build_map(drafts, [("intersection", AreaKind.INTERSECTION, square)])


def crossing_world(
    actors: Sequence[Actor] = (),
    *,
    speed: float | Sequence[float] = 10.0,
    distance: float = 40.0,
    steps: int = 101,
    now: int = 20,
    signals: tuple[Signal, Signal] = (Signal.GREEN, Signal.RED),
) -> World:
    """The ego comes from the west and goes straight over the crossing of ``crossing_map``."""
    road = crossing_map(distance)
    route = [road.lane_ids.index(name) for name in ("in0", "straight0", "out0")]
    world = World(
        Ego(ego_states(speed, steps, now), np.ones(steps, bool), Vehicle()),
        gather(actors, steps),
        road,
        np.repeat(np.array(signals, np.uint8)[:, None], steps, 1),
        np.array(route, np.int32),
        _on_route(road, route),
        DT,
    )
    world.validate()
    return world


def pedestrian_world(*, speed: float = 10.0, start: float = -5.0, pace: float = 1.4, x: float = 25.0, steps: int = 101) -> World:
    """A pedestrian at (x, start) at ``now`` walks across the road (+y) in front of the ego."""
    walker = actor(x, start, np.pi / 2, pace, AgentClass.PEDESTRIAN, steps=steps)
    return straight_world([walker], speed=speed, crosswalk=x, steps=steps)


def scenario(world: World, now: int = 20, name: str = "test/0", log: str = "log0") -> Scenario[World]:
    """A Scenario around a world."""
    clock = Clock(world.dt, now, world.steps)
    return Scenario(name, "driving", "test", log, clock, (0.0, 0.0, 0.0), Lineage("testing", log, name), world)


def scene(world: World, now: int = 20, name: str = "test/0", log: str = "log0") -> Scene[World]:
    """A Scene around a world."""
    clock = Clock(world.dt, now, world.steps)
    return Scene(name, "driving", log, Ref(name, "test", log), clock, (0.0, 0.0, 0.0), Lineage("testing", log, name), world)


def with_control(world: World, control: Control) -> World:
    """The same world with every agent moved by ``control``."""
    return replace(world, agents=replace(world.agents, control=np.full(len(world.agents), control, np.uint8)))


__all__ = [
    "DT", "SIZES", "Actor", "Lane", "actor", "build_map", "crossing_map", "crossing_world", "ego_states", "gather",
    "pedestrian_world", "scenario", "scene", "straight_map", "straight_world", "with_control",
]  # fmt: skip
