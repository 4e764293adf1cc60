"""A plugin module that breaks one promise: a name that the core does not take."""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components():
    return [
        Component(
            kind="reward",
            name="Has Blanks",
            target="wetoolkit.testing.fakes:ToyReward",
            config="wetoolkit.testing.fakes:ToyRewardConfig",
            summary="a reward",
            contract="1.1",
        )
    ]
