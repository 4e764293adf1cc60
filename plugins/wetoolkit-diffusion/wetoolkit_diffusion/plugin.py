"""What wetoolkit-diffusion offers, by name only: nothing heavy is imported here."""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components() -> list[Component]:
    """The parts of this distribution."""
    return []
