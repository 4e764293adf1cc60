"""WGS 84 longitude and latitude to UTM metres: real nuPlan maps hold degrees, their logs metres.

The Krueger series to the sixth order of the third flattening, as in Karney, "Transverse Mercator with an accuracy of a few
nanometers" (J. Geodesy 2011), equations 7 to 11 and 35.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Double = NDArray[np.float64]
AXIS, FLATTENING, SCALE, EAST = 6_378_137.0, 1 / 298.257223563, 0.9996, 500_000.0  # metres, 1, 1, metres


def zone_of(epsg: int) -> int:
    """The zone of a code 32601..32660 (north); 0 for any other."""
    return epsg - 32600 if 32601 <= epsg <= 32660 else 0


def project(degrees: Double, zone: int) -> Double:
    """[n, 2] longitude, latitude [degrees, north of the equator] -> [n, 2] east, north [m] in a zone."""
    n = FLATTENING / (2 - FLATTENING)
    e = np.sqrt(FLATTENING * (2 - FLATTENING))
    radius = AXIS / (1 + n) * (1 + n**2 / 4 + n**4 / 64 + n**6 / 256)
    turn, latitude = np.deg2rad(degrees[:, 0] - (6 * zone - 183)), np.deg2rad(degrees[:, 1])
    sine = np.sin(latitude)
    conformal = np.sinh(np.arctanh(sine) - e * np.arctanh(e * sine))  # tangent of the conformal latitude
    xi = np.arctan2(conformal, np.cos(turn))
    eta = np.arcsinh(np.sin(turn) / np.hypot(conformal, np.cos(turn)))
    east, north = eta.copy(), xi.copy()
    for j, factor in enumerate(_series(n), 1):
        north += factor * np.sin(2 * j * xi) * np.cosh(2 * j * eta)
        east += factor * np.cos(2 * j * xi) * np.sinh(2 * j * eta)
    return np.stack([EAST + SCALE * radius * east, SCALE * radius * north], 1)


def _series(n: float) -> tuple[float, ...]:
    """Karney's alpha_1 to alpha_6."""
    return (
        n / 2 - 2 / 3 * n**2 + 5 / 16 * n**3 + 41 / 180 * n**4 - 127 / 288 * n**5 + 7891 / 37800 * n**6,
        13 / 48 * n**2 - 3 / 5 * n**3 + 557 / 1440 * n**4 + 281 / 630 * n**5 - 1983433 / 1935360 * n**6,
        61 / 240 * n**3 - 103 / 140 * n**4 + 15061 / 26880 * n**5 + 167603 / 181440 * n**6,
        49561 / 161280 * n**4 - 179 / 168 * n**5 + 6601661 / 7257600 * n**6,
        34729 / 80640 * n**5 - 3418889 / 1995840 * n**6,
        212378941 / 319334400 * n**6,
    )
