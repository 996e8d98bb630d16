"""Jobspecs in the making: `JobspecV1.from_command` and the attributes; what they say is what runs here."""

import io
import json
import os
from collections import ChainMap
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched import Handle, job
from jqsched.core.job import Spec
from jqsched.core.jobspec import from_jobspec
from jqsched.job import Jobspec, JobspecV1, get_job
from tests.e2e.conftest import Daemon


def spec_of(made: Jobspec) -> Spec:
    """What the scheduler reads."""
    return from_jobspec(json.loads(made.dumps()))


def test_a_command():
    made = JobspecV1.from_command(["sleep", "5"], environment={})
    assert made.jobspec == {
        "resources": [{"type": "slot", "count": 1, "with": [{"type": "core", "count": 1}], "label": "task"}],
        "tasks": [{"command": ["sleep", "5"], "slot": "task", "count": {"per_slot": 1}}],
        "attributes": {"system": {"duration": 0, "environment": {}}},
        "version": 1,
    }
    assert [made.resources, made.tasks, made.attributes, made.version] == [*made.jobspec.values()]
    assert type(made) is JobspecV1
    assert json.loads(made.dumps(indent=1)) == made.jobspec
    assert str(made) == str(made.jobspec)


def test_all_that_can_be_asked_for():
    made = JobspecV1.from_command(
        ["make", "-j"],
        num_tasks=4,
        cores_per_task=2,
        duration="1.5h",
        environment={"A": "b"},
        cwd=Path("/tmp"),
        name="build",
        output="out-{{id}}.{{name}}",
        error=Path("/tmp/err-{id}"),
        unbuffered=True,
        queue="batch",
        bank="b",
    )
    assert spec_of(made) == Spec(
        command=("make", "-j"),
        name="build",
        cwd="/tmp",
        env=(("A", "b"),),
        cores=8,
        tasks=4,
        time_limit_us=5_400_000_000,
        output="out-{id}.{name}",
        error="/tmp/err-{id}",
        jobspec=made.jobspec,
    )
    assert (made.duration, made.cwd, made.queue, made.environment) == (5400.0, "/tmp", "batch", {"A": "b"})
    assert (made.stdout, made.stderr) == (made.output, made.error) == ("out-{id}.{name}", "/tmp/err-{id}")
    assert (made.getattr("bank"), made.getattr("system.job.name")) == ("b", "build")


@pytest.mark.parametrize(
    ("tasks", "cores", "nodes", "wanted"),
    [
        (1, 1, None, (1, 1, 1)),
        (3, 2, None, (3, 6, 1)),
        (4, 2, 2, (4, 8, 2)),
        (5, 1, 2, (5, 6, 2)),
        (2, 1, 2, (2, 2, 2)),
    ],
)
def test_tasks_are_shared_out(tasks: int, cores: int, nodes: int | None, wanted: tuple[int, int, int]):
    made = spec_of(JobspecV1.from_command(["true"], tasks, cores, num_nodes=nodes, environment={}))
    assert (made.tasks, made.cores, made.nodes) == wanted


@given(st.integers(1, 20), st.integers(1, 4), st.none() | st.integers(1, 20))
def test_every_task_has_its_cores(tasks: int, cores: int, nodes: int | None):
    if nodes is not None and nodes > tasks:
        return
    made = spec_of(JobspecV1.from_command(["true"], tasks, cores, num_nodes=nodes, environment={}))
    assert made.tasks == tasks
    assert tasks * cores <= made.cores < (tasks + (nodes or 1)) * cores


def test_the_environment_is_the_caller_s(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JQ_TEST", "yes")
    monkeypatch.setenv("JQ_BROKEN", os.fsdecode(b"\xff"))
    environment = JobspecV1.from_command(["true"]).environment
    assert environment["JQ_TEST"] == "yes"
    assert "JQ_BROKEN" not in environment


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (5, 5.0),
        (0.5, 0.5),
        (timedelta(minutes=2), 120.0),
        ("10m", 600.0),
        ("250ms", 0.25),
        ("1d", 86400.0),
        ("90", 90.0),
        ("0", 0.0),
        ("0.0s", 0.0),
        (0, 0.0),
    ],
)
def test_durations(duration: object, seconds: float):
    made = JobspecV1.from_command(["true"], duration=duration, environment={})
    assert made.duration == seconds
    assert (spec_of(made).time_limit_us or 0) == seconds * 1_000_000


@pytest.mark.parametrize(
    ("duration", "error", "text"),
    [
        (-1, ValueError, "duration must not be negative"),
        (float("inf"), ValueError, "duration must be a normal, finite value"),
        (float("nan"), ValueError, "duration must be a normal, finite value"),
        ("10x", ValueError, "invalid Flux standard duration"),
        ("", ValueError, "invalid Flux standard duration"),
        ([1], TypeError, "duration must be an int, float, string, or timedelta"),
    ],
)
def test_what_is_no_duration(duration: object, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        JobspecV1.from_command(["true"], duration=duration)


REFUSED = [
    ({"num_tasks": 0}, ValueError, "task count must be a integer >= 1"),
    ({"num_tasks": 1.5}, ValueError, "task count must be a integer >= 1"),
    ({"cores_per_task": 0}, ValueError, "cores per task must be an integer >= 1"),
    ({"num_nodes": 0}, ValueError, r"node count must be an integer >= 1 \(if set\)"),
    ({"num_nodes": 2}, ValueError, "node count must not be greater than task count"),
    ({"gpus_per_task": 1}, ValueError, "gpus_per_task is not supported here"),
    ({"exclusive": True}, ValueError, "exclusive is not supported here"),
    ({"env_expand": {"A": "{{id}}"}}, ValueError, "env_expand is not supported here"),
    ({"rlimits": {"nofile": 5}}, ValueError, "rlimits is not supported here"),
    ({"input": "folder/"}, ValueError, r"input\.stdin\.path: must be the path of a file"),
    ({"label_io": True}, ValueError, "label_io is not supported here"),
    ({"cwd": 5}, ValueError, "cwd must be a string"),
    ({"environment": 5}, ValueError, "environment must be a mapping"),
    ({"queue": 5}, TypeError, "queue must be a string"),
    ({"output": 5}, TypeError, "The path must be a string or pathlib object, got int"),
    ({"cwd": "there"}, ValueError, "attributes.system.cwd"),
    ({"name": "two\nlines"}, ValueError, "attributes.system.job.name"),
    ({"environment": {"A=": "x"}}, ValueError, "attributes.system.environment"),
]


@pytest.mark.parametrize(("asked", "error", "text"), REFUSED, ids=[f"{row[0]}" for row in REFUSED])
def test_what_cannot_be_had_is_refused_when_it_is_asked_for(asked: dict, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        JobspecV1.from_command(["true"], **asked)


def test_what_is_not_asked_for_can_be_said():
    assert (
        JobspecV1.from_command(
            ["true"], gpus_per_task=0, exclusive=False, rlimits={}, output="none", error="kvs", label_io=False
        ).stdout
        is None
    )


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("true", "command must be a list of strings"),
        ([1], "command must be a list of strings"),
        ([], "command array cannot have length of zero"),
    ],
)
def test_what_is_no_command(command: object, text: str):
    with pytest.raises(TypeError, match=text):
        JobspecV1.from_command(command)


def test_a_jobspec_is_checked_when_it_is_made():
    good = JobspecV1.from_command(["true"], environment={})
    again = Jobspec(good.resources, good.tasks, good.attributes)
    assert again.jobspec == good.jobspec
    assert repr(again).startswith("Jobspec([{'type': 'slot'")
    with pytest.raises(ValueError, match="version must be 1"):
        JobspecV1(good.resources, good.tasks, good.attributes, 2)
    with pytest.raises(ValueError) as caught:
        Jobspec([{"type": "gpu"}], [{"slot": "x"}], {"system": {"duration": -1}})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        *("resources[0].type", "tasks[0].command", "tasks[0].count"),
        "attributes.system.duration",
    ]


def test_attributes_by_key():
    made = JobspecV1.from_command(["true"], environment={})
    made.setattr("job.name", "x")
    made.setattr("user.note", {"a": 1})
    made.setattr("attributes.system.project", "p")
    made.setattr_shell_option("verbose", 1)
    assert made.getattr("system.job.name") == made.getattr("attributes.system.job.name") == "x"
    assert (made.getattr("user.note.a"), made.getattr("project")) == (1, "p")
    assert made.getattr("shell.options.verbose") == 1
    assert made.attributes["system"]["shell"] == {"options": {"verbose": 1}}
    for key in ("nope", "job.name.first", "user.note.b"):
        with pytest.raises(KeyError):
            made.getattr(key)
    with pytest.raises(TypeError, match="duration is no object"):
        made.setattr("duration.x", 1)
    assert (made.queue, made.cwd, made.stderr) == (None, None, None)


def test_attributes_by_property():
    made = JobspecV1.from_command(["true"], environment={})
    made.duration, made.cwd, made.queue = timedelta(seconds=3), Path("/usr"), "q"
    made.stdout, made.stderr = "a", "b"
    environment = {"X": "y"}
    made.environment = environment
    made.environment["Z"] = "z"
    spec = spec_of(made)
    assert (spec.time_limit_us, spec.cwd, spec.output, spec.error) == (3_000_000, "/usr", "a", "b")
    assert dict(spec.env) == environment == {"X": "y", "Z": "z"}
    assert made.getattr("attributes.system.queue") == "q"


def test_what_is_made_runs(tmp_path: Path):
    """Submitted as it is, it runs with its name, its output and its number of tasks."""
    daemon = Daemon(tmp_path)
    try:
        daemon.start("--max-running", "2")
        made = JobspecV1.from_command(
            ["sh", "-c", "echo $GREETING"],
            num_tasks=2,
            name="hello",
            environment={"GREETING": "ho"},
            output=tmp_path / "{{id}}.out",
            queue="batch",
        )
        with Handle(daemon.spool) as handle:
            id_ = handle.rpc("job-manager.submit", {"text": made.dumps()}).get()["id"]
            daemon.wait(1)
            job = get_job(handle, id_)
        assert job is not None
        assert (job["name"], job["result"], job["ntasks"], job["queue"]) == ("hello", "COMPLETED", 2, "batch")
        assert (tmp_path / f"{id_}.out").read_text() == "ho\nho\n"
    finally:
        daemon.close()


MAPPINGS = {"the process's own": os.environ, "a chain": ChainMap({"A": "b"}), "a proxy": MappingProxyType({"A": "b"})}


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_any_mapping_is_an_environment(mapping: str):
    """One that is no dict, too, and as an attribute, too."""
    environment = MAPPINGS[mapping]
    made = JobspecV1.from_command(["true"], environment=environment)
    assert json.loads(made.dumps())["attributes"]["system"]["environment"] == dict(environment)
    made = JobspecV1.from_command(["true"], environment={})
    made.environment = environment
    made.setattr("user.own", environment)
    assert json.loads(made.dumps())["attributes"]["user"]["own"] == dict(environment)
    assert made.environment == environment


def test_a_file_is_stdin_under_either_name():
    """Where `flux submit --input` writes it, so that a job reads it."""
    made = JobspecV1.from_command(["true"], input="in.txt")
    for name in ("stdin", "input"):
        assert getattr(made, name) == "in.txt"
        setattr(made, name, None)
        assert getattr(made, name) is None
        assert from_jobspec(made.jobspec).input is None
        setattr(made, name, Path("in.txt"))
    assert made.getattr("system.shell.options.input.stdin") == {"type": "file", "path": "in.txt"}
    assert from_jobspec(made.jobspec).input == "in.txt"


def test_unbuffered_is_kept_in_the_jobspec():
    made = JobspecV1.from_command(["true"])
    made.unbuffered = False
    assert not made.unbuffered
    assert "output" not in made.dumps()
    made.unbuffered = True
    assert made.unbuffered
    assert JobspecV1.from_command(["true"], unbuffered=True).unbuffered
    made.unbuffered = False
    assert not made.unbuffered
    with pytest.raises(TypeError, match="unbuffered must be a boolean"):
        made.unbuffered = 1


def test_a_jobspec_is_read_from_yaml(tmp_path: Path):
    """JSON is YAML; all else wants PyYAML, which is no dependency."""
    text = JobspecV1.from_command(["true"], num_tasks=3).dumps()
    (tmp_path / "spec.yaml").write_text(text)
    for made in (
        JobspecV1.from_yaml_stream(text),
        JobspecV1.from_yaml_stream(io.BytesIO(text.encode())),
        JobspecV1.from_yaml_file(tmp_path / "spec.yaml"),
    ):
        assert json.loads(made.dumps()) == json.loads(text)
    with pytest.raises(ValueError, match=r"YAML"):
        JobspecV1.from_yaml_stream("a: [")
    with pytest.raises(ValueError, match="missing"):
        JobspecV1.from_yaml_stream("{}")
    for valid in (text, text.encode(), json.loads(text), JobspecV1.from_yaml_stream(text)):
        assert job.validate_jobspec(valid, require_version=1)
    for wrong, version in ((text, 2), ("{}", None), ("[", None)):
        with pytest.raises(ValueError, match=r"."):
            job.validate_jobspec(wrong, require_version=version)


def test_resources_are_counted():
    made = JobspecV1.from_command(["true"], num_tasks=4, cores_per_task=2, num_nodes=1)
    assert made.resource_counts() == {"node": 1, "slot": 4, "core": 8}


def test_tasks_for_each_resource():
    assert JobspecV1.per_resource(["true"], ncores=4).resource_counts() == {"slot": 4, "core": 4}
    made = JobspecV1.per_resource(["true"], ncores=4, per_resource_type="node", per_resource_count=2, name="two")
    assert (made.resource_counts(), spec_of(made).tasks) == ({"slot": 2, "core": 4}, 2)
    for refused in (
        {"nnodes": 2},
        {"per_resource_type": "gpu"},
        {"per_resource_count": 2},
        {"ncores": 0},
        {"num_tasks": 2},
        {"per_resource_type": "node", "ncores": 3, "per_resource_count": 2},
    ):
        with pytest.raises(ValueError, match=r"."):
            JobspecV1.per_resource(["true"], **refused)


def test_an_instance_in_a_job_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="a batch job is an instance of Flux"):
        JobspecV1.from_batch_command("#!/bin/sh", "name", num_slots=1)
    with pytest.raises(ValueError, match="an instance within an instance"):
        JobspecV1.from_nest_command(["flux"])
