"""Rays against triangles with embree, and what shading needs to know of each triangle as flat tables.

Directions are not normalised: a camera's have a z of 1 in its own frame, so that the distance along them *is* the z-depth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit_minitown.sensors.extra import embree
from wetoolkit_minitown.sensors.mesh import Mesh

Float = NDArray[np.float32]
Byte = NDArray[np.uint8]
Int = NDArray[np.int32]


class Table(NamedTuple):
    """N triangles for shading."""

    uv: Float  # [N, 3, 2]
    colour: Float  # [N, 3]
    detail: Float  # [N, 2]
    material: Byte  # [N]
    category: Byte  # [N]


class Hits(NamedTuple):
    """What P rays met first; ``along`` is infinite where that is nothing."""

    along: Float  # [P] in lengths of the direction
    triangle: Int  # [P]
    u: Float  # [P] barycentric: weight of the second corner
    v: Float  # [P] of the third
    normal: Float  # [P, 3] of any length and either side


class Caster:
    """A mesh that answers rays. Built once; an empty mesh is met by none."""

    def __init__(self, mesh: Mesh) -> None:
        self.table = Table(mesh.uv, mesh.colour, mesh.detail, mesh.material, mesh.category)
        self._scene = None
        if len(mesh):
            self._scene = embree("rtcore_scene").EmbreeScene()
            # The scene keeps no reference to its geometry's arrays: embree copies the corners.
            self._mesh = embree("mesh_construction").TriangleMesh(self._scene, np.ascontiguousarray(mesh.corners, np.float32))

    def hits(self, origin: Float, direction: Float) -> Hits:
        """First hits of rays [P, 3], both contiguous float32."""
        count = len(direction)
        if self._scene is None or not count:
            none = np.zeros(count, np.float32)
            return Hits(
                np.full(count, np.inf, np.float32), np.full(count, -1, np.int32), none, none, np.zeros((count, 3), np.float32)
            )
        found = self._scene.run(origin, direction, output=1)
        along = np.where(found["primID"] >= 0, found["tfar"], np.float32(np.inf))
        return Hits(along, found["primID"], found["u"], found["v"], found["Ng"])

    def blocked(self, origin: Float, direction: Float) -> NDArray[np.bool_]:
        """[P] whether anything lies on the rays at all."""
        if self._scene is None or not len(direction):
            return np.zeros(len(direction), bool)
        return np.asarray(self._scene.run(origin, direction, query="OCCLUDED") >= 0)
