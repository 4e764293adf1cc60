"""Which of the pictures that a scene was fitted to saw the surface behind each pixel of a new view, and from where.

A point on the background is looked up where it is; one on a moving body where the body was when each picture was taken. A picture
saw it if it lies inside and what the scene shows there is as far away, within ``TOLERANCE``; if the picture shows something
farther, it looked through the point, which then is probably not there. What is farther than ``FAR``, the sky too, counts as at
``FAR``.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from wetoolkit_splat.jit import kernel

Array = NDArray[Any]

FAR = 60.0  # metres
TOLERANCE = 0.1  # of the depth
NEAR = 0.3  # metres before a camera
COUNT, ANGLE, DETAIL, THROUGH, SPREAD, RESIDUAL = range(6)  # columns of what ``reproject`` fills


@kernel
def reproject(
    points: Array, eye: Array, boxes: Array, halves: Array, views: Array, centres: Array, there: Array, lenses: Array, depth: Array,
    residual: Array, out: Array,
) -> None:  # fmt: skip
    """Fill ``out`` [P, 6] for points [P, 3] seen from ``eye`` [3].

    ``boxes`` [B, 3, 4] world to body, ``halves`` [B, 3] metres; ``views`` [1 + B, M, 3, 4], ``centres`` [1 + B, M, 3] and ``there``
    [1 + B, M] are the pictures' cameras as the background (first) and each body saw them, in today's world.
    Columns: pictures that saw it; least angle between their line of sight and this one [rad]; log of how many times farther that
    picture was taken; share of the pictures that looked through; 1 - length of the mean direction to them; that one's residual.
    """
    rows, columns = depth.shape[1], depth.shape[2]
    for p in range(len(points)):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        body = 0
        for b in range(len(boxes)):
            inside = True
            for axis in range(3):
                own = boxes[b, axis, 0] * x + boxes[b, axis, 1] * y + boxes[b, axis, 2] * z + boxes[b, axis, 3]
                inside = inside and abs(own) <= halves[b, axis]
            if inside:
                body = b + 1
                break
        ex, ey, ez = eye[0] - x, eye[1] - y, eye[2] - z
        here = math.sqrt(ex * ex + ey * ey + ez * ez) + 1e-6
        seen, through, best, detail, worst = 0, 0, -1.0, 0.0, 0.0
        mx, my, mz = 0.0, 0.0, 0.0
        for m in range(len(lenses)):
            if not there[body, m]:
                continue
            view = views[body, m]
            away = view[2, 0] * x + view[2, 1] * y + view[2, 2] * z + view[2, 3]
            if away < NEAR:
                continue
            column = lenses[m, 0] * (view[0, 0] * x + view[0, 1] * y + view[0, 2] * z + view[0, 3]) / away + lenses[m, 2]
            row = lenses[m, 1] * (view[1, 0] * x + view[1, 1] * y + view[1, 2] * z + view[1, 3]) / away + lenses[m, 3]
            if column < 0 or row < 0 or column >= columns or row >= rows:
                continue
            found = depth[m, int(row), int(column)]
            found = FAR if found <= 0 else min(found, FAR)
            apart = (min(away, FAR) - found) / found
            if apart < -TOLERANCE:
                through += 1
            if abs(apart) > TOLERANCE:
                continue
            cx, cy, cz = centres[body, m, 0] - x, centres[body, m, 1] - y, centres[body, m, 2] - z
            then = math.sqrt(cx * cx + cy * cy + cz * cz) + 1e-6
            cosine = (cx * ex + cy * ey + cz * ez) / (then * here)
            seen, mx, my, mz = seen + 1, mx + cx / then, my + cy / then, mz + cz / then
            if cosine > best:
                best, detail, worst = cosine, math.log(then / here), residual[m, int(row), int(column)]
        out[p, 0], out[p, 1], out[p, 2] = seen, math.acos(min(1.0, max(-1.0, best))), detail
        out[p, 3] = through / (through + seen) if through + seen > 0 else 0.0
        out[p, 4] = max(0.0, 1 - math.sqrt(mx * mx + my * my + mz * mz) / seen) if seen > 0 else 0.0
        out[p, 5] = worst


@kernel
def mark(
    means: Array,
    log_scales: Array,
    variance: Array,
    groups: Array,
    views: Array,
    slopes: tuple[float, float],
    out: Array,
    seen: Array,
) -> None:
    """Fill ``out`` [N, 3] and ``seen`` [N] for gaussians whose groups have ``views`` [G, 3, 4] into the camera.

    Columns, each in [0, 1]: standard error of the place along the line of sight over the distance (``variance`` [N, 6]); square of
    the depth over that of ``FAR``; greatest scale over the distance. ``seen``: whether it may touch the picture, which is
    ``slopes`` wide and high.
    """
    for i in range(len(means)):
        view = views[groups[i]]
        a, b, c = means[i, 0], means[i, 1], means[i, 2]
        x = view[0, 0] * a + view[0, 1] * b + view[0, 2] * c + view[0, 3]
        y = view[1, 0] * a + view[1, 1] * b + view[1, 2] * c + view[1, 3]
        z = view[2, 0] * a + view[2, 1] * b + view[2, 2] * c + view[2, 3]
        scale = math.exp(max(log_scales[i, 0], log_scales[i, 1], log_scales[i, 2]))
        room = 3 * scale
        seen[i] = z > 0.01 and abs(x) < slopes[0] * z + room and abs(y) < slopes[1] * z + room
        if not seen[i]:
            continue
        reach = math.sqrt(x * x + y * y + z * z)
        u = (view[0, 0] * x + view[1, 0] * y + view[2, 0] * z) / reach  # the line of sight, in the body's frame
        v = (view[0, 1] * x + view[1, 1] * y + view[2, 1] * z) / reach
        w = (view[0, 2] * x + view[1, 2] * y + view[2, 2] * z) / reach
        along = u * u * variance[i, 0] + v * v * variance[i, 3] + w * w * variance[i, 5]
        along += 2 * (u * v * variance[i, 1] + u * w * variance[i, 2] + v * w * variance[i, 4])
        out[i, 0] = min(1.0, math.sqrt(max(0.0, along)) / reach)
        out[i, 1] = min(1.0, z / FAR) ** 2
        out[i, 2] = min(1.0, scale / reach)
