"""A plugin module that breaks one promise: it imports numpy, which takes longer than all of the core's own."""

import numpy  # noqa: F401

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components():
    return [
        Component(
            kind="reward",
            name="fine",
            target="wetoolkit.testing.fakes:ToyReward",
            config="wetoolkit.testing.fakes:ToyRewardConfig",
            summary="a reward",
            contract="1.1",
        )
    ]
