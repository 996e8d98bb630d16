"""How jobs and events are shown: the 36 keys, what is known when, the order of lists."""

import json
from random import Random

import pytest
from attrs import evolve

from jqsched.core import explain, order, queue
from jqsched.core.attributes import job_attributes
from jqsched.core.event import Event, advance
from jqsched.core.job import Job, JobException, Spec, State
from jqsched.core.policy import Limits
from jqsched.core.view import (
    INFO_KEYS,
    event_entry,
    job_info,
    list_key,
    notes_of,
    standing,
)
from tests.core.scheduler_driver import SchedulerDriver, a_file
from tests.core.test_admission import a_rule, limited, named

T_US = 1_795_247_114_859_576
SPEC = Spec(("true",), "true", "/tmp", env=(("SECRET", "x"),))
AS_CAPTURED = """
t_depend t_priority t_sched t_run t_cleanup t_inactive duration expiration name cwd queue project bank ntasks ncores
nnodes priority ranks nodelist success result waitstatus id t_submit t_remaining state username userid urgency runtime
status returncode dependencies jobid annotations exception
"""
FLUX_KEYS = AS_CAPTURED.split()

SUBMIT = ("submit", {"userid": 7, "urgency": 16, "flags": 0, "version": 1})
QUEUED = (SUBMIT, "validate", "depend", ("priority", {"priority": 16}))
STARTED = (*QUEUED, "alloc", "start")


def history(*facts, spec: Spec = SPEC, id_: int = 5) -> Job:
    job = None
    for n, fact in enumerate(facts):
        name, context = fact if isinstance(fact, tuple) else (fact, {})
        job = advance(job, Event(id_, T_US + n, name, context, spec if name == "submit" else None))
    assert job is not None
    return job


def finish(status: int) -> tuple:
    return (("finish", {"status": status}), "release", "free", "clean")


def exception(kind: str, severity: int = 0) -> tuple[str, dict]:
    return ("exception", {"type": kind, "severity": severity, "note": "why", "userid": 7})


def info(job: Job, now_us: int = T_US + 1_000_000) -> dict:
    return job_info(job, username="ann", now_us=now_us, reasons=["x"], hostname="vm")


def test_the_keys_are_flux_own_then_ours():
    assert [*FLUX_KEYS, "attempt", "reasons"] == list(info(history(SUBMIT))) == list(INFO_KEYS)


def test_a_completed_job():
    shown = info(history(*STARTED, *finish(0)))
    assert shown["t_submit"] == 1795247114.859576
    assert [shown[key] for key in ("state", "status", "result", "success")] == ["INACTIVE"] + ["COMPLETED"] * 2 + [True]
    assert [shown[key] for key in ("waitstatus", "returncode", "nnodes", "ranks", "nodelist")] == [0, 0, 1, "0", "vm"]
    assert shown["t_cleanup"] - shown["t_run"] == pytest.approx(shown["runtime"], abs=1e-6)
    assert shown["exception"] == {"occurred": False, "severity": None, "type": None, "note": None}
    assert (shown["id"], shown["jobid"], shown["username"], shown["userid"]) == (5, "5", "ann", 7)
    assert (shown["duration"], shown["t_inactive"]) == (0.0, (T_US + 9) / 1_000_000)
    assert json.loads(json.dumps(shown)) == shown


def test_a_pending_job_has_what_is_known():
    shown = info(history(*QUEUED))
    unknown = ["t_run", "t_cleanup", "t_inactive", "expiration", "nnodes", "ranks", "nodelist"]
    unknown += ["success", "result", "waitstatus", "returncode", "queue", "project", "bank"]
    assert {key for key, value in shown.items() if value is None} == set(unknown)
    assert (shown["state"], shown["status"], shown["priority"], shown["runtime"]) == ("SCHED", "SCHED", 16, 0.0)
    assert shown["exception"] == dict.fromkeys(("occurred", "severity", "type", "note"))
    assert shown["reasons"] == ["x"]
    assert info(history(*QUEUED, spec=evolve(SPEC, nodes=2, cores=2)))["nnodes"] == 2


@pytest.mark.parametrize(("cores", "summary"), [(1, "1 core"), (2, "2 cores")])
def test_what_a_job_got_is_in_its_annotations(cores, summary):
    """As soon as it got it."""
    spec = evolve(SPEC, cores=cores)
    assert info(history(*QUEUED, "alloc", spec=spec))["annotations"] == {"sched": {"resource_summary": summary}}
    assert info(history(*QUEUED, spec=spec))["annotations"] == {}


def test_before_the_first_priority_there_is_none():
    shown = info(history(SUBMIT, ("dependency-add", {"description": "after-success=9"}), "validate"))
    assert shown["priority"] is None
    assert shown["dependencies"] == ["after-success=9"]


def test_a_running_job_has_a_runtime_and_with_a_limit_an_end():
    job = history(*STARTED, spec=evolve(SPEC, time_limit_us=60_000_000))
    shown = info(job, now_us=job.t_start_us + 10_000_000)
    assert (shown["duration"], shown["t_remaining"]) == (60.0, 50.0)
    assert shown["expiration"] == (job.t_start_us + 60_000_000) / 1_000_000
    assert shown["runtime"] == 10.000001
    assert info(history(*STARTED))["expiration"] == 0.0


def test_no_time_is_negative():
    """Not after the limit, not when the clock was set back, and what does not run has no time left."""
    limited = evolve(SPEC, time_limit_us=60_000_000)
    job = history(*STARTED, spec=limited)
    assert info(job, now_us=job.t_start_us + 60_000_001)["t_remaining"] == 0.0
    assert info(job, now_us=job.t_run_us - 5)["runtime"] == 0.0
    assert info(history(*STARTED))["t_remaining"] == 0.0
    assert info(history(*STARTED, *finish(0), spec=limited))["t_remaining"] == 0.0


@pytest.mark.parametrize(
    ("facts", "result", "code"),
    [
        ((*STARTED, *finish(0)), "COMPLETED", 0),
        ((*STARTED, *finish(42 << 8)), "FAILED", 42),
        ((*STARTED, *finish((128 + 9) << 8)), "FAILED", 137),
        ((*STARTED, *finish(9)), "FAILED", -9),
        ((*STARTED, exception("cancel"), *finish(143 << 8)), "CANCELED", 143),
        ((*STARTED, exception("timeout"), *finish(142 << 8)), "TIMEOUT", 142),
        ((*STARTED, exception("note", 5), *finish(0)), "COMPLETED", 0),
        ((*QUEUED, exception("cancel"), "clean"), "CANCELED", -128),
        ((*QUEUED, exception("alloc"), "clean"), "FAILED", 1),
    ],
)
def test_how_a_job_ended(facts, result, code):
    shown = info(history(*facts))
    assert (shown["result"], shown["returncode"]) == (result, code)
    assert shown["exception"]["occurred"] == any(fact[0] == "exception" for fact in facts)


def test_why_a_job_ended():
    shown = info(history(*QUEUED, exception("cancel"), "clean"))
    assert shown["exception"] == {"occurred": True, "severity": 0, "type": "cancel", "note": "why"}


def test_accounting_comes_from_the_jobspec():
    jobspec = {"attributes": {"system": {"queue": "batch", "project": "p", "bank": "b"}}}
    shown = info(history(SUBMIT, spec=evolve(SPEC, jobspec=jobspec)))
    assert (shown["queue"], shown["project"], shown["bank"]) == ("batch", "p", "b")
    for less in ({"attributes": {"system": {}}}, {"attributes": {}}, {}):
        shown = info(history(SUBMIT, spec=evolve(SPEC, jobspec=less)))
        assert (shown["queue"], shown["project"], shown["bank"]) == (None, None, None)


# --- events ------------------------------------------------------------------------------------------------------


def test_an_event_entry_is_rfc_18_with_our_cursor():
    assert event_entry(9, Event(5, T_US, "validate")) == {
        "timestamp": 1795247114.859576,
        "name": "validate",
        "jobid": 5,
        "seq": 9,
    }
    assert event_entry(9, Event(5, T_US, "finish", {"status": 0}))["context"] == {"status": 0}


def test_submit_carries_the_jobspec_without_the_environment():
    entry = event_entry(1, Event(5, T_US, "submit", SUBMIT[1], SPEC))
    assert entry["jobspec"]["tasks"][0]["command"] == ["true"]
    assert "SECRET" not in json.dumps(entry)
    update = event_entry(1, Event(5, T_US, "jobspec-update", {"cores": 2}, SPEC))
    assert "jobspec" not in update


def test_alloc_carries_r():
    entry = event_entry(1, Event(5, T_US, "alloc"), evolve(SPEC, cores=4, time_limit_us=5_000_000), "vm")
    assert entry["R"] == {
        "version": 1,
        "execution": {
            "R_lite": [{"rank": "0", "children": {"core": "0-3"}}],
            "starttime": 1795247114.859576,
            "expiration": 1795247119.859576,
            "nslots": 1,
            "nodelist": ["vm"],
        },
    }
    execution = event_entry(1, Event(5, T_US, "alloc"), SPEC)["R"]["execution"]
    assert (execution["R_lite"], execution["expiration"]) == ([{"rank": "0", "children": {"core": "0"}}], 0)
    assert "R" not in event_entry(1, Event(5, T_US, "alloc"))
    assert "R" not in event_entry(1, Event(5, T_US, "start"), SPEC)


# --- order -------------------------------------------------------------------------------------------------------


def test_the_order_of_lists():
    base = history(*QUEUED)
    pending = [evolve(base, id=id_, priority=priority) for id_, priority in ((3, 16), (4, 16), (9, 1), (1, 0), (2, -1))]
    running = [evolve(base, id=id_, state=State.RUN, t_run_us=t_us) for id_, t_us in ((5, 20), (6, 10))]
    inactive = [
        evolve(base, id=id_, state=State.INACTIVE, t_inactive_us=t_us) for id_, t_us in ((8, 30), (10, 20), (7, 20))
    ]
    wanted = [*pending, *running, *inactive]
    shuffled = Random(1).sample(wanted, len(wanted))
    assert [job.id for job in sorted(shuffled, key=list_key)] == [job.id for job in wanted]


def test_reasons_are_the_same_from_a_standing_as_from_the_queue():
    base = history(*QUEUED)
    jobs = [evolve(base, id=id_, priority=id_ % 3) for id_ in range(1, 20)]
    jobs += [evolve(base, id=id_, state=State.RUN) for id_ in range(20, 23)]
    wait = ("dependency-add", {"description": "after-success=9"})
    jobs += [history(SUBMIT, wait, "validate", id_=30), history(*QUEUED, wait, id_=31)]
    whole = queue.load(jobs, seq=1, last_us=1, last_id=31)
    assert list(order.ascending(standing(jobs).ready)) == list(order.ascending(whole.ready))
    for limits in (Limits(3, 9), Limits(99, 99), Limits(4, 3), Limits(99, 99, draining=True)):
        for job in jobs:
            assert explain.reasons(explain.take_snapshot(standing(jobs), limits), job) == explain.reasons(
                explain.take_snapshot(whole, limits), job
            )


def test_a_standing_knows_rules_and_rate_limits():
    """Who is paused, who is limited, and who is through."""
    driver = SchedulerDriver(max_running=9, cores=9)
    driver.rule(a_rule("PAUSE", named("p"), uuid="p"), a_rule(["RATE_LIMIT", 1], named("l"), uuid="l"))
    driver.drop(*[a_file("l"), limited("1:x"), a_file("p"), a_file()] * 2)
    driver.start(1, 2, 4)
    jobs = list(queue.live(driver.queue.settled()))
    here = standing(jobs, driver.queue.rules)
    assert here.admission == queue.load(jobs, seq=1, last_us=1, last_id=8, rules=driver.queue.rules).admission
    snapshot = explain.take_snapshot(here, driver.limits)
    assert [explain.reasons(snapshot, driver.job(id_)) for id_ in (3, 5, 6)] == [
        ["rule p pauses it"],
        ["rule l limits it: 1 of 1 taken"],
        ["rate-limit:1:x: 1 of 1 taken"],
    ]


def test_an_exception_is_shown_only_at_the_end():
    job = evolve(history(*STARTED), exception=JobException("note", 5, "n"))
    assert info(job)["exception"]["occurred"] is None


def test_what_plugins_noted_is_merged_into_the_annotations():
    """In order, key by key; null removes one, a memo's keys are the user's. What is no object says nothing."""
    noted = [
        ("memo", {"who": "ann", "n": 1}),
        ("annotations", {"annotations": {"user": {"n": 2, "more": {"a": 1}}, "sched": {"queue": "q"}}}),
        ("alloc", {"annotations": {"sched": {"resource_summary": "7 cores"}}}),
        ("annotations", {"annotations": {"user": {"more": {"b": 2}, "who": None}}}),
        ("annotations", {"annotations": 5}),
        ("annotations", {}),
    ]
    notes = notes_of(Event(5, T_US + n, name, context) for n, (name, context) in enumerate(noted))
    assert notes == {"user": {"n": 2, "more": {"a": 1, "b": 2}}, "sched": {"queue": "q"}}
    running = job_info(history(*STARTED), username="ann", now_us=T_US, reasons=(), notes=notes)
    assert running["annotations"] == {**notes, "sched": {"resource_summary": "1 core", "queue": "q"}}
    pending = history(*QUEUED)
    assert job_attributes(pending, ("annotations",), notes=notes) == {"id": 5, "annotations": notes}
    assert job_attributes(pending, ("state",), notes=notes) == {"id": 5, "state": 8}
    assert job_attributes(pending, ("annotations",)) == {"id": 5}
