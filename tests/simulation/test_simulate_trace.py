"""Traces in the Standard Workload Format: what a line becomes, and which lines are none."""

import pytest

from jqsched.core.job import Dependency
from jqsched.core.policy import Limits
from jqsched.testing.runtimes import FAILED, Run
from jqsched.testing.simulation import Simulation
from jqsched.testing.simulation_ports import Arrival, End
from jqsched.testing.swf import TERMINATED, BadTrace, Trace, arrivals, read_trace

S = 1_000_000


def line(number=1, submit=0, run=10, used=2, requested=-1, limit=-1, status=1, user=3, executable=7, before=-1) -> str:
    """A line of a trace: what is not named is unknown."""
    words = (number, submit, -1, run, used, -1, -1, requested, limit, -1, status, user, -1, executable, -1, -1, before)
    return " ".join(map(str, (*words, -1)))


def read(*lines: str) -> Trace:
    trace = read_trace(lines)
    assert isinstance(trace, Trace), trace
    return trace


def errors(*lines: str) -> tuple[str, ...]:
    trace = read_trace(lines)
    assert isinstance(trace, BadTrace), "it was read"
    return trace.errors


def test_a_line_becomes_a_job():
    """The 18 fields of the standard's own first example, in its order."""
    trace = read("; MaxProcs: 128", "", "  1 0 5 100 4 -1 -1 8 3600 -1 1 12 2 7 1 1 -1 -1  ")
    (job,) = arrivals(trace)
    assert trace.processors == 128
    assert (job.submit_us, job.run, job.name) == (0, Run(100 * S), "job 1")
    spec = job.draft.spec
    assert (spec.name, spec.cores, spec.time_limit_us, spec.dependencies) == ("app7", 4, 3600 * S, ())
    assert [reason[1] for reason in spec.reasons] == ["user 12"]


def test_what_is_unknown_has_a_stand_in():
    """No processors used: those requested; no executable: `job`; no requested time: no limit; no user: no reason."""
    (job,) = arrivals(read(line(used=-1, requested=6, executable=-1, user=-1)))
    spec = job.draft.spec
    assert (spec.name, spec.cores, spec.time_limit_us, spec.reasons) == ("job", 6, None, ())


def test_a_job_that_ran_longer_than_it_asked_has_no_limit():
    """That machine let it run; so do we."""
    jobs = list(arrivals(read(line(1, run=10, limit=10), line(2, run=11, limit=10))))
    assert [job.draft.spec.time_limit_us for job in jobs] == [10 * S, None]


def test_jobs_end_as_they_did():
    jobs = arrivals(read(line(1, status=1), line(2, status=0), line(3, status=5), line(4, status=-1)))
    assert [job.run.status for job in jobs] == [0, FAILED, TERMINATED, 0]


def test_parts_of_jobs_and_those_that_never_ran_are_left_out_and_counted():
    trace = read(
        line(1),
        line(1, status=2),
        line(1, status=3),
        line(1, status=4),
        line(2, run=-1, status=5),
        line(3, run=0, status=5),
    )
    assert [job.number for job in trace.jobs] == [1]
    assert [note.split()[0] for note in trace.left_out] == ["3", "2"]


def test_a_preceding_job_is_waited_for():
    """By id; one that the trace has not, or that comes later, is no dependency."""
    jobs = list(arrivals(read(line(10), line(20, before=10), line(30, before=5), line(40, before=50), line(50)), 100))
    assert [job.draft.spec.dependencies for job in jobs] == [(), (Dependency("afterany", 100),), (), (), ()]


def test_a_chain_of_a_trace_runs_in_order_with_the_ids_that_were_foretold():
    trace = read(line(7, run=30), line(8, submit=10, run=5, before=7), line(9, submit=50, run=1, before=8))
    coming = [Arrival(job.submit_us, job.name, job.draft, job.run) for job in arrivals(trace)]
    simulation = Simulation(Limits(8, 8), coming, lambda *_: Run(0))
    simulation.run()
    assert list(simulation.table.begin_us) == [0, 30 * S, 50 * S]
    assert set(simulation.table.ends) == {End.COMPLETED}


def test_times_may_be_fractions():
    (job,) = arrivals(read(line(submit="12.5", run="0.25")))
    assert (job.submit_us, job.run.run_us) == (12_500_000, 250_000)


@pytest.mark.parametrize(
    ("header", "processors"),
    [
        (["; MaxNodes: 16", "; MaxProcs: 64"], 64),
        (["; MaxNodes: 16", "; MaxProcs: -1"], 16),
        (["; maxprocs:64 (some more words)"], 64),
        (["; Note: MaxProcs: 64"], None),
        ([";"], None),
    ],
)
def test_the_header_says_how_many_processors_there_were(header: list[str], processors: int | None):
    assert read(*header, line()).processors == processors


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("1 2 3", "has 3 fields, not 18"),
        (line() + " 4", "has 19 fields"),
        (line(run="abc"), "run time (field 4): 'abc' is no number"),
        (line(run="1e9"), "run time (field 4)"),
        (line(run="nan"), "run time (field 4)"),
        (line(run="٣"), "run time (field 4)"),
        (line(run=-1), "run time (field 4): is unknown"),
        (line(submit=-1), "submit time (field 2): is unknown"),
        (line(used=-1), "processors (field 5)"),
        (line(used=0, requested=0), "processors (field 5)"),
        (line(0), "job number (field 1)"),
        (line(run="9" * 15), "too large"),
        (line(1, submit=5), "job number (field 1): 1 was there before"),
        (line(2, submit=4), "submit time (field 2): earlier"),
    ],
)
def test_a_line_that_is_none_is_told_with_its_number(bad: str, said: str):
    found = errors("; MaxProcs: 4", line(1, submit=5), bad, line(3, submit=9))
    assert len(found) == 1
    assert found[0].startswith("line 3: ")
    assert said in found[0]


def test_all_errors_are_told_but_not_a_million():
    assert len(errors(*["rubbish"] * 5)) == 5
    assert len(errors(*["rubbish"] * 100)) == 20


@pytest.mark.parametrize("lines", [[], ["; MaxProcs: 4"], [line(status=2)]])
def test_a_trace_without_a_job_is_none(lines: list[str]):
    assert errors(*lines) == ("there is no job in it",)


def test_a_header_that_makes_no_sense_is_told():
    assert "maxprocs" in errors("; MaxProcs: many", line())[0]
