"""What workers are given by ``test_branching``: importable by name in their processes."""

import toy_contracts as toy

from wetoolkit.record import state_hash
from wetoolkit.testing.fakes import ToySimulator, ToySimulatorConfig


def hash_of(index: int) -> str:
    """The state hash of one scene's drive, with a seed of its own."""
    scene = toy.scenes()[index % 4]
    (rollout,) = ToySimulator(ToySimulatorConfig()).rollout([scene], toy.policy(temperature=1.0), [index])
    return state_hash(rollout)
