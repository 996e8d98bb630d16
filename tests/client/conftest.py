"""A spool whose store is written directly, a handle on it, a scheduler that is a table, and a real one."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from jqsched import Handle
from tests.cli.conftest import FakeScheduler, SpoolMaker
from tests.e2e.conftest import Daemon


@pytest.fixture
def spool(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[SpoolMaker]:
    monkeypatch.delenv("JQSCHED_SPOOL", raising=False)
    monkeypatch.delenv("JQSCHED_STORE", raising=False)
    (tmp_path / "spool").mkdir(mode=0o700)
    yield SpoolMaker(tmp_path / "spool", capsys)
    gc.enable()


@pytest.fixture
def handle(spool: SpoolMaker) -> Iterator[Handle]:
    with Handle(spool.root) as opened:
        yield opened


@pytest.fixture
def scheduler(spool: SpoolMaker) -> Iterator[FakeScheduler]:
    fake = FakeScheduler(spool.root)
    yield fake
    fake.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    made.close()
