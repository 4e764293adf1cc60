"""People that walk through the arrays of a world, step by step, beside a robot that somebody else moves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wetoolkit_crowd.forces import Walkers, notice, step, waiting
from wetoolkit_crowd.types import VX, VY, Control, Double, People, World


@dataclass(frozen=True)
class Walk:
    """The people of one world while it is simulated. The arrays of ``people`` are written on, up to the step reached."""

    people: People
    walls: Double  # [S, 2, 2]
    radius: float  # of the robot, metres

    def advance(self, t: int, robot: Double) -> None:
        """From step ``t`` to the next: those with ``Control.SOCIAL`` by social forces, the others as recorded.

        ``robot`` [6] is the state of the robot at ``t``. Somebody who is not there at ``t`` does as the record says.
        """
        people = self.people
        here = np.flatnonzero(people.valid[:, t])
        if not len(here):
            return
        walkers = Walkers(
            position=np.concatenate([people.position[here, t], robot[None, :2]]),
            velocity=np.concatenate([people.velocity[here, t], robot[None, VX : VY + 1]]),
            radius=np.append(people.radius[here], self.radius),
            goal=np.concatenate([people.goal[here], robot[None, :2]]),
            speed=np.append(waiting(people.speed, people.wait, t)[here], 0.0),
        )
        position, velocity = step(walkers, notice(len(here), people.heed[here]), self.walls)
        social = people.control[here] == Control.SOCIAL
        moved = here[social]
        people.position[moved, t + 1], people.velocity[moved, t + 1] = position[:-1][social], velocity[:-1][social]
        people.valid[moved, t + 1] = True


def begin(world: World, now: int) -> Walk:
    """The people of a world from ``now`` on: what the forces will move is forgotten after it, the rest stays as recorded."""
    people = world.people
    position, velocity, valid = people.position.copy(), people.velocity.copy(), people.valid.copy()
    social = (people.control == Control.SOCIAL) & people.valid[:, now]
    position[social, now + 1 :], velocity[social, now + 1 :], valid[social, now + 1 :] = 0.0, 0.0, False
    return Walk(replace(people, position=position, velocity=velocity, valid=valid), world.walls, world.robot.body.radius)
