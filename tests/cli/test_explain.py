"""`jqsched explain`: every kind of reason for people and for programs, chains, and what has none."""

import json

import pytest

from jqsched.adapters.store.writer import SqliteStore
from jqsched.cli.formats import clock
from jqsched.core.explain import Why
from jqsched.core.filters import Action, Rule
from jqsched.core.job import ARROW, Reason
from jqsched.core.queue import EMPTY
from jqsched.ports import Attempt, Batch
from tests.cli.conftest import CANCELED, COMPLETED, QUEUED, STARTED, T0_US, FakeScheduler, SpoolMaker, failed
from tests.cli.test_filter import EVIL, is_named, keep_rules

HELD = (*QUEUED, ("urgency", {"urgency": 0, "userid": 0}), ("priority", {"priority": 0}))
DOCUMENT = ["schema", "id", "name", "state", "permitted", "ahead", "reasons", "starting", "chain"]


def waits(*descriptions: str) -> tuple:
    return (*[("dependency-add", {"description": text}) for text in descriptions], "validate")


def told(spool: SpoolMaker, id_: int) -> dict:
    """The document of a job; the text says the same reasons."""
    code, out, err = spool.run("explain", str(id_), "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["schema"] == "jqsched.explain/1"
    assert list(document) == DOCUMENT
    lines = text(spool, id_)
    for reason in document["reasons"]:
        assert list(reason) == ["kind", "text", "until", "jobs", "expected"]
        if reason["text"].isprintable():
            assert any(line.startswith(f"  {reason['text']}") for line in lines)
            assert f"    until {reason['until']}" in lines
    assert len([line for line in lines if line.startswith("    until ")]) == len(document["reasons"])
    return document


def text(spool: SpoolMaker, id_: int) -> list[str]:
    code, out, err = spool.run("explain", str(id_))
    assert (code, err) == (0, "")
    assert out.replace("\n", "").isprintable()
    return out.splitlines()


def limits(scheduler: FakeScheduler, **status: object) -> None:
    scheduler.answers["status"] = {**scheduler.answers["status"], **status}


@pytest.fixture
def roomy(scheduler: FakeScheduler) -> FakeScheduler:
    """A scheduler with nothing but room."""
    limits(scheduler, max_running=100, cores=100)
    return scheduler


def permit(spool: SpoolMaker, id_: int) -> None:
    store = SqliteStore(str(spool.root), lambda: None)
    store.start(lambda _: None)
    store.submit(Batch(EMPTY, spool.seq, attempts=(Attempt(id_, 1),)))
    store.close()


# ---- what has no reasons ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "state", "line"),
    [
        (COMPLETED, "INACTIVE", "job 1 (job1): COMPLETED"),
        (failed(3 << 8), "INACTIVE", "job 1 (job1): FAILED (exit 3)"),
        (CANCELED, "INACTIVE", "job 1 (job1): CANCELED (cancel: because)"),
        (STARTED, "RUN", "job 1 (job1): RUN"),
    ],
)
@pytest.mark.parametrize("served", [True, False])
def test_who_has_started_has_no_reasons(
    spool: SpoolMaker, request: pytest.FixtureRequest, facts: tuple, state: str, line: str, served: bool
):
    """With a scheduler and without, and whatever else is in the queue."""
    if served:
        request.getfixturevalue("scheduler")
    spool.add(*facts)
    spool.add(*QUEUED)
    keep_rules(spool, Rule("p", 0, 0, (), Action.PAUSE))
    document = told(spool, 1)
    assert text(spool, 1) == [line]
    assert (document["state"], document["permitted"]) == (state, False)
    assert (document["ahead"], document["reasons"], document["chain"]) == (None, [], [])


def test_who_may_start_with_the_next_pass(spool: SpoolMaker, roomy: FakeScheduler):
    spool.add(*QUEUED)
    assert text(spool, 1) == [
        "job 1 (job1): SCHED",
        "nothing is in its way: it starts with the next pass",
        "ahead of it: 0",
    ]
    assert told(spool, 1)["reasons"] == []


def test_who_has_been_handed_over(spool: SpoolMaker, scheduler: FakeScheduler):
    """Where there is a slot it may start at any moment."""
    limits(scheduler, max_running=2)
    spool.add(*STARTED)
    spool.add(*QUEUED)
    permit(spool, 2)
    assert text(spool, 2) == ["job 2 (job2): SCHED", "may start at any moment: it has been handed over"]
    document = told(spool, 2)
    assert (document["permitted"], document["reasons"]) == (True, [])


def test_who_has_been_handed_over_waits_for_a_slot(spool: SpoolMaker, scheduler: FakeScheduler):
    """As every other job does, and is ahead of those behind it."""
    limits(scheduler, max_running=1)
    spool.add(*STARTED)
    spool.add(*QUEUED)
    spool.add(*QUEUED)
    permit(spool, 2)
    assert text(spool, 2) == [
        "job 2 (job2): SCHED",
        "handed over: it starts as soon as there is room for it",
        "  slots: 1 of 1 taken",
        "    until job 1 is over, or more than 1 may run",
        "ahead of it: 0",
    ]
    documents = [told(spool, id_) for id_ in (2, 3)]
    assert [(document["permitted"], document["ahead"]) for document in documents] == [(True, 0), (False, 1)]


@pytest.mark.parametrize(
    "status",
    [None, {"max_running": 1}, {"max_running": 3}, {"stalled": "it is silent"}, {"drained": True}, {"log_full": True}],
    ids=["no scheduler", "no slot", "slots", "stalled", "drained", "log full"],
)
def test_all_commands_say_the_same(spool: SpoolMaker, request: pytest.FixtureRequest, status: dict | None):
    """Of each job: handed over or not, held, waiting, paused."""
    if status is not None:
        limits(request.getfixturevalue("scheduler"), **status)
    spool.add(*STARTED)
    spool.add(*QUEUED)
    spool.add(*QUEUED)
    spool.add(*HELD)
    spool.add(*waits("after-success=1"))
    permit(spool, 2)
    listed = {job["id"]: job["reasons"] for job in json.loads(spool.run("jobs", "--json")[1])["jobs"]}
    watched = {job["id"]: job["remark"] for job in json.loads(spool.run("top", "--json")[1])["jobs"]}
    assert set(listed) == {1, 2, 3, 4, 5}
    for id_, reasons in listed.items():
        assert [reason["text"] for reason in told(spool, id_)["reasons"]] == reasons
        assert json.loads(spool.run("show", str(id_), "--json")[1])["job"]["reasons"] == reasons
        if status is not None and id_ > 1:
            assert watched[id_] == "; ".join(reasons)


# ---- each kind of reason ------------------------------------------------------------------------------------------


def only_reason(spool: SpoolMaker, id_: int) -> dict:
    (reason,) = told(spool, id_)["reasons"]
    assert reason.pop("expected") is None  # only a reservation says when
    return reason


def test_a_dependency(spool: SpoolMaker, roomy: FakeScheduler):
    spool.add(*STARTED, name="first")
    spool.add(*waits(f"after-success=first{ARROW}1"), name="second")
    assert only_reason(spool, 2) == {
        "kind": "dependency",
        "text": f"dependency after-success=first{ARROW}1",
        "until": "job 1 (first) has ended well",
        "jobs": [1],
    }


def test_a_hold(spool: SpoolMaker, roomy: FakeScheduler):
    spool.add(*HELD)
    assert only_reason(spool, 1) == {
        "kind": "held",
        "text": "held (urgency 0)",
        "until": "it is released (`jqsched release 1`)",
        "jobs": [],
    }


def test_a_drained_queue(spool: SpoolMaker, roomy: FakeScheduler):
    limits(roomy, drained=True)
    spool.add(*QUEUED)
    reason = only_reason(spool, 1)
    assert (reason["kind"], reason["text"]) == ("drained", "the queue is drained")
    assert "jqsched resume" in reason["until"]


def test_no_slot(spool: SpoolMaker, roomy: FakeScheduler):
    limits(roomy, max_running=1)
    spool.add(*STARTED)
    spool.add(*QUEUED)
    spool.add(*QUEUED)
    assert only_reason(spool, 2) == {
        "kind": "slots",
        "text": "slots: 1 of 1 taken",
        "until": "job 1 is over, or more than 1 may run",
        "jobs": [1],
    }
    assert [told(spool, id_)["ahead"] for id_ in (2, 3)] == [0, 1]
    assert text(spool, 3)[-1] == "ahead of it: 1"


def test_no_cores(spool: SpoolMaker, roomy: FakeScheduler):
    """And who stands behind the one that waits for them."""
    limits(roomy, cores=4)
    spool.add(*STARTED, cores=3)
    spool.add(*QUEUED, cores=2)
    spool.add(*QUEUED)
    reason = only_reason(spool, 2)
    assert (reason["kind"], reason["text"], reason["jobs"]) == ("cores", "cores: 2 wanted, 1 of 4 free", [1])
    assert only_reason(spool, 3)["text"] == "cores: job 2 is ahead of it and waits for 2"


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (Rule("0123456789", 0, 0, (is_named("b"),), Action.PAUSE, note="until noon"), "pauses it"),
        (Rule("0123456789", 0, 0, (is_named("b"),), Action.REJECT, note="until noon"), "rejects it"),
    ],
)
def test_a_rule_that_stops_it(spool: SpoolMaker, roomy: FakeScheduler, rule: Rule, says: str):
    """What lifts it is the command that removes it."""
    spool.add(*QUEUED, name="a")
    spool.add(*QUEUED, name="b")
    keep_rules(spool, rule)
    assert told(spool, 1)["reasons"] == []
    assert only_reason(spool, 2) == {
        "kind": "rule",
        "text": f"rule 01234567 (until noon) {says}",
        "until": "the rule is gone (`jqsched filter remove 01234567`)",
        "jobs": [],
    }


def test_a_rule_that_limits_it(spool: SpoolMaker, roomy: FakeScheduler):
    """It names who is through, who ran before the rule was made too; and who was handed over is ahead."""
    spool.add(*STARTED)
    for _ in range(3):
        spool.add(*QUEUED)
    permit(spool, 2)
    keep_rules(spool, Rule("r", 9, 0, (), Action.RATE_LIMIT, 2))
    assert only_reason(spool, 3) == {
        "kind": "rule",
        "text": "rule r limits it: 1 of 2 taken, 1 ahead of it",
        "until": "those ahead of it are over, or the rule is gone (`jqsched filter remove r`)",
        "jobs": [1],
    }


def test_a_bucket(spool: SpoolMaker, roomy: FakeScheduler):
    """Its label cannot act on a terminal."""
    reasons = (Reason("me", f"rate-limit:1:{EVIL}"),)
    spool.add(*STARTED, reasons=reasons)
    spool.add(*QUEUED, reasons=reasons)
    reason = only_reason(spool, 2)
    assert reason == {
        "kind": "rate-limit",
        "text": f"rate-limit:1:{EVIL}: 1 of 1 taken",
        "until": "job 1 is over",
        "jobs": [1],
    }
    assert "  rate-limit:1:\\x1b[31mred\\u202e\\x9b2J\\n\\tx: 1 of 1 taken" in text(spool, 2)


def test_without_a_scheduler(spool: SpoolMaker):
    """Slots and cores cannot be counted; rules and holds are told all the same."""
    for _ in range(3):
        spool.add(*STARTED, cores=50)
    spool.add(*HELD, name="b")
    keep_rules(spool, Rule("p", 0, 0, (is_named("b"),), Action.PAUSE))
    reasons = told(spool, 4)["reasons"]
    assert [reason["kind"] for reason in reasons] == ["held", "rule", "unserved"]
    assert reasons[-1]["text"] == "no scheduler serves this spool"
    assert reasons[-1]["until"] == "`jqsched run` is started"


def test_all_reasons_at_once(spool: SpoolMaker, scheduler: FakeScheduler):
    """There is no kind but these, those of all jobs, and those of backfill, changes under way, and plugins."""
    limits(scheduler, max_running=1, cores=1, drained=True, stalled="it is silent", log_full=True)
    bucket = (Reason("me", "rate-limit:1:x"),)
    spool.add(*STARTED, reasons=bucket)
    spool.add(*waits("after-success=1"), ("urgency", {"urgency": 0, "userid": 0}), name="b", reasons=bucket)
    keep_rules(spool, Rule("p", 0, 0, (is_named("b"),), Action.PAUSE))
    kinds = [reason["kind"] for reason in told(spool, 2)["reasons"]]
    assert kinds == ["dependency", "held", "drained", "rule", "rate-limit", "slots", "cores", "stalled", "log-full"]
    assert {*kinds, "array", "changing", "priority", "reservation", "retry", "unserved"} == {why.value for why in Why}


def test_a_running_job_whose_process_hangs_at_its_start(spool: SpoolMaker, scheduler: FakeScheduler):
    """`explain`, `show` and `status` name what it does; of other jobs nothing is said, nor of a path what it says."""
    spool.add(*STARTED)
    spool.add(*STARTED)
    limits(scheduler, starting=[{"id": 1, "step": "chdir /mnt/\x1b[31mx", "since": 0.5}])
    assert told(spool, 1)["starting"].endswith(" s: chdir /mnt/\x1b[31mx")
    assert told(spool, 2)["starting"] is None
    line = text(spool, 1)[-1]
    assert line.startswith("  starting for ")
    assert line.endswith(" s: chdir /mnt/\\x1b[31mx")
    assert f"reason       {line[2:20]}" in spool.run("show", "1")[1]
    assert "starting" not in spool.run("show", "2")[1]
    assert f"starting   job 1, {line[2:20]}" in spool.run("status")[1]
    document = json.loads(spool.run("status", "--json")[1])
    assert document["scheduler"]["starting"] == [{"id": 1, "step": "chdir /mnt/\x1b[31mx", "since": 0.5}]


# ---- chains -------------------------------------------------------------------------------------------------------


def test_a_chain_is_told_with_the_reasons_of_each(spool: SpoolMaker, roomy: FakeScheduler):
    """In the order in which they are waited for; a note of a rule among them is escaped."""
    spool.add(*QUEUED, name="fetch")
    spool.add(*waits("after-success=1"), name="build")
    spool.add(*waits("after-success=2"), name="test")
    keep_rules(spool, Rule("p", 0, 0, (is_named("fetch"),), Action.PAUSE, note=EVIL))
    document = told(spool, 3)
    assert [(link["depth"], link["id"], link["name"], link["state"]) for link in document["chain"]] == [
        (1, 2, "build", "DEPEND"),
        (2, 1, "fetch", "SCHED"),
    ]
    assert [reason["kind"] for link in document["chain"] for reason in link["reasons"]] == ["dependency", "rule"]
    lines = text(spool, 3)
    assert lines[-3] == "it waits for"
    assert lines[-2].startswith("  2 build DEPEND: dependency after-success=1")
    assert lines[-1] == "    1 fetch SCHED: rule p (\\x1b[31mred\\u202e\\x9b2J\\n\\tx) pauses it"


def test_a_long_chain_is_told_up_to_a_hundred(spool: SpoolMaker, roomy: FakeScheduler):
    spool.add(*STARTED)
    for antecedent in range(1, 130):
        spool.add(*waits(f"after-success={antecedent}"))
    chain = told(spool, 130)["chain"]
    assert [link["id"] for link in chain] == list(range(129, 29, -1))


# ---- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("json_", [[], ["--json"]])
@pytest.mark.parametrize(
    ("arguments", "code"), [(["17"], 4), (["x"], 4), ([EVIL], 2), ([], 2), (["1", "2"], 2), (["9" * 5_000], 2)]
)
def test_what_is_refused(spool: SpoolMaker, arguments: list[str], code: int, json_: list[str]):
    """One line, nothing on stdout."""
    spool.add(*QUEUED)
    got, out, err = spool.run("explain", *json_, *arguments)
    assert (got, out) == (code, "")
    assert err.startswith("jqsched: ")
    assert err.endswith("\n")
    assert err[:-1].isprintable()
    assert "internal error" not in err


def test_an_id_may_be_written_as_in_rfc_19(spool: SpoolMaker, roomy: FakeScheduler):
    spool.add(*QUEUED)
    assert spool.run("explain", "ƒ2")[1].startswith("job 1 ")


def test_a_spool_in_which_nothing_was_dropped(spool: SpoolMaker):
    assert spool.run("explain", "1")[0] == 4


def test_a_job_that_would_delay_another(spool: SpoolMaker, roomy: FakeScheduler):
    """With backfill a reservation is named, and for when."""
    limits(roomy, max_running=9, cores=4, backfill={"depth": 1000, "grace_us": 0})
    spool.add(*STARTED, cores=3, time_limit_us=10**15)
    spool.add(*QUEUED, cores=4)
    spool.add(*QUEUED, cores=1)
    (reason,) = told(spool, 3)["reasons"]
    assert (reason["kind"], reason["text"], reason["jobs"]) == ("reservation", "would delay job 2", [2])
    (holders,) = told(spool, 2)["reasons"]
    assert reason["expected"] == holders["expected"] == pytest.approx((T0_US + 10**15) / 10**6, abs=60)
    assert f"would delay job 2, reserved for {clock(round(reason['expected'] * 10**6))}" in "\n".join(text(spool, 3))
