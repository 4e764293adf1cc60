"""A plugin module that breaks one promise: its target is not there."""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components():
    return [
        Component(
            kind="reward",
            name="fine",
            target="wetoolkit.testing.fakes:Nobody",
            config="wetoolkit.testing.fakes:ToyRewardConfig",
            summary="a reward",
            contract="1.1",
        )
    ]
