"""What a scene looks like to the model: how many agents and tokens, how much of the map. Part of every checkpoint."""

from __future__ import annotations

from pydantic import Field
from wetoolkit_driving.types import AgentClass

from wetoolkit.config import Config

KINDS = (AgentClass.VEHICLE, AgentClass.PEDESTRIAN, AgentClass.BICYCLE)  # the classes that are generated
PARTS = 4  # parts of the time between two tokens in which guidance looks at who meets whom and at signals
CHANNELS = 5  # x [m], y [m], cos and sin of the heading, speed [m/s]: in the agent's own frame at the present


class TokenSpec(Config):
    """Tokens of a scene. Token ``history - 1`` is the present, the later ones the future."""

    agents: int = Field(default=32, description="at most so many rows, the ego's first, then the nearest to it [1]", ge=1)
    history: int = Field(default=3, description="tokens up to and including the present [1]", ge=1)
    future: int = Field(default=16, description="tokens after the present [1]", ge=1)
    period: float = Field(default=0.5, description="time between two tokens [s]", gt=0.0)
    lines: int = Field(
        default=16, description="pieces of lanes, crossings and, for walkers, edges of walkways that each agent sees [1]", ge=1
    )
    ways: int = Field(default=6, description="chains of lanes that lie before who drives [1]", ge=1)
    points: int = Field(default=6, description="points of such a piece [1]", ge=2)
    piece: float = Field(default=15.0, description="length of a piece, at most [m]", gt=0.0)

    @property
    def count(self) -> int:
        """K: tokens of an agent."""
        return self.history + self.future

    @property
    def now(self) -> int:
        """Index of the present among the tokens."""
        return self.history - 1


__all__ = ["CHANNELS", "KINDS", "PARTS", "TokenSpec"]
