"""A plugin module that breaks one promise: it takes its time."""

import time

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl

time.sleep(1)


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
