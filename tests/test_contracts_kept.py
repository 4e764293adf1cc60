"""The toy's parts inherit their contracts and keep every promise."""

from dataclasses import replace

import toy_contracts as toy

from wetoolkit.executors import Process, ProcessConfig, Serial, SerialConfig
from wetoolkit.testing import ExecutorContract
from wetoolkit.testing.fake_learning import ToyGradient, ToyGradientConfig, ToyStraight, ToyStraightConfig


class TestDataset(toy.Dataset):
    pass


class TestDomain(toy.Domain):
    pass


class TestReconstructor(toy.Reconstructor):
    pass


class TestStudio(toy.Studio):
    pass


class TestEyes(toy.Eyes):
    pass


class TestBehaviour(toy.Behaviour):
    pass


class TestPolicy(toy.Policy):
    pass


class TestSampledPolicy(toy.Policy):
    temperature = 1.0


class TestStraight(toy.Policy):
    def make(self):
        return ToyStraight(ToyStraightConfig())


class TestMiner(toy.Miner):
    pass


class TestSimulator(toy.Simulator):
    def perturb(self, scene):
        body = scene.world.body.copy()
        body[scene.clock.now + 1 :] += 3.0
        return replace(scene, world=replace(scene.world, body=body))


class TestReward(toy.Reward):
    pass


class TestImitation(toy.Algorithm):
    pass


class TestGradient(toy.Algorithm):
    def make(self):
        return ToyGradient(ToyGradientConfig(passes=3))


class TestSerial(ExecutorContract):
    def make(self):
        return Serial(SerialConfig())


class TestProcess(ExecutorContract):
    def make(self):
        return Process(ProcessConfig(workers=1, retries=0))
