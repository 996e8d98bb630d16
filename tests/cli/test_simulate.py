"""`jqsched simulate`: what it reads, what it prints, and that it leaves no trace of itself."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jqsched.adapters.store.writer import SqliteStore
from jqsched.core.job import OnInterrupt
from jqsched.core.queue import EMPTY
from jqsched.ports import Batch
from tests.cli.conftest import COMPLETED, QUEUED, STARTED, T0_US, SpoolMaker

NOW = str(T0_US // 1_000_000 + 10)
TRACE = """; MaxProcs: 4
1 0 -1 100 2 -1 -1 2 200 -1 1 1 1 1 1 1 -1 -1
2 10 -1 50 2 -1 -1 2 200 -1 0 1 1 2 1 1 -1 -1
3 20 -1 30 4 -1 -1 4 200 -1 1 2 1 1 1 1 -1 -1
"""


def drop(folder: Path, **files: dict) -> str:
    """Write job files: their names, and what they say beside a command."""
    folder.mkdir(exist_ok=True)
    for name, keys in files.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps({"command": ["true"], "name": name, **keys}))
        path.chmod(0o600)
    return str(folder)


def summary(out: str) -> dict[str, str]:
    """The lines of figures."""
    return dict(line.split(maxsplit=1) for line in out.partition("\n\n")[0].splitlines())


def jobs(out: str) -> dict[str, dict]:
    return {job["name"]: job for job in json.loads(out)["jobs"]}


# ---- job files ----------------------------------------------------------------------------------------------------


def test_job_files_run_as_if_dropped_now(spool: SpoolMaker, tmp_path: Path):
    """a 0-60, b 0-60 on two slots, then c after b: makespan 2 minutes, 3 of 4 minutes used."""
    folder = drop(tmp_path / "drop", b={}, a={}, c={"after": ["b"]})
    code, out, err = spool.run("simulate", folder, "--max-running", "2", "--cores", "2", spool=False)
    assert (code, err) == (0, "")
    found = summary(out)
    assert found["limits"] == "2 running at a time, 2 cores"
    assert found["jobs"] == "3: 3 completed"
    assert found["makespan"] == "2m00s"
    assert found["wait"] == "mean 20.00s, median 0ms, 90% 1m00s, max 1m00s"
    assert found["utilisation"] == "75.0% of the slots, 75.0% of the cores; at most 2 running"
    assert found["rate"] == "0.025 starts/s"


def test_the_chart_has_a_line_for_each_job(spool: SpoolMaker, tmp_path: Path):
    """Of 40 columns 36 are time: b runs in the first half, a waits for it."""
    folder = drop(tmp_path / "drop", a={"after": ["b"]}, b={}, c={"urgency": 0})
    code, out, _ = spool.run("simulate", folder, "--max-running", "1", "--width", "40", spool=False)
    chart = out.split("\n\n")[1].splitlines()
    half = 18
    assert code == 0
    assert chart == [
        "2 b " + "█" * half,
        "1 a " + "·" * half + "█" * half,
        "3 c " + "·" * 2 * half,
        "    0ms" + "2m00s".rjust(33),
    ]
    assert "job 3 (c) left: held (urgency 0)" in out


def test_many_jobs_are_drawn_as_a_profile(spool: SpoolMaker, tmp_path: Path):
    """100 jobs of a minute on one of two cores: half of the height is full, and fewer and fewer wait."""
    folder = drop(tmp_path / "drop", **{f"j{nth}": {} for nth in range(100)})
    _, out, _ = spool.run("simulate", folder, "--max-running", "1", "--cores", "2", "--width", "48", spool=False)
    chart = out.split("\n\n")[1].splitlines()
    assert [line[8:].count("█") for line in chart[:6]] == [0, 0, 0, 40, 40, 40]
    assert chart[6][:9] == "waiting│█"
    assert chart[6][-1] in " ▁"
    assert chart[8] == "at most 98 waiting"


def test_no_chart(spool: SpoolMaker, tmp_path: Path):
    _, out, _ = spool.run("simulate", drop(tmp_path / "drop", a={}), "--no-gantt", spool=False)
    assert "\n\n" not in out


def test_a_bad_file_is_told_and_the_others_go_on(spool: SpoolMaker, tmp_path: Path):
    """As in the drop zone; what is refused when it comes (a dependency on no job) too. 3 at the end."""
    folder = drop(tmp_path / "drop", a={"urgency": 99}, b={}, c={"after": [77]})
    code, out, err = spool.run("simulate", folder, spool=False)
    assert code == 3
    assert "a.json: urgency" in err
    assert "rejected c.json: dependency: afterok: job 77 is unknown" in err
    assert summary(out)["jobs"] == "2: 1 completed, 1 refused"
    assert "Traceback" not in err


def test_hidden_files_and_the_configuration_are_no_jobs(spool: SpoolMaker, tmp_path: Path):
    folder = drop(tmp_path / "drop", a={})
    for name in (".b.json", "c.json.tmp", "jqsched.toml"):
        (tmp_path / "drop" / name).write_text("rubbish")
    code, out, err = spool.run("simulate", folder, spool=False)
    assert (code, err, summary(out)["jobs"]) == (0, "", "1: 1 completed")


def test_names_are_one_order_whatever_the_folder(spool: SpoolMaker, tmp_path: Path):
    first, second = drop(tmp_path / "x", b={}, d={}), drop(tmp_path / "y", a={}, c={})
    _, out, _ = spool.run("simulate", first, second, "--max-running", "1", "--json", spool=False)
    assert list(jobs(out)) == ["a", "b", "c", "d"]


def test_json_has_all_figures_and_each_job(spool: SpoolMaker, tmp_path: Path):
    folder = drop(tmp_path / "drop", a={"time_limit": 30}, b={"after": ["never"]})
    code, out, _ = spool.run("simulate", folder, "--max-running", "1", "--cores", "2", "--json", spool=False)
    document = json.loads(out)
    assert code == 0
    assert (document["schema"], document["seed"]) == ("jqsched.simulation/1", 0)
    assert document["limits"] == {"max_running": 1, "cores": 2}
    found = document["summary"]
    assert (found["makespan"], found["slots_used"], found["cores_used"]) == (30.0, 1.0, 0.5)
    assert found["jobs"]["COMPLETED"] == found["jobs"]["LEFT"] == 1
    a, b = document["jobs"]
    assert (a["result"], a["submit"], a["wait"], a["start"], a["end"]) == ("COMPLETED", 0.0, 0.0, 0.0, 30.0)
    assert (b["result"], b["wait"], b["start"], b["end"]) == ("LEFT", None, None, None)
    assert "never" in b["reasons"][0]


def test_events_are_the_journal_and_nothing_else(spool: SpoolMaker, tmp_path: Path):
    _, out, _ = spool.run("simulate", drop(tmp_path / "drop", a={}), "--events", "--max-running", "1", spool=False)
    events = [json.loads(line) for line in out.splitlines()]
    names = [event["name"] for event in events]
    assert names == [
        *("submit", "validate", "depend", "priority", "alloc"),
        *("start", "finish", "release", "free", "clean"),
    ]
    assert [event["seq"] for event in events] == list(range(1, 11))
    assert events[0]["timestamp"] == 0.0
    assert events[6]["timestamp"] == 60.0
    assert "R" in events[4]


def test_fail_and_runtime_are_drawn_by_the_seed(spool: SpoolMaker, tmp_path: Path):
    """The same for other limits, so that two simulations can be compared."""
    folder = drop(tmp_path / "drop", **{f"j{nth}": {} for nth in range(30)})
    drawn = []
    for seed, slots in (("1", "2"), ("1", "7"), ("2", "2")):
        options = ("--runtime", "exp:5m", "--fail", "0.5", "--seed", seed, "--max-running", slots)
        _, out, _ = spool.run("simulate", folder, *options, "--json", spool=False)
        drawn.append({job["id"]: (round(job["end"] - job["start"], 6), job["result"]) for job in jobs(out).values()})
    assert drawn[0] == drawn[1] != drawn[2]
    assert {result for _, result in drawn[0].values()} == {"COMPLETED", "FAILED"}


def test_until_goes_no_further(spool: SpoolMaker, tmp_path: Path):
    folder = drop(tmp_path / "drop", a={}, b={})
    _, out, _ = spool.run("simulate", folder, "--max-running", "1", "--until", "90", spool=False)
    assert summary(out)["jobs"] == "2: 1 completed, 1 left"
    assert "job 2 (b) left: running" in out


def test_rules_as_expression_json_and_file(spool: SpoolMaker, tmp_path: Path):
    folder = drop(tmp_path / "drop", a={}, b={}, c={}, d={})
    predicates = [["job", ["=", "name", "b"]]]
    (tmp_path / "rules.json").write_text(json.dumps([{"predicates": [["job", ["=", "name", "c"]]], "action": "PAUSE"}]))
    rules = [
        'name = "a" = pause',
        json.dumps({"predicates": predicates, "action": "REJECT"}),
        str(tmp_path / "rules.json"),
    ]
    options = [word for rule in rules for word in ("--rule", rule)]
    _, out, _ = spool.run("simulate", folder, *options, "--json", spool=False)
    found = jobs(out)
    assert [found[name]["result"] for name in "acd"] == ["LEFT", "LEFT", "COMPLETED"]
    assert found["b"]["start"] is None
    _, out, _ = spool.run("simulate", folder, "--rule", 'name =~ "." = rate-limit:1', "--max-running", "4", spool=False)
    assert "at most 1 running" in summary(out)["utilisation"]


# ---- traces -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
def test_a_trace(spool: SpoolMaker, tmp_path: Path, zipped: bool):
    """1 at 0-100, 2 at 10-60, 3 needs all four cores: 100-130."""
    file = tmp_path / "trace.swf"
    file.write_bytes(gzip.compress(TRACE.encode()) if zipped else TRACE.encode())
    code, out, err = spool.run("simulate", "--swf", str(file), "--json", spool=False)
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["limits"] == {"max_running": 4, "cores": 4}
    assert [(job["start"], job["end"], job["result"]) for job in document["jobs"]] == [
        (0.0, 100.0, "COMPLETED"),
        (10.0, 60.0, "FAILED"),
        (100.0, 130.0, "COMPLETED"),
    ]
    assert document["summary"]["cores_used"] == (100 * 2 + 50 * 2 + 30 * 4) / (130 * 4)


BLOCKED = """; MaxProcs: 8
1 0 -1 100 6 -1 -1 6 200 -1 1 1 1 1 1 -1 -1 -1
2 10 -1 50 8 -1 -1 8 50 -1 1 1 1 1 1 -1 -1 -1
3 20 -1 30 2 -1 -1 2 180 -1 1 1 1 1 1 -1 -1 -1
4 30 -1 30 2 -1 -1 2 999 -1 1 1 1 1 1 -1 -1 -1
"""


@pytest.mark.parametrize(
    ("options", "starts"),
    [
        ((), [0, 100, 150, 150]),
        (("--backfill", "easy"), [0, 100, 20, 150]),
        (("--backfill", "none"), [0, 100, 150, 150]),
        (("--backfill", "easy", "--backfill-depth", "1"), [0, 100, 20, 150]),
    ],
)
def test_backfill(spool: SpoolMaker, tmp_path: Path, options: tuple[str, ...], starts: list[int]) -> None:
    """The job that ends before the reservation of the second one starts at once, the one that does not waits."""
    file = tmp_path / "trace.swf"
    file.write_text(BLOCKED)
    code, out, _ = spool.run("simulate", "--swf", str(file), "--json", *options, spool=False)
    assert code == 0
    assert [job["start"] for job in json.loads(out)["jobs"]] == starts


def test_a_bad_trace_is_refused_with_all_its_lines(spool: SpoolMaker, tmp_path: Path):
    file = tmp_path / "trace.swf"
    file.write_text(TRACE + "4 rubbish\n5 5\n")
    code, out, err = spool.run("simulate", "--swf", str(file), spool=False)
    assert (code, out) == (3, "")
    assert [line.partition(": line ")[2][:1] for line in err.splitlines()] == ["5", "6"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"\x1f\x8bxxxxxxxxxxxxxxx", "cannot be read"), (b"", "no job")],
)
def test_a_trace_that_cannot_be_read(spool: SpoolMaker, tmp_path: Path, content: bytes | None, said: str):
    file = tmp_path / "trace.swf"
    if content is not None:
        file.write_bytes(content)
    code, out, err = spool.run("simulate", "--swf", str(file), spool=False)
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1
    assert said in err


# ---- the present queue --------------------------------------------------------------------------------------------


def content(root: Path) -> dict[str, tuple[str, int]]:
    """All that is in a spool: what the files hold, and when they were last written."""
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def test_the_present_queue(spool: SpoolMaker):
    """One runs since 10 s with a limit of 30; one waits for it; one is held; one waits for what had ended."""
    done = spool.add(*COMPLETED, name="done")
    runs = spool.add(*STARTED, name="runs", time_limit_us=30_000_000)
    spool.add(("dependency-add", {"description": f"after-success={runs.id}"}), "validate", name="next")
    spool.add("validate", "depend", ("priority", {"priority": 0}), name="held")
    before = content(spool.root)
    options = ("--now", NOW, "--max-running", "1", "--json")
    code, out, err = spool.run("simulate", *options)
    found = jobs(out)
    assert (code, err) == (0, "")
    assert found.keys() == {"runs", "next", "held"}
    assert (found["runs"]["start"], found["runs"]["end"]) == (pytest.approx(-10, abs=1), pytest.approx(20, abs=1))
    assert found["next"]["start"] == found["runs"]["end"]
    assert found["held"]["result"] == "LEFT"
    assert content(spool.root) == before
    assert not (spool.root / "jqsched.lock").exists()
    assert done.id == 1


def test_files_onto_the_present_queue(spool: SpoolMaker, tmp_path: Path):
    """They get the ids after the last, and may wait for what is there, or was."""
    spool.add(*COMPLETED, name="done")
    spool.add(*QUEUED, name="old")
    folder = drop(tmp_path / "drop", new={"after": ["done", "old"]})
    _, out, err = spool.run("simulate", folder, "--queue", "--now", NOW, "--json")
    found = jobs(out)
    assert err == ""
    assert (found["new"]["id"], found["new"]["start"]) == (3, 60.0)
    _, out, _ = spool.run("simulate", folder, "--json")
    assert jobs(out).keys() == {"new"}


def test_history_gives_the_median_of_the_name(spool: SpoolMaker):
    for run_s in (30, 10, 20):
        spool.add(*STARTED, name="build")
        spool.t_us += run_s * 1_000_000
        spool.add(("finish", {"status": 0}), ("release", {}), "free", "clean", id_=spool.last_id)
    spool.add(*QUEUED, name="build")
    spool.add(*QUEUED, name="other")
    _, out, _ = spool.run("simulate", "--runtime", "history", "--max-running", "2", "--json")
    found = jobs(out)
    assert found["build"]["end"] == pytest.approx(20, abs=0.001)
    assert found["other"]["end"] == 60.0


def keep(spool: SpoolMaker, **settings: str) -> None:
    """Keep settings in the store, as a scheduler does."""
    store = SqliteStore(str(spool.root), lambda: None)
    store.start(lambda _: None)
    store.submit(Batch(EMPTY, spool.seq, settings=tuple(settings.items())))
    store.close()


def test_a_drained_queue_is_named(spool: SpoolMaker):
    spool.add(*QUEUED)
    keep(spool, drained="1")
    _, out, _ = spool.run("simulate")
    assert summary(out)["jobs"] == "1: 1 left"
    assert "left: the queue is drained" in out


def test_the_rules_of_the_spool_are_those_of_its_queue(spool: SpoolMaker):
    """One pauses `job1`; one more, of the command line, pauses `job2`; the third runs."""
    for _ in range(3):
        spool.add(*QUEUED)
    rule = {
        "uuid": "u",
        "watermark": 0,
        "priority": 5,
        "predicates": [["job", ["=", "name", "job1"]]],
        "action": "PAUSE",
    }
    keep(spool, rules=json.dumps([rule]))
    _, out, _ = spool.run("simulate", "--rule", 'name = "job2" = pause', "--json")
    assert {name: job["result"] for name, job in jobs(out).items()} == {
        "job1": "LEFT",
        "job2": "LEFT",
        "job3": "COMPLETED",
    }


def test_an_empty_queue(spool: SpoolMaker):
    """Also of a spool that has no store yet."""
    code, out, err = spool.run("simulate")
    assert (code, err, summary(out)["jobs"]) == (0, "", "none")


def test_the_limits_are_those_of_the_scheduler(spool: SpoolMaker, scheduler):
    """Which are asked for and nothing else is; options win."""
    spool.add(*QUEUED)
    _, out, _ = spool.run("simulate")
    assert summary(out)["limits"] == "2 running at a time, 4 cores"
    assert scheduler.asked == []
    _, out, _ = spool.run("simulate", "--max-running", "7", "--cores", "9")
    assert summary(out)["limits"] == "7 running at a time, 9 cores"


def test_the_limits_are_those_of_the_configuration(spool: SpoolMaker):
    (spool.root / "jqsched.toml").write_text("max_running = 3\ncores = 5\n")
    (spool.root / "jqsched.toml").chmod(0o600)
    _, out, _ = spool.run("simulate")
    assert summary(out)["limits"] == "3 running at a time, 5 cores"


def test_at_most_once_and_just_before_its_start(spool: SpoolMaker):
    spool.add(*STARTED[:-1], on_interrupt=OnInterrupt.FAIL)
    _, out, _ = spool.run("simulate")
    assert summary(out)["jobs"] == "1: 1 completed"


# ---- what cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "no spool"),
        (("--swf", "{trace}", "{drop}"), 2, "alone"),
        (("--swf", "{trace}", "--runtime", "10m"), 2, "--runtime"),
        (("--swf", "{bare}"), 2, "--cores"),
        (("--runtime", "soon", "{drop}"), 2, "--runtime"),
        (("--runtime", "uniform:3m:1m", "{drop}"), 2, "uniform"),
        (("--runtime", "lognormal:3m:x", "{drop}"), 2, "sigma"),
        (("--runtime", "history", "{drop}"), 2, "no spool"),
        (("--fail", "2", "{drop}"), 2, "--fail"),
        (("--max-running", "0", "{drop}"), 2, "--max-running"),
        (("--until", "never", "{drop}"), 2, "duration"),
        (("--now", "never", "{drop}"), 2, "time"),
        (("--json", "--events", "{drop}"), 2, "only one"),
        (("--rule", "rubbish", "{drop}"), 2, "--rule"),
        (("--rule", "name ~~ x = pause", "{drop}"), 3, "column"),
        (("--rule", 'nmae = "a" = pause', "{drop}"), 3, "nmae"),
        (("--rule", 'name = "a" = frobnicate', "{drop}"), 2, "no action"),
        (("--rule", "{{", "{drop}"), 3, "--rule"),
        (("--rule", '{{"action": "PAUSE"}}', "{drop}"), 3, "--rule: predicates: missing"),
        (("--rule", "nothing.json", "{drop}"), 3, "nothing.json"),
        (("{nothing}",), 3, "cannot be read"),
        (("{empty}",), 3, "no job file"),
        (("--spool", "{nothing}"), 2, "no such directory"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(spool: SpoolMaker, tmp_path: Path, arguments, code: int, said: str):
    (tmp_path / "trace.swf").write_text(TRACE)
    (tmp_path / "bare.swf").write_text(TRACE.partition("\n")[2])
    (tmp_path / "empty").mkdir()
    places = {name: str(tmp_path / name) for name in ("drop", "empty")}
    places |= {name: str(tmp_path / f"{name}.swf") for name in ("trace", "bare")}
    drop(tmp_path / "drop", a={})
    given = [word.format(**places, nothing=tmp_path / "nothing.json") for word in arguments]
    found, out, err = spool.run("simulate", *given, spool=False)
    assert (found, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == (2 if said == "cannot be read" else 1)
    assert "Traceback" not in err


# ---- the same bytes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["--events", "--json", "--gantt"])
def test_the_same_seed_gives_the_same_bytes_with_any_hash_seed(tmp_path: Path, form: str):
    """Names, dependencies by name, singletons, rates and failures, in processes of their own at different times."""
    names = "abcdefgh"
    files = {}
    for nth in range(60):
        keys: dict = {"name": names[nth * 7 % 8], "cores": 1 + nth % 3, "urgency": 12 + nth % 9}
        if nth % 4 == 1:
            keys["after"] = [names[nth * 5 % 8]]
        if nth % 5 == 2:
            keys["dependencies"] = [{"scheme": "singleton"}]
        if nth % 6 == 3:
            keys["reason"] = [f"rate-limit:2:{names[nth % 3]}"]
        files[f"{nth:03}"] = keys
    folder = drop(tmp_path / "drop", **files)
    command = [sys.executable, "-m", "jqsched", "simulate", folder, "--max-running", "5", "--cores", "7", form]
    command += ["--runtime", "lognormal:5m:0.8", "--fail", "0.1", "--seed", "4", "--rule", 'name = "d" = rate-limit:1']
    digests = set()
    for seed in ("0", "1", "12345"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        environment.pop("JQSCHED_SPOOL", None)
        ran = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=200)
        assert ran.returncode in (0, 3), ran.stderr
        assert len(ran.stdout) > 1_000
        digests.add(hashlib.sha256(ran.stdout + ran.stderr).hexdigest())
    assert len(digests) == 1


def test_help_imports_nothing_of_it():
    """`--help` stays as fast as it was."""
    code = (
        "import sys; from jqsched.cli.main import main; main(['--help']);"
        "print(sorted(name for name in sys.modules if 'simul' in name or name.startswith('jqsched.testing')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200)
    assert ran.stdout.splitlines()[-1] == "['jqsched.cli.app_simulate']", "no more than its declaration"
