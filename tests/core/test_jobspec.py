"""Jobspecs (RFC 25) and the rules for single values: the round trip, what is kept, and what is said of a bad one."""

import json
import re

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core.job import Dependency, OnInterrupt, Reason, Spec, output_paths
from jqsched.core.jobspec import JobspecError, Wrong, from_jobspec, remarks, shown_jobspec, to_jobspec, updated, values
from jqsched.core.jobspec.script import interpreter_of

NAMES = st.from_regex(r"[a-zA-Zé_][\w.+-]{0,20}", fullmatch=True).filter(values.is_name)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
PATHS = st.from_regex(r"[a-z/]{0,10}[a-z](\{id\}|\{name\})?", fullmatch=True)
IDS = st.integers(1, values.ID_MAX)
TIMES_US = st.integers(0, values.SECONDS_MAX * 1_000_000)
DEPENDENCIES = st.one_of(
    st.builds(Dependency, st.sampled_from(["after", "afterany", "afterok", "afternotok"]), IDS),
    st.builds(Dependency, st.sampled_from(["after", "afterok"]), NAMES, st.booleans()),
    st.builds(Dependency, st.just("begin-time"), TIMES_US),
    st.just(Dependency("singleton")),
)


@st.composite
def specs(draw) -> Spec:
    nodes = draw(st.integers(1, 4))
    return Spec(
        command=(draw(TEXTS.filter(bool)), *draw(st.lists(TEXTS, max_size=3))),
        name=draw(NAMES),
        cwd="/" + draw(TEXTS),
        env=tuple(sorted(draw(st.dictionaries(NAMES, TEXTS, max_size=3)).items())),
        cores=nodes * draw(st.integers(1, 9)),
        tasks=draw(st.integers(1, 9)),
        nodes=nodes,
        time_limit_us=draw(st.none() | TIMES_US.filter(bool)),
        output=draw(st.none() | PATHS),
        error=draw(st.none() | PATHS),
        on_interrupt=draw(st.sampled_from(OnInterrupt)),
        reasons=tuple(
            draw(st.lists(st.builds(Reason, TEXTS, TEXTS, st.none() | st.integers(0, 2**63 - 1)), max_size=2))
        ),
        dependencies=tuple(draw(st.lists(DEPENDENCIES, max_size=3))),
    )


@given(specs())
def test_a_spec_comes_back_from_its_jobspec(spec):
    """Also by way of JSON, and without keeping the jobspec that can be made again."""
    assert from_jobspec(json.loads(json.dumps(to_jobspec(spec)))) == spec


@given(specs())
def test_a_jobspec_that_is_shown_has_no_environment_and_all_else(spec):
    """Also one that was kept as it was given."""
    jobspec = to_jobspec(spec)
    kept = shown_jobspec(evolve(spec, jobspec=json.loads(json.dumps(jobspec))))
    jobspec["attributes"]["system"].pop("environment")
    assert shown_jobspec(spec) == kept == jobspec


@pytest.mark.parametrize(
    "jobspec", [{}, {"attributes": 5}, {"attributes": {"system": 5}}, {"attributes": {"user": {}}}]
)
def test_where_there_is_no_environment_there_is_nothing_to_leave_out(jobspec):
    """Whatever is in its place: a list shows jobs that were stored by others, too."""
    assert shown_jobspec(Spec(("true",), "n", "/", jobspec=jobspec)) == jobspec


KEYS = st.sampled_from(["version", "resources", "tasks", "attributes", "system", "user", "type", "count", "with", "x"])
ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(ATOMS, lambda s: st.lists(s, max_size=3) | st.dictionaries(KEYS, s, max_size=5), max_leaves=20)


@given(JSON)
def test_whatever_is_no_jobspec_is_refused_with_errors(value):
    with pytest.raises(JobspecError) as refusal:
        from_jobspec(value)
    assert all(refusal.value.errors)


FLUX = {  # `flux run -N2 -n4 -t 10m --dry-run hostname`
    "resources": [
        {
            "type": "node",
            "count": 2,
            "exclusive": True,
            "with": [{"type": "slot", "count": 2, "with": [{"type": "core", "count": 1}], "label": "task"}],
        }
    ],
    "tasks": [{"command": ["hostname"], "slot": "task", "count": {"per_slot": 1}}],
    "attributes": {
        "system": {
            "duration": 600.0,
            "cwd": "/watched_gate/me",
            "shell": {"options": {"rlimit": {"cpu": -1}}},
            "environment": {"PATH": "/bin", "HOME": "/watched_gate/me"},
        }
    },
    "version": 1,
}


def with_(path: str, value: object) -> dict:
    """FLUX with one value changed; None takes it out."""
    changed = json.loads(json.dumps(FLUX))
    at, keys = changed, [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in keys[:-1]:
        at = at[key]
    if value is None:
        del at[keys[-1]]
    else:
        at[keys[-1]] = value
    return changed


def test_what_flux_prints_is_read_and_kept_verbatim():
    spec = from_jobspec(FLUX)
    assert (spec.nodes, spec.tasks, spec.cores) == (2, 4, 4)
    assert (spec.command, spec.name, spec.cwd) == (("hostname",), "hostname", "/watched_gate/me")
    assert spec.env == (("HOME", "/watched_gate/me"), ("PATH", "/bin"))
    assert spec.time_limit_us == 600_000_000
    assert to_jobspec(spec) is FLUX
    assert from_jobspec(to_jobspec(spec)) == spec


def test_a_total_of_tasks_and_a_slot_without_node():
    slot = {"type": "slot", "count": 4, "with": [{"type": "core", "count": 2}], "label": "task"}
    changed = with_("resources", [slot]) | {"tasks": [{"command": ["x"], "slot": "task", "count": {"total": 3}}]}
    spec = from_jobspec(changed)
    assert (spec.nodes, spec.tasks, spec.cores) == (1, 3, 8)


def test_so_many_tasks_per_slot():
    assert from_jobspec(with_("tasks.0.count", {"per_slot": 3})).tasks == 12


SLOT = {"type": "slot", "count": 1, "with": [{"type": "core", "count": 1}], "label": "task"}


@pytest.mark.parametrize(
    ("nodes", "tasks", "cores", "resources", "count"),
    [
        (1, 1, 1, SLOT, {"per_slot": 1}),
        (1, 3, 6, SLOT | {"count": 3, "with": [{"type": "core", "count": 2}]}, {"per_slot": 1}),
        (1, 4, 6, SLOT | {"with": [{"type": "core", "count": 6}]}, {"total": 4}),
        (2, 4, 4, {"type": "node", "count": 2, "with": [SLOT | {"count": 2}]}, {"per_slot": 1}),
        (
            2,
            3,
            6,
            {"type": "node", "count": 2, "with": [SLOT | {"with": [{"type": "core", "count": 3}]}]},
            {"total": 3},
        ),
    ],
)
def test_a_task_gets_a_slot_where_nodes_and_cores_can_be_shared_out(nodes, tasks, cores, resources, count):
    """Else a node is one slot, and the tasks are counted together; one node is left out, as Flux does."""
    jobspec = to_jobspec(Spec(("x",), "x", "/", nodes=nodes, tasks=tasks, cores=cores))
    assert (jobspec["resources"], jobspec["tasks"][0]["count"]) == ([resources], count)


def test_cores_that_cannot_be_shared_out_are_a_bug_of_ours():
    """The maker of a spec has checked it."""
    with pytest.raises(AssertionError, match=r"^a spec's cores are spread evenly over its nodes$"):
        to_jobspec(Spec(("x",), "x", "/", nodes=2, tasks=3, cores=3))


def test_what_may_be_left_out_has_a_default():
    changed = with_("attributes.system", {})
    assert from_jobspec(changed) == Spec(("hostname",), "hostname", "/", cores=4, tasks=4, nodes=2, jobspec=changed)


@pytest.mark.parametrize("duration", [0, 0.0])
def test_a_duration_of_zero_is_none(duration):
    assert from_jobspec(with_("attributes.system.duration", duration)).time_limit_us is None


def test_a_jobspec_without_cwd_runs_where_it_is_told_to():
    assert from_jobspec(with_("attributes.system.cwd", None), "/spool").cwd == "/spool"


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("version", 2, "version: must be 1, not 2"),
        ("version", True, "version: must be 1, not true"),
        ("version", None, "version: missing"),
        ("extra", 1, "extra: unknown key"),
        ("resources", None, "resources: missing"),
        ("tasks", None, "tasks: missing"),
        ("attributes", None, "attributes: missing"),
        ("attributes.system", None, "attributes.system: missing"),
        ("resources", [], "resources: must have exactly one element, not 0"),
        ("resources", {}, "resources: must be a list of one object, not an object"),
        ("resources.0.count", None, "resources[0].count: missing"),
        ("resources.0.count", 0, "resources[0].count: must be an integer 1…2147483647, not 0"),
        ("resources.0.count", 2**30, "resources[0]: asks for more than 2147483647 cores"),
        ("resources.0.type", "rack", "resources[0].type: must be node or slot, not 'rack'"),
        ("resources.0.with", None, "resources[0].with: missing"),
        ("resources.0.with.0.type", "rack", "resources[0].with[0].type: must be node or slot, not 'rack'"),
        ("resources.0.with.0.count", None, "resources[0].with[0].count: missing"),
        ("resources.0.with.0.count", 0, "resources[0].with[0].count: must be an integer 1…2147483647, not 0"),
        ("resources.0.with.0.with", None, "resources[0].with[0].with: missing"),
        ("resources.0.with.0.with.0.type", "gpu", "resources[0].with[0].with[0].type: only core is known here, not 'g"),
        ("resources.0.with.0.with.0.count", None, "resources[0].with[0].with[0].count: missing"),
        ("resources.0.with.0.with.0.count", 0, "resources[0].with[0].with[0].count: must be an integer 1…2147483647"),
        ("tasks.0.command", None, "tasks[0].command: missing"),
        ("tasks.0.command", "ls", "tasks[0].command: must be a list of strings, not 'ls'"),
        ("tasks.0.command", [], "tasks[0].command: must not be empty"),
        ("tasks.0.command", ["x", 5], "tasks[0].command[1]: must be a string, not 5"),
        ("tasks.0.slot", 7, "tasks[0].slot: must be the label of the slot, 'task', not 7"),
        ("tasks.0.count", None, "tasks[0].count: missing"),
        ("tasks.0.count", 4, "tasks[0].count: must be an object, not 4"),
        ("tasks.0.count", {"per_slot": 1, "total": 1}, "tasks[0].count: must have one key, per_slot or total"),
        ("tasks.0.count", {"per_slot": 0}, "tasks[0].count.per_slot: must be an integer 1…2147483647, not 0"),
        ("tasks.0.count", {"total": 0}, "tasks[0].count.total: must be an integer 1…2147483647, not 0"),
        ("attributes.system.cwd", "here", "attributes.system.cwd: must be an absolute path, not 'here'"),
        ("attributes.system.duration", "x", "attributes.system.duration: must be seconds, or a duration like 90s, "),
        ("attributes.system.environment.A", 1, "attributes.system.environment.A: must be a string, not 1"),
        ("attributes.system.dependencies", [{}], "attributes.system.dependencies[0].scheme: must be one of after "),
        ("attributes.system.job", 5, "attributes.system.job: must be an object, not 5"),
        ("attributes.system.job", {"name": "5"}, "attributes.system.job.name: must be a name"),
        ("attributes.user", 5, "attributes.user: must be an object, not 5"),
        ("attributes.user", {"jqsched": 5}, "attributes.user.jqsched: must be an object, not 5"),
        ("attributes.user", {"jqsched": {"output": ""}}, "attributes.user.jqsched.output: must be the path of a file"),
        ("attributes.user", {"jqsched": {"error": ""}}, "attributes.user.jqsched.error: must be the path of a file"),
        ("attributes.user", {"jqsched": {"on_interrupt": 5}}, "attributes.user.jqsched.on_interrupt: must be requeue"),
        ("attributes.user", {"jqsched": {"reasons": 5}}, "attributes.user.jqsched.reasons: must be a list of strings"),
        ("attributes.user", {"jqsched": {"outputs": "x"}}, "attributes.user.jqsched.outputs: unknown key"),
    ],
)  # fmt: skip
def test_each_error_has_its_place(path, value, error):
    with pytest.raises(JobspecError) as refusal:
        from_jobspec(with_(path, value))
    assert [said for said in refusal.value.errors if said.startswith(error)], refusal.value.errors
    assert len(refusal.value.errors) == 1


def test_all_errors_are_said_at_once():
    """Each on a line of its own."""
    changed = with_("tasks.0.command", []) | {"more": 1}
    changed["attributes"]["system"] |= {"cwd": 1, "duration": "x"}
    with pytest.raises(JobspecError) as refusal:
        from_jobspec(changed)
    assert len(refusal.value.errors) == 4
    assert str(refusal.value).splitlines() == list(refusal.value.errors)


def test_an_empty_object_is_no_task_and_no_core():
    """What is required in an object is missed in an empty one, too."""
    changed = with_("tasks", [{}])
    changed["resources"][0]["with"][0]["with"] = [{}]
    with pytest.raises(JobspecError) as refusal:
        from_jobspec(changed)
    assert refusal.value.errors == (
        "resources[0].with[0].with[0].type: only core is known here, not null",
        "resources[0].with[0].with[0].count: missing",
        "tasks[0].command: missing",
        "tasks[0].count: missing",
        "tasks[0].slot: must be the label of the slot, 'task', not null",
    )


@pytest.mark.parametrize("version", [2, None])
def test_a_jobspec_of_another_version_is_looked_at_no_further(version):
    with pytest.raises(JobspecError) as refusal:
        from_jobspec(with_("version", version) | {"tasks": 5, "attributes": 5})
    assert len(refusal.value.errors) == 1


def test_what_is_no_object_is_no_jobspec():
    with pytest.raises(JobspecError) as refusal:
        from_jobspec([FLUX])
    assert refusal.value.errors == ("a jobspec must be an object, not a list",)


def shared_out(nodes: object, slots: object, cores: object) -> dict:
    slot = {"type": "slot", "count": slots, "with": [{"type": "core", "count": cores}], "label": "task"}
    return with_("resources", [{"type": "node", "count": nodes, "with": [slot]}])


MOST = values.COUNT_MAX


@pytest.mark.parametrize("counts", [("?", 1, MOST), ("?", MOST, 1), (1, "?", MOST), (MOST, "?", 1), (1, MOST, "?")])
def test_a_bad_count_counts_as_one(counts):
    """Three counts make the number of cores; where one is wrong only that is said, however high the others are."""
    with pytest.raises(JobspecError) as refusal:
        from_jobspec(shared_out(*counts))
    assert len(refusal.value.errors) == 1


def test_as_many_cores_as_there_can_be():
    assert from_jobspec(shared_out(1, 1, MOST)).cores == MOST


# ---- single values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "us"),
    [
        (90, 90e6),
        (0.5, 5e5),
        ("90", 90e6),
        ("90s", 90e6),
        ("10m", 6e8),
        ("1.5h", 5.4e9),
        ("2d", 1.728e11),
        ("5ms", 5e3),
    ],
)
def test_durations(value, us):
    assert values.duration_us(value) == us


@pytest.mark.parametrize(
    "value", [0, -1, "0", "-1s", "inf", "nan", "1w", "1 m", "", "m", True, None, [], float("inf"), 1e300, 10**400, 1e-9]
)
def test_no_durations(value):
    with pytest.raises(Wrong):
        values.duration_us(value)


@pytest.mark.parametrize(
    ("value", "us"),
    [
        (1_700_000_000.25, 1_700_000_000_250_000),
        ("1700000000.25", 1_700_000_000_250_000),
        ("1970-01-01T00:00:10Z", 10_000_000),
        ("1970-01-01T02:00:10+02:00", 10_000_000),
    ],
)
def test_begin_times(value, us):
    assert values.begin_us(value) == us


@pytest.mark.parametrize("value", ["2026-01-01T00:00:00", "now", "", -1, 1e18, "9999-12-31T23:59:59-23:59", True, None])
def test_no_begin_times(value):
    with pytest.raises(Wrong):
        values.begin_us(value)


@pytest.mark.parametrize(
    "name",
    [
        *("a", "A.b+c-d_e", "_", "Übung", "7z", "日本", "x" * 100, "🙂", "नमस्ते", "می\u200cخواهم"),
        *("a b", "a/b", "rule[wildcard=x, y](1):2@host#~%{}", "~x", "=", "/", "singleton=x"),
    ],
)
def test_names(name):
    assert values.name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "17",
        "-rf",
        "+x",
        ".hidden",
        "..",
        *" \t",
        " a",
        "a ",
        "a\tb",
        "a\n",
        "x" * 101,
        "ƒ2oLk",
        "\u202ex",
        "a→17",
        "\u200cx",
        "٣",
        "a\x85b",
        "a\u2028b",
    ],
)
def test_no_names(name):
    with pytest.raises(Wrong):
        values.name(name)


@pytest.mark.parametrize(
    ("path", "name"),
    [("/bin/true", "true"), ("a b", "a_b"), ("/opt/7", "_7"), ("./.x", "_.x"), ("/", "_"), ("-x", "_-x"), ("b/", "b")],
)
def test_a_name_is_made_of_a_path(path, name):
    assert values.name_from(path) == name


@given(st.text())
def test_whatever_the_path_the_name_is_one(path):
    assert values.is_name(values.name_from(path))


@pytest.mark.parametrize(
    ("value", "target"),
    [
        (17, 17),
        ("17", 17),
        ("build", "build"),
        ("ƒ1", None),
        ("ƒ2", 1),
        ("ƒz", 57),
        ("ƒ21", 58),
        ("ƒNNQebH", 14025752576),
    ],
)
def test_targets(value, target):
    if target is None:
        with pytest.raises(Wrong):
            values.target(value)
    else:
        assert values.target(value) == target


@pytest.mark.parametrize("value", [0, -1, "0", True, 1.0, None, "..", "ƒ0", "ƒ", "ƒ" + "z" * 11, "9" * 30, 2**63])
def test_no_targets(value):
    with pytest.raises(Wrong):
        values.target(value)


@pytest.mark.parametrize(
    "value",
    [
        {"scheme": "afterok"},
        {"scheme": "afterok", "value": None},
        {"scheme": "afterok", "value": "a b "},
        {"scheme": "singleton", "value": "x"},
        {"scheme": "afterok", "value": 17, "next": True},
        {"scheme": "afterok", "value": "a", "next": "yes"},
        {"scheme": ["x"], "value": "a"},
        {"value": "a"},
        {"scheme": "after", "value": "a", "what": 1},
        [],
    ],
)
def test_no_dependencies(value):
    with pytest.raises(Wrong):
        values.dependency(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("why", Reason("", "why")),
        (["me", "why"], Reason("me", "why")),
        (["me", "why", 0], Reason("me", "why", 0)),
        (["me", "why", 2**63 - 1], Reason("me", "why", 2**63 - 1)),
    ],
)
def test_reasons(value, reason):
    assert values.reasons([value]) == (reason,)


@pytest.mark.parametrize(
    ("value", "errors"),
    [
        (5, [("[0]", "must be a string, [source, text] or [source, text, nanoseconds], not 5")]),
        (["why"], [("[0]", "must be a string, [source, text] or [source, text, nanoseconds], not a list")]),
        (["me", "why", None], [("[0][2]", "must be nanoseconds since 1970 (an integer), not null")]),
        (["me", "why", 1.5], [("[0][2]", "must be nanoseconds since 1970 (an integer), not 1.5")]),
        (
            ["me", 1, -1],
            [
                ("[0][1]", "must be a string, not 1"),
                ("[0][2]", "must be nanoseconds since 1970 (an integer), not -1"),
            ],
        ),
        (["me", "why", 1, 2], [("[0]", "must be a string, [source, text] or [source, text, nanoseconds], not a list")]),
    ],
)
def test_no_reasons(value, errors):
    with pytest.raises(Wrong) as wrong:
        values.reasons([value])
    assert list(wrong.value.errors) == errors


def test_what_is_shown_of_a_value_does_nothing_to_a_terminal():
    assert values.show("\x1b[31m\u202e\n") == r"'\x1b[31m\u202e\n'"
    assert len(values.show("x" * 10_000)) < 50
    assert values.show(10**5000) == "a huge number"


# ---- a spec with some values changed ------------------------------------------------------------------------------

SHORT = Spec(("true",), "a", "/", time_limit_us=5_000_000)


@pytest.mark.parametrize(
    ("updates", "field", "value"),
    [
        ({"attributes.system.duration": 7.5}, "time_limit_us", 7_500_000),
        ({"attributes.system.duration": None}, "time_limit_us", None),
        ({"attributes.system.job.name": "b"}, "name", "b"),
        ({"attributes.system.nosuch": None}, "time_limit_us", 5_000_000),
        ({"attributes.system.cwd": "/x", "attributes.system.job.name": "b"}, "cwd", "/x"),
        ({"attributes.user.jqsched.output": "o.log"}, "output", "o.log"),
    ],
)
def test_a_value_of_a_jobspec_is_changed_by_its_keys(updates, field, value):
    """None removes it; objects that are not there are made."""
    assert getattr(updated(SHORT, updates), field) == value


def test_a_change_leaves_all_else_and_the_spec_as_it_was():
    """They share what was not changed."""
    document = {**to_jobspec(SHORT), "attributes": {"system": {"duration": 5, "cwd": "/"}, "user": {"k": {"deep": 1}}}}
    before = json.dumps(document)
    spec = from_jobspec(document)
    after = updated(spec, {"attributes.user.k.more": 2, "attributes.system.duration": 6})
    assert after.jobspec == {
        **document,
        "attributes": {"system": {"duration": 6, "cwd": "/"}, "user": {"k": {"deep": 1, "more": 2}}},
    }
    assert json.dumps(document) == json.dumps(spec.jobspec) == before


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("tasks.0.command", "tasks.0.command: tasks is no object"),
        ("attributes.system.duration.s", "attributes.system.duration.s: duration is no object"),
        ("version", None),
    ],
)
def test_what_cannot_be_changed_is_refused(key, said):
    """A way through what is no object, or what then is no jobspec."""
    with pytest.raises(JobspecError) as refusal:
        updated(SHORT, {key: 2})
    assert said is None or str(refusal.value) == said


def test_a_jobspec_without_a_cwd_keeps_that_of_the_spec():
    spec = Spec(("true",), "a", "/watched_gate")
    assert updated(spec, {"attributes.system.cwd": None}).cwd == "/watched_gate"


# ---- what is obeyed, and what is not --------------------------------------------------------------------------------

BASE = {
    "resources": [SLOT],
    "tasks": [{"command": ["app"], "slot": "task", "count": {"per_slot": 1}}],
    "attributes": {"system": {"duration": 0}},
    "version": 1,
}


def put(document: dict, path: str, value: object) -> dict:
    """The document with one value changed or added."""
    changed = json.loads(json.dumps(document))
    at, keys = changed, [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    return changed


def test_a_name_is_compared_as_it_is_composed():
    """macOS takes the names of files apart."""
    assert values.name("cafe\u0301") == values.target("cafe\u0301") == "caf\u00e9"
    assert values.name_from("/srv/cafe\u0301 नमस्ते") == "caf\u00e9_नमस्ते"


@pytest.mark.parametrize(
    ("name", "file"), [("../../etc/x", None), ("a/b c", "a_b c"), ("ü" * 100, "ü" * 100), ("日" * 100, "日" * 66)]
)
def test_a_name_in_a_path_leads_nowhere_and_fits(name, file):
    if file is None:
        assert not values.is_name(name)
        return
    spec = Spec(command=("x",), name=name, cwd="/w", output="{name}.{id}")
    assert output_paths(spec, 7, "/o") == (f"/w/{file}.7", None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attributes.foo": 1}, "attributes.foo: unknown key"),
        ({"attributes.system.constraints": ["foo"]}, "attributes.system.constraints: nothing here obeys constraints"),
        ({"attributes.system.constraints": {"properties": ["x"]}}, "nothing here obeys constraints"),
        ({"attributes.system.files": {"script": {}}}, "attributes.system.files: a batch script"),
        ({"attributes.system.shell": {"options": {"output": {"stdout": {"type": "file"}}}}}, "stdout.path: missing"),
        (
            {"attributes.system.shell": {"options": {"output": {"stdout": {"type": "x"}}}}},
            "must be file or kvs, not 'x'",
        ),
        ({"attributes.system.shell": {"options": {"output": 7}}}, "options.output: must be an object, not 7"),
    ],
)
def test_what_nobody_would_obey_is_refused(changes, said):
    document = BASE
    for key, value in changes.items():
        document = put(document, key, value)
    with pytest.raises(JobspecError, match=re.escape(said)):
        from_jobspec(document)


def test_what_is_nothing_is_no_matter():
    slot = BASE["resources"][0]
    document = BASE | {"resources": [slot | {"exclusive": False, "with": [*slot["with"], {"type": "gpu", "count": 0}]}]}
    spec = from_jobspec(put(put(document, "attributes.system.constraints", {}), "tasks.0.slot", "other"))
    assert remarks(spec) == ()


def test_the_shells_output_is_obeyed():
    shell = {
        "options": {"output": {"stdout": {"type": "file", "path": "{{name}}-{{id}}.out"}, "stderr": {"path": "e"}}}
    }
    spec = from_jobspec(put(BASE, "attributes.system.shell", shell))
    assert (spec.output, spec.error, remarks(spec)) == ("{name}-{id}.out", "e", ())
    ours = put(put(BASE, "attributes.system.shell", shell), "attributes.user", {"jqsched": {"output": "mine"}})
    assert from_jobspec(ours).output == "mine"


def test_what_is_ignored_is_said():
    document = put(BASE, "attributes.system.shell", {"verbose": 2, "options": {"pty": True, "mpi": ""}})
    document = put(document, "attributes.system.preemptible-after", 5)
    document = put(document, "tasks.0.distribution", "block")
    document = put(document, "attributes.system.queue", "debug")
    document = put(document, "resources.0.exclusive", True)
    (said,) = remarks(from_jobspec(document))
    assert said == (
        "nothing here obeys attributes.system.preemptible-after, attributes.system.shell.verbose,"
        " attributes.system.shell.options.pty, tasks[0].distribution, resources[0].exclusive: ignored"
    )


@pytest.mark.parametrize("kind", ["command", "script", "env"])
def test_no_longer_argument_is_taken_than_a_program_can_be_given(kind):
    """MAX_ARG_STRLEN of execve(2): 128 KiB with the NUL at its end."""
    read = {
        "command": lambda x: values.command(["echo", x]),
        "script": values.script,
        "env": lambda x: values.env({"A": x}),
    }
    fits = "x" * (131_071 - (2 if kind == "env" else 0))
    read[kind](fits)
    for longer in (fits + "x", "ü" * 65_536):
        with pytest.raises(values.Wrong, match="must be at most 131071 bytes long"):
            read[kind](longer)


@pytest.mark.parametrize(
    ("first", "command"),
    [
        ("echo", ("/bin/sh", "-c")),
        ("#!/bin/sh", ("/bin/sh", "-c")),
        ("#! /bin/bash -eu\r", ("/bin/bash", "-eu", "-c")),
        ("#!/usr/bin/env python3", ("/usr/bin/env", "python3", "-c")),
        ("#!/usr/bin/env -S python3.11 -u", ("/usr/bin/env", "python3.11", "-u", "-c")),
        ("#!/usr/bin/perl -w", ("/usr/bin/perl", "-w", "-e")),
        ("#!/usr/bin/awk -f", None),
        ("#!", None),
        ("#!/usr/bin/env", None),
    ],
)
def test_a_script_is_run_by_the_interpreter_that_it_names_or_refused(first, command):
    if command is None:
        with pytest.raises(values.Wrong, match="begins with"):
            values.script(f"{first}\nx")
    else:
        assert interpreter_of(f"{first}\nx") == command


def test_dos_line_breaks_in_a_script_are_said():
    spec = Spec(command=("/bin/sh", "-c", "cd /\r\npwd\r\n"), name="x", cwd="/")
    assert "DOS line breaks" in remarks(spec)[0]
    assert remarks(evolve(spec, command=("/bin/echo", "a\r\nb"))) == ()
