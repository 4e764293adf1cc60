"""What the extra ``sensors`` brings: embreex, which casts rays, and pillow, which writes images. One clear error without them."""

from __future__ import annotations

import importlib
from typing import Any

from wetoolkit.errors import PluginError

WAY_OUT = "pip install 'wetoolkit-minitown[sensors]'"


def embree(name: str) -> Any:
    """A module of embreex; ``PluginError`` where it is not installed."""
    return _module(f"embreex.{name}")


def pillow(name: str) -> Any:
    """A module of pillow; ``PluginError`` where it is not installed."""
    return _module(f"PIL.{name}")


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PluginError(f"minitown's sensors need {name.split('.')[0]}: {error}", way_out=WAY_OUT) from error
