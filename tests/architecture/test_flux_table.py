"""`docs/reference/flux-table.md` against the program: each thing of Flux's documents is there, as the table says it is.

A check takes rows and returns complaints. It is run on the table, and on doctored ones that it must complain of.
"""

import ast
import importlib
import importlib.util
import inspect
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jqsched import Handle, constants
from jqsched.job.event import EventLogEvent, JobException
from jqsched.job.journal import JournalEvent
from jqsched.job.list import JobList, JobListIdsFuture
from tests.architecture.test_docs import REFERENCE, ROOT, read, sections

TABLE = REFERENCE / "flux-table.md"
JOBTAP = "flux_jobtap_get_flux(3)"

# What the documents list, in their words: classes with their bases, what is in them, functions, constants.
DOCUMENTED = {
    "flux.job.list": """
        class JobList(flux_handle, attrs=['all'], filters=[], ids=[], user=None, max_entries=1000, since=0.0,\
 name=None, queue=None): object
        method JobList.add_filter(fname)
        method JobList.fetch_jobs()
        method JobList.jobs()
        method JobList.set_user(user)
        attribute JobList.errors
        attribute JobList.RESULTS
        attribute JobList.STATES
        class JobListIdRPC(*args, **kwargs): RPC
        method JobListIdRPC.get_job()
        method JobListIdRPC.get_jobinfo()
        class JobListIdsFuture(): WaitAllFuture
        method JobListIdsFuture.get_jobinfos()
        method JobListIdsFuture.get_jobs()
        attribute JobListIdsFuture.errors
        class JobListRPC(flux_handle, topic, payload=None, nodeid=flux.constants.FLUX_NODEID_ANY, flags=0): RPC
        method JobListRPC.get_jobinfos()
        method JobListRPC.get_jobs()
        function get_job(flux_handle, jobid)
        function job_list(flux_handle, max_entries=1000, attrs=['all'], userid=1005, states=0, results=0, since=0.0,\
 name=None, queue=None)
        function job_list_id(flux_handle, jobid, attrs=['all'])
        function job_list_inactive(flux_handle, since=0.0, max_entries=1000, attrs=['all'], name=None, queue=None)
    """,
    "flux.job.event": """
        class EventLogEvent(event): object
        attribute EventLogEvent.context
        attribute EventLogEvent.name
        attribute EventLogEvent.timestamp
        class JobEventWatchFuture(future_handle): flux.future.Future
        method JobEventWatchFuture.cancel()
        method JobEventWatchFuture.get_event(autoreset=True)
        exception JobException(event): Exception
        attribute JobException.timestamp
        attribute JobException.type
        attribute JobException.note
        attribute JobException.severity
        function event_wait(flux_handle, jobid, name, eventlog='eventlog', raiseJobException=True)
        function event_watch(flux_handle, jobid, eventlog='eventlog')
        function event_watch_async(flux_handle, jobid, eventlog='eventlog')
    """,
    "flux.job.journal": """
        class JournalConsumer(flux_handle, full=True, since=0.0, include_sentinel=False): JournalConsumerBase
        attribute JournalConsumer.SENTINEL_EVENT
        method JournalConsumer.create_event(entry, jobid=-1, jobspec=None, R=None)
        method JournalConsumer.process_response(resp)
        property JournalConsumer.request_payload
        method JournalConsumer.start()
        method JournalConsumer.stop()
        method JournalConsumer.poll(timeout=-1.0)
        method JournalConsumer.set_callback(event_cb, *args, **kwargs)
        class JournalEvent(jobid, event, jobspec=None, R=None): JournalEventBase
        attribute JournalEvent.jobid
        attribute JournalEvent.name
        attribute JournalEvent.timestamp
        attribute JournalEvent.context
        attribute JournalEvent.context_string
        attribute JournalEvent.jobspec
        attribute JournalEvent.R
        method JournalEvent.is_empty()
        constant SENTINEL_EVENT
        class flux.Flux()
        class flux.job.JobID()
        class flux.job.JobInfo()
        method flux.Flux.reactor_run()
    """,
    JOBTAP: """
        C function flux_jobtap_get_flux(p)
        C function flux_jobtap_service_register(p, method, cb, arg)
        C function flux_jobtap_reprioritize_all(p)
        C function flux_jobtap_reprioritize_job(p, id, priority)
        C function flux_jobtap_priority_unavail(p, args)
        C function flux_jobtap_reject_job(p, args, fmt, ...)
    """,
}
RESULTS = ("canceled", "completed", "failed", "timeout")
STATES = ("active", "cleanup", "depend", "inactive", "pending", "priority", "run", "running", "sched")
CONSTANTS = [
    *(f"FLUX_JOB_RESULT_{name.upper()}" for name in RESULTS),
    *(f"FLUX_JOB_STATE_{name.upper()}" for name in STATES),
    "FLUX_NODEID_ANY",
]
ANY_CALLABLE = ("class", "exception", "function", "method")
# of these the prose speaks, and says nothing of parameters
PROSE = ("start", "stop", "poll", "set_callback", "reactor_run", "Flux", "JobID", "JobInfo")


class Row(NamedTuple):
    """A row of the table."""

    section: str
    kind: str
    flux: str
    here: str
    difference: str
    test: str


def rows(text: str) -> list[Row]:
    found = []
    for title, body in sections(text, 2).items():
        for line in re.findall(r"(?m)^\| (.*) \|$", body):
            cells = [cell.strip().strip("`") for cell in line.split(" | ")]
            if cells[0] and len(cells) == 5:
                found.append(Row(title, *cells))
    return found


def documented() -> set[tuple[str, str, str]]:
    """Each thing that the documents list, parameters and bases one by one: section, kind, words."""
    found: set[tuple[str, str, str]] = set()
    for section, text in DOCUMENTED.items():
        for line in filter(None, map(str.strip, text.splitlines())):
            kind, _, words = line.partition(" function " if line.startswith("C ") else " ")
            kind = "C function" if kind == "C" else kind
            words, _, base = words.partition(": ")
            found.add((section, kind, words))
            if base:
                found.add((section, "base", f"{words.partition('(')[0]}: {base}"))
            name = words.partition("(")[0]
            if kind in ANY_CALLABLE and name.rpartition(".")[2] not in PROSE:
                found.update((section, "parameter", f"{name}({part})") for part in parts(words))
    for table, names, of in (("RESULTS", RESULTS, "RESULT"), ("STATES", STATES, "STATE")):
        for name in names:
            value = f"flux.constants.FLUX_JOB_{of}_{name.upper()}"
            found.add(("flux.job.list", "constant", f"JobList.{table}['{name}'] = {value}"))
    return found | {("flux.constants", "constant", f"flux.constants.{name}") for name in CONSTANTS}


def parts(words: str) -> list[str]:
    """The parameters of a signature, as they are written."""
    inner = words.partition("(")[2].removesuffix(")")
    return [part.strip() for part in inner.split(",") if part.strip()]


# ---- the checks ---------------------------------------------------------------------------------------------------


def whole(table: list[Row]) -> Iterator[str]:
    """Each thing of the documents has its row, and one."""
    listed = [(row.section, row.kind, row.flux) for row in table]
    for missing in sorted(documented() - set(listed)):
        yield f"{missing}: no row"
    for more in sorted({row for row in listed if row not in documented() or listed.count(row) > 1}):
        yield f"{more}: not in the documents, or twice"


def there(table: list[Row]) -> Iterator[str]:
    """Each thing is where its row says, with these parameters and defaults, and this base, and this value."""
    for row in table:
        try:
            complaint = _CHECKS[row.kind](row)
        except (AttributeError, ImportError, KeyError) as error:
            complaint = f"there is none ({error})"
        if complaint:
            yield f"{row.kind} {row.flux}: {complaint}"


def pinned(table: list[Row]) -> Iterator[str]:
    """Each row names a test that exists."""
    for row in table:
        path, _, name = row.test.partition("::")
        if name not in names_of_tests(ROOT / path):
            yield f"{row.kind} {row.flux}: no test {row.test}"


@cache
def names_of_tests(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    functions = (node for node in ast.parse(read(path)).body if isinstance(node, ast.FunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


# ---- what a row says ----------------------------------------------------------------------------------------------


def found(path: str) -> Any:
    """The thing of a dotted name that begins with a module; attributes of instances are asked of a sample."""
    words = path.partition("(")[0].split(".")
    for length in range(len(words), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(words[:length]))
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            name, _, key = word.partition("[")
            thing = getattr(samples().get(thing, thing), name)
            thing = thing[key.strip("']")] if key else thing
        return thing
    raise ImportError(path)


@cache
def samples() -> dict[Any, Any]:
    """Instances, for what classes do not show."""
    event = {"timestamp": 1.0, "name": "exception", "context": {"type": "cancel", "severity": 0, "note": ""}}
    exception = JobException(EventLogEvent(event))
    return {
        JobList: JobList(None),
        JobListIdsFuture: JobListIdsFuture(),
        JobException: exception,
        JournalEvent: JournalEvent(1, event),
        EventLogEvent: EventLogEvent(event),
    }


def wanted_parameters(words: str) -> list[tuple[str, str, object]]:
    """Name, kind and default of each parameter of a signature."""
    made = ast.parse(f"def f({words.partition('(')[2]}: pass").body[0]
    assert isinstance(made, ast.FunctionDef)
    names = [argument.arg for argument in made.args.args]
    defaults = [inspect.Parameter.empty] * (len(names) - len(made.args.defaults)) + list(map(value, made.args.defaults))
    found = [(name, "POSITIONAL_OR_KEYWORD", default) for name, default in zip(names, defaults, strict=True)]
    for kind, star in (("VAR_POSITIONAL", made.args.vararg), ("VAR_KEYWORD", made.args.kwarg)):
        found += [(star.arg, kind, inspect.Parameter.empty)] if star is not None else []
    return found


def value(node: ast.expr) -> object:
    text = ast.unparse(node)
    if text.startswith("flux.constants."):
        return getattr(constants, text.rpartition(".")[2])
    default = ast.literal_eval(text)
    if default == 1005:  # who made the documentation
        return os.getuid()
    return tuple(default) if isinstance(default, list) else default


def real_parameters(thing: Any) -> list[tuple[str, str, object]]:
    """The same of what is there; keyword-only ones are ours."""
    given = inspect.signature(thing).parameters.values()
    shown = [(it.name, it.kind.name, it.default) for it in given if it.name != "self"]
    return [each for each in shown if each[1] != "KEYWORD_ONLY"]


def signature(row: Row) -> str | None:
    thing = found(row.here)
    if (row.kind in ("class", "exception")) != inspect.isclass(thing) or not callable(thing):
        return "it is something else"
    wanted = wanted_parameters(row.here if "(" in row.here else row.flux)
    real = real_parameters(thing)
    if wanted != real or any(type(a[2]) is not type(b[2]) for a, b in zip(wanted, real, strict=True)):
        return f"its parameters are {real}, not {wanted}"
    return None


def parameter(row: Row) -> str | None:
    """Of the callable whose row is in the same section; the names must be the same."""
    call, part = row.flux.partition("(")[0], row.flux.partition("(")[2].removesuffix(")")
    ((name, kind, default),) = wanted_parameters(f"f({part})")
    real = {each[0]: each[1:] for each in real_parameters(found(f"{row.section.replace('flux', 'jqsched', 1)}.{call}"))}
    given = real.get(name, ("missing", None))
    right = given == (kind, default) and type(given[1]) is type(default) and row.here.lstrip("*") == name
    return None if right else f"it is {given}"


def base(row: Row) -> str | None:
    """Of a class, whose base here has the same name (but `dict` is more than `object`)."""
    name, _, wanted = row.flux.partition(": ")
    thing = found(f"{row.section.replace('flux', 'jqsched', 1)}.{name}")
    here = found(row.here) if "." in row.here else vars(__import__("builtins"))[row.here]
    same = here.__name__ == wanted.rpartition(".")[2] or (wanted, row.here) == ("object", "dict")
    return None if here in thing.__mro__[1:] and same else f"its bases are {thing.__mro__[1:]}"


def attribute(row: Row) -> str | None:
    found(row.here)
    return None if row.here.endswith(row.flux) else "it has another name"


def property_(row: Row) -> str | None:
    return None if isinstance(found(row.here), property) else "it is no property"


def constant(row: Row) -> str | None:
    name, _, named = row.flux.partition(" = ")
    if named and found(row.here) != getattr(constants, named.rpartition(".")[2]):
        return "it has another value"
    return None if row.here.endswith(name.removeprefix("flux.")) else "it has another name"


_CHECKS: dict[str, Callable[[Row], str | None]] = {
    **dict.fromkeys((*ANY_CALLABLE, "C function"), signature),
    "parameter": parameter,
    "base": base,
    "attribute": attribute,
    "property": property_,
    "constant": lambda row: constant(row) if found(row.here) is not None else "it is None",
}


# ---- the table ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [whole, there, pinned])
def test_the_table_is_whole_and_true(check: Callable[[list[Row]], Iterator[str]]):
    table = rows(read(TABLE))
    assert len(table) > 150, "the table was not found in the page"
    assert not list(check(table))


def test_the_handle_is_what_the_table_says():
    assert found("jqsched.Handle") is Handle


DOCTORED = [
    (whole, "| method | `JobList.jobs()` |", "| method | `JobList.job()` |"),
    (whole, "| parameter | `job_list(since=0.0)` |", "| parameter | `job_list(since=0)` |"),
    (whole, "| base | `JobListRPC: RPC` |", "| base | `JobListRPC: Future` |"),
    (whole, "| C function | `flux_jobtap_get_flux(p)` |", "| C function | `flux_jobtap_get_flux()` |"),
    (there, "`jqsched.job.list.JobList.jobs`", "`jqsched.job.list.JobList.job`"),
    (there, "`jqsched.job.list.get_job`", "`jqsched.job.lists.get_job`"),
    (there, "`jqsched.job.list.get_job`", "`jqsched.job.list.job_list_id`"),
    (there, "`jqsched.job.list.job_list`", "`jqsched.job.list.JobList`"),
    (there, "`get_job(flux_handle, jobid)`", "`get_job(flux_handle, job)`"),
    (there, "`job_list_inactive(max_entries=1000)`", "`job_list_inactive(max_entries=100)`"),
    (there, "`JournalConsumer(full=True)`", "`JournalConsumer(full=1)`"),
    (there, "`JobListIdRPC(*args)` | `*args`", "`JobListIdRPC(*args)` | `*arguments`"),
    (there, "`JobListIdsFuture: WaitAllFuture` | `jqsched.future.W", "`JobListRPC: WaitAllFuture` | `jqsched.future.W"),
    (there, "`JobListRPC: RPC` | `jqsched.rpc.RPC`", "`JobListRPC: RPC` | `jqsched.future.Future`"),
    (there, "`jqsched.job.event.JobException.severity`", "`jqsched.job.event.JobException.level`"),
    (there, "= flux.constants.FLUX_JOB_STATE_RUN`", "= flux.constants.FLUX_JOB_STATE_RUNNING`"),
    (there, "JobList.STATES['sched']`", "JobList.STATES['run']`"),
    (there, "| property | `JournalConsumer", "| property | `JobList.jobs` | `jqsched.job.list.JobList.jobs` |"),
    (pinned, "test_list_queries.py::test_users`", "test_list_queries.py::test_user`"),
    (pinned, "tests/client/test_event.py::", "tests/client/test_events.py::"),
]


@pytest.mark.parametrize(("check", "good", "bad"), DOCTORED, ids=[row[2].strip("| `") for row in DOCTORED])
def test_a_doctored_table_is_noticed(check: Callable[[list[Row]], Iterator[str]], good: str, bad: str):
    text = read(TABLE)
    assert good in text, "the sample is out of date"
    if bad.startswith("| property"):
        table = [Row("flux.job.list", "property", "JobList.jobs", "jqsched.job.list.JobList.jobs", "", "")]
    else:
        table = rows(text.replace(good, bad, 1))
    assert list(check(table))


def test_a_parameter_too_many_is_noticed(monkeypatch: pytest.MonkeyPatch):
    from jqsched.job import list as module

    monkeypatch.setattr(module, "get_job", lambda flux_handle, jobid, attrs=(): None)
    assert list(there(rows(read(TABLE)))) == [
        "function get_job(flux_handle, jobid): its parameters are "
        + str(real_parameters(module.get_job))
        + ", not "
        + str(real_parameters(lambda flux_handle, jobid: None))
    ]
    monkeypatch.setattr(module, "get_job", lambda flux_handle, jobid, *, attrs=(): None)
    assert not list(there(rows(read(TABLE))))
