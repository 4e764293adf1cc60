"""The ego's body as a config, for simulators that put another one in the place of the record's."""

from __future__ import annotations

from pydantic import Field

from wetoolkit.config import Config
from wetoolkit_driving.types import Vehicle

OWN = Vehicle()


class VehicleConfig(Config):
    """A body and its kinematic bicycle; the defaults are nuPlan's Chrysler Pacifica."""

    width: float = Field(default=OWN.width, description="width [m]", gt=0)
    front: float = Field(default=OWN.front, description="rear axle to front bumper [m]", gt=0)
    rear: float = Field(default=OWN.rear, description="rear axle to rear bumper [m]", ge=0)
    wheel_base: float = Field(default=OWN.wheel_base, description="rear axle to front axle [m]", gt=0)
    height: float = Field(default=OWN.height, description="height [m]", gt=0)

    def build(self) -> Vehicle:
        """The body."""
        return Vehicle(**self.model_dump())


__all__ = ["VehicleConfig"]
