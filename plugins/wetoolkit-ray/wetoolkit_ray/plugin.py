"""What wetoolkit-ray offers, by name only: Ray is not imported here."""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components() -> list[Component]:
    """The executor."""
    return [
        Component(
            kind="executor",
            contract="1.1",
            name="ray",
            target="wetoolkit_ray.executor:Ray",
            config="wetoolkit_ray.executor:RayConfig",
            summary="actors on a Ray cluster, or on a local one of its own; retries, time-outs, resources, survives killed workers",
            needs=("ray",),
        )
    ]
