"""What each kind of input is put to: the functions that the product itself uses, and what must hold of their answers.

Rule: a target answers the lines of a refusal, none when the input was accepted; what was accepted goes on as it would
in the scheduler (accepted, stored, read back, matched, shown), and any breach is an AssertionError. One input is read
in every form of its kind.
"""

import json
import os
import shlex
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial

from attrs import evolve

from jqsched.adapters.config import Config, as_document, merge, parse_config
from jqsched.adapters.jobfile import BadFile, as_json, bad, read_document, read_job, write_job
from jqsched.adapters.store import codec
from jqsched.adapters.store.query import FINISHED, LIVE, condition
from jqsched.adapters.store.schema import TABLES
from jqsched.adapters.store.writer import PUT_JOB
from jqsched.cli import rules, selector, target, template
from jqsched.cli.failure import Failure, printable
from jqsched.core.accept import accept
from jqsched.core.admission import gates_of
from jqsched.core.attributes import ATTRIBUTES, job_attributes
from jqsched.core.binding import Arrival
from jqsched.core.constraint import BadConstraint, BadFilter, Budget, Constraint, matches, read_constraint, read_filter
from jqsched.core.filters import BadRule, Rule, in_order, kept_rules, read_rule, rule_document, rules_text, subject_of
from jqsched.core.filters.expression import BadExpression, expression_of, read_expression
from jqsched.core.filters.lint import doubtful_fields
from jqsched.core.job import Draft, Job, JobException, Reason, Spec, State, output_paths
from jqsched.core.jobspec import JobspecError, from_jobspec, shown_jobspec, to_jobspec, updated
from jqsched.core.policy import Limits
from jqsched.core.queue import EMPTY, check, live
from jqsched.core.view import event_entry, job_info, resource_set
from jqsched.job.info import JobInfo
from jqsched.job.jobid import ENCODINGS, JobID
from jqsched.jobtap.loading import read_wanted
from jqsched.runtime.build import limits_of
from jqsched.scheduler.plugin_service import ERRORS_SHOWN
from jqsched.testing.swf import BadTrace, arrivals, read_trace
from tests.fuzz.dictionaries import WORDS
from tests.fuzz.search import Kind
from tests.fuzz.socket_targets import executor, frames, statuses

CWD = "/home/me"
NOW_US = 1_795_247_114_859_576
LIMITS = Limits(max_running=2, cores=4, ahead=3)
PATH_MAX = 4_500  # a path, and what is wrong with it
ARRIVALS_MAX = 20  # of a trace: what follows is as these are

Lines = tuple[str, ...]


# ---- job files and jobspecs -----------------------------------------------------------------------------------------


def job_file(data: bytes) -> Lines:
    """A job file, as JSON and as TOML, new and edited."""
    return _least(partial(_job_file, data, suffix) for suffix in (".json", ".toml"))


def _job_file(data: bytes, suffix: str) -> Lines:
    draft = read_job(data, suffix, CWD, "a file")
    edited = read_job(data, suffix, CWD, name="kept")
    assert isinstance(draft, BadFile) == isinstance(edited, BadFile), "a name cannot make it good"
    if isinstance(draft, BadFile):
        assert draft.errors, "a refusal says why"
        return draft.errors
    text = as_json(data, suffix)
    assert read_job(text.encode(), ".json", CWD, "a file") == draft, "as JSON it is the same job"
    assert read_job(write_job(draft).encode(), ".json", CWD) == draft, "written out it is the same job"
    return _goes_on(draft)


def jobspec(data: bytes) -> Lines:
    """A jobspec as a value, whatever parsed it, and as the update of another one."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return _job_file(data, ".json")
    lines = _least((partial(_jobspec, document), partial(_update, document)))
    return lines or ()


def _jobspec(document: object) -> Lines:
    try:
        spec = from_jobspec(document, CWD)
    except JobspecError as wrong:
        return bad(wrong.errors).errors or ("",)  # as a file's reader says it
    text = json.dumps(document)
    found = read_job(text.encode(), ".json", CWD)
    if isinstance(found, BadFile):
        return found.errors  # what no text may hold: that is the file's reader's to say
    assert found.spec == spec
    return _goes_on(found)


def _update(document: object) -> Lines:
    if not isinstance(document, dict):
        return ("no object",)
    try:
        spec = updated(Spec(("true",), "true", "/"), document)
    except JobspecError as wrong:
        return ("; ".join(wrong.errors[:ERRORS_SHOWN]),)
    assert isinstance(spec, Spec)
    return () if document else ("nothing is changed",)


def _goes_on(draft: Draft) -> Lines:
    """A draft becomes a job, which is stored, read back, shown and handed to the executor; or it is refused."""
    spec = draft.spec
    assert codec.spec_from_json(codec.spec_to_json(spec)) == spec, "the store gives back the spec"
    assert from_jobspec(json.loads(json.dumps(to_jobspec(spec))), spec.cwd) == spec, "its jobspec is the same job"
    for text in (
        *spec.command,
        *(part for pair in spec.env for part in pair),
        *output_paths(spec, 7, "/out"),
        spec.cwd,
    ):
        assert text is None or b"\0" not in os.fsencode(text), "the system takes it"
    accepted = accept(EMPTY, [Arrival(7, draft, 1000)], {}, LIMITS, NOW_US)
    if accepted.refused:
        return tuple(accepted.refused.values())
    check(accepted.step.queue)
    for seq, event in enumerate(accepted.step.events, 1):
        assert codec.event_from_row(codec.event_to_row(seq, event)) == (seq, event), "the store gives back the event"
        json.dumps(event_entry(seq, event, spec), allow_nan=False)
    for job in live(accepted.step.queue):
        assert codec.job_from_row(codec.job_to_row(job)) == job, "the store gives back the job"
        _store().execute("BEGIN")
        _store().execute(PUT_JOB, codec.summed(codec.job_to_row(job)))
        _store().execute("ROLLBACK")
        _is_shown(job)
    return ()


def _is_shown(job: Job) -> None:
    json.dumps(job_info(job, username="me", now_us=NOW_US, reasons=()), allow_nan=False)
    info = JobInfo(job_attributes(job, ATTRIBUTES))
    assert isinstance(str(info.contextual_info), str)
    json.dumps([shown_jobspec(job.spec), resource_set(job.spec, NOW_US)], allow_nan=False)
    gates_of(_rules(), job)


def _least(tries: Iterable[Callable[[], Lines]]) -> Lines:
    """The answer of several forms: nothing when one accepts the input, else what all of them say."""
    answers = [read() for read in tries]
    return () if () in answers else tuple(line for answer in answers for line in answer)


# ---- rules ----------------------------------------------------------------------------------------------------------


def rule(data: bytes) -> Lines:
    """A rule's document, the rules that a store keeps, predicates and actions as they are written on a command line."""
    text = data.decode(errors="surrogateescape")  # as an argument of a command
    return _least((partial(_rule, data), partial(_kept, text), partial(_predicates, text), partial(_action, text)))


def _rule(data: bytes) -> Lines:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return ("not JSON",)
    found = read_rule(document, uuid="new", watermark=2)
    if isinstance(found, BadRule):
        assert found.errors, "a refusal says why"
        return found.errors
    assert read_rule(rule_document(found)) == found, "written out it is the same rule"
    assert kept_rules(rules_text((found,))) == (found,), "kept it is the same rule"
    _means_the_same(found)
    return ()


def _means_the_same(found: Rule) -> None:
    line = expression_of(found.predicates)
    assert line.isprintable(), "an expression is one line"
    again = read_expression(line)
    assert not isinstance(again, BadExpression), again
    other = read_rule({**rule_document(found), "predicates": again})
    assert isinstance(other, Rule), other
    for doubt in doubtful_fields(found):
        assert not _no_line(doubt), doubt
    for job in _jobs():
        answer = found.matches(subject_of(job))
        assert isinstance(answer, bool)
        assert other.matches(subject_of(job)) is answer, f"{line} means what the rule does"
        gates_of((found,), job)


def _kept(text: str) -> Lines:
    try:
        found = kept_rules(text)
    except ValueError as wrong:
        return tuple(str(wrong).split("; "))  # the line is as long as its errors are many
    assert kept_rules(rules_text(found)) == found == in_order(found)
    return ()


def _predicates(text: str) -> Lines:
    return _said(lambda: _good_predicates(rules.predicates(text)))


def _good_predicates(document: object) -> None:
    found = read_rule({"uuid": "u", "watermark": 2, "priority": 0, "predicates": document, "action": "PAUSE"})
    if isinstance(found, BadRule):
        raise Failure("\n".join(found.errors))
    _means_the_same(found)


def _action(text: str) -> Lines:
    return _said(lambda: rules.action(text))


@cache
def _rules() -> tuple[Rule, ...]:
    found = read_rule(
        {"uuid": "r", "watermark": 1, "priority": 1, "action": "PAUSE", "predicates": [["job", ["=~", "name", "x$"]]]}
    )
    assert isinstance(found, Rule)
    return (found,)


@cache
def _jobs() -> tuple[Job, ...]:
    """Jobs that rules and constraints are about."""
    plain = Spec(("make", "-j"), "build", "/src")
    user = {"tier": 1, "tags": ["a", "b"], "deep": {"er": True}, "no": None}
    flux = {**to_jobspec(plain), "attributes": {"system": {"queue": "batch", "bank": 7}, "user": user}}
    full = Spec(
        ("true",), "test", "/", (("A", "1"),), cores=8, tasks=2, time_limit_us=90_000_000, output="o", error="e",
        reasons=(Reason("user", "said so"), Reason("cron", "again", 2**60)), jobspec=flux,
    )  # fmt: skip
    at = {"t_submit_us": NOW_US, "t_depend_us": NOW_US + 1}
    ran = {**at, "t_run_us": NOW_US + 2, "t_cleanup_us": NOW_US + 3, "t_inactive_us": NOW_US + 4}
    return (
        Job(1, plain, 1000, state=State.SCHED, **at),
        Job(2, full, 0, state=State.RUN, **{**at, "t_run_us": NOW_US + 2}),
        Job(3, full, 1000, state=State.INACTIVE, status=256, **ran),
        Job(4, plain, 2**32 - 2, state=State.INACTIVE, fatal=True, exception=JobException("cancel", 0, ""), **ran),
    )


# ---- constraints ----------------------------------------------------------------------------------------------------


def constraint(data: bytes) -> Lines:
    """A constraint on lists as JSON, and a filter of states and results."""
    return _least((partial(_constraint, data), partial(_filter, data.decode(errors="surrogateescape"))))


def _constraint(data: bytes) -> Lines:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return ("not JSON",)
    found = read_constraint(document)
    return (found.text,) if isinstance(found, BadConstraint) else _finds(found)


def _filter(text: str) -> Lines:
    found = read_filter(text)
    return (printable(found.text),) if isinstance(found, BadFilter) else _finds(found)


def _finds(wanted: Constraint) -> Lines:
    """By index and one by one the same jobs are found."""
    for part, of_part in ((LIVE, _jobs()[:2]), (FINISHED, _jobs()[2:])):
        chosen = {job.id for job in of_part if matches(wanted, job, Budget())}
        sql = condition(wanted, part, "localhost")
        found = {
            row[0] for row in _store().execute(f"SELECT id FROM jobs WHERE {part.where} AND ({sql.sql})", sql.values)
        }
        assert chosen == found if sql.exact else chosen <= found, f"{sql.sql} finds {found}, and {chosen} match"
    return ()


@cache
def _store() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(TABLES)
    connection.executemany(PUT_JOB, [codec.summed(codec.job_to_row(job)) for job in _jobs()])
    return connection


# ---- configuration ---------------------------------------------------------------------------------------------------


def configuration(data: bytes) -> Lines:
    """The configuration file, the options that win over it, and the entries that name plugins."""
    entries = data.decode(errors="surrogateescape").split("\n")[:20]
    return _least((partial(_config, data), partial(_options, data), *(partial(_plugin, entry) for entry in entries)))


def _config(data: bytes) -> Lines:
    config = parse_config(data)
    if isinstance(config, BadFile):
        assert config.errors, "a refusal says why"
        return config.errors
    for entry in config.plugins:
        for line in _plugin(entry):
            assert not _no_line(line), line
    return _configures(config)


def _options(data: bytes) -> Lines:
    """Options have no more types than JSON."""
    document = read_document(data, ".json")
    if isinstance(document, BadFile):
        return document.errors
    config = merge(Config(), document[0])
    return config.errors if isinstance(config, BadFile) else _configures(config)


def _configures(config: Config) -> Lines:
    assert merge(config, {}) == config
    assert json.loads(json.dumps(as_document(config), allow_nan=False)) == as_document(config), "plugins can see it"
    limits, grace_us = limits_of(config), round(config.grace_s * 1_000_000)
    assert min(limits.max_running, limits.cores, grace_us + 1) >= 1
    return ()


def _plugin(entry: str) -> Lines:
    if not entry.strip():
        return ("nothing",)
    try:
        name, conf = read_wanted(entry)
    except ValueError as wrong:
        return (str(wrong),)
    assert name == shlex.split(entry)[0]
    assert json.loads(json.dumps(conf)) is not None, "a plugin's configuration goes over the socket"
    return ()


# ---- what is written on a command line ------------------------------------------------------------------------------


def trace(data: bytes) -> Lines:
    """A trace in the Standard Workload Format."""
    found = read_trace(data.decode(errors="replace").splitlines(keepends=True))
    if isinstance(found, BadTrace):
        assert found.errors, "a refusal says why"
        return found.errors
    assert found.jobs == tuple(sorted(found.jobs, key=lambda job: job.submit_us))
    for nth, arrival in zip(range(1, ARRIVALS_MAX + 1), arrivals(found), strict=False):
        assert arrival.name.isprintable()
        for line in _goes_on(evolve(arrival.draft, spec=evolve(arrival.draft.spec, dependencies=()))):
            raise AssertionError(f"job {nth} is refused: {line}")
    return ()


def job_id(data: bytes) -> Lines:
    """A job's id in any encoding, as an argument and in a script."""
    text = data.decode(errors="surrogateescape")
    readers = (partial(_said, lambda: _is_id(selector.job_id(text))), partial(_script_id, text))
    return _least((*readers, partial(_said, lambda: _names_jobs(text))))


def _names_jobs(text: str) -> None:
    read = selector.read_selector(text)
    if isinstance(read, selector.Ids):
        assert 0 <= read.first <= read.last < 2**63


def _script_id(text: str) -> Lines:
    try:
        found = JobID(text)
    except ValueError:
        return ("no id",)  # the text is Flux's, and repeats what it was given
    for encoding in ENCODINGS:
        assert JobID(found.encode(encoding)) == found, f"{encoding} is read as it was written"
    return ()


def _is_id(found: int) -> None:
    assert type(found) is int, found
    assert 0 < found < 2**63, found


def time(data: bytes) -> Lines:
    """A time and a duration."""
    text = data.decode(errors="surrogateescape")
    return _least(partial(_said, partial(_is_time, read, text)) for read in (target.time_us, target.duration_us))


def _is_time(read: Callable[[str], int], text: str) -> None:
    found = read(text)
    assert type(found) is int, found
    assert 0 <= found < 2**63, found


def format_(data: bytes) -> Lines:
    """A template for lists, and keys to sort by."""
    text = data.decode(errors="surrogateescape")
    return _least((partial(_said, partial(_write, text)), partial(_said, partial(_sort, text))))


def _show(job: Job) -> dict[str, object]:
    return job_info(job, username="me", now_us=NOW_US + 9, reasons=("because",))


def _write(text: str) -> None:
    write = template.compiled(text, _show, "localhost")
    for job in _jobs():
        line = write(job)
        assert len(line) <= 1_000 + 1_000 * len(text), "it writes no more than was asked for"


def _sort(text: str) -> None:
    assert sorted(job.id for job in template.sorted_by(text, _jobs(), _show)) == [1, 2, 3, 4]


def _said(do: Callable[[], object]) -> Lines:
    """What the command line would say, line by line; there nothing unprintable is printed."""
    try:
        do()
    except Failure as failure:
        return tuple(map(printable, str(failure).splitlines() or [""]))
    return ()


def _no_line(line: str) -> bool:
    return not line.isprintable() or len(line) > 2_000


def _all() -> Iterator[Kind]:
    yield Kind("job-files", job_file, WORDS["job-files"])
    yield Kind("jobspecs", jobspec, WORDS["jobspecs"])
    yield Kind("rules", rule, WORDS["rules"])
    yield Kind("frames", frames, WORDS["frames"], line_max=PATH_MAX)
    yield Kind("configuration", configuration, WORDS["configuration"], line_max=PATH_MAX)
    yield Kind("constraints", constraint, WORDS["constraints"])
    yield Kind("traces", trace, WORDS["traces"])
    yield Kind("job-ids", job_id, WORDS["job-ids"])
    yield Kind("executor", executor, WORDS["executor"])
    yield Kind("statuses", statuses, WORDS["executor"])
    yield Kind("formats", format_, WORDS["formats"])
    yield Kind("times", time, WORDS["times"])


KINDS = {kind.name: kind for kind in _all()}
