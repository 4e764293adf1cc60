"""Controls: which tokens are given besides the past, and what they are. They may be composed.

*Copy* keeps the log's goals, give or take some metres. A *goal* puts an agent at a place at a time; several of one agent are its
waypoints. An *attack* chooses who must change least to be in the ego's way (``attacks``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import Field
from wetoolkit_driving.geometry import wrap_angle
from wetoolkit_driving.traffic.engine import rests
from wetoolkit_driving.types import AgentClass, Bool, Double, Float, World

from wetoolkit.config import Config
from wetoolkit.errors import ValidationError
from wetoolkit.types import require
from wetoolkit_diffusion.realism import road
from wetoolkit_diffusion.spec import KINDS, TokenSpec
from wetoolkit_diffusion.tokens import Tokens, poses, states

WAY_OFF = 5.0  # metres off the road at which a goal of who drives is a mistake


class CopyConfig(Config):
    """Keep the goals of the log: everybody's last token, moved a little."""

    spread: float = Field(default=1.0, description="deviation of a goal, less for who goes less than 10 m [m]", ge=0.0)
    share: float = Field(default=1.0, description="share of the road users whose goal is kept [1]", ge=0.0, le=1.0)


class GoalConfig(Config):
    """Where one road user is to be at a time after the present."""

    agent: str = Field(description="id of the road user")
    x: float = Field(description="in the scene's coordinates [m]")
    y: float = Field(description="in the scene's coordinates [m]")
    at: float = Field(default=8.0, description="time after the present, rounded to a token [s]", gt=0.0)
    heading: float | None = Field(default=None, description="there; none: that of an arc from the present pose [rad]")
    speed: float | None = Field(default=None, description="there; none: the mean speed on the way [m/s]", ge=0.0)


@dataclass(frozen=True)
class Hold:
    """What is given of a scene, and why."""

    given: Bool  # [A, K]
    held: Float  # [A, K, CHANNELS]
    words: tuple[str, ...] = ()
    who: tuple[str, ...] = ()  # ids of those who were given something by name
    by: Mapping[tuple[int, int], str] = field(default_factory=dict)  # (row, token) -> the control that gave it
    attacked: int = -1  # the row that was given an intent, -1 for none
    intent: str = ""

    def with_token(self, row: int, token: int, state: Double, word: str, agent: str) -> Hold:
        """The same with one token more of ``agent``; ``ValidationError`` where it is given otherwise already."""
        if self.given[row, token] and not np.allclose(self.held[row, token], state, atol=1e-3):
            raise ValidationError(
                "two controls ask one road user to be in two places at one time", field="controls", agent=agent,
                one=self.by.get((row, token), "the record"), other=word,
                way_out="leave one of them out, or give them different times",
            )  # fmt: skip
        given, held = self.given.copy(), self.held.copy()
        given[row, token], held[row, token] = True, state
        words = self.words if word in self.words else (*self.words, word)
        who = self.who if agent in self.who else (*self.who, agent)
        return replace(self, given=given, held=held, words=words, who=who, by={**self.by, (row, token): word})


def begin(tokens: Tokens, world: World, spec: TokenSpec, ego: bool) -> Hold:
    """The past, whoever rests in the record throughout (walkers excepted, who may set out), and, if asked, the ego's
    future as far as it is recorded."""
    given = tokens.valid.copy()
    given[:, spec.now + 1 :] = False
    still = np.array([row >= 0 and rests(world.agents, int(row)) for row in tokens.rows]) & (tokens.kind != AgentClass.PEDESTRIAN)
    if ego:
        still[0] = True
    given[still] = tokens.valid[still]
    return Hold(given, tokens.state.copy())


def hold_record(hold: Hold, tokens: Tokens, world: World, agents: Sequence[str]) -> Hold:
    """Hold all that is recorded of some road users."""
    rows = [row for row in range(1, len(tokens)) if world.agents.ids[tokens.rows[row]] in agents]
    given = hold.given.copy()
    given[rows] = tokens.valid[rows]
    by = {(row, int(token)): "the track it was put in with" for row in rows for token in np.flatnonzero(given[row])}
    return replace(hold, given=given, by={**hold.by, **by})


def keep_others(hold: Hold, tokens: Tokens, world: World, spec: TokenSpec, but: Sequence[str]) -> Hold:
    """Hold all that is recorded of whoever was given nothing of its future, some ids left out."""
    free = ~hold.given[:, spec.now + 1 :].any(1)
    free &= np.array([row < 0 or world.agents.ids[row] not in but for row in tokens.rows])
    given = np.where(free[:, None], tokens.valid, hold.given)
    return replace(hold, given=given, words=(*hold.words, f"{int(free[1:].sum())} others as recorded"))


def copy_goals(hold: Hold, tokens: Tokens, spec: TokenSpec, config: CopyConfig, rng: np.random.Generator) -> Hold:
    """Hold the last token of everybody whose record reaches it, moved by a normal draw."""
    drawn, share = rng.normal(size=(len(tokens), 2)), rng.random(len(tokens))
    last = tokens.valid[:, -1] & ~hold.given[:, -1] & (share < config.share)
    last[0] = False
    held, given = hold.held.copy(), hold.given.copy()
    way = np.hypot(held[:, -1, 0], held[:, -1, 1])  # [A] metres
    held[last, -1, :2] += (config.spread * np.minimum(1.0, way / 10.0)[:, None] * drawn)[last].astype(np.float32)
    given[last, -1] = True
    return replace(hold, given=given, held=held, words=(*hold.words, f"copy of {int(last.sum())} goals"))


def hold_goals(hold: Hold, tokens: Tokens, world: World, spec: TokenSpec, goals: Sequence[GoalConfig]) -> Hold:
    """Hold each goal's token; ``ValidationError`` for one that cannot be meant."""
    latest = spec.future * spec.period
    for i, goal in enumerate(goals):
        row = row_of(tokens, world, goal.agent, f"goals[{i}].agent")
        token = spec.now + max(1, round(goal.at / spec.period))
        require(token < spec.count, f"{goal.at:g} s is later than the model looks", f"goals[{i}].at", f"at most {latest:g} s")
        state = aimed(tokens, row, np.array([goal.x, goal.y]), (token - spec.now) * spec.period, goal.heading, goal.speed)
        word = f"{goal.agent} at ({goal.x:.1f}, {goal.y:.1f}) in {goal.at:g} s"
        if tokens.kind[row] != AgentClass.PEDESTRIAN and world.map.lanes:
            away = road(world.map).distance(_point(goal.x, goal.y))
            require(away < WAY_OFF, f"({goal.x:g}, {goal.y:g}) is {away:.0f} m off the road", f"goals[{i}]", "give a place on it")
        hold = hold.with_token(row, token, state, word, goal.agent)
    return hold


def row_of(tokens: Tokens, world: World, agent: str, place: str) -> int:
    """The row of a road user that is modelled; ``ValidationError`` where there is none of this id."""
    names = world.agents.ids
    require(agent in names, f"no road user {agent!r}", place, "name an id of world.agents")
    found = np.flatnonzero(tokens.rows == names.index(agent))
    known = ", ".join(kind.name.lower() for kind in KINDS)
    way_out = f"name one that is there at the present, among the nearest, and a {known}"
    require(len(found) == 1, f"{agent!r} is not modelled", place, way_out)
    return int(found[0])


def _point(x: float, y: float):  # type: ignore[no-untyped-def]
    import shapely

    return shapely.Point(x, y)


def aimed(
    tokens: Tokens, row: int, place: Double, seconds: float, heading: float | None = None, speed: float | None = None
) -> Double:
    """The token state [CHANNELS] of an agent at ``place`` [2] (world) after so long; by default as on an arc at its mean speed."""
    frame = tokens.frame[row]
    offset = place - frame[:2]
    away = float(np.hypot(*offset))
    if heading is None:
        chord = float(wrap_angle(np.arctan2(offset[1], offset[0]) - frame[2])) if away > 0.5 else 0.0
        turn = chord if tokens.kind[row] == AgentClass.PEDESTRIAN else 2.0 * chord
        heading = float(frame[2]) + turn
    pose = np.array([*place, wrap_angle(heading)])
    return np.asarray(states(pose, np.float64(away / seconds if speed is None else speed), frame))


def ego_way(tokens: Tokens, spec: TokenSpec) -> tuple[Double, Double]:
    """The ego's poses [F, 3] in the world and speeds [F] at the future tokens: as recorded, or on at its velocity."""
    known = tokens.valid[0, spec.now + 1 :]
    seconds = spec.period * np.arange(1, spec.future + 1)
    going = np.zeros((spec.future, 5))
    going[:, :2], going[:, 2] = tokens.velocity[0] * seconds[:, None], 1.0
    going[:, 4] = np.hypot(*tokens.velocity[0])
    state = np.where(known[:, None], tokens.state[0, spec.now + 1 :], going)
    return poses(state[None], tokens.frame[:1])[0], state[:, 4]


__all__ = [
    "CopyConfig", "GoalConfig", "Hold", "aimed", "begin", "copy_goals", "ego_way", "hold_goals", "hold_record", "keep_others",
    "row_of",
]  # fmt: skip
