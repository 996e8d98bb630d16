"""Fixtures of the tests of adapters."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jqsched.testing.contracts.executor import GRACE_US
from tests.adapters.spool_case import Case
from tests.ports.executor_contract import LocalRig


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path / "spool")
    yield made
    made.spool.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[LocalRig]:
    rig = LocalRig(tmp_path)
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    yield rig
    rig.close()
