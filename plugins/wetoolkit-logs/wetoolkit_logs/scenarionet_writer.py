"""Writes whole recordings as a ScenarioNet database: one pickle a scene, ``dataset_summary.pkl`` and ``dataset_mapping.pkl``.

The format is defined as pickle; these hold numpy arrays and builtins only and are read back through the restricted unpickler. They
can be loaded with any numpy: arrays name the module that numpy 1 and 2 both have.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from wetoolkit_driving.sensors import Sensors
from wetoolkit_driving.types import World

from wetoolkit.errors import ConfigError, DataError
from wetoolkit.kinds import Progress
from wetoolkit.store import write_atomic
from wetoolkit.types import Scenario
from wetoolkit_logs.describe import describe
from wetoolkit_logs.names import file_stem
from wetoolkit_logs.unpickle import load

PROTOCOL = 3  # the last one that names modules in plain lines
_NUMPY_2, _NUMPY = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
SUMMARY, MAPPING = "dataset_summary.pkl", "dataset_mapping.pkl"


def write(
    recordings: Iterable[Scenario[World]],
    folder: Path,
    sensors: Callable[[Scenario[World]], Sensors] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Each recording as ``<folder>/sd_<dataset>_<version>_<log>.pkl``, both summaries beside them; the paths written.

    Recordings of the folder that are not written again stay in its summary. Errors: ``ConfigError`` for sensors, which the format
    does not hold; ``DataError``.
    """
    if sensors is not None:
        raise ConfigError("ScenarioNet files hold no sensor data", key="sensors", way_out="leave --sensors out")
    summary = _known(folder)
    written: list[Path] = []
    for count, recording in enumerate(recordings, 1):
        described = describe(recording)
        name = file_name(described["metadata"]["dataset"], recording.log)
        write_atomic(folder / name, dumps(described))
        summary[name] = {key: value for key, value in described["metadata"].items() if key != "wetoolkit"}
        written.append(folder / name)
        if progress is not None:
            progress(count, 0, recording.log)
    if not written:
        return []
    write_atomic(folder / SUMMARY, dumps(summary))
    write_atomic(folder / MAPPING, dumps(dict.fromkeys(summary, "")))
    return [*written, folder / SUMMARY, folder / MAPPING]


def file_name(dataset: str, log: str) -> str:
    """The name that the format asks for."""
    return f"sd_{file_stem(dataset)}_1_{file_stem(log)}.pkl"


def dumps(value: Any) -> bytes:
    """Pickled builtins and numpy arrays, loadable with numpy 1 and 2."""
    return pickle.dumps(value, PROTOCOL).replace(_NUMPY_2, _NUMPY, 1)


def _known(folder: Path) -> dict[str, Any]:
    """The scenes that the folder's summary lists and that are still there. Errors: ``DataError`` where it is no summary."""
    path = folder / SUMMARY
    if not path.exists():
        return {}
    found = load(path)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise DataError("no summary of a ScenarioNet database", file=str(path), way_out="write into another folder")
    return {name: _plain(said) for name, said in found.items() if (folder / Path(name).name).exists()}


def _plain(value: Any) -> Any:
    """With the reader's stand-ins for arrays made arrays again, so that they can be written."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return np.array(value) if isinstance(value, np.ndarray) else value


__all__ = ["dumps", "file_name", "write"]
