"""The executor contract, on the fake and on the real one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jqsched.testing.contracts.executor import CLAUSES, FakeRig, Rig
from tests.ports.executor_contract import LocalRig


@pytest.fixture(params=["fake", "local"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "fake":
        yield FakeRig()
        return
    local = LocalRig(tmp_path)
    yield local
    local.close()


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
def test_executor(rig: Rig, clause: Callable[[Rig], None]):
    clause(rig)
