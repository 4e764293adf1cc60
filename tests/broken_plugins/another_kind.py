"""A plugin module that breaks one promise: its target is a policy, announced as a reward."""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components():
    return [
        Component(
            kind="reward",
            name="fine",
            target="wetoolkit.testing.fake_learning:ToyStraight",
            config="wetoolkit.testing.fakes:ToyRewardConfig",
            summary="a reward",
            contract="1.1",
        )
    ]
