"""What wetoolkit-splat offers, by name only: nothing heavy is imported here.

No part of a run is announced yet: the package is a library, ``wetoolkit_splat.render``.
"""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components() -> list[Component]:
    """The parts of this distribution: none yet."""
    return []
