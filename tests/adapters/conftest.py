"""Fixtures of the tests of adapters."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.spool_case import Case


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path / "spool")
    yield made
    made.spool.close()
