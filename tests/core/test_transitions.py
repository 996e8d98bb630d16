"""The table of events: each one in each state, allowed with its effect or refused. Source: RFC 21."""

import pytest
from attrs import asdict, evolve

from jqsched.core.event import TRANSITIONS, Event, IllegalEvent, advance
from jqsched.core.job import Job, JobException, Spec, State

N, D, P, S, R, C, I = State  # the letters that Flux shows
SPEC = Spec(command=("true",), name="a", cwd="/")
CONTEXTS = {
    "dependency-add": {"description": "after-success=1"},
    "dependency-remove": {"description": "after-success=1"},
    "priority": {"priority": 16},
    "urgency": {"userid": 0, "urgency": 20},
    "finish": {"status": 0},
    "exception": {"type": "cancel", "severity": 0, "note": "", "userid": 0},
    "requeue": {"attempt": 2},
}

# What is allowed, and where it leads; what is not here is refused. Written from RFC 21, not from the code.
LEADS_TO = {
    "validate": {N: D},
    "dependency-add": {N: N, D: D, P: D, S: D},
    "dependency-remove": {N: N, D: D},
    "depend": {D: P},
    "priority": {D: D, P: S, S: S},
    "urgency": {D: D, P: P, S: P},
    "jobspec-update": {N: N, D: D, P: P, S: P, R: R},
    "alloc": {S: R},
    "start": {R: R, C: C},
    "finish": {R: C, C: C},
    "exception": {D: C, P: C, S: C, R: C, C: C},
    "release": {R: R, C: C},
    "free": {R: R, C: C},
    "requeue": {R: P},
    "clean": {C: I},
    "memo": {N: N, D: D, P: P, S: S, R: R, C: C},
    "submit": {D: D, P: P, S: S, R: R, C: C},
}
REMARK = {"type": "remark", "severity": 4, "note": "", "userid": 0}


def event(name: str) -> Event:
    return Event(1, 7, name, CONTEXTS.get(name, {}), SPEC if name == "jobspec-update" else None)


def a_job(state: State) -> Job:
    return Job(id=1, spec=SPEC, userid=0, state=state, waits=("after-success=1",) if state is D else ())


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
@pytest.mark.parametrize("name", [name for name in LEADS_TO if name != "submit"])
def test_each_event_in_each_state(name, state):
    """It leads where RFC 21 says, or is refused."""
    leads_to = LEADS_TO[name].get(state)
    if leads_to is None:
        with pytest.raises(IllegalEvent, match=state.name):
            advance(a_job(state), event(name))
    else:
        assert advance(a_job(state), event(name)).state is leads_to


@pytest.mark.parametrize("state", [state for state in State if state is not I], ids=lambda state: state.name)
def test_an_exception_that_is_not_fatal_changes_no_state(state):
    """Also of a job that is being submitted, which a fatal one cannot end."""
    assert advance(a_job(state), Event(1, 7, "exception", REMARK)).state is state


def test_the_table_is_complete():
    """No event that the code knows is missing here."""
    assert set(TRANSITIONS) <= set(LEADS_TO)


@pytest.mark.parametrize("name", [*LEADS_TO, "invalidate"])
def test_submit_comes_first(name):
    """Before it there is no job, whatever the event."""
    if name == "submit":
        made = advance(None, Event(1, 7, "submit", {"userid": 3, "urgency": 5}, SPEC))
        assert (made.state, made.userid, made.urgency, made.t_submit_us) == (N, 3, 5, 7)
    else:
        with pytest.raises(IllegalEvent, match="before submit"):
            advance(None, event(name))


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_invalidate_erases_a_new_job_only(state):
    """Later it is a word like any other, and nothing at all may be said of a finished job."""
    if state is N:
        assert advance(a_job(state), event("invalidate")) is None
    elif state is I:
        with pytest.raises(IllegalEvent):
            advance(a_job(state), event("invalidate"))
    else:
        assert advance(a_job(state), event("invalidate")) == a_job(state)


@pytest.mark.parametrize("severity", range(1, 8))
@pytest.mark.parametrize("state", [D, P, S, R, C], ids=lambda state: state.name)
def test_only_severity_0_moves_a_job(state, severity):
    """All others are logged."""
    context = {"type": "edit", "severity": severity, "note": "no", "userid": 0}
    after = advance(a_job(state), Event(1, 7, "exception", context))
    assert (after.state, after.fatal, after.requeuing) == (state, False, False)


@pytest.mark.parametrize("state", [D, P, S, R, C], ids=lambda state: state.name)
def test_only_what_runs_can_be_asked_to_run_again(state):
    context = {"type": "requeue", "severity": 2, "note": "", "userid": 0}
    assert advance(a_job(state), Event(1, 7, "exception", context)).requeuing is (state is R)


def test_the_first_fatal_exception_is_the_cause():
    """A second one, after the end has begun, changes nothing of the result; what was logged before it is not shown."""
    job = a_job(R)
    for kind, severity in (("edit", 5), ("timeout", 0), ("cancel", 0)):
        context = {"type": kind, "severity": severity, "note": kind, "userid": 0}
        job = advance(job, Event(1, 7, "exception", context))
    ended = advance(job, Event(1, 9, "clean"))
    assert (ended.exception.type, ended.result.name) == ("timeout", "TIMEOUT")


def test_a_pin_is_kept_while_the_job_waits():
    """It takes effect with the first priority; an edit may take it back."""
    pinned = advance(a_job(D), Event(1, 7, "priority", {"pin": 9}))
    assert (pinned.state, pinned.pin) == (D, 9)
    assert advance(pinned, Event(1, 7, "priority", {"pin": None})).pin is None


def test_the_urgency_before_a_hold_is_remembered():
    """However often the job is held."""
    job = a_job(S)
    for urgency in (20, 0, 0):
        job = advance(job, Event(1, 7, "urgency", {"userid": 0, "urgency": urgency}))
    assert (job.urgency, job.urgency_before) == (0, 20)


def test_a_fatal_exception_says_why_and_when_and_ends_all_waiting():
    told = {"type": "cancel", "severity": 0, "note": "enough", "userid": 0}
    after = advance(a_job(D), Event(1, 7, "exception", told))
    assert (after.exception, after.t_cleanup_us, after.waits) == (JobException("cancel", 0, "enough"), 7, ())


TIMES = {
    "validate": (N, "t_depend_us"),
    "depend": (D, "t_priority_us"),
    "priority": (P, "t_sched_us"),
    "alloc": (S, "t_run_us"),
    "start": (R, "t_start_us"),
    "finish": (R, "t_cleanup_us"),
    "clean": (C, "t_inactive_us"),
}


@pytest.mark.parametrize("name", TIMES)
def test_the_time_of_each_step_is_kept(name):
    """And no other time is touched."""
    state, time = TIMES[name]
    before, after = (asdict(job) for job in (a_job(state), advance(a_job(state), event(name))))
    assert {key: after[key] for key in after if key.startswith("t_") and after[key] != before[key]} == {time: 7}


@pytest.mark.parametrize(
    ("job", "name", "bug"),
    [
        (None, "submit", "a submit event carries the spec"),
        (a_job(S), "jobspec-update", "a jobspec-update event carries the new spec"),
    ],
    ids=["submit", "jobspec-update"],
)
def test_a_spec_that_is_not_there_is_a_bug_of_ours(job, name, bug):
    with pytest.raises(AssertionError, match=f"^{bug}$"):
        advance(job, Event(1, 7, name, {"userid": 0, "urgency": 16}))


def test_requeue_clears_the_attempt():
    """The next attempt has no status and no times of the last."""
    job = evolve(a_job(R), t_run_us=5, t_start_us=6, t_cleanup_us=7, requeuing=True, status=1, t_sched_us=4)
    after = advance(job, event("requeue"))
    assert (after.attempt, after.status, after.t_run_us, after.t_start_us, after.t_cleanup_us) == (2, None, 0, 0, 0)
    assert not after.requeuing
    assert after.t_sched_us == 4


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("urgency", {}),
        ("urgency", {"urgency": True}),
        ("urgency", {"urgency": "16"}),
        ("priority", {"priority": None}),
        ("exception", {"severity": 0, "type": 3, "note": ""}),
    ],
)
def test_a_bad_context_is_refused(name, context):
    """What is missing, or of the wrong type, never becomes part of a job."""
    with pytest.raises(IllegalEvent, match=r"no (integer|string)"):
        advance(a_job(S), Event(1, 7, name, context))
