"""The contracts filled in for the toy: the base of the kept ones and of the deliberately broken ones."""

from dataclasses import replace

import numpy as np

from wetoolkit import testing
from wetoolkit.testing import fake_learning, fake_sight, fakes
from wetoolkit.testing.imagined import Imagined
from wetoolkit.types import Decisions, Situation

SMALL = fakes.ToyDatasetConfig(logs=2, per_log=2)


def scenarios(split="rare-test"):
    dataset = fakes.ToyDataset(SMALL)
    return [dataset.load(ref) for ref in dataset.index(split)]


def situations(split="rare-test"):
    return [Situation(s.id, s.log, s.world, s.clock.now) for s in scenarios(split)]


def scenes():
    reconstructor = fakes.ToyReconstructor(fakes.ToyReconstructorConfig())
    return [reconstructor.reconstruct(scenario, None, 0) for scenario in scenarios()]


def policy(temperature=0.0):
    weights = np.random.default_rng(0).normal(size=(6, len(fakes.WALKS)))
    return fake_learning.ToyPolicy(fake_learning.ToyPolicyConfig(temperature=temperature), weights)


def reward():
    return fakes.ToyReward(fakes.ToyRewardConfig())


class Memory:
    """An Experience in one array."""

    def __init__(self, block):
        self.block = block

    def __len__(self):
        return self.block.size

    def batches(self, size, seed):
        order = np.arange(self.block.size)
        if seed is not None:
            np.random.default_rng(seed).shuffle(order)
        for start in range(0, len(order), size):
            yield rows(self.block, order[start : start + size])

    @property
    def shape(self):
        return {name: array.shape[1:] for name, array in self.block.observation.arrays.items()}


def rows(block, index):
    picked = {
        name: getattr(block, name)[index] for name in ("source", "round", "expert", "has_expert", "choice", "log_prob", "rewards")
    }
    texts = {name: tuple(getattr(block, name)[i] for i in index) for name in ("ids", "logs")}
    return replace(block, observation=block.observation.rows(index), **picked, **texts)


def experience():
    found = situations()
    seen = fakes.Toy().observe(found, fake_learning.ToyPolicy.spec)
    expert, known = fakes.Toy().demonstrate(found)
    zeros, rewards = np.zeros(len(found), int), reward().score(found, fakes.WALKS).total
    ids, logs = tuple(s.id for s in found), tuple(s.log for s in found)
    return Memory(Decisions(seen, zeros, zeros, expert, known, zeros - 1, zeros * 1.0, rewards, {}, ids, logs))


class Dataset(testing.DatasetContract):
    def make(self):
        return fakes.ToyDataset(SMALL)


class Domain(testing.DomainContract):
    def make(self):
        return fakes.Toy()

    def situations(self):
        return situations()

    def spec(self):
        return fake_learning.ToyPolicy.spec

    def perturb(self, situation):
        world, after = situation.world, situation.step + 1
        body, others, valid = world.body.copy(), world.others.copy(), world.valid.copy()
        body[after:] += 9.0
        others[:, after:] -= 9.0
        valid[:, after:] = False
        return replace(situation, world=fakes.ToyWorld(body, others, valid))


class Reconstructor(testing.ReconstructorContract):
    def make(self):
        return fakes.ToyReconstructor(fakes.ToyReconstructorConfig())

    def scenarios(self):
        return scenarios()


class Studio(testing.ReconstructorContract):
    def make(self):
        return fake_sight.ToyStudio(fake_sight.ToyStudioConfig())

    def scenarios(self):
        return scenarios()

    def another_future(self, world, step):
        return Domain().perturb(Situation("", "", world, step)).world


class Behaviour(testing.BehaviourContract):
    def make(self):
        return fakes.ToyBehaviour(fakes.ToyBehaviourConfig())

    def scene(self):
        return scenes()[0]

    def members(self, world):
        return range(len(world.others))

    def another_future(self, world, step):
        others = world.others.copy()
        others[:, step + 1 :] -= 9.0
        return replace(world, others=others)


class Policy(testing.PolicyContract):
    temperature = 0.0

    def make(self):
        return policy(self.temperature)

    def observation(self):
        return fakes.Toy().observe(situations(), fake_learning.ToyPolicy.spec)

    def plan(self):
        return fakes.PLAN


class Eyes(testing.PolicyContract):
    def make(self):
        weights = np.random.default_rng(0).normal(size=(6, len(fakes.WALKS)))
        return fake_sight.ToyEyes(fake_sight.ToyEyesConfig(), weights)

    def observation(self):
        seen = [replace(s, sight=Imagined(s.id)) for s in situations()]
        return fakes.Toy().observe(seen, fake_sight.ToyEyes.spec)

    def plan(self):
        return fakes.PLAN


class Miner(testing.MinerContract):
    def make(self):
        return fakes.ToyMiner(fakes.ToyMinerConfig())

    def scenarios(self):
        return [*scenarios("test"), *scenarios()]

    def policy(self):
        return fake_learning.ToyStraight(fake_learning.ToyStraightConfig())

    def reward(self):
        return reward()


class Simulator(testing.SimulatorContract):
    def make(self):
        return fakes.ToySimulator(fakes.ToySimulatorConfig())

    def scenes(self):
        return scenes()

    def policy(self):
        return policy(1.0)


class Reward(testing.RewardContract):
    def make(self):
        return reward()

    def situations(self):
        return situations()

    def proposals(self):
        return fakes.WALKS

    def rollouts(self):
        found = scenes()
        return fakes.ToySimulator(fakes.ToySimulatorConfig()).rollout(found, policy(), [0] * len(found), 4.0)


class Algorithm(testing.AlgorithmContract):
    def make(self):
        return fake_learning.ToyImitation(fake_learning.ToyImitationConfig(passes=3))

    def policy(self):
        return policy()

    def experience(self):
        return experience()
