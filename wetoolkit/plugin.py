"""The core's own components come in by the same door as a stranger's."""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components() -> list[Component]:
    """Executors that need nothing but the standard library and pebble."""
    return [
        Component(
            kind="executor",
            name="serial",
            target="wetoolkit.executors:Serial",
            config="wetoolkit.executors:SerialConfig",
            summary="one item after the other in this process; retries, no time-outs",
            contract="1.1",
        ),
        Component(
            kind="executor",
            name="process",
            target="wetoolkit.executors:Process",
            config="wetoolkit.executors:ProcessConfig",
            summary="a pool of spawned processes; retries, time-outs, survives killed workers",
            contract="1.1",
        ),
    ]
