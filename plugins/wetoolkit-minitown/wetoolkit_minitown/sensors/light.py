"""Sun, sky and haze of a drive, drawn from its seed, and the kernels that ask for them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from wetoolkit_driving.jit import inner

from wetoolkit_minitown.sensors.noise import noise

Triple = tuple[float, float, float]


class Light(NamedTuple):
    """All colours are linear. Tuples of numbers, not arrays: kernels count the references to arrays at every use."""

    sun: Triple  # towards the sun, length 1
    beam: Triple  # what the sun brings to a surface that faces it
    zenith: Triple
    horizon: Triple  # also what haze tends to
    shade: Triple  # what the whole sky and all that is around bring to a surface that looks up
    cloud: float  # share of the sky that is clouded
    reach: float  # metres over which haze takes 63 %


def draw_light(seed: int) -> Light:
    """A time of day and weather."""
    rng = np.random.default_rng((seed, 12))
    azimuth, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(26, 58))
    cloud = float(rng.choice([0.15, 0.35, 0.55, 0.9], p=[0.35, 0.3, 0.2, 0.15]))
    low = 1 - np.sin(height)  # a low sun is warmer
    beam = np.array([2.6, 2.45 - 0.35 * low, 2.25 - 0.9 * low]) * (1 - 0.75 * max(0.0, cloud - 0.5) / 0.4)
    grey = max(0.0, cloud - 0.4)
    zenith = (1 - grey) * np.array([0.17, 0.34, 0.78]) + grey * np.array([0.62, 0.66, 0.72])
    horizon = np.array([0.74, 0.84, 0.97]) * (1 - 0.2 * grey)
    sun = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    shade = 0.50 * zenith + 0.30 * horizon + 0.06
    return Light(triple(sun), triple(beam), triple(zenith), triple(horizon), triple(shade), cloud, float(rng.uniform(380, 800)))


def triple(values: ArrayLike) -> Triple:
    """Three numbers."""
    x, y, z = np.asarray(values, np.float64).tolist()
    return x, y, z


@inner
def sky(x, y, z, light):  # type: ignore[no-untyped-def]
    """(r, g, b) seen in a direction of length 1 above the horizon; below it what the ground throws back."""
    up = max(z, 0.0)
    k = up**0.45
    r = light.horizon[0] * (1 - k) + light.zenith[0] * k
    g = light.horizon[1] * (1 - k) + light.zenith[1] * k
    b = light.horizon[2] * (1 - k) + light.zenith[2] * k
    if z <= 0.0:
        f = 0.30 * min(1.0, -z * 8.0)
        return r * (0.55 - f), g * (0.55 - f), b * (0.52 - f)
    glow = max(0.0, x * light.sun[0] + y * light.sun[1] + z * light.sun[2])
    halo = 0.30 * glow**24 + 4.0 * glow**900
    s, t = x / (up + 0.12), y / (up + 0.12)
    puff = 0.6 * noise(s * 1.1, t * 1.1, 41) + 0.28 * noise(s * 2.7, t * 2.7, 42) + 0.12 * noise(s * 6.1, t * 6.1, 43)
    veil = min(1.0, max(0.0, (puff - 0.78 + 0.62 * light.cloud) * 3.2)) * min(1.0, up * 9.0)
    white = 0.88 + 0.14 * glow - 0.12 * light.cloud
    halo *= 1 - 0.8 * veil
    return r + (white - r) * veil + halo, g + (white - g) * veil + 0.9 * halo, b + (white * 1.02 - b) * veil + 0.75 * halo
