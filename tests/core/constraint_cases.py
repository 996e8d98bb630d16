"""Constraints and jobs that meet: strategies over a few names, users and times, and a naive way to match them.

The naive way reads the document itself, value by value, and knows nothing of `core.constraint`.
"""

from hypothesis import strategies as st

from jqsched.core.job import Job, JobException, Result, Spec, State

HOSTNAME = "vm"
NAMES = ("build", "test", "deploy")
USERS = (0, 1000, 2**32 - 2)
QUEUES = ("batch", "debug")
TIMES = ("t_submit", "t_depend", "t_priority", "t_sched", "t_run", "t_cleanup", "t_inactive")
VIRTUAL = {"pending": 14, "running": 48, "active": 62}
# what a double and SQLite's idea of one might differ about, near today and near the end
TIMES_US = (1, 999_999, 1_795_247_114_859_576, 1_795_247_114_859_577, 1_795_247_114_859_578, 2**53)


def in_queue(queue: object) -> dict:
    return {"version": 1, "attributes": {"system": {"queue": queue}}}


JOBSPECS = (
    *map(in_queue, (*QUEUES, None, 7)),
    {"version": 1},
    {"attributes": {"user": {"queue": "batch"}}},
    {"attributes": 3},
)
exceptions = st.none() | st.builds(
    JobException, st.sampled_from(("cancel", "timeout", "exec", "", 'cancel",')), st.integers(0, 1), st.just("because")
)
times_us = st.sampled_from((0, *TIMES_US))


@st.composite
def jobs(draw: st.DrawFn, id_: int = 1) -> Job:
    """Any job, also one that no story leads to; finished ones have an end, live ones may."""
    state = draw(st.sampled_from((*State, State.INACTIVE, State.INACTIVE)))
    spec = Spec(
        command=("true",),
        name=draw(st.sampled_from(NAMES)),
        cwd="/",
        jobspec=draw(st.none() | st.sampled_from(JOBSPECS)),
    )
    times = {f"{name}_us": draw(times_us) for name in TIMES}
    if state is State.INACTIVE:
        times["t_inactive_us"] = draw(st.sampled_from(TIMES_US))
    return Job(
        id_,
        spec,
        draw(st.sampled_from(USERS)),
        state=state,
        priority=draw(st.sampled_from((-1, 0, 1, 16, 2**32 - 1))),
        fatal=draw(st.booleans()),
        exception=draw(exceptions),
        status=draw(st.none() | st.sampled_from((0, 256))),
        **times,
    )


@st.composite
def many_jobs(draw: st.DrawFn) -> list[Job]:
    return [draw(jobs(number)) for number in range(1, 1 + draw(st.integers(1, 12)))]


def few(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(values, max_size=3)


moments_s = st.sampled_from([time_us / 1_000_000 for time_us in TIMES_US]) | st.sampled_from((0.0, 0.5, 1e300))
comparisons = st.builds(
    lambda operator, time_s: [f"{operator}{time_s!r}"], st.sampled_from((">", "<", ">=", "<=")), moments_s
)
states = few(st.sampled_from([*(state.name for state in State), *VIRTUAL, "A", "pd", "I"]) | st.integers(0, 127))
results = few(st.sampled_from([*(result.name.lower() for result in Result), "CD", "to"]) | st.integers(0, 15))
leaves = st.one_of(
    st.just({}),
    *(
        st.builds(lambda values, key=key: {key: values}, values)
        for key, values in {
            "userid": few(st.sampled_from((*USERS, 2**32 - 1, -1))),
            "name": few(st.sampled_from((*NAMES, "none", "\ud800"))),
            "queue": few(st.sampled_from((*QUEUES, "none"))),
            "states": states,
            "results": results,
            "hostlist": few(st.sampled_from((HOSTNAME, "other", "v[1-3],vm", "other[0-3]"))),
            "ranks": few(st.sampled_from(("0", "1-7", "[0-3]", "5,0"))),
            **dict.fromkeys(TIMES, comparisons),
        }.items()
    ),
)
documents = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda key, parts: {key: parts}, st.sampled_from(("and", "or", "not")), st.lists(inner, max_size=3)
    ),
    max_leaves=6,
)

# ---- the naive way ------------------------------------------------------------------------------------------------


def naive_matches(document: dict, job: Job) -> bool:
    if not document:
        return True
    ((operator, values),) = document.items()
    parts = [naive_matches(value, job) for value in values if isinstance(value, dict)]
    if operator in ("and", "or", "not"):
        return {"and": all(parts), "or": not parts or any(parts), "not": not all(parts)}[operator]
    return any(_naive_value(operator, value, job) for value in values)


def _naive_value(operator: str, value: object, job: Job) -> bool:
    if operator in TIMES:
        time_s = getattr(job, f"{operator}_us") / 1_000_000
        return time_s > 0 and eval(f"{time_s!r} {value}")
    if operator == "states":
        return value & job.state > 0 if isinstance(value, int) else _names_state(value.lower(), job.state)
    if operator == "results":
        if job.state is not State.INACTIVE:
            return False
        return value & job.result > 0 if isinstance(value, int) else _names_result(value.lower(), job.result)
    if operator == "userid":
        return value in (job.userid, -1, 2**32 - 1)
    if operator == "name":
        return value == job.spec.name
    if operator == "queue":
        return job.spec.jobspec == in_queue(value)
    holds_us = value in (HOSTNAME, "v[1-3],vm") if operator == "hostlist" else value != "1-7"
    return job.t_run_us > 0 and holds_us


def _names_state(word: str, state: State) -> bool:
    virtual = {"a": 62, "pd": 14, "ru": 48} | VIRTUAL
    return bool(virtual[word] & state) if word in virtual else word in (state.name.lower(), state.name.lower()[0])


def _names_result(word: str, result: Result) -> bool:
    return {"cd": "completed", "f": "failed", "ca": "canceled", "to": "timeout"}.get(word, word) == result.name.lower()
