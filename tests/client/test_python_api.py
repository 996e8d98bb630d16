"""The page about the Python interface: its programs run, and it names what there is, no more and no less."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jqsched import Handle, future, job, rpc
from jqsched.client.services import SERVICES
from jqsched.job import control, event, journal
from tests.architecture.test_docs import first_cells, sections
from tests.e2e.conftest import PATIENCE_S, Daemon

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "python-api.md"
TEXT = PAGE.read_text("utf-8")
PROGRAMS = re.findall(r"(?ms)^```python\n(.*?)^```", TEXT)

EVENTS = ["submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"]
SAID = [  # what each program prints, in the order of the page
    ["True", "headerhello", "data"],
    [*EVENTS, "0"],
    [" ".join(EVENTS)],
    ["['COMPLETED', 'COMPLETED', 'COMPLETED']", *EVENTS],
    ["False", "2 unknown job id"],
    ["True ", "False Exit 3", "0"],
    ["{}", "cancel enough"],
    ["3"],
    ["submit", "clean", '{"status":0}'],
    ["held SCHED held", "SCHED None"],
]


def test_each_program_has_its_output_here():
    assert len(PROGRAMS) == len(SAID)


@pytest.mark.parametrize("number", range(len(SAID)))
def test_a_program_of_the_page_runs(daemon: Daemon, number: int):
    daemon.start("--max-running", "1")
    environment = os.environ | {"JQSCHED_SPOOL": str(daemon.spool)}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAMS[number]],
        capture_output=True, text=True, timeout=PATIENCE_S, env=environment, check=False,
    )  # fmt: skip
    assert (ran.stdout.splitlines(), ran.stderr) == (SAID[number], "")


def named(section: str) -> set[str]:
    """What the first cells of a section's tables name, without parameters, members with and as their classes."""
    owner, found = "", set[str]()
    for cell in first_cells(sections(TEXT, 2)[section]):
        name = cell.partition("(")[0]
        if name.startswith("."):
            name = owner + name
        owner = name.partition(".")[0]
        found |= {name, owner}
    return found


def public(module: object) -> set[str]:
    """The public functions and classes that a module defines."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }


MODULES = {f"jqsched.{module.__name__.removeprefix('jqsched.')}": module for module in
           (control, event, journal, future, rpc)}  # fmt: skip
INNER = {"Answer", "Channel", "Driver", "Owner", "Payload", "Asked", "Given"}  # types for those who read the code
OTHER_TABLES = {
    *("full", "since", "include_sentinel", "since_seq", "ids", "names", "events", "deliver_end"),  # parameters
    *("eventlog", "guest.exec.eventlog", "guest.output", "guest"),  # logs
}


@pytest.mark.parametrize("section", MODULES)
def test_every_function_and_class_is_on_the_page(section: str):
    assert public(MODULES[section]) - INNER <= named(section)


def test_every_method_is_on_the_page():
    page = set[str]().union(*map(named, [*MODULES, "jqsched"]))
    for class_ in (Handle, future.Future, rpc.RPC, journal.JournalConsumer, event.JobEventWatchFuture):
        for name in dir(class_):
            owners = [base.__name__ for base in class_.__mro__ if name in vars(base)]
            if not name.startswith("_"):
                assert any(f"{owner}.{name}" in page for owner in (class_.__name__, *owners)), f"{class_}.{name}"


@pytest.mark.parametrize("section", MODULES)
def test_no_name_on_the_page_is_made_up(section: str):
    for name in named(section) - OTHER_TABLES:
        if " " not in name:  # `await future`
            owner, _, member = name.partition(".")
            assert not member or member == "last_seq" or hasattr(getattr(MODULES[section], owner), member), name
            assert hasattr(MODULES[section], owner), name


def test_every_topic_is_on_the_page():
    cells = " ".join(first_cells(sections(TEXT, 3)["Topics"]))
    for topic in SERVICES:
        assert topic in cells


def test_every_name_of_jqsched_job_is_on_the_page():
    for name in job.__all__:
        assert re.search(rf"`(?:[^`]*\W)?{name}\b", TEXT), name
