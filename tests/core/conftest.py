"""Fixtures of the tests of the core."""

import pytest

from tests.core.scheduler_driver import SchedulerDriver


@pytest.fixture
def driver() -> SchedulerDriver:
    return SchedulerDriver()
