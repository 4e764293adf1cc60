"""What becomes of a value that is saved to a run folder and loaded again."""

from __future__ import annotations

from typing import Any

from wetoolkit.codec import dump_block, load_block
from wetoolkit.errors import WetoolkitError
from wetoolkit.testing.compare import difference


def saved_and_loaded(value: Any) -> str:
    """Where a Scenario, Scene or Rollout differs from what its file gives back, in words; "" where it does not."""
    try:
        ((again,), _) = load_block(dump_block([value]), type(value), type(value.world))
    except WetoolkitError as error:
        return str(error)
    return difference(value, again)
