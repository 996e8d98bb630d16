"""`JobInfo`: what follows from a raw document, as Flux was seen to show it."""

import json
import signal
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core.attributes import ATTRIBUTES, job_attributes
from jqsched.core.job import Job, Result, State
from jqsched.job import JobID, JobInfo, resulttostr, statetostr, statustostr, strtoresult, strtostate
from tests.core.constraint_cases import jobs

NOW = 1795247800.0

# [live] captures: raw documents of job-list, and what get_job() made of them
CANCELED = {
    "id": 14159970304,
    "userid": 0,
    "urgency": 0,
    "priority": 0,
    "t_submit": 1795247774.7553406,
    "t_depend": 1795247774.766753,
    "t_priority": 1795247774.7783904,
    "t_sched": 1795247774.7784483,
    "t_cleanup": 1795247774.791319,
    "t_inactive": 1795247774.7913842,
    "state": 64,
    "name": "true",
    "ntasks": 1,
    "ncores": 1,
    "duration": 0.0,
    "success": False,
    "exception_occurred": True,
    "exception_severity": 0,
    "exception_type": "cancel",
    "exception_note": "because",
    "result": 4,
}
CANCELED_SHOWN = {
    "t_depend": 1795247774.766753, "t_priority": 1795247774.7783904, "t_sched": 1795247774.7784483, "t_run": 0.0,
    "t_cleanup": 1795247774.791319, "t_inactive": 1795247774.7913842, "duration": 0.0, "expiration": 0.0,
    "name": "true", "cwd": "", "queue": "", "project": "", "bank": "", "ntasks": 1, "ncores": 1, "nnodes": "",
    "priority": 0, "ranks": "", "nodelist": "", "success": False, "result": "CANCELED", "waitstatus": "",
    "id": 14159970304, "t_submit": 1795247774.7553406, "t_remaining": 0.0, "state": "INACTIVE", "username": "root",
    "userid": 0, "urgency": 0, "runtime": 0.0, "status": "CANCELED", "returncode": -128, "dependencies": [],
    "jobid": "14159970304", "annotations": {},
    "exception": {"occurred": True, "severity": 0, "type": "cancel", "note": "because"},
}  # fmt: skip
COMPLETED = {
    "id": 11827937280,
    "userid": 0,
    "urgency": 16,
    "priority": 16,
    "t_submit": 1795247730.8990016,
    "t_depend": 1795247730.910309,
    "t_priority": 1795247730.9214008,
    "t_sched": 1795247730.921426,
    "t_run": 1795247730.9235642,
    "t_cleanup": 1795247730.9577172,
    "t_inactive": 1795247730.9586234,
    "state": 64,
    "name": "true",
    "ntasks": 1,
    "ncores": 1,
    "duration": 0.0,
    "nnodes": 1,
    "ranks": "0",
    "nodelist": "vm",
    "success": True,
    "exception_occurred": False,
    "result": 1,
    "expiration": 0.0,
    "annotations": {"sched": {"resource_summary": "rank0/core0"}},
    "waitstatus": 0,
}
HELD = {"id": 7, "userid": 0, "urgency": 0, "priority": 0, "t_submit": 1.5, "state": 8, "name": "true", "duration": 0.0}


def info(document: dict, **more: object) -> JobInfo:
    return JobInfo({**document, **more}, clock=lambda: NOW)


def running(**more: object) -> JobInfo:
    return info(HELD, urgency=16, state=16, t_run=NOW - 10, nodelist="vm", **more)


def ended(result: Result, **more: object) -> JobInfo:
    return info({**HELD, "state": 64, "result": result.value, "exception_occurred": False, **more})


def failed(kind: str, note: str = "", severity: int = 0) -> dict:
    return {
        "exception_occurred": True,
        "exception_type": kind,
        "exception_note": note,
        "exception_severity": severity,
    }


# ---- as a dict ----------------------------------------------------------------------------------------------------


def test_get_job_s_keys_and_values_are_those_of_flux():
    """But for `jobid`, which is decimal here."""
    shown = info(CANCELED).to_dict(filtered=False)
    assert shown == CANCELED_SHOWN
    assert list(shown) == list(CANCELED_SHOWN)


def test_filtered_leaves_out_what_is_not_known():
    shown = info(CANCELED).to_dict()
    gone = {"t_run", "expiration", "cwd", "queue", "project", "bank", "nnodes", "ranks", "nodelist", "waitstatus"}
    assert shown == {
        key: value for key, value in CANCELED_SHOWN.items() if key not in {*gone, "t_remaining", "runtime"}
    }
    pending = info(HELD).to_dict()
    assert pending["exception"] == {"occurred": False}
    assert (pending["duration"], pending["dependencies"], pending["annotations"]) == (0.0, [], {})


def test_a_dict_can_be_written_as_json():
    for document in (CANCELED, COMPLETED, HELD, {**HELD, "dependencies": ["begin-time=5.5"]}):
        assert json.loads(json.dumps(info(document).to_dict(filtered=False)))["id"] == document["id"]


def test_while_active_nothing_is_known_of_exceptions():
    shown = info(HELD).to_dict(filtered=False)
    assert shown["exception"] == {"occurred": "", "severity": "", "type": "", "note": ""}
    assert (shown["result"], shown["returncode"], shown["success"]) == ("", "", "")


def test_a_noted_uri_is_a_key_of_its_own():
    noted = info(HELD, annotations={"user": {"uri": "ssh://vm", "p": 1}})
    assert noted.uri == "ssh://vm"
    assert noted.to_dict(filtered=False)["annotations"] == {"user": {"uri": "ssh://vm", "p": 1}}
    assert (noted.to_dict()["uri"], noted.to_dict()["annotations"]) == ("ssh://vm", {"user": {"p": 1}})
    assert info(HELD, annotations={"user": {"uri": "x"}}).to_dict()["annotations"] == {}
    assert "uri" not in info(HELD).to_dict(filtered=False)


@given(jobs(), st.lists(st.sampled_from(ATTRIBUTES)))
def test_any_attributes_of_any_job_make_an_info(job: Job, wanted: list[str]):
    document = job_attributes(job, wanted)
    shown = JobInfo(document).to_dict(filtered=False)
    assert (shown["id"], shown["jobid"]) == (job.id, str(job.id))
    for name in set(wanted) & {"urgency", "t_submit", "name", "ntasks"}:
        assert shown[name] == document[name]
    assert str(job.id) in repr(JobInfo(document))


# ---- attributes ---------------------------------------------------------------------------------------------------


def test_attributes_are_those_of_the_document_and_more():
    done = info(COMPLETED)
    assert (type(done.id), done.id, done.name, done.nodelist) == (JobID, 11827937280, "true", "vm")
    assert (done.state, done.state_id, done.state_single) == ("INACTIVE", 64, "I")
    assert (done.result, done.result_id, done.result_abbrev) == ("COMPLETED", 1, "CD")
    assert (done.status, done.status_abbrev, info(HELD).status, info(HELD).status_abbrev) == (
        *("COMPLETED", "CD"),
        *("SCHED", "S"),
    )
    assert (done.username, info(HELD, userid=2**32 - 7).username) == ("root", str(2**32 - 7))
    assert done.sched.resource_summary == done.annotations.sched.resource_summary == "rank0/core0"


@pytest.mark.parametrize("name", ["nope", "id2", "_nope", "__len__"])
def test_an_attribute_that_there_is_not(name: str):
    with pytest.raises(AttributeError, match=f"^invalid JobInfo attribute '{name}'$"):
        getattr(info(COMPLETED), name)


def test_what_was_not_asked_for_is_no_attribute():
    only = JobInfo({"id": 7, "name": "true"})
    assert (only.name, only.t_run, only.runtime, only.t_remaining) == ("true", 0.0, 0.0, 0.0)
    for name in ("state", "urgency", "username", "status", "inactive_reason", "contextual_info"):
        with pytest.raises(AttributeError):
            getattr(only, name)


def test_times_that_run():
    assert running().runtime == 10
    assert (info(COMPLETED).runtime, info(CANCELED).runtime) == (1795247730.9577172 - 1795247730.9235642, 0.0)
    assert running(expiration=NOW + 5).t_remaining == 5
    assert running(expiration=NOW - 5).t_remaining == running(expiration=0.0).t_remaining == 0.0
    assert info(COMPLETED, expiration=NOW + 5).t_remaining == 0.0
    assert (info(HELD, duration=60.0).contextual_time, running(duration=60.0).contextual_time) == (60.0, 10.0)


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (ended(Result.COMPLETED, waitstatus=0), 0),
        (ended(Result.FAILED, waitstatus=42 << 8), 42),
        (ended(Result.FAILED, waitstatus=137 << 8), 137),
        (ended(Result.FAILED, waitstatus=9), -9),
        (ended(Result.CANCELED), -128),
        (ended(Result.CANCELED, waitstatus=143 << 8), 143),
        (ended(Result.FAILED), 1),
        (ended(Result.TIMEOUT, waitstatus=142 << 8), 142),
        (running(), ""),
    ],
)
def test_return_codes_are_a_shell_s(made: JobInfo, code: int | str):
    assert made.returncode == code


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (running(), ""),
        (ended(Result.COMPLETED, waitstatus=0), "Exit 0"),
        (ended(Result.FAILED, waitstatus=42 << 8), "Exit 42"),
        (ended(Result.FAILED, waitstatus=127 << 8), "command not found"),
        (ended(Result.FAILED, waitstatus=126 << 8), "Command invoked cannot execute"),
        (ended(Result.FAILED, waitstatus=128 << 8), "Invalid argument to exit"),
        (ended(Result.FAILED, waitstatus=137 << 8), signal.strsignal(9)),
        (ended(Result.FAILED, waitstatus=255 << 8), "Signaled 127"),
        (ended(Result.FAILED, **failed("bar", "fatal note")), "Exception: type=bar note=fatal note"),
        (ended(Result.FAILED, **failed("bar")), "Exception: type=bar"),
        (ended(Result.FAILED, waitstatus=127 << 8, **failed("exec", "no such")), "command not found"),
        (ended(Result.FAILED, waitstatus=256, **failed("bar", severity=5)), "Exit 1"),
        (ended(Result.CANCELED, **failed("cancel", "because")), "Canceled: because"),
        (ended(Result.CANCELED, **failed("cancel")), "Canceled"),
        (ended(Result.TIMEOUT, waitstatus=142 << 8, **failed("timeout")), "Timeout"),
    ],
)
def test_why_a_job_is_over(made: JobInfo, reason: str):
    assert made.inactive_reason == reason


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (info(HELD), "held"),
        (info(HELD, urgency=16), "priority-hold"),
        (info(HELD, urgency=16, priority=16), ""),
        (info(HELD, state=4), "priority-wait"),
        (info(HELD, state=2, dependencies=["after-success=5", "singleton"]), "depends:after-success=5,singleton"),
        (info(HELD, annotations={"sched": {"t_estimate": NOW + 90}}), "eta:1.5m"),
        (info(HELD, annotations={"sched": {"t_estimate": NOW + 0.0001}}), "eta:0s"),
        (info(HELD, annotations={"sched": {"t_estimate": NOW - 1}}), "eta:now"),
        (running(), "vm"),
        (info(COMPLETED), "vm"),
        (info(CANCELED), ""),
    ],
)
def test_what_a_pending_job_waits_for_and_where_others_run(made: JobInfo, words: str):
    assert made.contextual_info == words


def test_begin_times_are_said_in_words():
    begins = datetime(2001, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    local = datetime.fromtimestamp(begins).astimezone()
    seconds = datetime.fromtimestamp(begins + 6.5).astimezone()
    waits = info(HELD, dependencies=[f"begin-time={begins}", f"begin-time={begins + 6.5}", "singleton"])
    assert list(waits.dependencies) == [
        f"begin@{local:%b%d-%H:%M}",
        f"begin@{seconds:%b%d-%H:%M:%S}",
        "singleton",
    ]


def test_in_a_format_what_is_not_there_is_blank():
    made = info(COMPLETED)
    assert f"{made.user.foo.bar:>5}|{made.annotations.nope}|{made.user.x:.2f}|" == "     |||"
    template = "{0.id.hex} {0.runtime:.3f} {0.exception.type}|{0.sched.resource_summary:<12}|"
    assert template.format(made) == "0x2c1000000 0.034 |rank0/core0 |"
    assert f"{info(HELD, dependencies=['a', 'b']).dependencies:>5}" == "  a,b"
    assert f"{info(HELD).annotations}|{made.annotations:>3}" == '|{"sched": {"resource_summary": "rank0/core0"}}'


# ---- names of states and results ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "long", "short"),
    [
        *((state.value, state.name, state.name[0]) for state in State),
        (14, "PENDING", "PD"),
        (48, "RUNNING", "RU"),
        (62, "ACTIVE", "A"),
    ],
)
def test_states_have_two_names_in_upper_and_lower_case(number: int, long: str, short: str):
    forms = [statetostr(number, form) for form in "LSls"]
    assert [statetostr(number), *forms] == [long, long, short, long.lower(), short.lower()]
    assert {strtostate(name) for name in forms} == {number}


@pytest.mark.parametrize(
    ("number", "long", "short"),
    [(1, "COMPLETED", "CD"), (2, "FAILED", "F"), (4, "CANCELED", "CA"), (8, "TIMEOUT", "TO")],
)
def test_results_have_two_names_in_upper_and_lower_case(number: int, long: str, short: str):
    forms = [resulttostr(number, form) for form in "LSls"]
    assert forms == [long, short, long.lower(), short.lower()]
    assert {strtoresult(name) for name in forms} == {number}
    assert (statustostr(64, number), statustostr(16, number, "S")) == (long, "R")


def test_what_is_no_state_result_or_form_is_said():
    assert resulttostr("") == ""
    for call, argument in (
        *((statetostr, 3), (resulttostr, 3)),
        *((strtostate, "run "), (strtostate, "Run"), (strtoresult, "")),
    ):
        with pytest.raises(ValueError, match=r"is no (state|result)"):
            call(argument)
    with pytest.raises(ValueError, match="'x' is no form of a name; there are L, S, l, s"):
        statetostr(1, "x")


def test_constants_are_those_of_flux():
    """As its headers say."""
    from jqsched import constants

    states = {"NEW": 1, "DEPEND": 2, "PRIORITY": 4, "SCHED": 8, "RUN": 16, "CLEANUP": 32, "INACTIVE": 64}
    virtual = {"PENDING": 14, "RUNNING": 48, "ACTIVE": 62}
    results = {"COMPLETED": 1, "FAILED": 2, "CANCELED": 4, "TIMEOUT": 8}
    assert {name: getattr(constants, f"FLUX_JOB_STATE_{name}") for name in {**states, **virtual}} == states | virtual
    assert {name: getattr(constants, f"FLUX_JOB_RESULT_{name}") for name in results} == results
    assert (constants.FLUX_NODEID_ANY, constants.FLUX_USERID_UNKNOWN) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert (constants.FLUX_RPC_STREAMING, constants.FLUX_RPC_NORESPONSE) == (2, 1)
