"""A model that learned nothing, in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from wetoolkit_diffusion.checkpoint import save
from wetoolkit_diffusion.testing import model


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "diffusion.safetensors"
    save(file, model(), {"seed": 0, "logs": []})
    return file
