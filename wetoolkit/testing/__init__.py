"""The contracts as tests to inherit, one class a kind, and a toy domain (``fakes``, ``fake_learning``) to try the core with."""

from wetoolkit.testing.acting import MinerContract, PolicyContract, RewardContract, SimulatorContract
from wetoolkit.testing.contracts import Contract
from wetoolkit.testing.data import BehaviourContract, DatasetContract, DomainContract, ReconstructorContract
from wetoolkit.testing.working import AlgorithmContract, ExecutorContract

__all__ = [
    "AlgorithmContract",
    "BehaviourContract",
    "Contract",
    "DatasetContract",
    "DomainContract",
    "ExecutorContract",
    "MinerContract",
    "PolicyContract",
    "ReconstructorContract",
    "RewardContract",
    "SimulatorContract",
]
