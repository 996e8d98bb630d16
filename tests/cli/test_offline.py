"""Commands without a scheduler: they start as a scheduler does, decide as it does, and touch nothing that may run."""

import json
from pathlib import Path

import pytest

from jqsched.adapters.store.writer import SqliteStore
from jqsched.ports import Attempt, Batch
from tests.cli.conftest import CANCELED, QUEUED, SpoolMaker

LEFT = 5  # the id of a file that a scheduler had moved, and not accepted, when it was killed

COMMANDS = (
    ("submit", "true"),
    ("requeue", "1"),
    ("cancel", "2"),
    ("hold", "2"),
    ("urgency", "2", "3"),
    ("purge", "--older-than", "0"),
    ("filter", "add", "pause", "name = 'x'"),
    ("drain",),
)


def leave(spool: SpoolMaker, id_: int, text: str = '{"name": "left", "command": ["true"]}') -> Path:
    """Leave a file as a kill -9 between move and commit does."""
    (spool.root / "jobs").mkdir(mode=0o700, exist_ok=True)
    file = spool.root / "jobs" / f"{id_}.json"
    file.write_text(text)
    file.chmod(0o600)
    return file


def ended_and_queued(spool: SpoolMaker) -> None:
    spool.add(*CANCELED)
    spool.add(*QUEUED)
    leave(spool, 2, json.dumps({"name": "job2", "command": ["sleep", "1"], "cwd": "/home/user"}))


def state(spool: SpoolMaker, id_: int) -> str:
    return spool.run("jobs", "-a", "--format", "{id} {state}")[1].partition(f"{id_} ")[2].split("\n")[0]


def run(spool: SpoolMaker, command: tuple[str, ...]) -> tuple[int, str, str]:
    if command[0] != "filter":
        return spool.run(*command)
    return spool.run(*command, "--spool", str(spool.root), spool=False)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_file_that_a_crash_left_is_a_job_before_anything_else(spool: SpoolMaker, command: tuple[str, ...]) -> None:
    """It keeps its id, and nothing else gets it; whatever the command is."""
    ended_and_queued(spool)
    leave(spool, LEFT)
    code, out, err = run(spool, command)
    assert code == 0, err
    named = dict(line.split(" ") for line in spool.run("jobs", "-a", "--format", "{id} {name}")[1].splitlines())
    assert named[str(LEFT)] == "left"
    if out.strip().isdigit():
        assert int(out) == LEFT + 1
    assert not list((spool.root / "rejected").iterdir())
    assert (spool.root / "jobs" / f"{LEFT}.json").exists()


def test_the_configuration_holds(spool: SpoolMaker) -> None:
    config = spool.root / "jqsched.toml"
    config.write_text("queue_max = 2\ncores = 64\n")
    config.chmod(0o600)
    assert spool.run("submit", "--cores", "50", "true")[0] == 0
    assert state(spool, 1) == "SCHED"
    assert spool.run("submit", "true")[0] == 0
    code, out, err = spool.run("submit", "true")
    assert (code, out) == (3, "")
    assert "queue_max" in err
    (spool.root / "dropped.json").write_text('{"command": ["true"]}')
    assert spool.run("hold", "1")[0] == 0
    assert (spool.root / "dropped.json").exists()
    config.write_text("queue_max = many\n")
    code, out, err = spool.run("submit", "true")
    assert (code, out) == (1, "")
    assert str(config) in err


def test_where_plugins_have_a_say_nothing_is_accepted(spool: SpoolMaker) -> None:
    """Neither what is submitted, nor what was dropped, nor what a crash left; changes of jobs are made."""
    ended_and_queued(spool)
    config = spool.root / "jqsched.toml"
    config.write_text('plugins = ["strict.py"]\n')
    config.chmod(0o600)
    left = leave(spool, LEFT)
    dropped = spool.root / "dropped.json"
    dropped.write_text('{"command": ["true"]}')
    for command in (("submit", "true"), ("requeue", "1")):
        code, out, err = spool.run(*command)
        assert (code, out, "names plugins" in err) == (6, "", True)
    assert spool.run("hold", "2")[0] == 0
    assert left.exists()
    assert dropped.exists()
    assert len(spool.run("jobs", "-a", "--ids")[1].split()) == 2


def test_the_file_of_a_job_that_may_run_is_left_to_the_next_scheduler(spool: SpoolMaker) -> None:
    """Deleted, it would cancel a job that is queued; but a permit is out, and it may be running."""
    ended_and_queued(spool)
    store = SqliteStore(str(spool.root), lambda: None)
    loaded = store.load()
    store.start(lambda _: None)
    store.submit(Batch(loaded.queue, spool.seq, attempts=(Attempt(2, 1, boot_id="this"),)))
    store.close()
    (spool.root / "jobs" / "2.json").unlink()
    assert spool.run("submit", "true")[0] == 0
    assert state(spool, 2) == "SCHED"
    assert spool.run("cancel", "2")[0] == 6


@pytest.mark.parametrize(
    "command", [("jobs",), ("status",), ("submit", "true"), ("cancel", "1"), ("check-spool",)], ids=" ".join
)
def test_a_store_elsewhere_is_remembered_with_the_spool(
    spool: SpoolMaker, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """A command that does not name it says where it is, instead of showing, or beginning, an empty one."""
    elsewhere, moved = tmp_path / "it's elsewhere", tmp_path / "moved"
    elsewhere.mkdir(mode=0o700)
    assert spool.run("submit", "--store", str(elsewhere), "true")[:2] == (0, "1\n")
    code, out, err = spool.run(*command)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"its store is in {elsewhere}: say --store" in err
    assert not (spool.root / "jqsched.db").exists()
    elsewhere.rename(moved)
    assert spool.run(*command[:1], "--store", str(moved), *command[1:])[0] in (0, 6)


def test_a_path_that_is_too_long_for_the_store_is_named(spool: SpoolMaker) -> None:
    store = spool.root.joinpath(*["d" * 200] * 3)
    store.mkdir(mode=0o700, parents=True)
    code, out, err = spool.run("submit", "--store", str(store), "true")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert str(store) in err
    assert "--store" in err
