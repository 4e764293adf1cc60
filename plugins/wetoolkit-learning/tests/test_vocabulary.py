"""The vocabulary: against scipy's k-means, against brute force, and by the properties it promises."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.vq import kmeans2
from wetoolkit_learning import vocabulary
from wetoolkit_learning.vocabulary import VocabularyConfig

from wetoolkit.errors import ConfigError, ValidationError


def drives(n: int, seed: int = 0) -> np.ndarray:
    """n smooth futures [n, 40, 3] of random speeds, curvatures and accelerations."""
    rng = np.random.default_rng(seed)
    time = 0.1 * np.arange(1, 41)
    speed = np.maximum(rng.uniform(0, 15, (n, 1)) + rng.normal(0, 1.0, (n, 1)) * time, 0)
    heading = np.cumsum(rng.normal(0, 0.02, (n, 1)) * speed * 0.1, 1)
    xy = np.cumsum(0.1 * speed[..., None] * np.stack([np.cos(heading), np.sin(heading)], -1), 1)
    return np.concatenate([xy, heading[..., None]], -1).astype(np.float32)


def plain(size: int, **settings: object) -> VocabularyConfig:
    return VocabularyConfig.model_validate({"size": size, "spread": 0.0, "brake": 0.0, **settings})


def test_lloyd_agrees_with_scipy() -> None:
    features = np.random.default_rng(0).normal(size=(500, 6))
    start = vocabulary.seeds(features, 12, np.random.default_rng(1))
    ours, label = vocabulary.kmeans(features, start, 30)
    theirs, their_label = kmeans2(features, start, iter=30, minit="matrix")
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    np.testing.assert_array_equal(label, their_label)


def test_seeds_spread_over_separate_blobs() -> None:
    rng = np.random.default_rng(2)
    centres = 100.0 * rng.normal(size=(10, 4))
    features = np.repeat(centres, 50, 0) + 0.01 * rng.normal(size=(500, 4))
    picked = vocabulary.seeds(features, 10, rng)
    blob = np.square(picked[:, None] - centres[None]).sum(-1).argmin(1)
    assert sorted(blob) == list(range(10)), "k-means++ must hit every one of ten far blobs"


def test_no_cluster_is_empty_even_from_equal_starts() -> None:
    features = np.random.default_rng(3).normal(size=(40, 2))
    _, label = vocabulary.kmeans(features, np.repeat(features[:1], 8, 0), 10)
    assert np.bincount(label, minlength=8).min() >= 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), batch=st.integers(1, 5), size=st.integers(1, 9))
def test_nearest_is_brute_force(seed: int, batch: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    plans, anchors = rng.normal(size=(batch, 40, 3)), rng.normal(size=(size, 40, 3))
    want = [
        min(range(size), key=lambda k: sum(float(np.linalg.norm(plan[i, :2] - anchors[k, i, :2])) for i in range(4, 40, 5)))
        for plan in plans
    ]
    np.testing.assert_array_equal(vocabulary.nearest(plans, anchors, 5), want)


def test_anchors_are_recorded_futures_and_distinct() -> None:
    futures = drives(600)
    anchors = vocabulary.fit(futures, plain(50), 0)
    rows = {row.tobytes() for row in futures}
    assert all(anchor.tobytes() in rows for anchor in anchors)
    assert len({anchor.tobytes() for anchor in anchors}) == 50


def test_equal_seeds_give_equal_anchors() -> None:
    futures, config = drives(400), VocabularyConfig(size=40)
    one, two, other = (vocabulary.fit(futures, config, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_coverage_reaches_what_density_misses() -> None:
    lonely = drives(1, 9)
    lonely[..., 1] += 40.0
    futures = np.concatenate([np.repeat(drives(60), 20, 0) + 0.02 * np.random.default_rng(0).normal(size=(1200, 40, 3)), lonely])
    gap = [vocabulary.distances(lonely, vocabulary.fit(futures, plain(20, spread=spread), 0), 5).min() for spread in (0.0, 0.1)]
    assert gap[1] == 0.0 <= gap[0]


def test_braking_copies_keep_the_path_and_the_deceleration() -> None:
    futures = drives(30, 5)
    copies = vocabulary.braking_copies(futures, 3.0, plain(2))
    assert len(copies) > 5
    steps = np.diff(np.concatenate([np.zeros((len(copies), 1, 2)), copies[..., :2]], 1), axis=1)
    speed = np.hypot(steps[..., 0], steps[..., 1]) / 0.1
    slowing = -np.diff(speed, axis=1) / 0.1
    moving = speed[:, 1:] > 0.5
    np.testing.assert_allclose(slowing[moving], 3.0, atol=0.2)  # chords of a gentle curve
    for copy in copies:  # every pose lies on some recorded path
        paths = [np.concatenate([[[0, 0]], f[:, :2]]) for f in futures]
        assert min(_off(copy[:, :2], path) for path in paths) < 0.02


def _off(points: np.ndarray, path: np.ndarray) -> float:
    start, end = path[:-1], path[1:]
    along = np.clip(((points[:, None] - start) * (end - start)).sum(-1) / np.maximum(np.square(end - start).sum(-1), 1e-12), 0, 1)
    return float(np.hypot(*np.moveaxis(points[:, None] - start - along[..., None] * (end - start), -1, 0)).min(1).max())


def test_a_vocabulary_holds_hard_braking_that_was_never_recorded() -> None:
    def emergency(brake: float) -> int:
        anchors = vocabulary.fit(drives(300, 7), VocabularyConfig(size=40, brake=brake), 0)
        speed = np.hypot(*np.moveaxis(np.diff(anchors[..., :2], axis=1), -1, 0)) / 0.1
        return int((np.diff(speed, axis=1).min(1) / 0.1 < -5.0).sum())

    assert emergency(0.0) == 0 < 3 <= emergency(0.4)


def test_a_vocabulary_larger_than_the_data_is_an_error_with_a_way_out() -> None:
    with pytest.raises(ConfigError, match=r"larger than the data.*\n(.*\n)*.*way out: lower vocabulary.size"):
        vocabulary.fit(drives(30), plain(64), 0)
    with pytest.raises(ConfigError, match="larger than the data"):  # a hundred times the same is one
        vocabulary.fit(np.repeat(drives(3), 100, 0), plain(4), 0)


def test_nan_futures_are_refused() -> None:
    futures = drives(30)
    futures[3, 4, 0] = np.nan
    with pytest.raises(ValidationError, match=r"first at index \(3, 4, 0\)"):
        vocabulary.fit(futures, plain(4), 0)


def test_short_plans_are_compared_at_their_end() -> None:
    assert vocabulary.points(np.zeros((2, 3, 2)), 5).shape == (2, 1, 2)


@pytest.mark.slow
def test_the_papers_size_works() -> None:
    began = time.process_time()
    anchors = vocabulary.fit(drives(100_000), VocabularyConfig(size=8192, iterations=5), 0)
    assert anchors.shape == (8192, 40, 3)
    assert len({anchor.tobytes() for anchor in anchors}) == 8192
    assert time.process_time() - began < 600
