"""How each class of road user follows, brakes and takes curves: the parameters of the intelligent driver model (IDM).

Source of the model: Treiber, Hennecke, Helbing, "Congested traffic states in empirical observations and microscopic simulations",
Phys. Rev. E 62 (2000); its free-road term as improved in Treiber, Kesting, "Traffic Flow Dynamics" (2013), section 11.3.7.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit_driving.types import AgentClass, Agents, Double

MOVERS = (AgentClass.VEHICLE, AgentClass.PEDESTRIAN, AgentClass.BICYCLE)


class Manners(Config):
    """IDM parameters of one class."""

    gap: float = Field(default=2.0, description="bumper to bumper at standstill [m]", ge=0.1)
    headway: float = Field(default=1.5, description="time gap kept behind a leader [s]", ge=0.1)
    acceleration: float = Field(default=1.5, description="greatest acceleration [m/s^2]", gt=0.0)
    deceleration: float = Field(default=2.0, description="comfortable deceleration [m/s^2]", gt=0.0)
    emergency: float = Field(default=7.0, description="greatest deceleration [m/s^2]", gt=0.0)
    lateral: float = Field(default=3.0, description="greatest lateral acceleration taken in curves [m/s^2]", gt=0.0)


VEHICLE = Manners(gap=2.0, headway=1.5, acceleration=1.5, deceleration=2.0, emergency=7.0, lateral=3.0)
BICYCLE = Manners(gap=1.0, headway=1.0, acceleration=1.0, deceleration=2.0, emergency=4.0, lateral=2.5)
PEDESTRIAN = Manners(gap=0.5, headway=0.5, acceleration=1.5, deceleration=2.0, emergency=4.0, lateral=10.0)


class TrafficConfig(Config):
    """How IDM agents move, by class; an agent's own ``manners`` go before these."""

    vehicle: Manners = Field(default=VEHICLE, description="manners of vehicles")
    bicycle: Manners = Field(default=BICYCLE, description="manners of cyclists")
    pedestrian: Manners = Field(default=PEDESTRIAN, description="manners of pedestrians")
    margin: float = Field(default=0.1, description="room kept on each side of the path a body sweeps [m]", ge=0.0, le=1.0)
    anticipation: float = Field(
        default=1.0, description="crossing traffic is seen coming for so long, at constant velocity [s]", ge=0.0, le=3.0
    )

    def of(self, kind: int) -> Manners:
        """The manners of a class; classes that do not move by themselves never need them."""
        return {AgentClass.BICYCLE: self.bicycle, AgentClass.PEDESTRIAN: self.pedestrian}.get(AgentClass(kind), self.vehicle)


# Columns of the parameter table.
FACTOR, GAP, HEADWAY, ACCELERATION, DECELERATION, EMERGENCY, LATERAL = range(7)


def parameters(agents: Agents, config: TrafficConfig) -> Double:
    """[A, 7]: desired speed factor, gap, headway, acceleration, deceleration, emergency, lateral. A zero row of
    ``agents.manners`` means those of the class."""
    table = np.ones((len(agents), 7))
    for a, kind in enumerate(agents.kind):
        m = config.of(int(kind))
        table[a, GAP:] = m.gap, m.headway, m.acceleration, m.deceleration, m.emergency, m.lateral
    if agents.manners is not None:
        own = agents.manners.any(1)
        table[own, :5] = agents.manners[own]
    return table


__all__ = [
    "ACCELERATION", "BICYCLE", "DECELERATION", "EMERGENCY", "FACTOR", "GAP", "HEADWAY", "LATERAL", "MOVERS", "PEDESTRIAN",
    "VEHICLE", "Manners", "TrafficConfig", "parameters",
]  # fmt: skip
