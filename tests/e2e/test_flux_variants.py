"""Each course of a job as it was captured from Flux (docs/reference/events.md), taken by a job of a real scheduler.

Logs are compared whole: each name, each context, in order, but for what docs/differences.md says. A test's name is the
row's; `...` in an expected context stands for a value that differs from run to run.
"""

import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import EllipsisType

import pytest

from jqsched import Handle, job
from jqsched.core.json import JsonObject
from jqsched.job import JobID
from jqsched.job.journal import JournalConsumer
from tests.e2e.conftest import Daemon

ME = os.getuid()
HOST = os.uname().nodename
NO_TIME_S = 0.05
CANCELED, COMPLETED, FAILED, TIMEOUT = "CANCELED", "COMPLETED", "FAILED", "TIMEOUT"
TERMINATED = (128 + 15) << 8

Entry = tuple[str, dict[str, object] | EllipsisType]
Log = list[str | Entry]

SLEEP: JsonObject = {"command": ["sleep", "600"]}
TRUE: JsonObject = {"command": ["true"]}
ALLOC: Entry = ("alloc", {"annotations": {"sched": {"resource_summary": "1 core"}}})
TO_SCHED: Log = ["validate", "depend", ("priority", {"priority": 16})]
TO_START: Log = [*TO_SCHED, ALLOC, "start"]
RELEASE: Entry = ("release", {"ranks": "all", "final": True})
TO_END: Log = [RELEASE, "free", "clean"]


def submitted(urgency: int = 16) -> Entry:
    return ("submit", {"userid": ME, "urgency": urgency, "flags": 0, "version": 1})


def finished(status: int) -> Entry:
    return ("finish", {"status": status})


def raised(kind: str, note: str, severity: int = 0) -> Entry:
    return ("exception", {"type": kind, "severity": severity, "note": note, "userid": ME})


def described(name: str, description: str, **more: int) -> Entry:
    return (name, {"description": description, **more})


def asked(urgency: int) -> Entry:
    return ("urgency", {"userid": ME, "urgency": urgency})


RUN_WELL: Log = [*TO_START, finished(0), *TO_END]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    """One scheduler for all rows that need no plugin and no restart: two slots, which each test leaves free."""
    daemon = Daemon(tmp_path_factory.mktemp("variants"))
    daemon.start("--max-running", "2")
    with Handle(daemon.spool) as handle:
        yield handle
    daemon.close()


def plugged(daemon: Daemon, text: str) -> Handle:
    """A scheduler with a plugin of this text."""
    path = daemon.elsewhere / "test.py"
    path.write_text(text)
    path.chmod(0o600)
    daemon.start("--max-running", "2", "--plugin", str(path))
    return Handle(daemon.spool)


def log(handle: Handle, id_: int, which: str = "eventlog") -> list[Entry]:
    """A log of a job until it ends."""
    return [(event.name, event.context) for event in job.event_watch(handle, id_, which)]


def expect(handle: Handle, id_: int, *wanted: str | Entry, which: str = "eventlog") -> None:
    """Compare a job's whole log; of a finish without `ran_us`, which is ours and there only where events came close."""
    pairs = [(entry, {}) if isinstance(entry, str) else entry for entry in wanted]
    found = log(handle, id_, which)
    assert [name for name, _ in found] == [name for name, _ in pairs]
    for (name, context), (_, should) in zip(found, pairs, strict=True):
        theirs = {key: value for key, value in context.items() if (name, key) != ("finish", "ran_us")}
        assert should is ... or theirs == should, name


def ended(handle: Handle, id_: int) -> tuple[str, object, object]:
    """How a job ended, as job-list tells it: its result, its return code, and its status, "" where there is none."""
    info = job.result(handle, id_)
    return info.result, info.returncode, info.waitstatus


def running(handle: Handle, document: JsonObject = SLEEP) -> JobID:
    """A job that runs."""
    id_ = job.submit(handle, document)
    job.event_wait(handle, id_, "start")
    return id_


def depending(handle: Handle, scheme: str, value: object = None, **keys: object) -> JobID:
    """A job with a dependency."""
    dependency = {"scheme": scheme} if value is None else {"scheme": scheme, "value": value}
    return job.submit(handle, {**TRUE, "dependencies": [dependency], **keys})


def refusal(error: pytest.ExceptionInfo[OSError]) -> tuple[int | None, str | None]:
    return error.value.errno, error.value.strerror


# ---- the normal job -----------------------------------------------------------------------------------------------


def test_normal_job(served: Handle, tmp_path: Path) -> None:
    """The ten events; the exec log; the output as RFC 24 has it; and R."""
    script = ["sh", "-c", "echo err >&2; echo hi"]
    spec = job.JobspecV1.from_command(script, output="out", error="err", cwd=tmp_path, environment={})
    id_ = job.submit(served, spec)
    expect(served, id_, submitted(), *RUN_WELL)
    assert ended(served, id_) == (COMPLETED, 0, 0)
    exited = {"localid": 0, "rank": 0, "state": "Exited", "wait_status": 0, "signaled": 0, "exitcode": 0}
    expect(
        served, id_,
        "init", "starting", ("shell.init", {"leader-rank": 0, "size": 1}),
        ("shell.start", {"taskmap": {"version": 1, "map": [[0, 1, 1, 1]]}}),
        ("shell.task-exit", exited), ("shell-exit", {"rank": 0, "wait_status": 0}), ("complete", {"status": 0}), "done",
        which="guest.exec.eventlog",
    )  # fmt: skip
    (name, header), *data = log(served, id_, "guest.output")
    both = {"stdout": "UTF-8", "stderr": "UTF-8"}
    assert (name, header) == (
        "header",
        {"version": 1, "encoding": both, "count": {"stdout": 1, "stderr": 1}, "options": {}},
    )
    of_stream = {stream: [entry for entry in data if entry[1]["stream"] == stream] for stream in both}
    for stream, text in (("stdout", "hi\n"), ("stderr", "err\n")):
        told = {"stream": stream, "rank": "0"}
        assert of_stream[stream] == [("data", {**told, "data": text}), ("data", {**told, "eof": True})]
    resources = json.loads(str(served.rpc("job-info.lookup", {"id": id_, "keys": ["R"]}).get()["R"]))
    assert resources["execution"].pop("starttime") > 0
    rank = {"rank": "0", "children": {"core": "0"}}
    execution = {"R_lite": [rank], "expiration": 0.0, "nslots": 1, "nodelist": [HOST]}
    assert resources == {"version": 1, "execution": execution}


# ---- how it ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "status", "exited"),
    [
        ("exit 1", 256, (256, 0, 1)),
        ("exit 42", 10752, (10752, 0, 42)),
        ("kill -KILL $$", 35072, (9, 9, 137)),
        ("ulimit -c 0; kill -SEGV $$", 35584, (11, 11, 139)),
    ],
)
def test_exit_status_or_signal(served: Handle, script: str, status: int, exited: tuple[int, int, int]) -> None:
    """No exception; the exec log has how the task ended."""
    id_ = job.submit(served, {"script": script})
    expect(served, id_, submitted(), *TO_START, finished(status), *TO_END)
    assert ended(served, id_) == (FAILED, status >> 8, status)
    told = dict(log(served, id_, "guest.exec.eventlog"))["shell.task-exit"]
    assert (told["wait_status"], told["signaled"], told["exitcode"]) == exited


def test_kill(served: Handle) -> None:
    """A signal from outside is no exception either."""
    id_ = running(served)
    job.kill(served, id_)
    expect(served, id_, submitted(), *TO_START, finished(36608), *TO_END)


def test_command_not_found(served: Handle) -> None:
    """It counts as started, and the exception comes before its finish."""
    id_ = job.submit(served, {"command": ["nosuchprog"]})
    note = f"task 0 (host {HOST}): start failed: nosuchprog: No such file or directory"
    expect(served, id_, submitted(), *TO_START, raised("exec", note), finished(32512), *TO_END)
    assert ended(served, id_) == (FAILED, 127, 32512)


def test_timeout(served: Handle) -> None:
    """Ended by SIGTERM, not by SIGALRM (36352)."""
    id_ = job.submit(served, {**SLEEP, "time_limit": NO_TIME_S})
    note = "resource allocation expired"
    expect(served, id_, submitted(), *TO_START, raised("timeout", note), finished(TERMINATED), *TO_END)
    assert ended(served, id_) == (TIMEOUT, 143, TERMINATED)


def test_infeasible(served: Handle) -> None:
    """The note counts cores, not slots."""
    spec = job.JobspecV1.from_command(["true"], num_tasks=128, environment={})
    cores = int(str(served.rpc("job-manager.status").get()["cores"]))
    id_ = job.submit(served, spec)
    note = f"unsatisfiable request: need 128 core(s), there are {cores}"
    expect(served, id_, submitted(), *TO_SCHED, raised("alloc", note), "clean")
    assert ended(served, id_) == (FAILED, 1, "")


# ---- dependencies -------------------------------------------------------------------------------------------------


def test_dependency_afterok(served: Handle) -> None:
    """The description has the id in decimal, however the user typed it."""
    first = job.submit(served, TRUE, urgency=0)
    id_ = depending(served, "afterok", first.f58)
    job.set_urgency(served, first, 16)
    wait = f"after-success={int(first)}"
    validate, *onward = RUN_WELL
    expect(
        served, id_, submitted(), described("dependency-add", wait), validate, described("dependency-remove", wait),
        *onward,
    )  # fmt: skip


def test_dependency_already_satisfied(served: Handle) -> None:
    """Added and removed before it is validated."""
    first = job.submit(served, TRUE)
    job.wait(served, first)
    id_ = depending(served, "afterok", str(first))
    wait = f"after-success={first}"
    expect(served, id_, submitted(), described("dependency-add", wait), described("dependency-remove", wait), *RUN_WELL)


def test_dependency_can_never_be_met(served: Handle) -> None:
    """The antecedent was active at submit."""
    first = job.submit(served, {"command": ["false"]}, urgency=0)
    id_ = depending(served, "afterok", str(first))
    job.set_urgency(served, first, 16)
    wait = f"after-success={first}"
    note = f"dependency {wait} can never be satisfied"
    expect(served, id_, submitted(), described("dependency-add", wait), "validate", raised("dependency", note), "clean")
    assert ended(served, id_) == (FAILED, 1, "")


def test_dependency_on_a_failed_job(served: Handle) -> None:
    """The antecedent was inactive: the submission itself fails."""
    first = job.submit(served, {"command": ["false"]})
    job.wait(served, first)
    with pytest.raises(OSError, match="dependency") as caught:
        depending(served, "afterok", str(first))
    assert refusal(caught) == (errno.EINVAL, f"dependency: afterok: job {first} failed or was canceled")


def test_begin_time_and_singleton(served: Handle) -> None:
    """A begin time is told as exactly as it was given; the dependency is removed when it comes."""
    begin_s = round(time.time() + NO_TIME_S, 3)
    timed = depending(served, "begin-time", begin_s)
    first = job.submit(served, {**TRUE, "name": "one"}, urgency=0)
    single = depending(served, "singleton", name="one")
    job.set_urgency(served, first, 16)
    validate, *onward = RUN_WELL
    for id_, wait in ((timed, f"begin-time={begin_s}"), (single, "singleton")):
        expect(
            served, id_, submitted(), described("dependency-add", wait), validate, described("dependency-remove", wait),
            *onward,
        )  # fmt: skip
    assert job.event_wait(served, timed, "dependency-remove").timestamp >= begin_s


# ---- urgencies ----------------------------------------------------------------------------------------------------


def test_hold_then_release(served: Handle) -> None:
    id_ = job.submit(served, TRUE, urgency=0)
    job.set_urgency(served, id_, 16)
    *_, alloc, start = TO_START
    expect(
        served, id_, submitted(0), "validate", "depend", ("priority", {"priority": 0}), asked(16),
        ("priority", {"priority": 16}), alloc, start, finished(0), *TO_END,
    )  # fmt: skip


def test_urgency_31(served: Handle) -> None:
    id_ = job.submit(served, TRUE, urgency=31)
    job.wait(served, id_)
    assert log(served, id_)[3] == ("priority", {"priority": 4294967295})


def test_urgency_changed_in_sched(served: Handle) -> None:
    """Each change is an urgency and a priority, also 20 after 20."""
    slots = [running(served) for _ in range(2)]
    id_ = job.submit(served, TRUE)
    for _ in range(2):
        job.set_urgency(served, id_, 20)
    job.cancel(served, id_)
    changed: Log = [asked(20), ("priority", {"priority": 20})]
    expect(served, id_, submitted(), *TO_SCHED, *changed, *changed, raised("cancel", ""), "clean")
    for slot in slots:
        job.cancel(served, slot)
        job.wait(served, slot)


# ---- cancel and raise ---------------------------------------------------------------------------------------------


def test_cancel_before_it_runs(served: Handle) -> None:
    """In DEPEND, in SCHED, and held. (In PRIORITY: with a plugin, below.)"""
    slots = [running(served) for _ in range(2)]
    held = job.submit(served, TRUE, urgency=0)
    depend, sched = depending(served, "afterok", str(held)), job.submit(served, TRUE)
    last = raised("cancel", "my reason")
    for id_ in (depend, sched, held):
        job.cancel(served, id_, "my reason")
        assert ended(served, id_) == (CANCELED, -128, "")
    add = described("dependency-add", f"after-success={held}")
    expect(served, depend, submitted(), add, "validate", last, "clean")
    expect(served, sched, submitted(), *TO_SCHED, last, "clean")
    expect(served, held, submitted(0), "validate", "depend", ("priority", {"priority": 0}), last, "clean")
    for slot in slots:
        job.cancel(served, slot)
        job.wait(served, slot)


UNAVAILABLE = """
def plugin_init(p):
    p.add_handler("job.state.priority", lambda p, topic, args: p.priority_unavail(args))
"""


def test_cancel_in_priority(daemon: Daemon) -> None:
    with plugged(daemon, UNAVAILABLE) as handle:
        id_ = job.submit(handle, TRUE)
        job.cancel(handle, id_)
        expect(handle, id_, submitted(), "validate", "depend", raised("cancel", ""), "clean")
        assert ended(handle, id_) == (CANCELED, -128, "")


def test_cancel_in_run(served: Handle) -> None:
    id_ = running(served)
    job.cancel(served, id_, "my reason")
    expect(served, id_, submitted(), *TO_START, raised("cancel", "my reason"), finished(36608), *TO_END)
    assert ended(served, id_) == (CANCELED, 143, 36608)


def test_cancel_when_inactive_or_unknown(served: Handle) -> None:
    id_ = job.submit(served, TRUE)
    job.wait(served, id_)
    for nobody, text in ((id_, "job is inactive"), (10**6, "unknown job id")):
        with pytest.raises(OSError, match="job") as caught:
            job.cancel(served, nobody)
        assert refusal(caught) == (errno.ENOENT, text)


def test_raise_in_run(served: Handle) -> None:
    """Remarks do not end it; severity 0 does, and it is no cancel."""
    id_ = running(served)
    told = [(severity, f"note {severity}") for severity in (7, 5, 1)]
    for severity, note in told:
        job.raise_exception(served, id_, "foo", severity, note)
    job.raise_exception(served, id_, "bar", 0, "fatal note")
    remarks = [raised("foo", note, severity) for severity, note in told]
    expect(
        served, id_, submitted(), *TO_START, *remarks, raised("bar", "fatal note"), finished(TERMINATED), *TO_END
    )  # fmt: skip
    info = job.result(served, id_)
    assert (info.result, info.inactive_reason) == (FAILED, "Exception: type=bar note=fatal note")


# ---- prolog and epilog --------------------------------------------------------------------------------------------

PERILOG = """
CLEANUP = 32

def plugin_init(p):
    def cleanup(p, topic, args):
        if p.job_event_posted(args["id"], "prolog-finish"):
            p.epilog_start("test")

    def prolog_finished(p, topic, args):
        if args["state"] == CLEANUP:
            p.epilog_start("test")

    def finish(p, message):
        which = getattr(p, message.payload["which"] + "_finish")
        which(message.payload["id"], "test", 0)
        message.respond()

    p.add_handler("job.new", lambda p, topic, args: p.job_subscribe(args["id"]))
    p.add_handler("job.state.run", lambda p, topic, args: p.prolog_start("test"))
    p.add_handler("job.state.cleanup", cleanup)
    p.add_handler("job.event.prolog-finish", prolog_finished)
    p.service_register("finish", finish)
"""
PROLOG: Log = [described("prolog-start", "test"), described("prolog-finish", "test", status=0)]
EPILOG: Log = [described("epilog-start", "test"), described("epilog-finish", "test", status=0)]


def finish(handle: Handle, id_: int, which: str) -> None:
    """Have the plugin finish a job's prolog or epilog when it has begun."""
    job.event_wait(handle, id_, f"{which}-start", raiseJobException=False)
    handle.rpc("job-manager.test.finish", {"id": id_, "which": which}).get()


def test_prolog_and_epilog_plugin(daemon: Daemon) -> None:
    """An exception in CLEANUP is logged; the end event is the finish, and the state stays."""
    with plugged(daemon, PERILOG) as handle:
        plain, ending = [job.submit(handle, TRUE) for _ in range(2)]
        for id_ in (plain, ending):
            finish(handle, id_, "prolog")
            job.event_wait(handle, id_, "release")
        job.raise_exception(handle, ending, "foo", 0, "late")
        assert job.get_job(handle, ending)["state"] == "CLEANUP"
        for id_ in (plain, ending):
            finish(handle, id_, "epilog")
        begin, end = EPILOG
        until_release: Log = [submitted(), *TO_SCHED, ALLOC, *PROLOG, "start", finished(0), begin, RELEASE]
        expect(handle, plain, *until_release, end, "free", "clean")
        expect(handle, ending, *until_release, raised("foo", "late"), end, "free", "clean")
        assert ended(handle, plain) == ended(handle, ending) == (COMPLETED, 0, 0)


def test_fatal_exception_in_prolog(daemon: Daemon) -> None:
    """It never starts: no start, no finish, no release."""
    with plugged(daemon, PERILOG) as handle:
        id_ = job.submit(handle, TRUE)
        job.event_wait(handle, id_, "prolog-start")
        job.raise_exception(handle, id_, "cancel", 0, "no more")
        finish(handle, id_, "prolog")
        finish(handle, id_, "epilog")
        begin, end = PROLOG
        fatal = raised("cancel", "no more")
        expect(handle, id_, submitted(), *TO_SCHED, ALLOC, begin, fatal, end, *EPILOG, "free", "clean")


# ---- what is said on the way --------------------------------------------------------------------------------------


def test_debug_flag(served: Handle) -> None:
    """It is taken, and has no effect: flags stay 0, and no `debug.…` is logged."""
    id_ = job.submit(served, TRUE, debug=True)
    expect(served, id_, submitted(), *RUN_WELL)


MEMO = """
def plugin_init(p):
    p.add_handler("job.state.run", lambda p, topic, args: p.event_post(-1, "memo", {"foo": 1, "a": {"b": "text"}}))
"""


def test_memo(daemon: Daemon) -> None:
    """A plugin's, as it wrote it: there is no command for memos, so no dotted keys."""
    with plugged(daemon, MEMO) as handle:
        id_ = job.submit(handle, TRUE)
        memo = ("memo", {"foo": 1, "a": {"b": "text"}})
        expect(handle, id_, submitted(), *TO_SCHED, ALLOC, memo, "start", finished(0), *TO_END)


def test_update(served: Handle) -> None:
    """Of a queued job: its priority is asked for again."""
    slots = [running(served) for _ in range(2)]
    id_ = job.submit(served, TRUE)
    served.rpc("job-manager.update", {"id": id_, "updates": {"attributes.system.duration": 3600.0}}).get()
    for slot in slots:
        job.cancel(served, slot)
        job.wait(served, slot)
    changed: Log = [("jobspec-update", {"attributes.system.duration": 3600.0}), ("priority", {"priority": 16})]
    expect(served, id_, submitted(), *TO_SCHED, *changed, ALLOC, "start", finished(0), *TO_END)


def test_duration_update_while_running(served: Handle) -> None:
    """The time limit counts; there is no `resource-update`, for R has no end of its own."""
    id_ = running(served, {**SLEEP, "time_limit": 600})
    served.rpc("job-manager.update", {"id": id_, "updates": {"attributes.system.duration": NO_TIME_S}}).get()
    changed = ("jobspec-update", {"attributes.system.duration": NO_TIME_S})
    end = raised("timeout", "resource allocation expired")
    expect(served, id_, submitted(), *TO_START, changed, end, finished(TERMINATED), *TO_END)


REJECT = """
def plugin_init(p):
    def validate(p, topic, args):
        if args["jobspec"]["attributes"]["system"]["job"]["name"] == "bad":
            return p.reject_job(args, "no %s job", "bad")

    p.add_handler("job.validate", validate)
"""


def test_rejected_at_submit(daemon: Daemon) -> None:
    """The journal alone has it; no record remains, and the submitter has the plugin's text."""
    with plugged(daemon, REJECT) as handle:
        with pytest.raises(OSError, match="bad") as caught:
            job.submit(handle, {**TRUE, "name": "bad"})
        assert refusal(caught) == (errno.EINVAL, "no bad job")
        good = job.submit(handle, TRUE)
        job.wait(handle, good)
        journal = JournalConsumer(handle).start()
        rejected = [journal.poll() for _ in range(2)]
        journal.stop()
        assert [(event.name, event.context) for event in rejected if event] == [submitted(), ("invalidate", {})]
        assert job.get_job(handle, rejected[0].jobid) is None
        assert list(daemon.jobs()) == ["true"]
        with pytest.raises(FileNotFoundError):
            log(handle, rejected[0].jobid)


# ---- restart ------------------------------------------------------------------------------------------------------

NOTED = """
def plugin_init(p):
    def annotate(p, topic, args):
        args.out["annotations"] = {"user": {"p": 1}}

    p.add_handler("job.state.sched", annotate)
"""


def test_instance_restart(daemon: Daemon) -> None:
    """Nothing is posted for any job: one in SCHED and one that is held stay as they are, with what was noted of them,
    and one that runs is adopted.
    """
    note: Entry = ("annotations", {"annotations": {"user": {"p": 1}}})
    go = daemon.elsewhere / "go"
    wait = {"script": f"until test -e {go}; do sleep 0.01; done"}
    with plugged(daemon, NOTED) as handle:
        runs, other = running(handle, wait), running(handle, wait)
        sched, held = job.submit(handle, TRUE), job.submit(handle, TRUE, urgency=0)
    before = [daemon.events(id_) for id_ in (runs, sched, held)]
    daemon.stop()
    with plugged(daemon, NOTED) as handle:
        assert [daemon.events(id_) for id_ in (runs, sched, held)] == before
        go.touch()
        for id_ in (runs, other, sched):
            expect(handle, id_, submitted(), *TO_SCHED, note, ALLOC, "start", finished(0), *TO_END)
        assert ended(handle, runs) == (COMPLETED, 0, 0)
        job.cancel(handle, held)
        zero = ("priority", {"priority": 0})
        expect(handle, held, submitted(0), "validate", "depend", zero, note, raised("cancel", ""), "clean")
