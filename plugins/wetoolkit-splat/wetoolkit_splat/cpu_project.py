"""Kernels that bring gaussians into one camera's image, and their gradients back; ``wetoolkit_splat.twin`` says what is computed.

A record is what blending needs of one gaussian, 16 float32, one line of cache:
centre x, y [pixels]; the exponent's coefficients of dx^2, dx dy, dy^2; log2 of the opacity; red, green, blue; z [m];
half sides of the box where alpha >= 1/255 [pixels]; four unused. alpha = 2^(log2 opacity + A dx^2 + B dx dy + C dy^2).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wetoolkit_splat.cpu_bin import TILE
from wetoolkit_splat.cpu_geometry import (
    FACTOR,
    harmonics,
    harmonics_back,
    rotation,
    rotation_back,
    times,
    times_transposed,
    transposed_times,
    unit,
)
from wetoolkit_splat.jit import inner, kernel
from wetoolkit_splat.twin import BLUR, LEAST_ALPHA, MARGIN, NEAR

RECORD = 16
X, Y, A, B, C, LOG_OPACITY, RED, GREEN, BLUE, DEPTH, HALF_X, HALF_Y = range(12)
# What blending hands back for a gaussian, 16 float32 too: h = dL/d log alpha, its moments by dx and dy, colours, depth. The places
# are those in which sums over vectors end up (``simd.sums``).
H, H_X, H_Y, H_XX, H_XY, H_YY, G_RED, G_GREEN, G_BLUE, G_DEPTH = 0, 8, 4, 12, 2, 10, 6, 14, 1, 9
LOG2E = 1.4426950408889634
Array = Any
Scalars = tuple[Any, ...]


@inner
def placed(means: Array, view: Array, i: int) -> Scalars:
    """x, y, z in the camera."""
    x, y, z = means[i, 0], means[i, 1], means[i, 2]
    return (
        view[0, 0] * x + view[0, 1] * y + view[0, 2] * z + view[0, 3],
        view[1, 0] * x + view[1, 1] * y + view[1, 2] * z + view[1, 3],
        view[2, 0] * x + view[2, 1] * y + view[2, 2] * z + view[2, 3],
    )


@inner
def turned(view: Array) -> Scalars:
    """The rotation of a view, row by row."""
    return view[0, 0], view[0, 1], view[0, 2], view[1, 0], view[1, 1], view[1, 2], view[2, 0], view[2, 1], view[2, 2]


@inner
def slopes(x: float, y: float, z: float, lens: Scalars) -> Scalars:
    """x / z and y / z, clamped to the image and a margin, and whether they are inside. ``lens``: fx, fy, cx, cy, width, height."""
    fx, fy, cx, cy, width, height = lens
    u, v = x / z, y / z
    low_u, high_u = -(cx + MARGIN / 2 * width) / fx, ((1 + MARGIN / 2) * width - cx) / fx
    low_v, high_v = -(cy + MARGIN / 2 * height) / fy, ((1 + MARGIN / 2) * height - cy) / fy
    inside_u, inside_v = low_u <= u <= high_u, low_v <= v <= high_v
    return min(max(u, low_u), high_u), min(max(v, low_v), high_v), inside_u, inside_v


@inner
def axes(quaternions: Array, log_scales: Array, i: int) -> Scalars:
    """Unit quaternion (4), 1 / its length, rotation (9), scales (3) [m]."""
    w, x, y, z = float(quaternions[i, 0]), float(quaternions[i, 1]), float(quaternions[i, 2]), float(quaternions[i, 3])
    shrink = 1 / math.sqrt(w * w + x * x + y * y + z * z)
    q = (w * shrink, x * shrink, y * shrink, z * shrink)
    scales = (math.exp(log_scales[i, 0]), math.exp(log_scales[i, 1]), math.exp(log_scales[i, 2]))
    return q, shrink, rotation(q[0], q[1], q[2], q[3]), scales


@inner
def scaled(r: Scalars, s: Scalars) -> Scalars:
    """Columns of a rotation times the scales."""
    return r[0] * s[0], r[1] * s[1], r[2] * s[2], r[3] * s[0], r[4] * s[1], r[5] * s[2], r[6] * s[0], r[7] * s[1], r[8] * s[2]


@inner
def spread(u: float, v: float, z: float, turn: Scalars, lens: Scalars) -> Scalars:
    """[2, 3] pixels a metre of the group's frame: the Jacobian times the rotation, and the Jacobian's two factors."""
    px, py = lens[0] / z, lens[1] / z
    return (
        px * (turn[0] - u * turn[6]), px * (turn[1] - u * turn[7]), px * (turn[2] - u * turn[8]),
        py * (turn[3] - v * turn[6]), py * (turn[4] - v * turn[7]), py * (turn[5] - v * turn[8]),
    )  # fmt: skip


@inner
def flat(q: Scalars) -> Scalars:
    """Variances and covariance [pixels^2] of [2, 3] axes in the image, the blur added, and the determinant."""
    a, b, c = (
        q[0] * q[0] + q[1] * q[1] + q[2] * q[2],
        q[0] * q[3] + q[1] * q[4] + q[2] * q[5],
        q[3] * q[3] + q[4] * q[4] + q[5] * q[5],
    )
    # The determinant as a sum of positive terms: that of a needle seen from far would cancel.
    cross = (q[0] * q[4] - q[1] * q[3]) ** 2 + (q[0] * q[5] - q[2] * q[3]) ** 2 + (q[1] * q[5] - q[2] * q[4]) ** 2
    return a + BLUR, b, c + BLUR, cross + BLUR * (a + c) + BLUR * BLUR


@inner
def sight(point: Scalars, turn: Scalars) -> Scalars:
    """The line of sight in the group's frame: a unit vector and 1 / length."""
    x, y, z = point
    return unit(
        turn[0] * x + turn[3] * y + turn[6] * z, turn[1] * x + turn[4] * y + turn[7] * z, turn[2] * x + turn[5] * y + turn[8] * z
    )


@inner
def colour_of(sh: Array, i: int, channel: int, basis: Array) -> float:
    """Before it is cut off at 0."""
    value = 0.5
    for k in range(sh.shape[1]):
        value += basis[k] * sh[i, k, channel]
    return value


@inner
def tiles_of(middle: float, half: float, size: float) -> tuple[int, int]:
    """First and last + 1 tile along one axis of an image of ``size`` pixels. A pixel's centre is at 0.5, hence the halves."""
    first, last = math.floor((middle - half - 0.5) / TILE), math.floor((middle + half - 0.5) / TILE)
    return max(0, first), min(math.ceil(size / TILE), last + 1)


@kernel
def project(
    means: Array, quaternions: Array, log_scales: Array, logits: Array, sh: Array, groups: Array, views: Array, lens: Scalars,
    begin: int, end: int, records: Array, depths: Array, boxes: Array, counts: Array,
) -> None:  # fmt: skip
    """Records [N, 16], depths [N] (0: not seen), boxes [N, 4] and the tiles in them [N] of gaussians ``begin`` to ``end``.

    For views [G, 4, 4] float64. A box is left, top, right, bottom in tiles, the ends excluded.
    """
    basis = np.zeros(16)
    for i in range(begin, end):
        view = views[groups[i]]
        x, y, z = placed(means, view, i)
        depths[i], counts[i] = 0, 0
        opacity = 1 / (1 + math.exp(-logits[i]))
        if z < NEAR or opacity <= LEAST_ALPHA:
            continue
        u, v, _, _ = slopes(x, y, z, lens)
        turn = turned(view)
        _, _, r, s = axes(quaternions, log_scales, i)
        a, b, c, determinant = flat(times(spread(u, v, z, turn, lens), scaled(r, s)))
        reach = math.sqrt(2 * math.log(opacity / LEAST_ALPHA))
        half_x, half_y = reach * math.sqrt(a), reach * math.sqrt(c)
        at_x, at_y = lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]
        if not (at_x + half_x > 0 and at_x - half_x < lens[4] and at_y + half_y > 0 and at_y - half_y < lens[5]):
            continue
        depths[i] = z
        records[i, X], records[i, Y], records[i, DEPTH] = at_x, at_y, z
        records[i, A], records[i, B], records[i, C] = (
            -0.5 * LOG2E * c / determinant,
            LOG2E * b / determinant,
            -0.5 * LOG2E * a / determinant,
        )
        records[i, LOG_OPACITY] = math.log2(opacity)
        records[i, HALF_X], records[i, HALF_Y] = half_x, half_y
        dx, dy, dz, _ = sight((x, y, z), turn)
        harmonics(dx, dy, dz, sh.shape[1], basis)
        for channel in range(3):
            records[i, RED + channel] = max(0.0, colour_of(sh, i, channel, basis))
        left, right = tiles_of(records[i, X], records[i, HALF_X], lens[4])
        top, bottom = tiles_of(records[i, Y], records[i, HALF_Y], lens[5])
        boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = left, top, right, bottom
        counts[i] = max(0, right - left) * max(0, bottom - top)


@inner
def colour_back(sh: Array, i: int, direction: Scalars, g: Scalars, basis: Array, weights: Array, d_sh: Array) -> Scalars:
    """Gradient by the direction; that by the coefficients is added to ``d_sh``."""
    terms = sh.shape[1]
    x, y, z, _ = direction
    harmonics(x, y, z, terms, basis)
    weights[:terms] = 0.0
    for channel in range(3):
        if colour_of(sh, i, channel, basis) > 0:
            for k in range(terms):
                d_sh[i, k, channel] += basis[k] * g[channel]
                weights[k] += FACTOR[k] * sh[i, k, channel] * g[channel]
    return harmonics_back(x, y, z, terms, weights)


@inner
def conic_back(a: float, b: float, c: float, determinant: float, h: Scalars) -> Scalars:
    """Gradients by the centre (2) and by the variances and covariance (3) for the moments h."""
    p, q, r = c / determinant, -b / determinant, a / determinant  # the conic
    g_p, g_q, g_r = -0.5 * h[3], -0.5 * h[4], -0.5 * h[5]  # by the conic's matrix, q's share of each of its two places
    row = (p * g_p + q * g_q, p * g_q + q * g_r, q * g_p + r * g_q, q * g_q + r * g_r)
    return (
        p * h[1] + q * h[2],
        q * h[1] + r * h[2],
        -(row[0] * p + row[1] * q),
        -(row[0] * q + row[1] * r),
        -(row[2] * q + row[3] * r),
    )


@kernel
def project_back(
    means: Array, quaternions: Array, log_scales: Array, logits: Array, sh: Array, groups: Array, views: Array, lens: Scalars,
    begin: int, end: int, first: Array, partial: Array, d_means: Array, d_quaternions: Array, d_log_scales: Array, d_logits: Array,
    d_sh: Array, d_views: Array, d_lens: Array,
) -> None:  # fmt: skip
    """Add the gradients of gaussians ``begin`` to ``end`` to all ``d_*``; those of its pairs are the rows
    ``first[i]`` to ``first[i + 1]`` of ``partial`` [P, 16], always added up in this order.

    ``d_views`` [G, 3, 4] and ``d_lens`` [4] (fx, fy, cx, cy) are this range's alone.
    """
    basis, weights, h = np.zeros(16), np.zeros(16), np.zeros(RECORD, np.float32)
    fx, fy = lens[0], lens[1]
    for i in range(begin, end):
        if first[i] == first[i + 1]:
            continue
        h[:] = 0
        for pair in range(first[i], first[i + 1]):
            for k in range(RECORD):
                h[k] += partial[pair, k]
        view, group = views[groups[i]], groups[i]
        x, y, z = placed(means, view, i)
        turn = turned(view)
        u, v, inside_u, inside_v = slopes(x, y, z, lens)
        quaternion, shrink, r, s = axes(quaternions, log_scales, i)
        across, body = spread(u, v, z, turn, lens), scaled(r, s)
        image = times(across, body)
        a, b, c, determinant = flat(image)
        g_x, g_y, g_a, g_b, g_c = conic_back(a, b, c, determinant, (h[H], h[H_X], h[H_Y], h[H_XX], h[H_XY], h[H_YY]))
        opacity = 1 / (1 + math.exp(-logits[i]))
        d_logits[i] += h[H] * (1 - opacity)
        # covariance = image image^T, image = across body
        g_image = (
            2 * (g_a * image[0] + g_b * image[3]), 2 * (g_a * image[1] + g_b * image[4]), 2 * (g_a * image[2] + g_b * image[5]),
            2 * (g_b * image[0] + g_c * image[3]), 2 * (g_b * image[1] + g_c * image[4]), 2 * (g_b * image[2] + g_c * image[5]),
        )  # fmt: skip
        g_across, g_body = times_transposed(g_image, body), transposed_times(across, g_image)
        for k in range(3):
            d_log_scales[i, k] += g_body[k] * body[k] + g_body[3 + k] * body[3 + k] + g_body[6 + k] * body[6 + k]
        g_q = rotation_back(quaternion[0], quaternion[1], quaternion[2], quaternion[3], scaled(g_body, s))
        for k in range(4):
            d_quaternions[i, k] += g_q[k] * shrink
        # across = [fx / z (row 0 - u row 2), fy / z (row 1 - v row 2)] of the rotation
        px, py = fx / z, fy / z
        g_px = (g_across[0] * across[0] + g_across[1] * across[1] + g_across[2] * across[2]) / px
        g_py = (g_across[3] * across[3] + g_across[4] * across[4] + g_across[5] * across[5]) / py
        g_u = -px * (g_across[0] * turn[6] + g_across[1] * turn[7] + g_across[2] * turn[8])
        g_v = -py * (g_across[3] * turn[6] + g_across[4] * turn[7] + g_across[5] * turn[8])
        g_point_x, g_point_y = px * g_x, py * g_y
        g_point_z = h[G_DEPTH] - (px * g_px + py * g_py) / z - (px * x * g_x + py * y * g_y) / z
        if inside_u:
            g_point_x += g_u / z
            g_point_z -= g_u * u / z
        else:  # the limit moves with the lens
            d_lens[0] -= g_u * u / fx
            d_lens[2] -= g_u / fx
        if inside_v:
            g_point_y += g_v / z
            g_point_z -= g_v * v / z
        else:
            d_lens[1] -= g_v * v / fy
            d_lens[3] -= g_v / fy
        d_lens[0] += g_px / z + g_x * x / z
        d_lens[1] += g_py / z + g_y * y / z
        d_lens[2] += g_x
        d_lens[3] += g_y
        # the line of sight turns with the group
        direction = sight((x, y, z), turn)
        g_direction = colour_back(sh, i, direction, (h[G_RED], h[G_GREEN], h[G_BLUE]), basis, weights, d_sh)
        along = g_direction[0] * direction[0] + g_direction[1] * direction[1] + g_direction[2] * direction[2]
        s0 = (g_direction[0] - along * direction[0]) * direction[3]
        s1 = (g_direction[1] - along * direction[1]) * direction[3]
        s2 = (g_direction[2] - along * direction[2]) * direction[3]
        g_point_x += turn[0] * s0 + turn[1] * s1 + turn[2] * s2
        g_point_y += turn[3] * s0 + turn[4] * s1 + turn[5] * s2
        g_point_z += turn[6] * s0 + turn[7] * s1 + turn[8] * s2
        sights, points, at = (s0, s1, s2), (g_point_x, g_point_y, g_point_z), (x, y, z)
        d_view = d_views[group]
        for k in range(3):
            d_means[i, k] += turn[k] * g_point_x + turn[3 + k] * g_point_y + turn[6 + k] * g_point_z
            d_view[0, k] += px * g_across[k]
            d_view[1, k] += py * g_across[3 + k]
            d_view[2, k] -= px * u * g_across[k] + py * v * g_across[3 + k]
            for j in range(3):
                d_view[j, k] += points[j] * means[i, k] + at[j] * sights[k]
            d_view[k, 3] += points[k]
