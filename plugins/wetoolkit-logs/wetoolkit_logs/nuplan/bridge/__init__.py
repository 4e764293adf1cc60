"""Our policies as planners of nuplan-devkit, and its scenarios as ours (docs/nuplan-bridge.md).

nuplan-devkit is not on PyPI and is never a dependency: it is imported when a planner is made or a devkit map is asked.
"""

from __future__ import annotations

from typing import Any

from wetoolkit_driving.types import World

from wetoolkit.errors import PluginError
from wetoolkit.kinds import Policy
from wetoolkit_logs.nuplan.bridge.maps import INSTALL, MapView
from wetoolkit_logs.nuplan.bridge.planner import Settings
from wetoolkit_logs.nuplan.bridge.scenarios import from_scenario


def as_planner(policy: Policy[World], name: str = "", seed: int = 0, history: float = 2.0, radius: float = 120.0) -> Any:
    """An ``AbstractPlanner`` of nuplan-devkit that drives as a policy of ours plans.

    Args:
        policy: any policy of the driving domain that needs no cameras.
        name: what the devkit's reports call it; the class's own unless given.
        seed: that every plan is asked with.
        history: seconds of the simulation's past that the policy may see.
        radius: metres around the ego that the map reaches.

    Errors: ``PluginError`` where nuplan-devkit cannot be imported, or the policy needs what a simulation there cannot give.
    """
    if policy.spec.cameras:
        what = f"the policy asks for cameras {', '.join(policy.spec.cameras)}; the devkit simulates none"
        raise PluginError(what, plugin=type(policy).__name__, way_out="give a policy that needs none")
    try:
        from wetoolkit_logs.nuplan.bridge.devkit import PolicyPlanner
    except ImportError as error:
        raise PluginError("nuplan-devkit cannot be imported", module=str(error.name or error), way_out=INSTALL) from error
    return PolicyPlanner(policy, name, Settings(seed, history, radius))


__all__ = ["MapView", "as_planner", "from_scenario"]
