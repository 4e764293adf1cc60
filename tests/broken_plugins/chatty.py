"""A plugin module that breaks one promise: it prints."""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl

print("hello")


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
