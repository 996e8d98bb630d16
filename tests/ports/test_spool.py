"""The spool contract, on the fake and on the real one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jqsched.testing.contracts.spool import CLAUSES, MemoryRig, Rig
from tests.ports.spool_contract import FileRig


@pytest.fixture(params=["memory", "files"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "memory":
        yield MemoryRig()
        return
    made = FileRig(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
def test_spool(rig: Rig, clause: Callable[[Rig], None]):
    clause(rig)
