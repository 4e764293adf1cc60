"""Intent attacks: somebody is given a goal or a speed that conflicts with what the ego is about to do.

Every road user near enough is tried with every intent that fits it at every token from 1.5 to 6 s; what it would have to change is
the acceleration and the turn of an arc from where it is to where it would be in the way. Those that a body of its class can do are
drawn by how little that is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import Field
from wetoolkit_driving.geometry import along, arc_lengths, box_corners, boxes_touch, compose, project, relative, wrap_angle
from wetoolkit_driving.types import AgentClass, Double, Float, World

from wetoolkit.config import Config
from wetoolkit.errors import ValidationError
from wetoolkit_diffusion.controls import Hold, aimed, ego_way, row_of
from wetoolkit_diffusion.rewriting import record_on
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.tokens import Tokens, poses, states

Intent = Literal["cut-in", "hard-brake", "jaywalk", "fail-to-yield", "crossing-cyclist"]
INTENTS: tuple[Intent, ...] = ("cut-in", "hard-brake", "jaywalk", "fail-to-yield", "crossing-cyclist")
EARLIEST, LATEST = 1.5, 6.0  # seconds after the present
BRAKE = 6.0  # m/s^2 of who brakes hard
STAND = 2.0  # seconds for which it then stands
CROSSING = np.deg2rad(35.0)  # who comes at less to the ego's way does not cross it
BESIDE = 1.5  # metres from the middle of a lane at which it leads by a place
ROOM = 0.5  # metres by which it keeps clear of everybody but the ego, half of them at either end
KEEN = 1.5  # how much likelier the lesser change is


class AttackConfig(Config):
    """Who may do what."""

    intents: tuple[Intent, ...] = Field(default=INTENTS, description="what may be done: drawn from the possible", min_length=1)
    agent: str = Field(default="", description="id of who does it; none: drawn from all")
    closed_loop: Literal["replays", "reacts"] = Field(
        default="reacts",
        description="in closed loop: whether who attacks reacts, its aim held, or does what was generated",
    )
    reach: float = Field(default=60.0, description="nobody farther from the ego is asked [m]", gt=0.0)
    hardest: float = Field(default=3.5, description="largest mean acceleration that is asked of who drives [m/s^2]", gt=0.0)
    gap: float = Field(default=2.0, description="free space between the ego and who cuts in, at that moment [m]", ge=0.0)


@dataclass(frozen=True)
class Choice:
    """One way to attack."""

    intent: Intent
    row: int
    token: int
    state: Double  # [CHANNELS]
    change: float  # what it takes: about 1 for what is common, 3 for the utmost


def attack(
    hold: Hold, tokens: Tokens, world: World, spec: TokenSpec, config: AttackConfig, rng: np.random.Generator
) -> Hold | None:
    """The hold with one intent more, drawn by how little it takes; None where nobody can be in the way."""
    options = choices(hold, tokens, spec, config, _row_of(config.agent, hold, tokens, world, spec))
    if not options:
        return None
    chance = np.exp(-KEEN * (np.array([option.change for option in options]) - min(option.change for option in options)))
    chosen = options[int(rng.choice(len(options), p=chance / chance.sum()))]
    name = world.agents.ids[tokens.rows[chosen.row]]
    word = f"{chosen.intent} by {name} in {(chosen.token - spec.now) * spec.period:g} s"
    hold = hold.with_token(chosen.row, chosen.token, chosen.state, word, name)
    if chosen.intent == "hard-brake":
        for later in range(chosen.token + 1, chosen.token + 1 + _standing(chosen.token, spec)):
            hold = hold.with_token(chosen.row, later, chosen.state, word, name)
    return replace(hold, attacked=chosen.row, intent=chosen.intent)


def _row_of(agent: str, hold: Hold, tokens: Tokens, world: World, spec: TokenSpec) -> int:
    """The row of who was named, 0 for nobody; ``ValidationError`` where it cannot be meant."""
    if not agent:
        return 0
    row = row_of(tokens, world, agent, "attack.agent")
    given = [word for (held, token), word in hold.by.items() if held == row and token > spec.now]
    if given:
        raise ValidationError(
            "two controls move one road user", field="controls", agent=agent, one=given[0], other="the attack",
            way_out="name another in attack.agent, or leave out its goals",
        )  # fmt: skip
    return row


def choices(hold: Hold, tokens: Tokens, spec: TokenSpec, config: AttackConfig, only: int = 0) -> list[Choice]:
    """Every attack that is possible (above 0: by the row ``only``), in a fixed order."""
    way, _ = ego_way(tokens, spec)
    everybody = poses(record_on(tokens, spec), tokens.frame)  # [A, K, 3]
    found = []
    for row in [only] if only else range(1, len(tokens)):
        near = np.hypot(*(tokens.frame[row, :2] - tokens.frame[0, :2])) < config.reach
        if not near or hold.given[row, spec.now + 1 :].any():
            continue
        for intent in config.intents:
            if not _fits(intent, tokens, row):
                continue
            if intent == "hard-brake":
                able = _brakes(tokens, row, everybody[row, spec.now + 1 :], spec)
            else:
                able = _meets(tokens, row, intent, way, spec, config)
            found += [choice for choice in able if _free(choice, tokens, everybody, spec)]
    return found


def _free(choice: Choice, tokens: Tokens, everybody: Double, spec: TokenSpec) -> bool:
    """Whether, on its way there, it meets nobody but the ego, were ``everybody`` [A, K, 3] to go on as recorded."""
    row, count = choice.row, choice.token - spec.now
    path = _hermite(tokens.velocity[row], choice.state, count, spec.period)  # [count, 3]
    if choice.intent == "hard-brake":
        path = np.concatenate([path, np.repeat(path[-1:], _standing(choice.token, spec), 0)])
    others = np.setdiff1d(np.arange(1, len(tokens)), [row])
    size = tokens.size.astype(np.float64)
    now = boxes_touch(*(box_corners(tokens.frame[rows], *(size[rows].T + ROOM)) for rows in ([row], others)))  # [A - 2]
    own = box_corners(compose(tokens.frame[row], path), *(size[row] + ROOM))  # [T, 4, 2]
    there = box_corners(everybody[others, spec.now + 1 :][:, : len(path)], *size[others].T[..., None])  # [A - 2, T, 4, 2]
    return not boxes_touch(own, there)[~now].any()


def _hermite(velocity: Float, state: Double, count: int, period: float) -> Double:
    """Poses [count, 3] at the tokens up to ``state`` [CHANNELS] on the cubic that begins at the origin with ``velocity`` [2]."""
    part = np.arange(1, count + 1)[:, None] / count
    pull = count * period * np.array([velocity.astype(np.float64), state[4] * state[2:4]])  # [2, 2] metres
    place = (3 * part**2 - 2 * part**3) * state[:2] + (part**3 - 2 * part**2 + part) * pull[0] + (part**3 - part**2) * pull[1]
    step = np.diff(np.concatenate([np.zeros((1, 2)), place]), axis=0)
    heading = np.where(np.hypot(*step.T) > 0.1, np.arctan2(step[:, 1], step[:, 0]), np.arctan2(state[3], state[2]))
    return np.column_stack([place, heading])


def _standing(token: int, spec: TokenSpec) -> int:
    """Tokens for which it stands after the one at which it has come to a stop."""
    return min(round(STAND / spec.period), spec.count - 1 - token)


def _fits(intent: Intent, tokens: Tokens, row: int) -> bool:
    """Whether a road user is of the class for an intent and, for those beside or before the ego, in the place."""
    kind = tokens.kind[row]
    if intent in ("jaywalk", "crossing-cyclist"):
        return bool(kind == (AgentClass.PEDESTRIAN if intent == "jaywalk" else AgentClass.BICYCLE))
    seen = relative(tokens.frame[0], tokens.frame[row])
    along = abs(seen[2]) < np.pi / 6
    if kind != AgentClass.VEHICLE or intent == "fail-to-yield":
        return bool(kind == AgentClass.VEHICLE)
    if intent == "cut-in":
        return bool(along and 2.0 < abs(seen[1]) < 6.5 and -8.0 < seen[0] < 35.0)
    return bool(along and abs(seen[1]) < 1.8 and 5.0 < seen[0] < 45.0)


def _brakes(tokens: Tokens, row: int, path: Double, spec: TokenSpec) -> list[Choice]:
    """A full stop of who drives ahead, on the path [F, 3] (world) that it would go."""
    speed = float(tokens.velocity[row, 0])
    token = spec.now + int(np.ceil(speed / BRAKE / spec.period))
    line = np.concatenate([tokens.frame[row, None], path])
    way, seconds = 0.5 * speed * (token - spec.now) * spec.period, (token - spec.now) * spec.period
    if speed < 3.0 or token >= spec.count or arc_lengths(line)[-1] < way:
        return []
    state = states(along(line, way), np.float64(0.0), tokens.frame[row])
    return [Choice("hard-brake", row, token, np.asarray(state), 0.5 * speed / seconds / 2.0)]


def _meets(tokens: Tokens, row: int, intent: Intent, way: Double, spec: TokenSpec, config: AttackConfig) -> list[Choice]:
    """One choice for each token at which the road user can be where the ego is (cut-in: just before it)."""
    first, last = round(EARLIEST / spec.period), min(round(LATEST / spec.period), spec.future)
    found = [_meeting(tokens, row, intent, way, ahead, spec, config) for ahead in range(first, last + 1)]
    return [choice for choice in found if choice is not None]


def _meeting(
    tokens: Tokens, row: int, intent: Intent, way: Double, ahead: int, spec: TokenSpec, config: AttackConfig
) -> Choice | None:
    """The choice of being in the ego's ``way`` [F, 3] so many tokens ahead; None where that is not possible, or no conflict."""
    pose, seconds = way[ahead - 1], ahead * spec.period
    place, heading, metres = pose[:2], None, None
    if intent == "cut-in":
        before = _farther(way, ahead - 1, config.gap + 0.5 * float(tokens.size[0, 0] + tokens.size[row, 0]))
        place, heading = before[:2], float(before[2])
    elif intent == "fail-to-yield" and tokens.open[row].any():
        lane = _on_a_way(tokens, row, place)
        if lane is None:
            return None  # no lane of its own leads there
        (x, y, heading), metres = lane[0].tolist(), lane[1]
        place = np.array([x, y])
    effort = _effort(tokens, row, place, seconds, config, metres)
    if effort is None:
        return None
    state = aimed(tokens, row, place, seconds, heading, effort[1])
    crossing = abs(float(wrap_angle(tokens.frame[row, 2] + np.arctan2(state[3], state[2]) - pose[2])))
    if intent != "cut-in" and crossing <= CROSSING:
        return None
    return Choice(intent, row, spec.now + ahead, state, effort[0])


def _farther(way: Double, index: int, metres: float) -> Double:
    """The pose [3] so much farther on ``way`` [F, 3] than its pose ``index``; straight on beyond its end."""
    left = arc_lengths(way[index:])
    if left[-1] > metres:
        return np.asarray(along(way[index:], metres))
    unit = np.array([np.cos(way[-1, 2]), np.sin(way[-1, 2]), 0.0])
    return np.asarray(way[-1] + (metres - left[-1]) * unit)


def _on_a_way(tokens: Tokens, row: int, place: Double) -> tuple[Double, float] | None:
    """(pose [3], metres to go) on that way of a road user which leads nearest by ``place`` [2]; None where none does."""
    local, found = relative(tokens.frame[row], np.array([*place, 0.0]))[:2], []
    for line in tokens.ways[row, tokens.open[row]].astype(np.float64):
        arc, offset = project(line, local[None])
        if abs(offset[0]) < BESIDE and float(arc_lengths(line)[-1]) > 1.0:
            found.append((abs(float(offset[0])), float(arc[0]), along(line, arc[0])))
    if not found:
        return None
    _, arc_to, pose = min(found, key=lambda one: one[0])
    return compose(tokens.frame[row], pose), arc_to


def _effort(
    tokens: Tokens, row: int, place: Double, seconds: float, config: AttackConfig, way: float | None = None
) -> tuple[float, float] | None:
    """(change, speed on arrival) of who goes to ``place`` [2] in so long, on an arc or on a lane that is ``way`` metres long; None
    where its class cannot."""
    frame, velocity = tokens.frame[row], float(np.hypot(*tokens.velocity[row]))
    offset = place - frame[:2]
    away = float(np.hypot(*offset))
    chord = float(wrap_angle(np.arctan2(offset[1], offset[0]) - frame[2]))
    if tokens.kind[row] == AgentClass.PEDESTRIAN:
        pace = away / seconds
        return (0.5 + abs(pace - 1.4) + 0.3 * abs(chord), pace) if 0.4 < pace < 2.8 else None
    if away < 3.0 or (way is None and abs(chord) > 0.7):
        return None
    arc = way if way is not None else away * (chord / np.sin(chord) if abs(chord) > 1e-3 else 1.0)
    push = 2.0 * (arc - velocity * seconds) / seconds**2
    arrival = velocity + push * seconds
    sideways = (0.5 * (velocity + arrival)) ** 2 * abs(2.0 * chord / arc)
    most = config.hardest if push > 0 else 1.5 * config.hardest
    fast = 16.0 if tokens.kind[row] == AgentClass.VEHICLE else 8.0
    if abs(push) > most or not 0.5 < arrival < max(fast, velocity + 3.0) or sideways > 4.0:
        return None
    return abs(push) / 2.0 + sideways / 3.0, arrival


__all__ = ["INTENTS", "AttackConfig", "Choice", "attack", "choices"]
