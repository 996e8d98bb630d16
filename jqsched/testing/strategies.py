"""Hypothesis strategies for jobs and for what happens to them.

Rule: small numbers on purpose: three names, ids that are near, urgencies that matter, so that jobs meet one another.
Whoever needs the whole range of a field passes a strategy for it.
"""

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from jqsched.core.job import PRIORITY_MAX, Dependency, Draft, OnInterrupt, Spec
from jqsched.testing.story import NAMES, START_US, History, Story

names: SearchStrategy[str] = st.sampled_from(NAMES)
urgencies: SearchStrategy[int] = st.sampled_from((16, 16, 16, 16, 15, 17, 0, 31)) | st.integers(0, 31)
pins: SearchStrategy[int | None] = st.none() | st.none() | st.sampled_from((0, 1, 16, 17, PRIORITY_MAX))
few_cores: SearchStrategy[int] = st.sampled_from((1, 1, 1, 1, 1, 1, 2, 2, 3, 9))
begin_times_us: SearchStrategy[int] = st.integers(-10, 100).map(lambda later_us: START_US + later_us)
schemes: SearchStrategy[str] = st.sampled_from(("afterok", "afterany", "afternotok", "after"))


def dependencies(
    ids: SearchStrategy[int] | None = None, times_us: SearchStrategy[int] = begin_times_us
) -> SearchStrategy[Dependency]:
    """Dependencies by id, by name (also on the next of it only), on a begin time, and singleton."""
    return st.one_of(
        st.builds(Dependency, schemes, ids if ids is not None else st.integers(1, 8)),
        st.builds(Dependency, schemes, names, st.booleans()),
        st.builds(Dependency, st.just("begin-time"), times_us),
        st.just(Dependency("singleton")),
    )


@st.composite
def specs(
    draw: DrawFn,
    *,
    name: SearchStrategy[str] = names,
    cores: SearchStrategy[int] = few_cores,
    depends_on: SearchStrategy[Dependency] | None = None,
    dependencies_max: int = 2,
) -> Spec:
    """What a job is to run: few cores, most often no dependency, at least or at most once, with or without a limit."""
    on = depends_on if depends_on is not None else dependencies()
    return Spec(
        command=("true",),
        name=draw(name),
        cwd="/",
        cores=draw(cores),
        time_limit_us=draw(st.sampled_from((None, 1_000_000, 5_000_000))),
        on_interrupt=draw(st.sampled_from(OnInterrupt)),
        dependencies=tuple(draw(st.lists(on, max_size=dependencies_max))),
    )


def drafts(spec: SearchStrategy[Spec] | None = None) -> SearchStrategy[Draft]:
    """Job files: a spec, an urgency, and perhaps a pinned priority."""
    return st.builds(Draft, spec if spec is not None else specs(), urgencies, pins)


@st.composite
def histories(draw: DrawFn, max_moves: int = 40) -> History:
    """The events of a queue to which anything happened, with the queue that they lead to."""
    return Story(lambda below: draw(st.integers(0, below - 1))).tell(draw(st.integers(0, max_moves)))
