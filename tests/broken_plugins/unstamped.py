"""A plugin module that breaks one promise: it does not say which contracts it was written for."""

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
        )
    ]
