"""One kernel that colours every pixel of an image from what its ray met."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.jit import inner, kernel

from wetoolkit_minitown.sensors import surfaces
from wetoolkit_minitown.sensors.codes import Category, Material
from wetoolkit_minitown.sensors.light import Triple, sky
from wetoolkit_minitown.sensors.noise import grain, noise

NOTHING, FLOOR, STILL, MOVING = 0, 1, 2, 3  # what a ray met first
SKY = int(Category.SKY)
PAINT, GLASS, LAMP, FACADE = int(Material.PAINT), int(Material.GLASS), int(Material.LAMP), int(Material.FACADE)
ROOF, FOLIAGE, STRIPES = int(Material.ROOF), int(Material.FOLIAGE), int(Material.STRIPES)
SIGNAL, SIGN = int(Material.SIGNAL), int(Material.SIGN)
TAPS = 6  # at most so many samples of the ground a pixel
NEAR_GROUND = 0.6  # metres of ground along a pixel's column up to which it is coloured from the four cells around its middle


CELL = 2.0  # metres a cell of the map of places that somebody may darken
CELLS = 100  # cells along each side of it


class Eye(NamedTuple):
    """Where an image is taken from and how its colours are recorded."""

    origin: Triple
    down: Triple  # half a pixel down the image, in units of the rays' directions
    side: Triple  # half a pixel to its right
    gain: Triple  # exposure and white balance
    lift: float  # stray light added to all pixels


class Floor(NamedTuple):
    """The ground's raster, and what stands on it."""

    code: NDArray[np.uint8]  # [rows, columns]
    corner: tuple[float, float]
    cell: float
    boxes: NDArray[np.float64]  # [A, 6] x, y, heading, half length, half width, height of what darkens the ground around it
    cells: NDArray[np.bool_]  # where that may matter (meeting.shadowed)
    edge: tuple[float, float]  # corner of those cells


@kernel
def shade(rays, met, hits, lit, still, moving, floor, signals, light, eye, curve):  # type: ignore[no-untyped-def]
    """Colours [P, 3] uint8 and categories [P] of P pixels.

    rays [P, 3]; met [P] what each met; hits: Hits of still and moving things merged; lit [P] whether the sun reaches the place;
    curve [4096] tone, of the square root of a quarter of the recorded light.
    """
    count = len(rays)
    picture, shown = np.empty((count, 3), np.uint8), np.empty(count, np.uint8)
    for p in range(count):
        length = np.sqrt(rays[p, 0] ** 2 + rays[p, 1] ** 2 + rays[p, 2] ** 2)
        x, y, z = rays[p, 0] / length, rays[p, 1] / length, rays[p, 2] / length
        far = hits.along[p]
        if met[p] == NOTHING:
            r, g, b = sky(x, y, z, light)
            shown[p] = SKY
        else:
            if met[p] == FLOOR:
                r, g, b, shown[p] = _floor(rays[p, 0], rays[p, 1], rays[p, 2], far, lit[p], floor, light, eye)
            elif met[p] == STILL:
                r, g, b, shown[p] = _solid(p, x, y, z, length, hits, lit[p], still, signals, light, eye)
            else:
                r, g, b, shown[p] = _solid(p, x, y, z, length, hits, lit[p], moving, signals, light, eye)
            clear = np.exp(-far * length / light.reach)
            r = r * clear + light.horizon[0] * 0.92 * (1 - clear)
            g = g * clear + light.horizon[1] * 0.92 * (1 - clear)
            b = b * clear + light.horizon[2] * 0.92 * (1 - clear)
        picture[p, 0] = _tone(r * eye.gain[0] + eye.lift, curve)
        picture[p, 1] = _tone(g * eye.gain[1] + eye.lift, curve)
        picture[p, 2] = _tone(b * eye.gain[2] + eye.lift, curve)
    return picture, shown


@inner
def marked(x, y, cells, edge):  # type: ignore[no-untyped-def]
    """Whether a place lies on a marked cell."""
    column, row = int(np.floor((x - edge[0]) / CELL)), int(np.floor((y - edge[1]) / CELL))
    return 0 <= row < CELLS and 0 <= column < CELLS and cells[row, column]


@inner
def _tone(value, curve):  # type: ignore[no-untyped-def]
    return curve[min(4095, int(np.sqrt(max(value, 0.0) * 0.25) * 4095.0))]


@inner
def _code(x, y, floor):  # type: ignore[no-untyped-def]
    column, row = int(np.floor((x - floor.corner[0]) / floor.cell)), int(np.floor((y - floor.corner[1]) / floor.cell))
    if 0 <= row < floor.code.shape[0] and 0 <= column < floor.code.shape[1]:
        return floor.code[row, column]
    return np.uint8(surfaces.GRASS)


@inner
def _floor(rx, ry, rz, along, lit, floor, light, eye):  # type: ignore[no-untyped-def]
    """The ground's colour, averaged over what the pixel covers of it, and its category."""
    x, y = eye.origin[0] + along * rx, eye.origin[1] + along * ry
    high, low = rz - eye.down[2], rz + eye.down[2]
    near = -eye.origin[2] / low
    far = min(-eye.origin[2] / high, 3.0 * along) if high < -1e-4 else 3.0 * along
    x0, y0 = eye.origin[0] + near * (rx + eye.down[0]), eye.origin[1] + near * (ry + eye.down[1])
    x1, y1 = eye.origin[0] + far * (rx - eye.down[0]), eye.origin[1] + far * (ry - eye.down[1])
    long = np.sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2)
    r, g, b = 0.0, 0.0, 0.0
    if long < NEAR_GROUND:
        r, g, b = _smooth(x, y, floor)
    else:
        taps = min(TAPS, int(long * 2.5))
        for k in range(taps):
            s, aside = (k + 0.5) / taps, along * (0.5 if k % 2 else -0.5)
            code = _code(x0 + s * (x1 - x0) + aside * eye.side[0], y0 + s * (y1 - y0) + aside * eye.side[1], floor)
            r, g, b = r + surfaces.GROUND[code, 0], g + surfaces.GROUND[code, 1], b + surfaces.GROUND[code, 2]
        r, g, b = r / taps, g / taps, b / taps
    code = _code(x, y, floor)
    fr, fg, fb = surfaces.ground(code, x, y, long)
    r, g, b = r * fr, g * fg, b * fb
    dim = _under(x, y, floor.boxes) if marked(x, y, floor.cells, floor.edge) else 1.0
    sun = light.sun[2] * lit * (0.4 + 0.6 * dim)
    return (
        r * (light.beam[0] * sun + light.shade[0] * dim),
        g * (light.beam[1] * sun + light.shade[1] * dim),
        b * (light.beam[2] * sun + light.shade[2] * dim),
        surfaces.SHOWN[code],
    )


@inner
def _smooth(x, y, floor):  # type: ignore[no-untyped-def]
    """Albedo between the middles of four cells: where a cell is larger than a pixel, edges would show its stairs."""
    half = floor.cell / 2
    u, v = (x - half - floor.corner[0]) / floor.cell, (y - half - floor.corner[1]) / floor.cell
    u, v = u - np.floor(u), v - np.floor(v)
    r, g, b = 0.0, 0.0, 0.0
    for k in range(4):
        right, up = k % 2, k // 2
        code = _code(x + (half if right else -half), y + (half if up else -half), floor)
        weight = (u if right else 1 - u) * (v if up else 1 - v)
        r, g, b = (
            r + weight * surfaces.GROUND[code, 0],
            g + weight * surfaces.GROUND[code, 1],
            b + weight * surfaces.GROUND[code, 2],
        )
    return r, g, b


@inner
def _under(x, y, boxes):  # type: ignore[no-untyped-def]
    """Share of the sky's light that reaches the ground beside and under boxes."""
    dim = 1.0
    for a in range(len(boxes)):
        dx, dy = x - boxes[a, 0], y - boxes[a, 1]
        if abs(dx) + abs(dy) > 2.0 + boxes[a, 3] + boxes[a, 4]:
            continue
        c, s = np.cos(boxes[a, 2]), np.sin(boxes[a, 2])
        u, v = abs(c * dx + s * dy) - boxes[a, 3], abs(c * dy - s * dx) - boxes[a, 4]
        away = np.hypot(max(u, 0.0), max(v, 0.0)) + min(max(u, v), 0.0)
        dim *= 1 - 0.82 / (1 + np.exp((away + 0.05) * 7.0))
    return dim


@inner
def _solid(p, x, y, z, length, hits, lit, table, signals, light, eye):  # type: ignore[no-untyped-def]
    """The colour of a triangle where a ray met it, and its category."""
    n = hits.triangle[p]
    nx, ny, nz = hits.normal[p, 0], hits.normal[p, 1], hits.normal[p, 2]
    size = np.sqrt(nx * nx + ny * ny + nz * nz)
    if nx * x + ny * y + nz * z > 0:
        size = -size
    nx, ny, nz = nx / size, ny / size, nz / size
    far = hits.along[p] * length
    px, py, pz = eye.origin[0] + far * x, eye.origin[1] + far * y, eye.origin[2] + far * z
    w = 1 - hits.u[p] - hits.v[p]
    u = w * table.uv[n, 0, 0] + hits.u[p] * table.uv[n, 1, 0] + hits.v[p] * table.uv[n, 2, 0]
    v = w * table.uv[n, 0, 1] + hits.u[p] * table.uv[n, 1, 1] + hits.v[p] * table.uv[n, 2, 1]
    r, g, b = float(table.colour[n, 0]), float(table.colour[n, 1]), float(table.colour[n, 2])
    d0, d1 = float(table.detail[n, 0]), float(table.detail[n, 1])
    kind = table.material[n]
    gloss, wrap = 0.0, 0.0
    if kind == LAMP or (kind == SIGNAL and int(d0) < len(signals) and signals[int(d0)] == int(d1)):
        shine = 1.5 if kind == LAMP else 2.6
        return r * shine, g * shine, b * shine, table.category[n]
    if kind == FACADE:
        r, g, b, gloss = _facade(r, g, b, u, v, d0, int(d1) % 8, int(d1) // 8)
    elif kind == SIGNAL:
        r, g, b = 0.025 * r + 0.008, 0.025 * g + 0.008, 0.025 * b + 0.008
    elif kind == ROOF:
        row = v / 0.34 - np.floor(v / 0.34)
        f = (0.72 + 0.35 * row) * (0.8 + 0.4 * noise(u * 1.4, v * 1.4, 51))
        r, g, b = r * f, g * f, b * f
    elif kind == FOLIAGE:
        f = surfaces.leaves(px, py, pz, far)
        r, g, b, wrap = r * f, g * f, b * f * 0.95, 0.35
        shift = 1.1 * (noise(px * 3.3 + pz, py * 3.3 - pz, 52) - 0.5)
        nx, ny, nz = nx + shift, ny - shift, nz + 0.5 * shift
    elif kind == STRIPES:
        if (np.floor((v + d1 * u) / d0)) % 2 == 1:
            r, g, b = 0.72, 0.72, 0.70
    elif kind == SIGN:
        rim, ink = u * u + v * v > 0.56, abs(abs(u) - 0.26) < 0.14 and abs(v) < 0.36
        r, g, b = (0.62, 0.02, 0.03) if rim else (0.03, 0.03, 0.03) if ink else (0.78, 0.78, 0.76)
    elif kind == PAINT:
        gloss = 0.05
    elif kind == GLASS:
        gloss = 0.10
    else:
        f = 0.9 + 0.2 * noise(u * 3.0, v * 3.0, 53)
        r, g, b = r * f, g * f, b * f
    facing = max(0.0, (nx * light.sun[0] + ny * light.sun[1] + nz * light.sun[2] + wrap) / (1 + wrap)) * lit
    open_ = (0.55 + 0.45 * nz) * (0.62 + 0.38 * min(1.0, pz / 1.4))
    thrown = 0.10 * (1 - nz) * (light.sun[2] * light.beam[1] * 0.5 + 0.6)
    ar, ag, ab = (
        (0.8 * light.zenith[0] + 0.24) * open_,
        (0.8 * light.zenith[1] + 0.24) * open_,
        (0.8 * light.zenith[2] + 0.22) * open_,
    )
    r, g, b = (
        r * (light.beam[0] * facing + ar + thrown), g * (light.beam[1] * facing + ag + thrown),
        b * (light.beam[2] * facing + ab + 0.9 * thrown),
    )  # fmt: skip
    if gloss > 0:
        r, g, b = _mirrored(r, g, b, gloss, x, y, z, nx, ny, nz, lit, light)
    return r, g, b, table.category[n]


@inner
def _facade(r, g, b, u, v, bay, style, number):  # type: ignore[no-untyped-def]
    """(r, g, b, gloss) of a wall with windows."""
    part, column, floor = surfaces.pane(u, v, bay, style, number)
    draw = grain(column + 101 * floor, number, 22)
    if part == surfaces.CLEAR:
        if draw < 0.35:
            return 0.30 + 0.3 * draw, 0.29 + 0.3 * draw, 0.26 + 0.25 * draw, 0.06  # curtains
        return 0.018 + 0.03 * draw, 0.020 + 0.03 * draw, 0.024 + 0.03 * draw, 0.14
    if part == surfaces.FRAME:
        return (0.66, 0.66, 0.64, 0.0) if grain(number, 5, 23) < 0.75 else (0.10, 0.09, 0.08, 0.0)
    r, g, b = surfaces.wall(r, g, b, u, v, number)
    return r, g, b, 0.0


@inner
def _mirrored(r, g, b, gloss, x, y, z, nx, ny, nz, lit, light):  # type: ignore[no-untyped-def]
    """A colour with the sky's reflection over it (Schlick's Fresnel term), and the sun's."""
    cosine = -(x * nx + y * ny + z * nz)
    rx, ry, rz = x + 2 * cosine * nx, y + 2 * cosine * ny, z + 2 * cosine * nz
    share = gloss + (1 - gloss) * (1 - min(1.0, max(cosine, 0.0))) ** 5 * 0.8
    sr, sg, sb = sky(rx, ry, rz, light)
    spark = 2.2 * lit * max(0.0, rx * light.sun[0] + ry * light.sun[1] + rz * light.sun[2]) ** 90
    return (
        r * (1 - share) + share * sr + gloss * spark * light.beam[0], g * (1 - share) + share * sg + gloss * spark * light.beam[1],
        b * (1 - share) + share * sb + gloss * spark * light.beam[2],
    )  # fmt: skip


@kernel
def contrasts(picture, width):  # type: ignore[no-untyped-def]
    """[P] the greatest difference of a pixel of an image [P, 3] from those right of it and below it, either way, in any colour."""
    count = len(picture)
    most = np.zeros(count, np.int32)
    for p in range(count):
        for q in (p + 1 if (p + 1) % width else count, p + width):
            if q < count:
                for i in range(3):
                    apart = abs(np.int32(picture[p, i]) - np.int32(picture[q, i]))
                    most[p], most[q] = max(most[p], apart), max(most[q], apart)
    return most
