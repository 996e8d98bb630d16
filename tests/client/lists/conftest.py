"""In place of an empty spool one with ten jobs: all handles are on it."""

from pathlib import Path

import pytest

from tests.cli.conftest import SpoolMaker
from tests.client.lists import ten_jobs


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SpoolMaker:
    """The ten jobs, for copies of them."""
    return ten_jobs.write(tmp_path_factory.mktemp("written"))


@pytest.fixture
def spool(tmp_path: Path, written: SpoolMaker) -> SpoolMaker:
    return ten_jobs.copied(written, tmp_path / "spool")
