"""The contracts as tests to inherit, one class a kind, a domain's examples to try parts on, and a toy domain (``fakes``).

``wetoolkit.testing.fixtures`` gives the examples as pytest fixtures. Names are imported on first use: ``wetoolkit.testing.plugin``
lies in this package and must stay light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "acting": ("MinerContract", "PolicyContract", "SimulatorContract"),
    "contracts": ("Contract",),
    "data": ("BehaviourContract", "DatasetContract", "DomainContract", "ReconstructorContract"),
    "distribution": ("PluginContract",),
    "examples": ("Examples",),
    "judging": ("RewardContract",),
    "working": ("AlgorithmContract", "ExecutorContract"),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
