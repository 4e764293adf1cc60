"""Geometry against shapely, closed forms and invariances."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving import geometry as g
from wetoolkit_driving.types import Vehicle

coordinate = st.floats(-50, 50)
pose = st.tuples(coordinate, coordinate, st.floats(-10, 10)).map(np.array)


@settings(deadline=None)
@given(st.floats(-1e3, 1e3))
def test_wrap_keeps_the_direction_and_the_range(angle):
    wrapped = g.wrap_angle(angle)
    assert -np.pi <= wrapped < np.pi
    assert np.exp(1j * wrapped) == pytest.approx(np.exp(1j * angle), abs=1e-9)


def test_wrap_takes_pi_to_minus_pi():
    assert g.wrap_angle(np.pi) == -np.pi


@settings(deadline=None)
@given(pose, pose)
def test_relative_undoes_compose(frame, local):
    back = g.relative(frame, g.compose(frame, local))
    assert back[:2] == pytest.approx(local[:2], abs=1e-9)
    assert np.sin(back[2] - local[2]) == pytest.approx(0, abs=1e-9)


def test_corners_run_front_left_rear_left_rear_right_front_right():
    corners = g.box_corners(np.array([1.0, 2.0, np.pi / 2]), 4.0, 2.0)
    assert corners == pytest.approx(np.array([[0, 4], [0, 0], [2, 0], [2, 4]], float))


def test_ego_box_reaches_from_rear_to_front_bumper():
    vehicle = Vehicle()
    corners = g.ego_corners(np.zeros(11), vehicle)
    assert corners[:, 0].max() == pytest.approx(vehicle.front)
    assert corners[:, 0].min() == pytest.approx(-vehicle.rear)


@settings(deadline=None)
@given(pose, pose, st.floats(0.2, 20), st.floats(0.2, 3), st.floats(0.2, 20), st.floats(0.2, 3))
def test_touching_agrees_with_shapely(one, two, l1, w1, l2, w2):
    a, b = g.box_corners(one, l1, w1), g.box_corners(two * np.array([0.3, 0.3, 1]), l2, w2)
    first, second = shapely.Polygon(a), shapely.Polygon(b)
    if 0 < first.distance(second) < 1e-9 or (first.touches(second)):
        return  # decided by the last bit
    assert bool(g.boxes_touch(a, b)) == first.intersects(second) == g.quads_touch(a, b)
    assert bool(g.boxes_touch(a[::-1], b[::-1])) == first.intersects(second)
    edge = shapely.LineString(a[[0, 3]])
    if edge.distance(second) > 1e-9 or edge.crosses(second):
        assert g.segment_touches_quad(*a[0], *a[3], b) == edge.intersects(second)


def test_shared_edges_and_corners_touch():
    box = g.box_corners(np.zeros(3), 2.0, 2.0)
    for shift, expected in (([2, 0], True), ([2, 2], True), ([2 + 1e-12, 0], False)):
        assert bool(g.boxes_touch(box, box + shift)) is expected
        assert g.quads_touch(box, box + np.asarray(shift, float)) is expected


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_inside_agrees_with_shapely(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 12)))
    ring = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.3, 1.0, len(angles))[:, None]  # star-shaped: simple
    points = np.concatenate([rng.uniform(-1, 1, (200, 2)), ring])
    polygon = shapely.Polygon(ring)
    if not polygon.is_valid:
        return
    assert (g.inside(ring, points) == shapely.contains_xy(polygon, points)).all()
    closed = np.concatenate([ring, ring[:1]])
    assert (g.inside(closed, points) == g.inside(ring, points)).all()


def test_points_on_the_edge_are_not_inside():
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
    points = np.array([[0, 2], [4, 4], [2, 0], [2, 2], [5, 0], [-1, 4]], float)
    assert g.inside(square, points).tolist() == [False, False, False, True, False, False]


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_project_agrees_with_shapely(seed):
    rng = np.random.default_rng(seed)
    line = np.cumsum(rng.normal(0, 3, (12, 2)), 0)
    points = rng.normal(0, 10, (20, 2))
    place, offset = g.project(line, points)
    string = shapely.LineString(line)
    near = shapely.points(points)
    assert np.abs(offset) == pytest.approx(shapely.distance(string, near), abs=1e-9)
    assert place == pytest.approx(shapely.line_locate_point(string, near), abs=1e-9)


def test_left_of_a_line_is_positive():
    place, offset = g.project(np.array([[0, 0], [10, 0.0]]), np.array([[3, 1], [3, -2.0]]))
    assert place.tolist() == [3, 3]
    assert offset.tolist() == [1, -2]


def test_along_walks_the_line_and_goes_straight_on():
    corner = np.array([[0, 0], [2, 0], [2, 0], [2, 3.0]])
    poses = g.along(corner, [-1.0, 1.0, 3.0, 7.0])
    assert poses == pytest.approx(np.array([[-1, 0, 0], [1, 0, 0], [2, 1, np.pi / 2], [2, 5, np.pi / 2]]))


def test_resample_keeps_ends_and_spacing():
    poses = g.resample(np.array([[0, 0], [10.2, 0.0]]), 1.0)
    assert poses[0, 0] == 0 and poses[-1, 0] == pytest.approx(10.2)
    assert np.diff(poses[:, 0]).max() <= 1.0


def test_a_line_without_length_is_refused():
    with pytest.raises(ValueError, match="no length"):
        g.drop_repeats(np.zeros((3, 2)))
