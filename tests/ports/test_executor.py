"""The executor contract, on the fake and on the real one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jqsched.testing.contracts.executor import CLAUSES, GRACE_US, Rig, an_attempt_that_was_put_off
from jqsched.testing.contracts.fake_executor_rig import FakeRig
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


def test_an_attempt_that_was_put_off():
    """On the fake; on the real one in `tests/adapters/test_run_as_owner.py`."""
    rig = FakeRig()
    rig.connect()
    rig.executor.limit(1, 1, GRACE_US)
    rig.executor.put_off(1, "no room")
    an_attempt_that_was_put_off(rig, rig._start(1))
