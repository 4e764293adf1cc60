"""What wetoolkit-splat offers, by name only: nothing heavy is imported here."""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components() -> list[Component]:
    """The parts of this distribution."""
    return [
        Component(
            kind="reconstructor",
            name="splat",
            domain="driving",
            target="wetoolkit_splat.reconstruct:SplatScenes",
            config="wetoolkit_splat.reconstruct:SplatConfig",
            summary="the log's world, and gaussians fitted to what its sensors saw, to be rendered while one acts in it",
            contract="1.1",
        ),
    ]
