"""Roads and trajectories as another simulator would take them out of the files, against the recording; ASAM's own checks."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element, parse

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.geometry import box_corners, ego_corners
from wetoolkit_driving.types import AgentClass, AreaKind, RoadMap, World
from wetoolkit_logs.openscenario.joints import shaped
from wetoolkit_logs.openscenario.lines import pieces
from wetoolkit_logs.openscenario.network import network
from wetoolkit_logs.openscenario.opendrive import opendrive
from wetoolkit_logs.openscenario.storyboard import LAMPS, openscenario, vertices
from wetoolkit_logs.openscenario.writer import write

from wetoolkit.errors import ConfigError, DataError
from wetoolkit.types import Scenario

Drive = Callable[..., Scenario[World]]


def numbers(node: Element, *names: str) -> tuple[float, ...]:
    return tuple(float(node.attrib[name]) for name in names)


def reference_line(road: Element, spacing: float = 0.25) -> np.ndarray:
    """[n, 4] s, x, y, direction as the standard defines them, apart from the writer's own code."""
    found = []
    for shape in road.iterfind("planView/geometry"):
        s, x, y, heading, length = numbers(shape, "s", "x", "y", "hdg", "length")
        p = np.linspace(0, 1, int(length / spacing) + 2)
        u, v = length * p, 0 * p
        turn = 0 * p
        cubic = shape.find("paramPoly3")
        if cubic is not None:
            assert cubic.attrib["pRange"] == "normalized"
            a = np.array(numbers(cubic, "aU", "bU", "cU", "dU"))
            b = np.array(numbers(cubic, "aV", "bV", "cV", "dV"))
            u, v = np.polynomial.Polynomial(a)(p), np.polynomial.Polynomial(b)(p)
            turn = np.arctan2(np.polynomial.Polynomial(b).deriv()(p), np.polynomial.Polynomial(a).deriv()(p))
            assert np.hypot(np.diff(u), np.diff(v)).sum() == pytest.approx(length, rel=1e-3)
        c, d = np.cos(heading), np.sin(heading)
        found.append(np.stack([s + length * p, x + c * u - d * v, y + d * u + c * v, heading + turn], 1))
    return np.concatenate(found)


def linear(nodes: list[Element], at: str, s: np.ndarray) -> np.ndarray:
    starts = np.array([float(node.attrib[at]) for node in nodes])
    which = np.clip(np.searchsorted(starts, s, side="right") - 1, 0, None)
    a, b = np.array([numbers(node, "a", "b") for node in nodes]).T
    return a[which] + b[which] * (s - starts[which])


def borders(road: Element) -> tuple[np.ndarray, np.ndarray]:
    """Left and right border [n, 2] of a road's one lane."""
    line = reference_line(road)
    s, heading = line[:, 0], line[:, 3]
    left = linear(road.findall("lanes/laneOffset"), "s", s)
    wide = linear(road.findall("lanes/laneSection/right/lane/width"), "sOffset", s)
    normal = np.stack([-np.sin(heading), np.cos(heading)], 1)
    return line[:, 1:3] + left[:, None] * normal, line[:, 1:3] + (left - wide)[:, None] * normal


def apart(one: np.ndarray, two: np.ndarray) -> float:
    """The Hausdorff distance of two lines, metres."""
    return float(shapely.hausdorff_distance(shapely.LineString(one), shapely.LineString(two), densify=0.01))


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_reference_lines_are_the_lanes_centre_lines(drive: Drive, seed: int) -> None:
    given_ = drive(seed, steps=5)
    roads = opendrive(given_.world.map, given_.origin, "x").findall("road")
    assert [road.attrib["name"] for road in roads] == list(given_.world.map.lane_ids)
    for lane, road in enumerate(roads):
        line = reference_line(road)
        assert apart(line[:, 1:3], given_.world.map.centre_line(lane)) < 0.05
        s = np.array([numbers(shape, "s", "length") for shape in road.iterfind("planView/geometry")])
        np.testing.assert_allclose(s[1:, 0], s[:-1].sum(1), atol=1e-6)
        assert float(road.attrib["length"]) == pytest.approx(s[-1].sum())
        left, right = borders(road)
        middle = (left + right)[8:-8] / 2  # the random lanes are 3.5 m wide and symmetrical, but for their skew ends
        if len(middle) > 20:
            distance = shapely.distance(shapely.LineString(given_.world.map.centre_line(lane)), shapely.points(middle))
            assert np.median(distance) < 0.1


def test_a_circle_is_smooth_and_a_corner_stays_one() -> None:
    angle = np.linspace(0, np.pi / 2, 25)
    circle = 20 * np.stack([np.cos(angle), np.sin(angle)], 1)
    parts = pieces(circle)
    for one, two in itertools.pairwise(parts):
        turn = np.arctan2(one.v[1] + 2 * one.v[2] + 3 * one.v[3], one.u[1] + 2 * one.u[2] + 3 * one.u[3])
        assert abs(one.heading + turn - two.heading) < 1e-9
    assert sum(part.length for part in parts) == pytest.approx(20 * np.pi / 2, rel=1e-5)  # the chords are 0.04 % shorter
    assert parts[0].heading == pytest.approx(np.pi / 2, abs=1e-9)
    corner = pieces(np.array([[0.0, 0], [10, 0], [10, 10]]))
    assert [part.straight for part in corner] == [True, True] and corner[1].heading == pytest.approx(np.pi / 2)
    assert len(pieces(np.array([[0.0, 0], [0, 0], [5, 0], [5, 1e-5]]))) == 1


def lanes_of(successors: list[tuple[int, int]], kinds: str, ends: list[tuple[float, float, float, float]]) -> RoadMap:
    """Straight lanes (L) and connectors (C) between given ends."""
    count = len(kinds)
    lines = np.array(ends, float).reshape(count, 2, 2)
    half = np.array([0, 1.5])
    rings = np.concatenate([np.concatenate([line + half, line[::-1] - half]) for line in lines])
    none = np.full(count, -1, np.int32)
    return RoadMap(
        tuple(map(str, range(count))), np.array([AreaKind.LANE if k == "L" else AreaKind.LANE_CONNECTOR for k in kinds], np.uint8),
        rings, np.arange(0, 4 * count + 1, 4, dtype=np.int32), tuple(f"lane {k}" for k in range(count)), lines.reshape(-1, 2),
        np.arange(0, 2 * count + 1, 2, dtype=np.int32), np.arange(count, dtype=np.int32), none, none, none,
        np.zeros(count, np.float32), none, np.array(successors, np.int32).reshape(-1, 2),
    )  # fmt: skip


def test_connectors_that_share_a_lane_or_cross_are_one_junction() -> None:
    """0 and 1 lead through 2, 3 and 4 to 5 and 6; 7 crosses them from 8 to 9; 10 runs apart from 11 to 12."""
    road = lanes_of(
        [(0, 2), (2, 5), (0, 3), (3, 6), (1, 4), (4, 6), (8, 7), (7, 9), (11, 10), (10, 12)], "LLCCCLLCLLCLL",
        [(-20, 0, 0, 0), (-20, 4, 0, 4), (0, 0, 10, 0), (0, 0, 10, 4), (0, 4, 10, 4), (10, 0, 30, 0), (10, 4, 30, 4),
         (5, -9, 5, 9), (5, -30, 5, -9), (5, 9, 5, 30), (100, 0, 110, 0), (90, 0, 100, 0), (110, 0, 120, 0)],
    )  # fmt: skip
    found = network(road)
    assert found.junction[2] == found.junction[3] == found.junction[4] == found.junction[7] != found.junction[10]
    assert all(found.junction[i] == -1 for i in (0, 1, 5, 6, 8, 9, 11, 12)) and not found.direct
    assert found.after[0] == found.before[5] == ("junction", found.junction[2])
    assert found.before[3] == ("road", 0) and found.after[3] == ("road", 6) and found.before[0] is None
    assert sorted(found.crossings[found.junction[2]]) == [(0, 2), (0, 3), (1, 4), (8, 7)]


def test_splits_without_connectors_are_direct_junctions() -> None:
    road = lanes_of([(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)], "LLLCL", [(0, 0, 9, 0)] * 5)
    found = network(road)
    assert found.junction == (-1,) * 5 and len(found.direct) == 2  # 3 has two lanes before it: no connecting road
    split, merge = sorted(found.direct, key=lambda number: found.direct[number])
    assert found.direct[split] == ((0, 1), (0, 2)) and found.direct[merge] == ((1, 3), (2, 3))
    assert found.after[0] == ("junction", split) and found.before[3] == ("junction", merge)
    assert found.after[3] == ("road", 4) and found.before[4] == ("road", 3)
    kinds = {node.attrib["id"]: node for node in opendrive(road, (0, 0, 0), "x").findall("junction")}
    assert kinds[str(split)].attrib["type"] == "direct"
    assert [node.attrib["linkedRoad"] for node in kinds[str(split)].findall("connection")] == ["1", "2"]


def test_chains_of_connectors_are_ordinary_roads() -> None:
    found = network(lanes_of([(0, 1), (1, 2), (2, 3)], "LCCL", [(0, 0, 9, 0)] * 4))
    assert found.junction == (-1,) * 4 and found.after == (("road", 1), ("road", 2), ("road", 3), None)


def test_borders_go_on_where_lanes_meet_and_step_where_one_splits() -> None:
    """0 leads to connector 1, 0.4 m narrower and turned by 0.02 rad; 2 is half as wide as 0."""
    road = lanes_of([(0, 1), (1, 3), (0, 2)], "LCLL", [(-20, 0, 0, 0), (0, 0, 20, 0.4), (0, 0, 20, 0), (20, 0.4, 40, 0.8)])
    rings = road.area_xy.reshape(4, 4, 2)
    rings[1, :, 1] += np.array([-0.2, -0.2, 0.2, 0.2])
    rings[2, :, 1] *= 0.5
    (first, *_), bodies = shaped(road)
    lanes = opendrive(road, (0, 0, 0), "x").findall("road")
    ends = [np.stack([border[index] for border in borders(lane)]) for lane, index in ((lanes[0], -1), (lanes[1], 0), (lanes[2], 0))]
    assert np.abs(ends[0] - ends[1]).max() > 0.1  # 2 is too unlike: its place keeps each lane's own width
    assert bodies[2].left[0] == pytest.approx(0.75, abs=1e-3) and bodies[0].left[-1] == pytest.approx(1.5, abs=1e-3)
    joined = replace(road, successors=np.array([[0, 1], [1, 3]], np.int32))
    lanes = opendrive(joined, (0, 0, 0), "x").findall("road")
    one, two = np.stack([border[-1] for border in borders(lanes[0])]), np.stack([border[0] for border in borders(lanes[1])])
    np.testing.assert_allclose(one, two, atol=1e-6)
    assert reference_line(lanes[0])[-1, 3] == pytest.approx(0.01, abs=1e-3) and first[0].heading == pytest.approx(0, abs=0.02)


def test_crosswalks_lie_where_they_were(drive: Drive) -> None:
    given_ = drive(11, steps=5)
    road = given_.world.map
    root = opendrive(road, given_.origin, "x")
    areas = np.flatnonzero(road.area_kind == AreaKind.CROSSWALK)
    found = [(node, one) for node in root.findall("road") for one in node.iterfind("objects/object")]
    assert [one.attrib["name"] for _, one in found] == [road.area_ids[i] for i in areas]
    for (node, one), area in zip(found, areas, strict=True):
        line = reference_line(node, 0.01)
        s, t = numbers(one, "s", "t")
        _, x, y, heading = line[int(np.abs(line[:, 0] - s).argmin())]
        c, d = np.cos(heading), np.sin(heading)
        corners = np.array([numbers(corner, "u", "v") for corner in one.iter("cornerLocal")])
        place = np.array([x - d * t, y + c * t]) + corners @ np.array([[c, d], [-d, c]])
        np.testing.assert_allclose(place, road.area(int(area)), atol=0.05)


def events(root: Element) -> Iterator[tuple[str, str, float, Element]]:
    """(entity, kind, time, action) of every event."""
    for group in root.iter("ManeuverGroup"):
        (entity,) = [node.attrib["entityRef"] for node in group.iter("EntityRef")]
        for event in group.iter("Event"):
            (time,) = [float(node.attrib["value"]) for node in event.iter("SimulationTimeCondition")]
            action = next(node for node in event.iter() if node.tag in KINDS)
            yield entity, action.tag, time, action


KINDS = ("FollowTrajectoryAction", "AddEntityAction", "DeleteEntityAction")


def replayed(root: Element, times: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Corners [T, 4, 2] and presence [T] of every entity, as a player that interpolates linearly would show them."""
    boxes, there = {}, {}
    for node in root.iterfind("Entities/ScenarioObject"):
        name = node.attrib["name"]
        size, centre = node.find(".//Dimensions"), node.find(".//Center")
        assert size is not None and centre is not None
        present, pose = np.zeros(len(times), bool), np.zeros((len(times), 3))
        present |= any(one.attrib["entityRef"] == name for one in root.iterfind("Storyboard/Init/Actions/Private"))
        for _, kind, time, action in (event for event in events(root) if event[0] == name):
            if kind != "FollowTrajectoryAction":
                present[times > time - 1e-6] = kind == "AddEntityAction"
                continue
            stamps = np.array([numbers(one, "time")[0] for one in action.iter("Vertex")])
            way = np.array([numbers(one, "x", "y", "h") for one in action.iter("WorldPosition")])
            way[:, 2] = np.unwrap(way[:, 2])
            on = (times > stamps[0] - 1e-6) & (times < stamps[-1] + 1e-6)
            pose[on] = np.stack([np.interp(times[on], stamps, way[:, k]) for k in range(3)], 1)
        pose[:, :2] += float(centre.attrib["x"]) * np.stack([np.cos(pose[:, 2]), np.sin(pose[:, 2])], 1)
        boxes[name] = box_corners(pose, float(size.attrib["length"]), float(size.attrib["width"]))
        there[name] = present
    return boxes, there


@settings(max_examples=6)
@given(seed=st.integers(0, 10_000), gaps=st.booleans())
def test_a_player_shows_what_was_recorded(drive: Drive, seed: int, gaps: bool) -> None:
    given_ = drive(seed, steps=40, gaps=gaps)
    world = given_.world
    boxes, there = replayed(openscenario(given_, "x.xodr"), world.dt * np.arange(world.steps))
    np.testing.assert_allclose(boxes.pop("Ego"), ego_corners(world.ego.states, world.ego.vehicle), atol=1e-6)
    assert there.pop("Ego").all()
    seen = world.agents.valid.any(1)
    assert set(boxes) == {name for name, one in zip(world.agents.ids, seen, strict=True) if one}
    for row in np.flatnonzero(seen):
        name, valid = world.agents.ids[row], world.agents.valid[row]
        np.testing.assert_array_equal(there[name], valid)
        length, width = world.agents.size[row, :2].astype(float)
        due = box_corners(world.agents.pose[row].astype(float), length, width)
        np.testing.assert_allclose(boxes[name][valid], due[valid], atol=1e-3)


def test_every_class_has_its_kind_of_entity(drive: Drive) -> None:
    given_ = drive(1, steps=5, agents=len(AgentClass))
    agents = replace(given_.world.agents, kind=np.arange(len(AgentClass), dtype=np.uint8))
    root = openscenario(replace(given_, world=replace(given_.world, agents=agents)), "x.xodr")
    said = {}
    for node in list(root.iterfind("Entities/ScenarioObject"))[1:]:
        one = node[0]
        category = next(value for key, value in one.attrib.items() if key.endswith("Category"))
        said[one.find("Properties/Property").attrib["value"]] = (one.tag, category)  # type: ignore[union-attr]
    assert said == {
        "vehicle": ("Vehicle", "car"), "bicycle": ("Vehicle", "bicycle"), "pedestrian": ("Pedestrian", "pedestrian"),
        "traffic_cone": ("MiscObject", "obstacle"), "barrier": ("MiscObject", "barrier"), "czone_sign": ("MiscObject", "pole"),
        "generic_object": ("MiscObject", "obstacle"),
    }  # fmt: skip


def test_signals_are_phases_of_lamps_on_the_road(drive: Drive) -> None:
    given_ = drive(3, steps=60)
    world = given_.world
    roads, root = opendrive(world.map, given_.origin, "x"), openscenario(given_, "x.xodr")
    lanes = np.flatnonzero(world.map.lane_signal >= 0)
    lights = [one.attrib["id"] for one in roads.iter("signal")]
    assert lights == [f"light-{lane}" for lane in lanes] and len(lanes)
    for lane, controller in zip(lanes, root.iter("TrafficSignalController"), strict=True):
        said: list[str] = []
        for phase in controller.iter("Phase"):
            (state,) = phase.iter("TrafficSignalState")
            assert state.attrib["trafficSignalId"] == f"light-{lane}"
            said += [state.attrib["state"]] * round(float(phase.attrib["duration"]) / world.dt)
        assert said == [LAMPS[code] for code in world.signals[world.map.lane_signal[lane]]]


def test_standing_still_takes_two_vertices() -> None:
    pose = np.zeros((50, 3))
    pose[20:25, 0] = np.arange(1, 6)
    pose[25:, 0] = 5
    assert vertices(pose) == [0, 19, 20, 21, 22, 23, 24, 49] and vertices(pose[:1]) == [0, 1] and vertices(pose[:2]) == [0, 1]


def test_files_lie_side_by_side_and_equal_recordings_give_equal_files(drive: Drive, tmp_path: Path) -> None:
    paths = write([drive(2, steps=20, log="a/b"), drive(3, steps=20, log="c")], tmp_path / "one")
    assert [path.suffix for path in paths] == [".xodr", ".xosc"] * 2 and paths[2].name == "c.xodr"
    logic = parse(paths[1]).getroot().find("RoadNetwork/LogicFile")
    assert logic is not None and logic.attrib["filepath"] == paths[0].name
    again = write([drive(2, steps=20, log="a/b")], tmp_path / "two")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths[:2]]
    offset = parse(paths[0]).getroot().find("header/offset")
    assert offset is not None and numbers(offset, "x", "y") == drive(2, steps=20, log="a/b").origin[:2]


def test_what_cannot_be_written_says_why(drive: Drive, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no sensor data"):
        write([drive(1)], tmp_path, sensors=lambda scenario: None)  # type: ignore[arg-type, return-value]
    given_ = drive(1)
    lost = replace(given_.world.ego, valid=np.zeros(120, bool))
    with pytest.raises(DataError, match="the ego known in 0"):
        write([replace(given_, world=replace(given_.world, ego=lost))], tmp_path)


CHECK = """
import sys
from importlib.resources import files
from pathlib import Path
from lxml import etree
roads = etree.XMLSchema(etree.parse(str(files("qc_opendrive") / "schema/1.7.0/opendrive_17_core.xsd")))
story = [etree.XMLSchema(etree.parse(str(files("qc_openscenario") / f"schema/{v}/OpenSCENARIO.xsd"))) for v in ("1.1.1", "1.2.0")]
for path in sorted(Path(sys.argv[1]).iterdir()):
    for schema in [roads] if path.suffix == ".xodr" else story:
        schema.assertValid(etree.parse(str(path)))
    print("valid", path.name)
"""
CONFIG = """<Config><Param name="InputFile" value="{file}"/>
<CheckerBundle application="{bundle}"><Param name="resultFile" value="{result}"/></CheckerBundle></Config>"""


def test_the_standards_own_schemas_and_checkers_find_nothing(drive: Drive, tmp_path: Path) -> None:
    """The schemas are ASAM's and no part of this project; they and the checkers come with the packages that are asked for."""
    python = os.environ.get("WETOOL_ASAM")
    if not python:
        pytest.skip("set WETOOL_ASAM to a python that has asam-qc-opendrive and asam-qc-openscenarioxml installed")
    folder = tmp_path / "files"
    paths = write([drive(seed, steps=30, gaps=bool(seed % 2), log=f"drive-{seed}") for seed in range(4)], folder)
    done = subprocess.run([python, "-c", CHECK, str(folder)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and done.stdout.count("valid") == len(paths), done.stderr[-2000:]
    for path in paths[:4]:
        kind, bundle = ("qc_opendrive", "xodrBundle") if path.suffix == ".xodr" else ("qc_openscenario", "xoscBundle")
        result, config = tmp_path / f"{path.name}.xqar", tmp_path / f"{path.name}.xml"
        config.write_text(CONFIG.format(file=path, bundle=bundle, result=result))
        subprocess.run([python, "-m", f"{kind}.main", "-c", str(config)], capture_output=True, timeout=120, check=True)
        checks = list(parse(result).getroot().iter("Checker"))
        assert len(checks) > 10
        found = [(one.attrib["checkerId"], issue.attrib) for one in checks for issue in one.iter("Issue")]
        assert not [issue for issue in found if "no_horizontal_gaps" not in issue[0]]  # the random roads do have such gaps
