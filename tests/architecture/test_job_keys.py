"""The table of the job file's keys against everything that knows a key: each is derived from it, or compared here.

A new row is tested by its examples: a key that one place forgets, and that would be neither stored nor logged, fails.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import fastjsonschema
import pytest
from attrs import NOTHING, evolve, fields
from hypothesis import given

from jqsched.adapters.jobfile import BadFile, read_job, write_job
from jqsched.adapters.store.codec import JOB_COLUMNS, spec_from_json, spec_to_json
from jqsched.cli.app import commands
from jqsched.cli.template import KEYS as FORMAT_KEYS
from jqsched.core.accept import spec_changes, update
from jqsched.core.attributes import ATTRIBUTES, job_attributes
from jqsched.core.filters.subject import ABSENT, ALWAYS, SOMETIMES, subject_of
from jqsched.core.fold import AlreadyStarted, Changed, Refused
from jqsched.core.job import Draft, Job, Spec, State
from jqsched.core.jobspec import from_jobspec, remarks, to_jobspec
from jqsched.core.jobspec.json_schema import json_schema
from jqsched.core.jobspec.key import Edit, Key, Seen
from jqsched.core.jobspec.keys import BY_NAME, KEYS, OF_SPEC
from jqsched.core.policy import Limits
from jqsched.core.queue import load
from jqsched.core.view import INFO_KEYS, job_info
from jqsched.job.info import JobInfo
from jqsched.testing.scenario import START_US
from jqsched.testing.strategies import JobFile, job_files, jobs

FILTER_RULES_MD = Path(__file__).resolve().parents[2] / "docs" / "reference" / "filter-rules.md"

# What is no key of the short form: only a jobspec says it, or the queue.
ONLY_IN_JOBSPECS = {"tasks", "nodes", "jobspec", "element"}
NOT_IN_FILES = {"spec", "requeue_of", "elements"}

EXAMPLES = [
    pytest.param(key, example, id=f"{key.name}={json.dumps(example)}") for key in KEYS for example in key.examples
]
WRONG = [pytest.param(key, value, id=f"{key.name}={json.dumps(value)}") for key in KEYS for value in key.wrong]


def draft_of(key: Key, value: object) -> Draft:
    programs = {"command": {}, "script": {}, "args": {"script": "exit 3"}}
    program = programs.get(key.name, {"command": ["true"]})
    found = read_job(json.dumps({**program, key.name: value}).encode(), ".json", "/home/me", "stem")
    assert isinstance(found, Draft), found
    return found


def at(document: object, place: str) -> object:
    """What stands at a place of a jobspec, `attributes.system.cwd`."""
    for name in re.findall(r"[^.\[\]]+", place):
        document = document[int(name) if name.isdigit() else name]
    return document


def test_every_field_of_a_job_file_has_a_row():
    """And each row one of them: none is forgotten, none is left over."""
    assert {key.fills for key in KEYS if not key.in_draft} | ONLY_IN_JOBSPECS == {field.name for field in fields(Spec)}
    assert {key.fills for key in KEYS if key.in_draft} | NOT_IN_FILES == {field.name for field in fields(Draft)}
    assert len(BY_NAME) == len(KEYS)


@pytest.mark.parametrize(("key", "example"), EXAMPLES)
def test_an_example_comes_back_from_every_form(key: Key, example: object):
    """From the file that is written, the jobspec, and the store."""
    draft = draft_of(key, example)
    assert read_job(write_job(draft).encode(), ".json", "/") == draft
    spec = draft.spec
    assert from_jobspec(json.loads(json.dumps(to_jobspec(spec))), "/") == spec
    assert spec_from_json(spec_to_json(spec)) == spec
    assert not remarks(evolve(spec, jobspec=to_jobspec(spec))), "nothing of it counts as not obeyed"


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_wrong_value_is_refused_with_its_key(key: Key, value: object):
    found = read_job(json.dumps({"command": ["true"], key.name: value}).encode(), ".json", "/")
    assert isinstance(found, BadFile)
    assert any(re.match(rf"{key.name}\b", error) for error in found.errors), found.errors


def changed(key: Key) -> Iterator[tuple[Spec, Spec]]:
    """Pairs of specs that differ in this key only, for each example that makes a difference."""
    was = Spec(("x",), "n", "/home/me")
    for example in key.examples:
        now = evolve(was, **{key.fills: getattr(draft_of(key, example).spec, key.fills)})
        if now != was:
            yield was, now


@pytest.mark.parametrize("key", [key for key in OF_SPEC if key.name != "command"], ids=lambda key: key.name)
def test_a_change_is_logged_under_the_place_in_the_jobspec(key: Key):
    pairs = list(changed(key))
    assert pairs
    for was, now in pairs:
        assert spec_changes(was, now) == {key.place: key.changed(getattr(now, key.fills))}
        if key.name != "cores":  # which a jobspec has in its resources
            assert at(to_jobspec(now), key.place) == key.write_there(getattr(now, key.fills))


def test_a_change_of_the_command_is_one_of_the_tasks():
    was, now = Spec(("x",), "n", "/"), Spec(("y",), "n", "/")
    assert spec_changes(was, now) == {"tasks": to_jobspec(now)["tasks"]}
    assert at(to_jobspec(now), BY_NAME["command"].place) == ["y"]


@pytest.mark.parametrize("key", OF_SPEC, ids=lambda key: key.name)
def test_an_edit_may_change_what_the_table_says(key: Key):
    limits = Limits(max_running=2, cores=4)
    for was, now in changed(key):
        queued = Job(1, was, 0, State.SCHED, t_submit_us=1)
        running = evolve(queued, state=State.RUN, t_run_us=2, t_start_us=2)
        wanted = {Edit.NEVER: (Refused, Refused), Edit.QUEUED: (Changed, AlreadyStarted)}
        for job, answer in zip((queued, running), wanted.get(key.edit, (Changed, Changed)), strict=True):
            queue = load([job, Job(9, Spec(("x",), "a", "/"), 0, State.SCHED)], seq=9, last_us=9, last_id=9)
            step = update(queue, 1, Draft(was), Draft(now), {}, limits, 10, userid=0)
            if key.name == "dependencies" and isinstance(step.answer, Refused):
                continue  # on a job that there is not
            assert isinstance(step.answer, answer), step.answer


def test_rules_see_what_the_table_says():
    assert {key.name for key in KEYS if key.seen is Seen.ALWAYS} == ALWAYS.keys() - {"tasks", "nodes", "userid"}
    assert {key.name for key in KEYS if key.seen is Seen.SOMETIMES} == SOMETIMES.keys() - {"queue", "project", "bank"}
    page = FILTER_RULES_MD.read_text("utf-8")
    assert not [name for name in (*ALWAYS, *SOMETIMES) if f"`{name}`" not in page]
    assert all(bool(key.shape) == (key.seen is not Seen.NEVER) for key in KEYS)


@pytest.mark.parametrize("key", [key for key in OF_SPEC if key.seen is not Seen.NEVER], ids=lambda key: key.name)
def test_what_rules_see_has_the_shape_that_lint_says(key: Key):
    shapes = {"a number": (int, float), "a string": str, "a list of strings": tuple}
    look_up = (ALWAYS | SOMETIMES)[key.name]
    for example in key.examples:
        assert isinstance(look_up(subject_of(Job(1, draft_of(key, example).spec, 0))), shapes[key.shape])
    if key.absent is not NOTHING and key.absent is None:
        assert look_up(subject_of(Job(1, Spec(("x",), "n", "/"), 0))) is ABSENT


def test_the_store_has_a_column_of_its_own_for_what_others_than_the_spec_need():
    """The name, by which jobs are looked up, and what is not in the spec; all else is in the column `spec`."""
    own = {field for field in JOB_COLUMNS if field in {key.fills for key in KEYS}}
    assert own == {"name", *(key.fills for key in KEYS if key.in_draft)}


def test_every_key_has_an_option_of_submit_but_the_programs():
    options = {flag for param in commands().commands["submit"].params for flag in param.opts}
    wanted = {key.flag for key in KEYS if key.option is not None}
    assert wanted <= options
    assert {key.name for key in KEYS if key.option is None} == {"command", "script", "args"}


VALID = fastjsonschema.compile(json_schema(), use_default=False)


@given(job_files(toml=False))
def test_a_job_file_that_is_taken_is_valid_by_the_json_schema(file: JobFile):
    assert isinstance(read_job(file.text.encode(), ".json", "/"), Draft)
    VALID(json.loads(file.text))


@pytest.mark.parametrize(
    "entries", [{}, {"command": ["x"], "script": "x"}, {"command": ["x"], "comand": 1}, {"version": 1}]
)
def test_the_json_schema_refuses_what_is_no_job_file(entries: dict[str, object]):
    """And of each key at least one of the values that the reader refuses."""
    with pytest.raises(fastjsonschema.JsonSchemaException):
        VALID(entries)
    for key in KEYS:
        refused = []
        for value in key.wrong:
            try:
                VALID({"command": ["true"], key.name: value})
            except fastjsonschema.JsonSchemaException:
                refused.append(value)
        assert refused, key.name


# ---- the document of a job ------------------------------------------------------------------------------------------

OURS = ("attempt", "reasons")  # in the document, and not in Flux's


def test_the_keys_of_a_job_s_document_are_the_same_everywhere():
    """In `--json` (`view.job_info`), in `--format`, and in `JobInfo`, which is made of what `job-list` answers."""
    info = JobInfo(job_attributes(Job(1, Spec(("x",), "n", "/"), 0), ATTRIBUTES))
    assert [*info.to_dict(filtered=False), *OURS] == list(INFO_KEYS)
    assert set(INFO_KEYS) <= set(FORMAT_KEYS)
    assert {key.shown for key in KEYS if key.shown} <= set(INFO_KEYS)
    computed = {"t_remaining", "username", "runtime", "status", "returncode", "jobid", "exception", "id", *OURS}
    single = {"exception_occurred", "exception_type", "exception_severity", "exception_note"}
    assert set(INFO_KEYS) - computed == set(ATTRIBUTES) - single


@given(jobs())
def test_the_values_of_a_job_s_document_are_the_same_everywhere(job: Job):
    """Where one says null, the other says "" or 0.0, as Flux does."""
    now_us = START_US + 3_600_000_000
    ours = job_info(job, username="", now_us=now_us, reasons=())
    info = JobInfo(job_attributes(job, ATTRIBUTES), clock=lambda: now_us / 1_000_000)
    theirs = info.to_dict(filtered=False)
    for key in set(INFO_KEYS) - {
        *OURS,
        "username",
        "annotations",
        "exception",
        "dependencies",
        "runtime",
        "t_remaining",
    }:
        value = theirs[key]
        assert ours[key] == (None if value in ("", 0.0) and ours[key] is None else value), key
    assert ours["runtime"] == pytest.approx(theirs["runtime"], abs=1e-5)  # floats of 1.7e9 seconds
    assert ours["t_remaining"] == pytest.approx(theirs["t_remaining"], abs=1e-5)
