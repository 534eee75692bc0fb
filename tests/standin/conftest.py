"""Stand-ins that many tests read, generated once."""

from pathlib import Path

import pytest

from datasets.standin import generate


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Raw folders of all fourteen at tiny scale; not to be changed."""
    return generate(tmp_path_factory.mktemp("tiny"), scale="tiny")
