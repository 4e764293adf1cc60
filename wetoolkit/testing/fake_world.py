"""The toy's world, its plans, and what is seen and demonstrated in it; ``fakes`` says what the toy is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wetoolkit.events import Event
from wetoolkit.sight import seen
from wetoolkit.types import (
    Array,
    Bool,
    Float,
    Observation,
    ObservationSpec,
    Picture,
    PlanSpec,
    Rollout,
    Situation,
    require,
    require_finite,
)

DT, STEPS, NOW, SPEED, RADIUS, NEAR = 0.5, 28, 4, 1.0, 0.6, 4  # s, steps, step, m/s, metres, others seen
PLAN = PlanSpec(steps=4, dt=DT, channels=("x [m]", "y [m]"))
_VELOCITIES = np.array([(x, y) for x in (0.0, 0.5, 1.0, 1.5) for y in (-0.8, 0.0, 0.8)], np.float32)  # [12, 2] m/s
WALKS = _VELOCITIES[:, None] * (np.arange(1, 5, dtype=np.float32) * DT)[None, :, None]  # [12, 4, 2] metres


ToyFilm = Mapping[str, Sequence[tuple[float, Picture]]]  # camera -> (seconds after step 0, picture), in order of time


@dataclass(frozen=True)
class ToyWorld:
    """Where the body and the others are at every step, in metres."""

    body: Float  # [T, 2]
    others: Float  # [A, T, 2]
    valid: Bool  # [A, T]

    def validate(self) -> None:
        require(self.others.shape[1:] == self.body.shape, f"shape {self.others.shape}", "world.others", "[A, T, 2]")
        require(self.valid.shape == self.others.shape[:2], f"shape {self.valid.shape}", "world.valid", "[A, T]")
        require_finite(self.body, "world.body")
        require_finite(self.others, "world.others")


class Toy:
    """The domain's glue."""

    name = "toy"
    plan = PLAN
    world = ToyWorld

    def observe(self, situations: Sequence[Situation[ToyWorld]], spec: ObservationSpec) -> Observation[ToyWorld]:
        """``body`` [B, 2] velocity in m/s; ``others`` [B, NEAR, 4] relative x, y and velocity of the nearest, with ``.valid``."""
        limit = spec.limits.get("others", NEAR)
        near = [_nearest(situation.world, situation.step, limit) for situation in situations]
        body = [velocity_at(situation.world.body, situation.step) for situation in situations]
        arrays: dict[str, Array] = {
            "body": np.array(body, np.float32).reshape(-1, 2),
            "others": np.array([rows for rows, _ in near], np.float32).reshape(-1, limit, 4),
            "others.valid": np.array([mask for _, mask in near], bool).reshape(-1, limit),
        }
        asked = {name: a for name, a in arrays.items() if name.split(".")[0] in spec.fields}
        return Observation("toy", len(situations), asked, **seen(situations, spec))

    def picture(self, sensors: ToyFilm, camera: str, seconds: float, oldest: float) -> Picture | None:
        """The last of the film's pictures that is old enough and not too old."""
        fit = [shot for time, shot in sensors.get(camera, ()) if seconds - oldest - 1e-9 <= time <= seconds + 1e-9]
        return fit[-1] if fit else None

    def demonstrate(self, situations: Sequence[Situation[ToyWorld]]) -> tuple[Float, Bool]:
        """Where the body went, relative to where it was: [B, 4, 2] metres, and whether the record reaches so far."""
        plans = np.zeros((len(situations), *PLAN.shape), np.float32)
        known = np.zeros(len(situations), bool)
        for row, situation in enumerate(situations):
            after = situation.world.body[situation.step + 1 : situation.step + 1 + PLAN.steps]
            known[row] = len(after) == PLAN.steps
            plans[row, : len(after)] = after - situation.world.body[situation.step]
        return plans, known

    def frames(self, rollout: Rollout[ToyWorld], logged: ToyWorld | None, events: Sequence[Event]) -> Iterator[Array]:
        """Pictures [64, 96, 3] of 8 pixels a metre: the others grey, the body blue, red once an event has failed it."""
        world, first = rollout.world, rollout.world.body[rollout.clock.now]
        for step in range(rollout.clock.now, rollout.end):
            failed = any(event.fails and event.step <= step for event in events)
            picture = np.full((64, 96, 3), 255, np.uint8)
            dots = [(point, (120, 120, 120)) for point in world.others[world.valid[:, step], step]]
            for point, colour in [*dots, (world.body[step], (220, 30, 30) if failed else (30, 30, 220))]:
                column, row = (np.array([24, 32]) + 8 * (point - first) * [1, -1]).astype(int).tolist()
                picture[max(row - 2, 0) : max(row + 3, 0), max(column - 2, 0) : max(column + 3, 0)] = colour
            yield picture


def velocity_at(path: Float, step: int) -> Float:
    """Backward difference in m/s: nothing after ``step`` is looked at."""
    return (path[..., step, :] - path[..., max(step - 1, 0), :]) / DT


def _nearest(world: ToyWorld, step: int, limit: int) -> tuple[Float, Bool]:
    """Rows [limit, 4] of those who are there now, nearest first, and which rows hold somebody."""
    relative = world.others[:, step] - world.body[step]  # [A, 2] metres
    distance = np.where(world.valid[:, step], np.hypot(*relative.T), np.inf)
    order = np.argsort(distance, kind="stable")[:limit]
    order = order[np.isfinite(distance[order])]
    moving = world.valid[:, max(step - 1, 0)]
    rows, mask = np.zeros((limit, 4), np.float32), np.arange(limit) < len(order)
    rows[: len(order), :2] = relative[order]
    rows[: len(order), 2:] = np.where(moving[order, None], velocity_at(world.others, step)[order], 0)
    return rows, mask
