"""The contracts as tests to inherit, one class a kind, a domain's examples to try parts on, and a toy domain (``fakes``).

``wetoolkit.testing.fixtures`` gives the examples as pytest fixtures.
"""

from wetoolkit.testing.acting import MinerContract, PolicyContract, SimulatorContract
from wetoolkit.testing.contracts import Contract
from wetoolkit.testing.data import BehaviourContract, DatasetContract, DomainContract, ReconstructorContract
from wetoolkit.testing.distribution import PluginContract
from wetoolkit.testing.examples import Examples
from wetoolkit.testing.judging import RewardContract
from wetoolkit.testing.working import AlgorithmContract, ExecutorContract

__all__ = [
    "AlgorithmContract",
    "BehaviourContract",
    "Contract",
    "DatasetContract",
    "DomainContract",
    "Examples",
    "ExecutorContract",
    "MinerContract",
    "PluginContract",
    "PolicyContract",
    "ReconstructorContract",
    "RewardContract",
    "SimulatorContract",
]
