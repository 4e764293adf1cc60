"""A toy simulator that misbehaves on chosen scenes, in worker processes as well: a plugin module for ``load_registry``."""

import os
import signal
import time
from dataclasses import replace

import numpy as np
from pydantic import Field

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl
from wetoolkit.testing.fakes import ToySimulator, ToySimulatorConfig


class UnrulyConfig(ToySimulatorConfig):
    """On which scenes: a part of their id, nowhere where empty."""

    hangs: str = Field("", description="sleeps for an hour")
    dies: str = Field("", description="kills its own process")
    eats: str = Field("", description="takes memory until the system ends it; here: raises as an allocator does")
    raises: str = Field("", description="raises")
    lies: str = Field("", description="returns numbers that are none")


class Unruly(ToySimulator):
    """A toy simulator with bad days."""

    config: UnrulyConfig

    def rollout(self, scenes, policy, seeds, horizon=None):
        c = self.config
        for scene in scenes:
            if c.hangs and c.hangs in scene.id:
                time.sleep(3600)
            if c.dies and c.dies in scene.id:
                os.kill(os.getpid(), signal.SIGKILL)
            if c.eats and c.eats in scene.id:
                np.zeros(2**60, np.uint8)
            if c.raises and c.raises in scene.id:
                raise RuntimeError("not this one")
        done = super().rollout(scenes, policy, seeds, horizon)
        return [replace(r, plans=r.plans * np.nan) if c.lies and c.lies in r.scene else r for r in done]


@hookimpl
def components():
    """The simulator."""
    return [
        Component(
            kind="simulator", name="unruly", domain="toy", target="unruly:Unruly", config="unruly:UnrulyConfig", 
            contract="1.1", summary="for tests",
        )
    ]  # fmt: skip
