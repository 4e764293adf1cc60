"""Fixtures over the crowd's examples."""

from __future__ import annotations

import pytest
from wetoolkit_crowd.examples import CrowdExamples


@pytest.fixture(scope="session")
def examples() -> CrowdExamples:
    return CrowdExamples()
