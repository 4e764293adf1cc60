"""The vector type inside a kernel, against numpy."""

from __future__ import annotations

import numpy as np
from numba import njit
from wetoolkit_splat.simd import any_of, exp2, fma, least, load, quotient, ramp, select, splat, store, sums


@njit  # type: ignore[untyped-decorator]
def everything(a, b, out):  # type: ignore[no-untyped-def]
    x, y = load(a, 0), load(b, 16)
    store(out, 0, fma(x, y, ramp()))
    store(out, 16, select((x > y) & (y > splat(np.float32(-0.5))), x - y, least(x, y)))
    store(out, 32, exp2(x))
    store(out, 48, quotient(x, y))
    return any_of(x > splat(np.float32(100))), any_of(x >= x)


@njit  # type: ignore[untyped-decorator]
def ten_sums(a, out):  # type: ignore[no-untyped-def]
    v = load(a, 0)
    w = load(a, 16)
    store(out, 0, sums(v, w, v + w, v - w, v * v, w * w, v * w, v, w, v))


def test_every_operation_does_in_each_lane_what_numpy_does() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 4, 16).astype(np.float32), rng.normal(0, 1, 32).astype(np.float32)
    out = np.zeros(64, np.float32)
    assert everything(a, b, out) == (False, True)
    x, y = a, b[16:]
    assert np.allclose(out[:16], x * y + np.arange(16), rtol=1e-6)
    assert np.array_equal(out[16:32], np.where((x > y) & (y > -0.5), x - y, np.minimum(x, y)))
    assert np.allclose(out[32:48], np.exp2(x.astype(float)), rtol=3e-7)
    assert np.allclose(out[48:], x / y, rtol=3e-7)


def test_sums_land_in_the_lanes_whose_bits_are_reversed() -> None:
    a, out = np.random.default_rng(1).normal(size=32).astype(np.float32), np.zeros(16, np.float32)
    ten_sums(a, out)
    v, w = a[:16].astype(float), a[16:].astype(float)
    for place, wanted in enumerate([v, w, v + w, v - w, v * v, w * w, v * w, v, w, v]):
        assert np.isclose(out[int(f"{place:04b}"[::-1], 2)], wanted.sum(), rtol=1e-5, atol=1e-5)
