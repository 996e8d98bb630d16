"""The small rules that go with a job: what it waits for, as it is written and read, and where its output goes."""

import pytest

from jqsched.core.job import Scheme, Spec, Wait, describe_begin_time, output_paths, read_wait, unsupported


@pytest.mark.parametrize(
    ("begin_us", "description"),
    [
        (0, "begin-time=0"),
        (1, "begin-time=0.000001"),
        (100_000_000, "begin-time=100"),
        (1_795_247_114_500_000, "begin-time=1795247114.5"),
    ],
)
def test_a_begin_time_is_written_without_idle_zeros(begin_us, description):
    assert describe_begin_time(begin_us) == description


@pytest.mark.parametrize(
    ("output", "error", "paths"),
    [
        (None, None, ("/spool/output/7.log", None)),
        (None, "err", ("/spool/output/7.log", "/watched_gate/me/err")),
        ("{name}/{id}.out", "/var/log/{name}.{id}", ("/watched_gate/me/build/7.out", "/var/log/build.7")),
        ("{id}{id}", None, ("/watched_gate/me/77", None)),
    ],
)
def test_where_output_goes(output, error, paths):
    """Into the folder unless it is said; where else is seen from the job's own folder; error with it unless said."""
    spec = Spec(("make",), "build", "/watched_gate/me/", output=output, error=error)
    assert output_paths(spec, 7, "/spool/output") == paths


@pytest.mark.parametrize(
    ("output", "error", "tasks", "paths"),
    [
        (None, None, 2, ("/o/7.{rank}.out", "/o/7.{rank}.err")),
        (None, "/e", 2, ("/o/7.{rank}.out", "/e")),
        ("/a", None, 2, ("/a", None)),
        ("/a.{rank}", "/e.{rank}", 2, ("/a.{rank}", "/e.{rank}")),
        ("/a.{rank}", "/e.{rank}", 1, ("/a.0", "/e.0")),
    ],
)
def test_where_the_output_of_tasks_goes(output, error, tasks, paths):
    """To files of their own unless another path is said; with `{rank}` in it each has its own there, too."""
    assert output_paths(Spec(("x",), "x", "/", output=output, error=error, tasks=tasks), 7, "/o") == paths


@pytest.mark.parametrize(("cwd", "output"), [("/", "/a"), ("/X", "/X/a"), ("/watched_gate/me", "/watched_gate/me/a")])
def test_where_output_goes_from_a_folder(cwd, output):
    assert output_paths(Spec(("x",), "x", cwd, output="a"), 7, "/spool/output") == (output, None)


@pytest.mark.parametrize(
    ("description", "wait"),
    [
        ("singleton", Wait(Scheme.SINGLETON, None, "singleton")),
        ("begin-time=1.5", Wait(Scheme.BEGIN_TIME, 1_500_000, "begin-time=1.5")),
        ("after-success=7", Wait(Scheme.AFTEROK, 7, "after-success=7")),
        ("after-failure=build→7", Wait(Scheme.AFTERNOTOK, 7, "after-failure=build→7")),
        ("after-start=build", Wait(Scheme.AFTER, "build", "after-start=build")),
        ("licence=a", None),
        ("licence", None),
    ],
)
def test_what_a_description_says(description, wait):
    """A plugin's own says nothing to us."""
    assert read_wait(description) == wait


def test_who_asks_for_a_scheme_that_nobody_knows_is_told_which_there_are():
    known = "after, afterany, afterexcept, afternotok, afterok, afterstart, begin-time, singleton"
    assert unsupported("x") == f'dependency scheme "x" not supported (there are {known})'
