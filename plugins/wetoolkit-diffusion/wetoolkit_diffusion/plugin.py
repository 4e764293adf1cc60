"""What wetoolkit-diffusion offers, by name only: nothing heavy is imported here."""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components() -> list[Component]:
    """The parts of this distribution."""
    return [
        Component(
            kind="behaviour",
            name="diffusion",
            domain="driving",
            target="wetoolkit_diffusion.behaviour:Diffusion",
            config="wetoolkit_diffusion.behaviour:DiffusionConfig",
            summary="a learned model of traffic: variants that are likely or attacked, filtered; moves the others in closed loop",
            contract="1.1",
        ),
    ]
