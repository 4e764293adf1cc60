"""A domain's examples as pytest fixtures: put ``pytest_plugins = ["wetoolkit.testing.fixtures"]`` into a conftest.py.

Override ``domain_examples`` there for a domain of your own; the toy's stand in until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from wetoolkit.kinds import Policy, Reward
from wetoolkit.testing.examples import Examples, Memory
from wetoolkit.testing.toy_examples import ToyExamples
from wetoolkit.types import Float, Rollout, Scenario, Scene, Situation


@pytest.fixture
def domain_examples() -> Examples[Any]:
    """The examples that the other fixtures come from."""
    return ToyExamples()


@pytest.fixture
def tiny_scenarios(domain_examples: Examples[Any]) -> Sequence[Scenario[Any]]:
    """A few scenarios."""
    return domain_examples.scenarios()


@pytest.fixture
def tiny_situations(domain_examples: Examples[Any]) -> Sequence[Situation[Any]]:
    """Each of them at its present step."""
    return domain_examples.situations()


@pytest.fixture
def tiny_scenes(domain_examples: Examples[Any]) -> Sequence[Scene[Any]]:
    """Each of them as a scene."""
    return domain_examples.scenes()


@pytest.fixture
def tiny_rollouts(domain_examples: Examples[Any]) -> Sequence[Rollout[Any]]:
    """Each of them as if somebody had driven it."""
    return domain_examples.rollouts()


@pytest.fixture
def tiny_proposals(domain_examples: Examples[Any]) -> Float:
    """Plans [N, T, D]."""
    return domain_examples.proposals()


@pytest.fixture
def tiny_policy(domain_examples: Examples[Any]) -> Policy[Any]:
    """Somebody who acts."""
    return domain_examples.policy()


@pytest.fixture
def tiny_reward(domain_examples: Examples[Any]) -> Reward[Any]:
    """Somebody who judges."""
    return domain_examples.reward()


@pytest.fixture
def tiny_experience(domain_examples: Examples[Any]) -> Memory:
    """Decisions to learn from, for the policy that can learn."""
    return domain_examples.experience(domain_examples.learner())
