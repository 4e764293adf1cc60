"""One small configuration for all tests, its drives recorded once a session."""

from pathlib import Path

import pytest
from wetoolkit_minitown.dataset import Minitown, MinitownConfig

SMALL = {
    "train_towns": 2, "val_towns": 1, "test_towns": 2, "train_logs": 5, "fleet_logs": 3, "val_logs": 2, "test_logs": 4,
    "val_staged": 4, "test_staged": 27, "rare_rate": 0.2, "fleet_rare_rate": 0.34,
}  # fmt: skip


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> MinitownConfig:
    return MinitownConfig(**SMALL, cache=str(tmp_path_factory.mktemp("drives")))


@pytest.fixture(scope="session")
def town_data(config: MinitownConfig) -> Minitown:
    return Minitown(config)


@pytest.fixture()
def empty_folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"
