"""Images, depth, categories and sweeps, against closed forms on a bare plain."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wetoolkit_driving.testing import actor, straight_world
from wetoolkit_driving.types import HEADING, AgentClass, Signal, World
from wetoolkit_minitown.sensors import readable, shading
from wetoolkit_minitown.sensors import renderer as renderer_module
from wetoolkit_minitown.sensors.caster import Caster
from wetoolkit_minitown.sensors.codes import LEVELS, MIXED, Category, Material, Surface
from wetoolkit_minitown.sensors.ground import Brush, Ground, paint
from wetoolkit_minitown.sensors.lidar import MOUNT, Lidar, sweep
from wetoolkit_minitown.sensors.light import draw_light
from wetoolkit_minitown.sensors.mesh import Look, Mesh, box, empty
from wetoolkit_minitown.sensors.renderer import Renderer, Shot
from wetoolkit_minitown.sensors.rig import MOUNTS, rig
from wetoolkit_minitown.sensors.stage import Stage, build_stage
from wetoolkit_minitown.sensors.studio import reimagined
from wetoolkit_minitown.sensors.surfaces import SURFACE

from wetoolkit.registry import load_registry
from wetoolkit.sources import open_source

pytest.importorskip("embreex")
STEP = 20
WALL = Look((0.5, 0.5, 0.5), Material.PLAIN, Category.BUILDING)


def plain(mesh: Mesh, world: World | None = None, seed: int = 0) -> Renderer:
    """A mesh on a lawn without end; coordinates are those of the ego's rear axle, looking along x."""
    world = straight_world() if world is None else world
    ground = Ground(np.full((4, 4), Surface.GRASS, np.uint8), np.zeros(2), 1.0)
    moved = mesh.moved(*world.ego.states[STEP, :2].tolist(), heading=float(world.ego.states[STEP, HEADING]))
    return Renderer(Stage(ground, moved), Caster(moved), world, np.zeros(2), seed)


def shot(mesh: Mesh, name: str = "CAM_F0", world: World | None = None, seed: int = 0) -> Shot:
    return plain(mesh, world, seed).image(rig([name])[0], STEP)


def middle(name: str, distance: float) -> tuple[float, float, float]:
    """The place so many metres before a camera."""
    x, y, z, yaw = MOUNTS[name]
    return x + distance * np.cos(np.radians(yaw)), y + distance * np.sin(np.radians(yaw)), z


def test_a_wall_before_the_camera_has_its_z_depth_everywhere() -> None:
    seen = shot(box((1.0, 40.0, 30.0), (1.65 + 12.5, 0, 15.0), WALL))
    wall = seen.category == Category.BUILDING
    assert wall[:110].all()
    np.testing.assert_allclose(seen.depth[wall], 12.0, atol=1e-4)


def test_the_ground_has_its_z_depth_and_the_sky_none() -> None:
    seen = shot(empty())
    rows = np.arange(91, 180)
    expected = np.broadcast_to((1.55 * 257.6 / (rows + 0.5 - 90))[:, None], (89, 320))
    np.testing.assert_allclose(seen.depth[rows], expected, rtol=1e-5)
    assert (seen.category[rows] == Category.TERRAIN).all()
    assert np.isinf(seen.depth[:90]).all() and (seen.category[:90] == Category.SKY).all()


@pytest.mark.parametrize("name", MOUNTS)
def test_a_point_projects_onto_the_pixel_that_shows_it(name: str) -> None:
    x, y, z = middle(name, 9.0)
    look = Look((0.5, 0.1, 0.1), Material.PLAIN, Category.GENERIC_OBJECT)
    seen = shot(box((0.4, 0.4, 0.4), (x + 0.7, y - 0.5, z + 0.6), look), name)
    camera = rig([name])[0]
    point = np.linalg.inv(camera.mount) @ [x + 0.7, y - 0.5, z + 0.6, 1]
    u, v, _ = camera.intrinsics @ (point[:3] / point[2])
    assert seen.category[int(v), int(u)] == Category.GENERIC_OBJECT
    assert abs(seen.depth[int(v), int(u)] - point[2]) < 0.3
    rows, columns = np.nonzero(seen.category == Category.GENERIC_OBJECT)
    half = 257.6 * 0.4 * np.sqrt(3) / 2 / point[2] + 1
    assert np.abs(columns + 0.5 - u).max() < half and np.abs(rows + 0.5 - v).max() < half


def test_every_class_of_agent_is_seen_at_its_place() -> None:
    for kind in AgentClass:
        world = straight_world([actor(16.0, 0.0, 0.0, 0.0, kind)])
        seen = shot(empty(), world=world)
        rows, columns = np.nonzero(seen.category == int(kind))
        assert len(rows) > 10, kind
        ego, there = world.ego.states[STEP], world.agents.pose[0, STEP]
        ahead, size = there[0] - ego[0] - 1.65, world.agents.size[0]
        depth = seen.depth[rows, columns]
        assert depth.min() > ahead - size[0] / 2 - 0.1 and depth.max() < ahead + size[0] / 2 + 0.1
        middle_column = 160 - 257.6 * (there[1] - ego[1]) / depth.mean()
        assert abs(columns.mean() + 0.5 - middle_column) < 3


def test_a_shadow_falls_where_the_sun_says() -> None:
    """A slab in the air darkens the ground where the line towards the sun from there passes through it, and nowhere else."""
    sun = np.array(draw_light(3).sun)
    high, spot = 2.5, np.array([9.0, 0.4])
    x, y = spot + high / sun[2] * sun[:2]
    slab = box((1.2, 1.2, 0.02), (x, y, high), WALL)
    world = straight_world()
    assert abs(float(world.ego.states[STEP, HEADING])) < 1e-9
    renderer = plain(slab, world, seed=3)
    camera = rig(["CAM_F0"])[0]
    renderer.image(camera, STEP)
    moment = renderer.moment(STEP)
    ego = world.ego.states[STEP, :2]
    points = spot + np.array([(0, 0), (0.4, -0.4), (1.0, 0), (0, -1.0)])
    start = np.array([1.65, 0, 1.55])
    rays = (np.column_stack([points, np.zeros(4)]) - start).astype(np.float32)
    origin = np.tile(start + np.array([*ego, 0]), (4, 1)).astype(np.float32)
    lit = renderer.trace(origin, rays, np.zeros(0, np.int64), moment).lit
    np.testing.assert_array_equal(lit, [0, 0, 1, 1])


def test_a_traffic_light_shines_as_its_signal_says() -> None:
    look = Look((0.03, 0.95, 0.35), Material.SIGNAL, Category.POLE, (0.0, float(Signal.GREEN)))
    lamp = box((0.1, 1.0, 1.0), (11.65, 0, 1.55), look)
    means = []
    for state in (Signal.GREEN, Signal.RED):
        seen = shot(lamp, world=straight_world(signal=state))
        means.append(seen.rgb[seen.category == Category.POLE].mean(0))
    assert means[0][1] > 150 and means[1].max() < 90


def test_exposure_differs_by_camera_and_equal_seeds_give_equal_pixels() -> None:
    first, again, other = (shot(empty(), seed=seed).rgb for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    north = [shot(empty(), name, seed=1).rgb[150].mean() for name in ("CAM_F0", "CAM_L0", "CAM_R0")]
    assert np.ptp(north) > 2


@cache
def stage_of_straight() -> Stage:
    return build_stage(straight_world().map, 0)


def test_a_stage_keeps_the_road_clear_and_is_the_same_for_the_same_seed() -> None:
    road = straight_world().map
    stage = stage_of_straight()
    lane = road.centre_line(0)
    points = stage.mesh.corners.reshape(-1, 3)
    for x, y in lane[:: max(1, len(lane) // 20)]:
        near = np.hypot(points[:, 0] - x, points[:, 1] - y) < 1.2
        assert not (near & (points[:, 2] < 2.2)).any()
    np.testing.assert_array_equal(stage.mesh.corners, build_stage(road, 0).mesh.corners)


def test_the_ground_shows_what_the_map_says(town_data) -> None:  # type: ignore[no-untyped-def]
    world = town_data.recording(town_data.recordings("val")[0]).world
    road, ground = world.map, paint(world.map)
    kinds = {8: {Surface.PAVEMENT, Surface.KERB}, 7: {Surface.WHITE, Surface.ASPHALT}}
    for lane in range(road.lanes):
        line = road.centre_line(lane)
        codes = ground.at(line[len(line) // 2 : len(line) // 2 + 1])
        assert Surface(SURFACE[codes[0]]) in {Surface.ASPHALT, Surface.WHITE, Surface.YELLOW}
    for area in np.flatnonzero(np.isin(road.area_kind, list(kinds))):
        ring = road.area(int(area))
        if road.area_kind[area] == 7:
            share = np.mean(
                [c in kinds[7] for c in SURFACE[ground.at(ring.mean(0) + np.random.default_rng(0).uniform(-1, 1, (50, 2)))]]
            )
            assert share > 0.9
    outside = ground.at(np.array([[1e4, 0.0], [0.0, -1e4]]))
    assert (outside == Surface.GRASS).all()


def test_first_hits_are_those_of_plain_numpy() -> None:
    stage, rng = stage_of_straight(), np.random.default_rng(5)
    corners = stage.mesh.corners
    origin = np.tile(np.float32([20.0, 0.0, 1.5]), (60, 1))
    rays = rng.normal(size=(60, 3)).astype(np.float32) * np.float32([1, 1, 0.15])
    hits = Caster(stage.mesh).hits(origin, rays)
    found = [
        readable.first_hit(corners.astype(np.float64), o, d) for o, d in zip(origin.astype(float), rays.astype(float), strict=True)
    ]
    along = np.array([distance for distance, _ in found])
    assert 20 < np.isfinite(along).sum() < 60 or np.isfinite(along).all()
    np.testing.assert_array_equal(np.isfinite(hits.along), np.isfinite(along))
    met = np.isfinite(along)
    np.testing.assert_allclose(hits.along[met], along[met], rtol=1e-4)
    corner = corners[hits.triangle[met]].astype(np.float64)
    u, v = hits.u[met, None], hits.v[met, None]
    place = (1 - u - v) * corner[:, 0] + u * corner[:, 1] + v * corner[:, 2]  # what the barycentric coordinates mean
    np.testing.assert_allclose(place, origin[met] + hits.along[met, None] * rays[met], atol=2e-3)


def test_shading_is_what_its_source_says_in_plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel against itself uncompiled, on pixels of every kind; in no colour more than a rounding apart."""
    kept: list[Any] = []

    def noted(*arguments: Any) -> Any:
        made = shading.shade(*arguments)
        kept.append((arguments, tuple(part.copy() for part in made)))  # the renderer goes on to smooth the edges in place
        return made

    monkeypatch.setattr(renderer_module, "shade", noted)
    stage, world = stage_of_straight(), straight_world([actor(25, 0), actor(14, 3, kind=AgentClass.BICYCLE)])
    Renderer(stage, Caster(stage.mesh), world, np.zeros(2), 0).image(rig(["CAM_F0"])[0], STEP)
    arguments, (rgb, category) = kept[0]
    part = np.random.default_rng(0).choice(len(rgb), 250, replace=False)
    assert len(np.unique(category[part])) >= 4
    slow, shown = readable.shade(part, *arguments)
    np.testing.assert_array_equal(shown, category[part])
    assert np.abs(slow.astype(int) - rgb[part].astype(int)).max() <= 1


def test_a_sweep_ranges_a_wall_and_the_ground() -> None:
    wall = box((1.0, 60.0, 30.0), (20.5, 0, 15.0), WALL)
    world = straight_world([actor(3.0, 12.0)])
    points = sweep(plain(wall, world), STEP, Lidar(noise=0.0))
    ahead = points[(points[:, 0] > 15) & (np.abs(points[:, 1]) < 25) & (points[:, 2] > 0.5)]
    assert len(ahead) > 500
    np.testing.assert_allclose(ahead[:, 0], 20.0, atol=1e-4)
    low = points[points[:, 2] < 0.2]
    low = low[low[:, 0] < 19.9]
    flat = low[np.abs(low[:, 2]) < 1e-3]
    assert len(flat) > 2000
    elevation = np.degrees(np.arctan2(flat[:, 2] - MOUNT[2], np.hypot(flat[:, 0] - MOUNT[0], flat[:, 1] - MOUNT[1])))
    steps = (elevation - Lidar().low) / ((Lidar().high - Lidar().low) / (Lidar().beams - 1))
    np.testing.assert_allclose(steps, np.round(steps), atol=2e-3)
    ego, there, size = world.ego.states[STEP], world.agents.pose[0, STEP], world.agents.size[0]
    local = np.abs(points[:, :2] + ego[:2] - there[:2]) <= size[:2] / 2 + 0.01
    on_car = local.all(1) & (points[:, 2] > 0.2)
    assert on_car.sum() > 20, "nobody was hit"
    again = sweep(plain(wall, world), STEP, Lidar(noise=0.0))
    np.testing.assert_array_equal(points, again)
    noisy = sweep(plain(wall, world), STEP, Lidar(noise=0.05))
    spread = noisy[(noisy[:, 0] > 15) & (np.abs(noisy[:, 1]) < 5) & (noisy[:, 2] > 0.5), 0] - 20.0
    assert 0.03 < spread.std() < 0.07


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.1, np.pi / 2])
def test_a_marking_has_its_width_at_any_angle(angle: float) -> None:
    brush = Brush(np.zeros(2), np.array([20.0, 20.0]))
    brush.ring(np.array([(0, 0), (20, 0), (20, 20), (0, 20.0)]), Surface.ASPHALT)
    along = np.array([np.cos(angle), np.sin(angle)])
    brush.mark(10 + np.array([-6, -1.5, 4])[:, None] * along, Surface.WHITE, 0.13)
    code = brush.ground().code
    share = np.where(code >= MIXED, (code.astype(float) - MIXED + 1) / LEVELS, 0.0)
    assert share.sum() * brush.cell**2 == pytest.approx(10 * 0.13, rel=0.05)
    across = np.array([-along[1], along[0]])
    line = 10 + 1.0 * along + np.linspace(-0.3, 0.3, 61)[:, None] * across
    painted = SURFACE[brush.ground().at(line)] == Surface.WHITE
    assert painted[30] and not painted[:15].any() and not painted[-15:].any()


def test_a_world_beside_its_stage_by_a_shift_looks_the_same() -> None:
    stage, world = stage_of_straight(), straight_world([actor(25, 0)])
    still, camera = Caster(stage.mesh), rig(["CAM_F0"])[0]
    first = Renderer(stage, still, world, np.zeros(2), 0).image(camera, STEP)
    moved = replace(
        world, ego=replace(world.ego, states=world.ego.states - np.eye(11)[0] * 64),
        agents=replace(world.agents, pose=world.agents.pose - np.float32([64, 0, 0])),
    )  # fmt: skip
    again = Renderer(stage, still, moved, np.array([64.0, 0]), 0).image(camera, STEP)
    np.testing.assert_array_equal(first.category, again.category)
    np.testing.assert_allclose(first.depth, again.depth, rtol=1e-4)


def in_view(world: World, seed: int, step: int = STEP) -> list[tuple[int, int, float, float]]:
    """(class of an agent, class that the pixel of its middle shows, how far that is before its middle, half its diagonal) of all
    before the three cameras, bicycles and signs left out: one looks through them."""
    renderer, found = reimagined(world, seed), []
    agents = world.agents
    for camera in rig():
        shot = renderer.image(camera, step)
        to_camera = np.linalg.inv(renderer.ego_to_world(step) @ camera.mount)
        for a in np.flatnonzero(agents.valid[:, step] & np.isin(agents.kind, (0, 1))):
            height = agents.size[a, 2] * (0.65 if agents.kind[a] else 0.4)  # through the trunk, not between legs
            x, y, z = (to_camera @ [*agents.pose[a, step, :2], height, 1])[:3]
            if not 3 < z < 60:
                continue
            u, v, _ = camera.intrinsics @ [x / z, y / z, 1]
            if 0 <= u < camera.size[0] and 0 <= v < camera.size[1]:
                seen = int(shot.category[int(v), int(u)]), z - float(shot.depth[int(v), int(u)])
                found.append((int(agents.kind[a]), *seen, float(np.hypot(*agents.size[a, :2])) / 2))
    return found


def check_agents(rows: list[tuple[int, int, float, float]]) -> None:
    """Nobody is looked through, and who is not hidden is seen as what he is."""
    rest = np.array([before for *_, before, _ in rows])
    assert (rest > -0.35).mean() > 0.97, "what lies behind an agent's middle is seen"
    clear = [(kind, seen) for kind, seen, before, half in rows if -0.35 < before < half + 0.2]
    assert len(clear) >= 3 and np.mean([kind == seen for kind, seen in clear]) > 0.9


def test_agents_are_seen_where_they_are() -> None:
    rng, walker = np.random.default_rng(2), AgentClass.PEDESTRIAN
    cars = [actor(9.0 + 5 * k, float(rng.uniform(-6, 9)), float(rng.uniform(-3, 3)), 2.0) for k in range(8)]
    walkers = [actor(6.0 + 2 * k, float(rng.uniform(-4, 6)), float(rng.uniform(-3, 3)), 1.0, walker) for k in range(8)]
    check_agents(in_view(straight_world([*cars, *walkers]), seed=1))


@pytest.mark.realdata
def test_recorded_scenes_are_reimagined_with_everybody_in_place() -> None:
    folder = Path(os.environ.get("WETOOL_DATA") or Path(__file__).parents[3] / "../shared/data") / "scenarionet_nuscenes"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    source = open_source(load_registry(), f"scenarionet:{folder}", {})
    refs = [ref for split in source.dataset.splits() for ref in source.dataset.index(split)]
    rows = []
    for ref in refs[:: max(1, len(refs) // 6)]:
        rows += in_view(source.dataset.load(ref).world, seed=1)
    check_agents(rows)
