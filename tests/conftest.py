"""The toy domain's registry and one finished run of it, shared by the tests of the loop."""

from pathlib import Path

import pytest
from toy_run import start

from wetoolkit.registry import Registry, load_registry


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_registry(["wetoolkit.testing.plugin"], only=["wetoolkit"])


@pytest.fixture(scope="session")
def done(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds."""
    folder = tmp_path_factory.mktemp("done")
    finished = start(registry, folder)
    assert finished.complete and not finished.cached and not len(finished.failed)
    return folder
