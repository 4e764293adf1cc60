"""Parts that break one promise each, by the name of the test that must fail: the register, what they share, and what every part
promises. Top level, so that they can be pickled. See ``broken_data``, ``broken_acting`` and ``broken_promises``."""

import toy_contracts as toy
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.executors import Serial, SerialConfig
from wetoolkit.testing import ExecutorContract
from wetoolkit.testing.fake_learning import ToyImitation, ToyImitationConfig, ToyPolicy, ToyStraight, ToyStraightConfig
from wetoolkit.testing.fake_sight import ToyStudio, ToyStudioConfig
from wetoolkit.testing.fakes import (
    ToyBehaviour,
    ToyBehaviourConfig,
    ToyDataset,
    ToyMiner,
    ToyMinerConfig,
    ToyReconstructor,
    ToyReconstructorConfig,
    ToyReward,
    ToyRewardConfig,
    ToySimulator,
    ToySimulatorConfig,
)

BROKEN = []  # (contract with the broken part, the one test that must fail)


def breaks(contract, promise, **settings):
    """Register a broken part (a class that can be called without arguments) under the promise it breaks."""

    def note(part):
        BROKEN.append((type(part.__name__, (contract,), {"make": lambda self: part(), **settings}), promise))
        return part

    return note


# Parts that keep their promises, to be broken


class Executor(ExecutorContract):
    pass


class Varies(ToyBehaviour):
    def __init__(self):
        super().__init__(ToyBehaviourConfig())


class Loads(ToyDataset):
    def __init__(self):
        super().__init__(toy.SMALL)


class Rebuilds(ToyReconstructor):
    def __init__(self):
        super().__init__(ToyReconstructorConfig())


class Shows(ToyStudio):
    def __init__(self):
        super().__init__(ToyStudioConfig())


class Straight(ToyStraight):
    def __init__(self):
        super().__init__(ToyStraightConfig())


class Softmax(ToyPolicy):
    def __init__(self, config=None, weights=None, scale=3.0):
        base = toy.policy()
        super().__init__(config or base.config, base.weights if weights is None else weights, scale)

    def with_state(self, state):
        known = super().with_state(state)
        return type(self)(known.config, known.weights, known.scale)


class Mines(ToyMiner):
    def __init__(self):
        super().__init__(ToyMinerConfig())


class Simulates(ToySimulator):
    def __init__(self):
        super().__init__(ToySimulatorConfig())


class Scored(ToyReward):
    def __init__(self):
        super().__init__(ToyRewardConfig())


class Learns(ToyImitation):
    def __init__(self):
        super().__init__(ToyImitationConfig(passes=2))


class Works(Serial):
    def __init__(self):
        super().__init__(SerialConfig())


# What every part promises


class Loose(ToyRewardConfig, extra="ignore"):
    pass


class Bare(Config):
    radius: float = 0.6


class Open(Config, frozen=False):
    radius: float = Field(0.6, description="nobody may come nearer than this [m]")


@breaks(toy.Reward, "test_config_refuses_unknown_settings")
class TakesAnySetting(ToyReward):
    def __init__(self):
        super().__init__(Loose())


@breaks(toy.Reward, "test_config_is_frozen_and_described")
class DescribesNothing(ToyReward):
    def __init__(self):
        super().__init__(Bare())


@breaks(toy.Reward, "test_config_is_frozen_and_described")
class CanBeChanged(ToyReward):
    def __init__(self):
        super().__init__(Open())


@breaks(toy.Behaviour, "test_equal_arguments_give_equal_results")
class CountsItsCalls(Varies):
    calls = 0

    def vary(self, scene, count, seed):
        self.calls += 1
        return super().vary(scene, count, seed + self.calls)


class Remembered:
    calls = 0


@breaks(toy.Behaviour, "test_inputs_are_not_changed")
class WritesIntoTheScene(Varies):
    def vary(self, scene, count, seed):
        varied = super().vary(scene, count, seed)
        scene.world.others[:] += 1
        return varied


@breaks(toy.Behaviour, "test_survives_pickling")
class HoldsALambda(Varies):
    def __init__(self):
        super().__init__()
        self.shift = lambda: 0.1


@breaks(toy.Behaviour, "test_survives_pickling")
class ForgetsWhenPickled(Varies):
    def __setstate__(self, state):
        self.config = ToyBehaviourConfig(spread=3.0)
