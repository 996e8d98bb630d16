"""Commands that change something: what is asked, what is printed, and the exit codes of every answer."""

import contextlib
import errno
import json
import sqlite3
import time

import pytest

from jqsched.cli import control
from jqsched.cli import wait as waiting
from tests.cli.conftest import CANCELED, COMPLETED, QUEUED, STARTED, TIMED_OUT, FakeScheduler, SpoolMaker, failed

# --- submit ------------------------------------------------------------------------------------------------------


def test_submit_prints_the_id_and_nothing_else(spool: SpoolMaker, scheduler: FakeScheduler, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scheduler.answers["submit"] = {"id": 17}
    assert spool.run("submit", "--env-none", "--", "echo", "--spool", "-x") == (0, "17\n", "")
    ((topic, payload),) = scheduler.asked
    assert topic == "submit"
    assert json.loads(payload["text"]) == {"command": ["echo", "--spool", "-x"], "cwd": str(tmp_path)}


def test_submit_hands_over_every_option(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["submit"] = {"id": 1}
    options = "--name n --urgency 20 --priority 7 --after 3 --after build --cores 2 --time-limit 10m --cwd /x"
    options += " --env-none --env A=1 --env B=x=y --output o --error e --on-interrupt fail"
    assert spool.run("submit", *options.split(), "true", "-v")[0] == 0
    assert json.loads(scheduler.asked[0][1]["text"]) == {
        "command": ["true", "-v"],
        "cwd": "/x",
        "name": "n",
        "urgency": 20,
        "priority": 7,
        "cores": 2,
        "output": "o",
        "error": "e",
        "on_interrupt": "fail",
        "after": ["3", "build"],
        "time_limit": "10m",
        "env": {"A": "1", "B": "x=y"},
    }


def test_submit_says_all_that_a_job_file_can_say(spool: SpoolMaker, scheduler: FakeScheduler):
    """Each option that has a grammar of its own, as the job file has it."""
    scheduler.answers["submit"] = {"id": 1}
    options = (
        *("--after", "3,build", "--after", "last one", "--dependency", "afterany:17", "--dependency", "singleton"),
        *("--dependency", "afterok:a:b?next=true", "--retries", "max=2,delay=10s,factor=1.5,on=75,on=signal"),
        *("--reason", "nightly", "--reason", "x", "--begin-time", "2030-01-01T00:00:00Z", "--hold", "--input", "in"),
    )
    assert spool.run("submit", "--env-none", *options, "--shell", "make | tee log")[0] == 0
    entries = json.loads(scheduler.asked[0][1]["text"])
    assert entries.pop("cwd")
    assert entries == {
        "script": "make | tee log",
        "name": "make",
        "after": ["3", "build", "last one"],
        "dependencies": [
            {"scheme": "afterany", "value": "17"},
            {"scheme": "singleton"},
            {"scheme": "afterok", "value": "a:b", "next": True},
        ],
        "retries": {"max": 2, "delay": "10s", "factor": 1.5, "on": [75, "signal"]},
        "reason": ["nightly", "x"],
        "begin_time": 1_893_456_000.0,
        "urgency": 0,
        "input": "in",
    }


def test_a_begin_time_may_be_so_long_from_now(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["submit"] = {"id": 1}
    before_s = time.time()
    assert spool.run("submit", "--env-none", "--begin-time", "+1:00:00", "true")[0] == 0
    assert before_s + 3600 <= json.loads(scheduler.asked[0][1]["text"])["begin_time"] + 1e-6 <= time.time() + 3601


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--retries", "many", "true"], "--retries: must be a number, or max=…"),
        (["--retries", "max=1,max=2", "true"], "each once"),
        (["--after", "a,,b", "true"], "--after: must be one word"),
        (["--begin-time", "soon", "true"], "time must be seconds since 1970"),
        (["--begin-time", "+soon", "true"], "duration must be seconds"),
        (["--hold", "--urgency", "3", "true"], "not together"),
        (["make test"], "leave out the quotes, or say --shell"),
        (["ls | wc"], "'ls | wc' is one word"),
    ],
)
def test_what_cannot_be_meant_is_2_with_a_line(spool: SpoolMaker, arguments: list[str], said: str):
    code, out, err = spool.run("submit", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_one_word_that_is_a_program_is_run(spool: SpoolMaker, tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Though it has a blank in its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my program").touch()
    assert spool.run("submit", "my program")[:2] == (0, "1\n")


def test_what_a_job_waits_for_is_said_at_once(spool: SpoolMaker):
    """A name that no job has; the id is printed all the same."""
    code, out, err = spool.run("submit", "--after", "nobody", "true")
    assert (code, out) == (0, "1\n")
    assert err == "jqsched: submit: job 1 waits for 'nobody', and no job of yours has that name yet\n"
    assert spool.run("submit", "--after", "1", "--dependency", "afterany:true", "true") == (0, "2\n", "")


def test_more_cores_than_there_are_is_3_and_the_id(spool: SpoolMaker, scheduler: FakeScheduler):
    job = spool.add(*QUEUED, cores=64).id
    scheduler.answers["submit"] = {"id": job}
    code, out, err = spool.run("submit", "--cores", "64", "true")
    assert (code, out) == (3, f"{job}\n")
    assert f"job {job} asks for 64 cores, and this scheduler has" in err


@pytest.mark.parametrize(("word", "wanted"), [("90", "90"), ("1_0", "1_0"), ("10m", "10m"), ("soon", "soon")])
def test_a_time_limit_is_for_the_reader_of_job_files(word: str, wanted: object):
    given = control.Submission({"command": ["true"]}, {"time_limit": word})
    assert json.loads(control.job_text(given, {}))["time_limit"] == wanted


def test_submit_as_json(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["submit"] = {"id": 17}
    assert json.loads(spool.run("submit", "--json", "true")[1]) == {"schema": "jqsched.submit/1", "id": 17}


def test_a_rejected_job_is_3_with_every_error(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["submit"] = OSError(errno.EINVAL, "name: bad\nurgency: bad")
    assert spool.run("submit", "true") == (3, "", "jqsched: submit: name: bad\njqsched: submit: urgency: bad\n")


def test_bytes_that_are_no_text_are_refused(spool: SpoolMaker):
    code, out, err = spool.run("submit", "echo", "\udcff")
    assert (code, out) == (3, "")
    assert "UTF-8" in err


def test_without_a_scheduler_it_is_done_all_the_same(spool: SpoolMaker):
    code, out, err = spool.run("submit", "--name", "x", "true")
    assert (code, out, err) == (0, "1\n", "")
    assert spool.run("jobs", "--format", "{id} {name} {state}")[1] == "1 x SCHED\n"
    assert spool.run("cancel", "1") == (0, "", "jqsched: job 1: canceled before it started\n")
    assert spool.run("jobs", "-a", "--format", "{id} {result}")[1] == "1 CANCELED\n"


def test_a_spool_in_use_without_a_socket_is_8(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    from jqsched.runtime import Role, spool_lock

    monkeypatch.setattr(control, "LOCK_PATIENCE_S", 0.0)
    with spool_lock(str(spool.root), Role.SCHEDULER, lambda *_: False):
        code, out, err = spool.run("submit", "true")
    assert (code, out) == (8, "")
    assert "in use" in err


# --- changes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "answer", "asked", "said"),
    [
        (["cancel", "3"], {"outcome": "dequeued"}, ("cancel", {"id": 3, "note": ""}), "canceled before"),
        (["cancel", "3", "-m", "x"], {"outcome": "stopping"}, ("cancel", {"id": 3, "note": "x"}), "being stopped"),
        (["hold", "3"], {"outcome": "changed"}, ("hold", {"id": 3}), "held"),
        (["release", "3"], {"outcome": "changed"}, ("release", {"id": 3}), "released"),
        (
            ["urgency", "3", "20"],
            {"outcome": "changed", "old_urgency": 16},
            ("urgency", {"id": 3, "urgency": 20}),
            "16 → 20",
        ),
        (["priority", "3", "9"], {"outcome": "changed"}, ("priority", {"id": 3, "priority": 9}), "9 now"),
        (["priority", "3", "auto"], {"outcome": "changed"}, ("priority", {"id": 3, "priority": None}), "computed"),
        (["kill", "3"], {}, ("kill", {"id": 3, "signum": 15}), "SIGTERM sent"),
        (["kill", "3", "-s", "usr1"], {}, ("kill", {"id": 3, "signum": 10}), "SIGUSR1 sent"),
        (["kill", "3", "-s", "SIGHUP"], {}, ("kill", {"id": 3, "signum": 1}), "SIGHUP sent"),
        (["kill", "3", "-s", "9"], {}, ("kill", {"id": 3, "signum": 9}), "SIGKILL sent"),
        (["kill", "3", "-s", "40"], {}, ("kill", {"id": 3, "signum": 40}), "signal 40 sent"),
        (["raise", "3"], {"outcome": "stopping"}, ("cancel", {"id": 3, "note": ""}), "being stopped"),
        (
            ["raise", "3", "-t", "odd", "-m", "x"],
            {"outcome": "changed"},
            ("raise", {"id": 3, "type": "odd", "severity": 0, "note": "x"}),
            "being stopped",
        ),
        (
            ["raise", "3", "-t", "odd"],
            {"outcome": "dequeued"},
            ("raise", {"id": 3, "type": "odd", "severity": 0, "note": ""}),
            "ended before it started",
        ),
        (
            ["raise", "3", "-s", "7"],
            {"outcome": "changed"},
            ("raise", {"id": 3, "type": "cancel", "severity": 7, "note": ""}),
            "exception cancel is noted",
        ),
        (["requeue", "3"], {"outcome": "stopping"}, ("requeue", {"id": 3}), "stopped"),
        (["requeue", "3"], {"outcome": "queued"}, ("requeue", {"id": 3}), "queued already"),
    ],
)
def test_what_is_asked_and_said(spool: SpoolMaker, scheduler: FakeScheduler, arguments, answer, asked, said):
    scheduler.answers[asked[0]] = answer
    code, out, err = spool.run(*arguments)
    assert (code, out) == (0, "")
    assert scheduler.asked == [asked]
    assert err.startswith("jqsched: job 3: ")
    assert said in err


def test_a_signal_to_a_job_that_does_not_run_is_5(spool: SpoolMaker, scheduler: FakeScheduler):
    """The scheduler's EINVAL: the signal itself is known to be one."""
    scheduler.answers["kill"] = OSError(errno.EINVAL, "job is not running")
    assert spool.run("kill", "3") == (
        5,
        "",
        "jqsched: job 3: job is not running (`jqsched cancel` ends a queued one)\n",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["kill", "1", "-s", "USR9"],
        ["kill", "1", "-s", "0"],
        ["kill", "1", "-s", "-1"],
        ["kill", "1", "-s", "²"],
        ["kill", "1", "-s", "99999999999999999999"],
        ["raise", "1", "-t", ""],
        ["raise", "1", "-t", "a b"],
        ["raise", "1", "-t", "a=b"],
        ["raise", "1", "-s", "8"],
        ["raise", "1", "-s", "-1"],
    ],
)
def test_what_is_no_signal_or_exception_is_asked_of_nobody(
    spool: SpoolMaker, scheduler: FakeScheduler, arguments: list[str]
):
    code, out, err = spool.run(*arguments)
    assert (code, out, scheduler.asked) == (2, "", [])
    assert err.count("\n") == 1


def test_without_a_scheduler_a_queued_job_is_raised_an_exception_on(spool: SpoolMaker):
    assert spool.run("submit", "--name", "x", "true")[0] == 0
    assert spool.run("raise", "1", "-t", "odd", "-s", "2") == (0, "", "jqsched: job 1: exception odd is noted\n")
    assert spool.run("raise", "1", "-t", "odd") == (0, "", "jqsched: job 1: ended before it started\n")
    assert spool.run("jobs", "-a", "--format", "{id} {result}")[1] == "1 FAILED\n"
    assert spool.run("raise", "1")[0] == 5
    assert spool.run("kill", "1")[0] == 5


def test_a_requeued_job_that_is_held_is_said(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["requeue"] = {"outcome": "resubmitted", "id": 9, "held": True}
    assert "held as it was (`jqsched release 9`)" in spool.run("requeue", "3")[2]


def test_a_requeued_finished_jobs_new_id_is_data(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["requeue"] = {"outcome": "resubmitted", "id": 9}
    code, out, _ = spool.run("requeue", "3")
    assert (code, out) == (0, "9\n")


@pytest.mark.parametrize(
    ("errnum", "code"),
    [
        (errno.ENOENT, 4),
        (errno.EBUSY, 5),
        (errno.EALREADY, 5),
        (errno.EHOSTDOWN, 6),
        (errno.ENOTCONN, 6),
        (errno.EINVAL, 2),
        (errno.EPERM, 1),
        (errno.ENOSYS, 1),
    ],
)
def test_the_exit_code_of_each_refusal(spool: SpoolMaker, scheduler: FakeScheduler, errnum: int, code: int):
    scheduler.answers["urgency"] = OSError(errnum, "no")
    got, out, err = spool.run("urgency", "3", "5")
    assert (got, out) == (code, "")
    assert err.startswith("jqsched: job 3: no")


def test_each_of_several_jobs_is_answered_for(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["cancel"] = [
        OSError(errno.ENOENT, "unknown job id"),
        {"outcome": "dequeued"},
        OSError(errno.EALREADY, "job is finished"),
    ]
    code, _, err = spool.run("cancel", "1", "2", "3", "2")
    assert code == 5
    assert [line.split(":")[1] for line in err.splitlines()] == [" job 1", " job 2", " job 3"]


@pytest.mark.parametrize("topic", ["stop-starts", "resume"])
def test_drain_and_resume(spool: SpoolMaker, scheduler: FakeScheduler, topic: str):
    scheduler.answers[topic] = {}
    code, out, err = spool.run("drain" if topic == "stop-starts" else topic)
    assert (code, out, scheduler.asked) == (0, "", [(topic, {})])
    assert "started" in err


def test_purge(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["purge"] = {"purged": 2}
    assert spool.run("purge", "1", "2") == (0, "", "jqsched: purged 2 job(s)\n")
    assert scheduler.asked[0][1] == {"ids": [1, 2]}
    assert spool.run("purge", "--older-than", "1d")[0] == 0
    assert list(scheduler.asked[1][1]) == ["before_us"]
    assert time.time_ns() // 1000 - scheduler.asked[1][1]["before_us"] == pytest.approx(86_400_000_000, 1e-2)


def test_purge_of_ids_that_are_old_enough(spool: SpoolMaker, scheduler: FakeScheduler):
    """Ids and age add up; one that is unknown is for the scheduler to refuse."""
    scheduler.answers["purge"] = {"purged": 1}
    spool.add(*COMPLETED)
    spool.t_us = time.time_ns() // 1000
    spool.add(*COMPLETED)
    spool.run("purge", "1", "2", "9", "--older-than", "1h")
    assert scheduler.asked[0][1] == {"ids": [1, 9]}
    assert spool.run("purge", "2", "--older-than", "1h") == (0, "", "jqsched: purged 0 job(s)\n")
    assert len(scheduler.asked) == 1


def test_a_scheduler_that_does_not_answer_is_said(spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch):
    monkeypatch.setattr(control, "ANSWER_TIMEOUT_S", 0.05)
    scheduler.answers["stop-starts"] = lambda request: None
    code, _, err = spool.run("drain")
    assert code == 1
    assert "does not answer" in err


# --- wait --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "status", "told"),
    [
        (COMPLETED, 0, ""),
        (failed(42 << 8), 42, "FAILED (exit 42)"),
        (failed((128 + 15) << 8), 143, "FAILED (signal 15)"),
        (TIMED_OUT, 124, "TIMEOUT (timeout: resource allocation expired)"),
        (CANCELED, 125, "CANCELED (cancel: because)"),
        (
            (*QUEUED, ("exception", {"type": "alloc", "severity": 0, "note": "", "userid": 0}), "clean"),
            1,
            "FAILED (alloc)",
        ),
    ],
)
def test_wait_ends_with_the_jobs_status_and_says_how_it_failed(spool: SpoolMaker, facts, status: int, told: str):
    spool.add(*facts)
    assert spool.run("wait", "1") == (status, "", f"jqsched: job 1 (job1): {told}\n" if told else "")


def test_wait_names_so_many_failed_jobs_and_counts_the_rest(spool: SpoolMaker):
    for _ in range(23):
        spool.add(*failed(256))
    err = spool.run("wait", "1-23")[2].splitlines()
    assert len(err) == 21
    assert err[-1].startswith("jqsched: and 3 more jobs did not succeed")


def test_wait_takes_the_largest_of_several(spool: SpoolMaker):
    for facts in (COMPLETED, failed(3 << 8), CANCELED):
        spool.add(*facts)
    assert spool.run("wait", "1", "2")[0] == 3
    assert spool.run("wait", "1", "2", "3")[0] == 125


def test_wait_asks_for_what_is_open(spool: SpoolMaker, scheduler: FakeScheduler):
    spool.add(*COMPLETED)
    spool.add(*STARTED)

    def finish(request) -> None:
        spool.add(("finish", {"status": 7 << 8}), "release", "free", "clean", id_=2)
        request.respond({})

    scheduler.answers["wait"] = finish
    assert spool.run("wait", "1", "2") == (7, "", "jqsched: job 2 (job2): FAILED (exit 7)\n")
    assert scheduler.asked == [("wait", {"ids": [2]})]


def test_wait_without_ids_is_for_all_that_are_active(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["wait"] = {}
    assert spool.run("wait") == (0, "", "")
    assert scheduler.asked == []
    spool.add(*STARTED)
    spool.add(*QUEUED)
    spool.run("wait")
    assert scheduler.asked == [("wait", {"all": True})]


def test_wait_for_a_number_in_all(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["wait"] = {}
    spool.add(*failed(256))
    assert spool.run("wait", "--count", "1") == (0, "", "")
    assert scheduler.asked == []
    assert spool.run("wait", "--count", "5") == (0, "", "")
    assert scheduler.asked == [("wait", {"count": 5})]


def test_waits_own_failures(spool: SpoolMaker, scheduler: FakeScheduler):
    spool.add(*QUEUED)
    assert spool.run("wait", "9")[0] == 66
    scheduler.answers["wait"] = lambda request: None
    assert spool.run("wait", "1", "--timeout", "0.05")[0] == 75
    scheduler.answers["wait"] = OSError(errno.ENOENT, "unknown job id")
    assert spool.run("wait", "1")[0] == 66
    scheduler.answers["wait"] = OSError(errno.EIO, "oh")
    assert spool.run("wait", "1")[0] == 70


def test_a_job_purged_while_one_waits_is_no_success(spool: SpoolMaker, scheduler: FakeScheduler):
    spool.add(*STARTED)

    def finish_and_purge(request) -> None:
        with contextlib.closing(sqlite3.connect(spool.root / "jqsched.db")) as database, database:
            database.execute("DELETE FROM jobs")
        request.respond({})

    scheduler.answers["wait"] = finish_and_purge
    assert spool.run("wait", "1")[0] == 66


def test_wait_without_a_scheduler_is_69(spool: SpoolMaker):
    spool.add(*QUEUED)
    code, out, err = spool.run("wait", "1")
    assert (code, out) == (69, "")
    assert "jqsched run" in err
    assert spool.run("wait", "--count", "3")[0] == 69


def drop(spool: SpoolMaker, name: str = "late.json") -> None:
    (spool.root / name).write_text('{"command": ["true"]}')


def test_wait_without_a_scheduler_and_with_something_to_do(spool: SpoolMaker):
    """A dropped file, or one that a killed scheduler had moved, is something to do. Seen to fail: 0, as if it ran."""
    assert spool.run("wait") == (0, "", "")
    drop(spool)
    code, out, err = spool.run("wait")
    assert (code, out, err.count("\n")) == (69, "", 1)
    (spool.root / "jobs").mkdir()
    (spool.root / "late.json").rename(spool.root / "jobs" / "1.json")
    assert spool.run("wait")[0] == 69


def test_wait_counts_what_was_dropped(spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch):
    """It asks when the file is taken, and ends with the status of the job that came of it."""
    spool.add(*COMPLETED)
    drop(spool)
    (spool.root / "jqsched.toml").write_text("")
    (spool.root / ".hidden.json").write_text("")

    def take(_: float) -> None:
        (spool.root / "late.json").unlink()
        spool.add(*STARTED)

    def end(request) -> None:
        spool.add(*failed(5 << 8)[len(STARTED) :], id_=2)
        request.respond({})

    monkeypatch.setattr(waiting.time, "sleep", take)
    scheduler.answers["wait"] = end
    assert spool.run("wait") == (5, "", "jqsched: job 2 (job2): FAILED (exit 5)\n")
    assert scheduler.asked == [("wait", {"all": True})]


def test_wait_for_a_name_waits_for_the_file_of_that_name(
    spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
):
    """A file that was just dropped is a job as soon as it is taken. Seen to fail: 66, no such job."""
    drop(spool)

    def take(_: float) -> None:
        (spool.root / "late.json").unlink()
        spool.add(*COMPLETED, name="late")

    monkeypatch.setattr(waiting.time, "sleep", take)
    assert spool.run("wait", "late") == (0, "", "")
    assert spool.run("wait", "later")[0] == 66


def test_wait_says_which_file_is_not_taken(spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch):
    monkeypatch.setattr(waiting, "SLOW_S", -1.0)
    drop(spool)
    code, _, err = spool.run("wait", "--timeout", "1ms")
    assert code == 75
    assert "late.json" in err


@pytest.mark.parametrize("timeout", ["inf", "1e12", "30d", "9" * 400, "40d"])
def test_a_long_timeout_is_no_other_than_a_short_one(spool: SpoolMaker, scheduler: FakeScheduler, timeout: str):
    """Seen to fail: more than 24.8 days is more than poll takes."""
    spool.add(*QUEUED)

    def end(request) -> None:
        spool.add(*COMPLETED[len(QUEUED) :], id_=1)
        request.respond({})

    scheduler.answers["wait"] = end
    assert spool.run("wait", "1", "--timeout", timeout) == (0, "", "")


def test_wait_survives_a_scheduler_that_is_restarted(spool: SpoolMaker, scheduler: FakeScheduler):
    """Whether its connection was closed or its request ended."""
    spool.add(*QUEUED)

    def end(request) -> None:
        spool.add(*COMPLETED[len(QUEUED) :], id_=1)
        request.respond({})

    scheduler.answers["wait"] = [lambda request: request.end(), OSError(errno.ENOTCONN, "the scheduler went away"), end]
    assert spool.run("wait", "1") == (0, "", "")


def test_a_scheduler_that_does_not_come_back_is_said(spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch):
    monkeypatch.setattr(waiting, "RESTART_S", -1.0)
    spool.add(*QUEUED)
    scheduler.answers["wait"] = lambda request: request.end()
    code, out, err = spool.run("wait", "1")
    assert (code, out, err.count("\n")) == (69, "", 1)
