"""The store contract, on the fake and on the real one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jqsched.testing.contracts.store import CLAUSES, Author, Heard, MemoryRig, Rig
from jqsched.testing.fake_store import MemoryStore
from tests.ports.store_contract import SqliteRig


@pytest.fixture(params=["memory", "sqlite"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    made = MemoryRig() if request.param == "memory" else SqliteRig(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
def test_store(rig: Rig, clause: Callable[[Rig], None]):
    clause(rig)


# What only the fake has, since it is there for tests of others.


def test_a_crash_keeps_what_was_durable_and_nothing_else():
    """The store before the crash and the one after it share nothing."""
    store, author, heard = MemoryStore(), Author(), Heard()
    store.start(heard)
    store.submit(author.job(1))
    store.commit()
    store.submit(author.job(2))
    after = store.crash()
    assert set(after.outcomes([1, 2], [])) == {1}
    store.commit()
    assert set(store.outcomes([1, 2], [])) == {1, 2}
    assert set(after.outcomes([1, 2], [])) == {1}


def test_an_automatic_store_commits_what_it_is_given():
    """Before it was started it waits, as the real one does."""
    store, author, heard = MemoryStore(automatic=True), Author(), Heard()
    store.submit(author.job(1))
    assert (store.finished_count(), heard.all) == (0, [])
    store.start(heard)
    store.submit(author.job(2))
    assert (store.finished_count(), heard.all) == (2, [1, 2])


def test_a_failing_fake_fails_once_and_keeps_nothing_of_that_commit():
    """All batches of one commit are durable or none; after the error nothing is written."""
    store, author, heard = MemoryStore(fails_at=3), Author(), Heard()
    store.start(heard)
    store.submit(author.job(1))
    store.commit()
    for id_ in (2, 3):
        store.submit(author.job(id_))
    store.commit()
    store.submit(author.job(4))
    store.commit()
    assert heard.all[0] == 1
    assert [str(error) for error in heard.all[1:]] == [
        "commit to the store: memory: SQLITE_FULL: as the test wanted it"
    ]
    assert set(store.outcomes([1, 2, 3, 4], [])) == {1}
