"""Plugin calls: what is kept of an active job for plugins, and the arguments of their callbacks.

Rule: a `FollowedJob` is changed by `plugin_events` and `plugin_api` only, on the loop's thread; nothing is decided
here. The arguments are copied before a plugin gets them (`jobtap.Args`).
"""

from collections import deque

from attrs import define, field

from jqsched.core.event import Event, advance, text
from jqsched.core.job import Job, Spec
from jqsched.core.jobspec import shown_jobspec
from jqsched.core.json import Json
from jqsched.jobtap import Plugin


@define
class Past:
    """What plugins may query of a job's past: the names of its events, and the dependencies that were removed."""

    posted: set[str] = field(factory=set)
    removed: set[str] = field(factory=set)

    def add(self, event: Event) -> None:
        """Add an event that was posted."""
        self.posted.add(event.name)
        if event.name == "dependency-remove":
            self.removed.add(text(event.context, "description"))


@define
class FollowedJob:
    """What is kept of an active job for plugins.

    `job` is the job after the last event that was shown; `events` are those to be shown yet. `prologs` and `epilogs`
    count the ones under way. `updates` are the changes of its jobspec that the present callback asked for. `past` is
    None until a plugin asks for that of a job which was accepted before the plugins were loaded.
    """

    job: Job
    events: deque[Event] = field(factory=deque)
    past: Past | None = None
    subscribers: dict[Plugin, None] = field(factory=dict)
    aux: dict[Plugin, dict[str, object]] = field(factory=dict)
    prologs: int = 0
    epilogs: int = 0
    released: bool = False
    updates: dict[str, Json] = field(factory=dict)
    end_event: dict[str, Json] | None = None
    shown: tuple[Spec, dict[str, Json]] | None = None


def unborn(event: Event) -> Job:
    """Make the placeholder for a job whose `submit` event is still to be shown."""
    assert event.name == "submit", f"{event.name} of job {event.jobid}, which no plugin was told of"
    job = advance(None, event)
    assert job is not None
    return job


def entry_of(event: Event) -> dict[str, Json]:
    """Write an event as RFC 18 does."""
    entry: dict[str, Json] = {"timestamp": event.t_us / 1_000_000, "name": event.name}
    if event.context:
        entry["context"] = dict(event.context)
    return entry


def arguments(followed: FollowedJob) -> dict[str, Json]:
    """Make the arguments that every callback gets about its job. Source: docs/reference/plugins.md."""
    job = followed.job
    if followed.shown is None or followed.shown[0] is not job.spec:
        followed.shown = (job.spec, shown_jobspec(job.spec))
    given: dict[str, Json] = {
        "jobspec": followed.shown[1],
        "id": job.id,
        "userid": job.userid,
        "urgency": job.urgency,
        "state": int(job.state),
        "priority": job.priority,
        "t_submit": job.t_submit_us / 1_000_000,
    }
    if followed.end_event is not None:
        given["end_event"] = dict(followed.end_event)
    return given
