"""Fixtures of the tests of the core."""

import pytest

from tests.core.desk import Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()
