"""`Plugin`: what a plugin gets as `p`, with the functions of Flux's jobtap as methods.

Rule: a method checks what it is given and hands it to the host; failures are OSError with Flux's errno. Callbacks are
`callback(p, topic, args)`, return None, 0, or a negative number to refuse, and may be called for any job.
Source: flux_jobtap_get_flux(3), flux-jobtap-plugins(7), jobtap.h; flux.md section 8.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Protocol, TypeAlias

from jqsched.core.job import PRIORITY_MAX, Job
from jqsched.core.json import Json, JsonObject
from jqsched.jobtap.handle import Handle, Payload

CURRENT_JOB = -1
PRIORITY_UNAVAIL = -2
MESSAGE_MAX = 1024

Callback: TypeAlias = Callable[..., int | None]
Answer: TypeAlias = Callable[[Payload | OSError], None]


def failure(number: int, text: str = "") -> OSError:
    """An error as Flux would give it: errno, and a text where there is more to say."""
    return OSError(number, text or os.strerror(number))


def is_priority(value: object) -> bool:
    """Whether this may be a job's priority."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= PRIORITY_MAX


class Args(Mapping[str, Json]):
    """The arguments of a callback: a mapping of what is given, and `out` for what the callback has to say.

    `out` is shared along the stack: a later plugin sees and overwrites what an earlier one put there.
    """

    def __init__(self, given: Mapping[str, Json]) -> None:
        self._given = given
        self.out: dict[str, Json] = {}

    def __getitem__(self, key: str) -> Json:
        return self._given[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __repr__(self) -> str:
        return f"Args({dict(self._given)!r}, out={self.out!r})"


class Message:
    """A request to a plugin's service; it is answered once, now or later."""

    def __init__(self, topic: str, payload: Payload, userid: int, answer: Answer) -> None:
        self.topic, self.payload, self.userid = topic, payload, userid
        self._answer: Answer | None = answer

    def respond(self, payload: Payload | None = None) -> None:
        """Answer with a payload."""
        self._send(payload or {})

    def respond_error(self, number: int, text: str = "") -> None:
        """Answer with an error."""
        self._send(failure(number, text))

    def _send(self, answer: Payload | OSError) -> None:
        if self._answer is None:
            raise failure(errno.EINVAL, "the request was answered already")
        send, self._answer = self._answer, None
        send(answer)

    @property
    def is_answered(self) -> bool:
        """Whether it was answered."""
        return self._answer is None


class Host(Protocol):
    """What a plugin's methods need of the scheduler; each raises OSError as Flux would."""

    def reprioritize_all(self) -> None: ...
    def reprioritize_job(self, id_: int, priority: int) -> None: ...
    def dependency_add(self, id_: int, description: str) -> None: ...
    def dependency_remove(self, id_: int, description: str) -> None: ...
    def perilog(self, id_: int, name: str, description: str, status: int | None) -> None: ...
    def post(self, id_: int, name: str, context: JsonObject) -> None: ...
    def raise_exception(self, id_: int, kind: str, severity: int, note: str) -> None: ...
    def subscribe(self, plugin: "Plugin", id_: int, *, wanted: bool) -> None: ...
    def was_posted(self, id_: int, name: str) -> bool: ...
    def lookup(self, id_: int) -> JsonObject: ...
    def result(self, id_: int) -> int: ...
    def aux(self, plugin: "Plugin", id_: int) -> dict[str, object]: ...
    def update_jobspec(self, id_: int, updates: JsonObject) -> None: ...
    def call(self, plugin: "Plugin", id_: int, topic: str, args: Args) -> int: ...
    def live_jobs(self) -> Iterator[Job]: ...


class Plugin:
    """One plugin, as long as it is loaded.

    `name` is what it is called in lists: the last part of its path, or `.NAME` when it is built in. `conf` is what it
    was loaded with. Methods that take a job's id also take CURRENT_JOB (-1): the job of the callback that runs.
    """

    def __init__(self, name: str, path: str, conf: JsonObject, host: Host, handle: Handle) -> None:
        self.name, self.path, self.conf = name, path, conf
        self.sort_order = "none"
        self.services: dict[str, tuple[Callable[..., object], object]] = {}
        self._own_name = ""
        self._handlers: list[tuple[str, Callback, object]] = []
        self._found: dict[str, Callable[[Args], int | None] | None] = {}  # by topic: there are few, asked very often
        self._host, self._handle = host, handle

    def __repr__(self) -> str:
        return f"Plugin({self.name!r})"

    # -- itself

    def set_name(self, name: str) -> None:
        """Choose the name under which its services are registered."""
        self._own_name = name

    def add_handler(self, topic: str, callback: Callback, arg: object = None) -> None:
        """Have `callback(p, topic, args)` called for topics that match a glob; a given `arg` is a fourth argument.

        Of several handlers of a plugin that match, the first is called.
        """
        if not topic:
            raise failure(errno.EINVAL)
        self._handlers.append((topic, callback, arg))
        self._found.clear()

    def handler(self, topic: str) -> Callable[[Args], int | None] | None:
        """What is to be called for a topic; None if nothing is."""
        if topic not in self._found:
            self._found[topic] = self._find(topic)
        return self._found[topic]

    def _find(self, topic: str) -> Callable[[Args], int | None] | None:
        for glob, callback, arg in self._handlers:
            if fnmatchcase(topic, glob):
                more = () if arg is None else (arg,)
                return lambda args: callback(self, topic, args, *more)
        return None

    def is_for(self, kind: str, topic: str) -> bool:
        """Whether a handler was made for topics of a kind (`job.dependency.`): one for `job.*` only looks on."""
        return any(glob.startswith(kind) and fnmatchcase(topic, glob) for glob, _, _ in self._handlers)

    def set_load_sort_order(self, order: str) -> None:
        """Say in which order the jobs that are there already are shown to it: `none`, `state`, `-state`."""
        if order not in ("none", "state", "-state"):
            raise failure(errno.EINVAL)
        self.sort_order = order

    # -- flux_jobtap_get_flux(3)

    def get_handle(self) -> Handle:
        """The scheduler's handle, for requests, timers and other threads. Source: flux_jobtap_get_flux."""
        return self._handle

    def service_register(self, method: str | None, callback: Callable[..., object], arg: object = None) -> None:
        """Answer requests to `job-manager.NAME.METHOD` (without method: `job-manager.NAME`) by `callback(p, message)`.

        NAME is the plugin's own name, else its file's up to the first dot. Raises: EINVAL. It lives as long as the
        plugin is loaded. Source: flux_jobtap_service_register.
        """
        name = self._own_name if self._own_name and not set("/.") & set(self._own_name) else self._base()
        topic = f"job-manager.{name}.{method}" if method else f"job-manager.{name}"
        if not name or "/" in name or len(topic) > MESSAGE_MAX or not callable(callback):
            raise failure(errno.EINVAL)
        self.services[topic] = (callback, arg)

    def _base(self) -> str:
        return self.name.lstrip(".").partition(".")[0]

    def reprioritize_all(self) -> None:
        """Have the priority of each pending job asked for (`job.priority.get`).

        Source: flux_jobtap_reprioritize_all.
        """
        self._host.reprioritize_all()

    def reprioritize_job(self, jobid: int, priority: int) -> None:
        """Give a pending job a priority; hold, expedite and pins win. Raises: ENOENT for a job that is not active,
        EINVAL. Source: flux_jobtap_reprioritize_job.
        """
        if not is_priority(priority):
            raise failure(errno.EINVAL)
        self._host.reprioritize_job(jobid, priority)

    def priority_unavail(self, args: Args) -> int:
        """Say in `job.state.priority` that there is no priority yet: `return p.priority_unavail(args)`.

        Source: flux_jobtap_priority_unavail.
        """
        if not isinstance(args, Args):
            raise failure(errno.EINVAL)
        args.out["priority"] = PRIORITY_UNAVAIL
        return 0

    def reject_job(self, args: Args, fmt: str | None = None, *values: object) -> int:
        """Refuse a job that is being submitted: `return p.reject_job(args, "user exceeded %d jobs", 5)`; always -1.

        Source: flux_jobtap_reject_job.
        """
        text = f"rejected by job-manager plugin '{self.name}'" if fmt is None else fmt % values if values else fmt
        args.out["errmsg"] = text[:MESSAGE_MAX]
        return -1

    # -- dependencies, prolog and epilog

    def dependency_add(self, jobid: int, description: str) -> None:
        """Have a job wait until `dependency_remove` with the same description. Raises: EINVAL when it is too late,
        ENOENT, EEXIST when it was removed before.
        """
        self._host.dependency_add(jobid, description)

    def dependency_remove(self, jobid: int, description: str) -> None:
        """Have it wait no longer. Raises: ENOENT for an unknown job or description, EINVAL."""
        self._host.dependency_remove(jobid, description)

    def prolog_start(self, description: str) -> None:
        """Keep the current job from starting until `prolog_finish`. Raises: EINVAL when it is too late."""
        self._host.perilog(CURRENT_JOB, "prolog-start", description, None)

    def prolog_finish(self, jobid: int, description: str, status: int) -> None:
        """Let it start; the status is noted, no more. Raises: EINVAL when no prolog runs, ENOENT."""
        self._host.perilog(jobid, "prolog-finish", description, status)

    def epilog_start(self, description: str) -> None:
        """Keep the current job, which ended, from leaving its slot until `epilog_finish`. Raises: EINVAL."""
        self._host.perilog(CURRENT_JOB, "epilog-start", description, None)

    def epilog_finish(self, jobid: int, description: str, status: int) -> None:
        """Let it go. Raises: EINVAL when no epilog runs, ENOENT."""
        self._host.perilog(jobid, "epilog-finish", description, status)

    # -- events

    def event_post(self, jobid: int, name: str, context: JsonObject | None = None) -> None:
        """Log an event of one's own. Raises: EINVAL for a name that the scheduler uses, ENOENT."""
        self._host.post(jobid, name, context or {})

    def raise_exception(self, jobid: int, type: str, severity: int, note: str = "") -> None:  # noqa: A002  # Flux's word
        """Raise an exception on a job; severity 0 ends it. Raises: EINVAL, ENOENT."""
        self._host.raise_exception(jobid, type, severity, note)

    def job_subscribe(self, jobid: int) -> None:
        """Have `job.event.NAME` called for this job's events."""
        self._host.subscribe(self, jobid, wanted=True)

    def job_unsubscribe(self, jobid: int) -> None:
        """Do not, any more."""
        self._host.subscribe(self, jobid, wanted=False)

    def job_event_posted(self, jobid: int, name: str) -> bool:
        """Whether this event was posted for an active job (since this scheduler began, or the plugins were loaded)."""
        return self._host.was_posted(jobid, name)

    # -- jobs

    def job_lookup(self, jobid: int) -> JsonObject:
        """What callbacks are given of a job, for any active one. Raises: ENOENT."""
        return self._host.lookup(jobid)

    def get_job_result(self, jobid: int) -> int:
        """The result (1, 2, 4, 8) of a job in CLEANUP or INACTIVE. Raises: EINVAL, ENOENT."""
        return self._host.result(jobid)

    def job_aux_set(self, jobid: int, name: str, value: object) -> None:
        """Keep something with a job until it is over or the plugin is unloaded. Raises: ENOENT."""
        self._host.aux(self, jobid)[name] = value

    def job_aux_get(self, jobid: int, name: str) -> object:
        """What was kept; None if nothing was. Raises: ENOENT for an unknown job."""
        return self._host.aux(self, jobid).get(name)

    def job_aux_delete(self, jobid: int, name: str) -> None:
        """Forget it."""
        self._host.aux(self, jobid).pop(name, None)

    def jobspec_update(self, updates: JsonObject) -> None:
        """Change the current job's jobspec, by dotted keys, when the callback is done. Raises: EINVAL outside of
        callbacks, once the job runs, or for what makes no jobspec.
        """
        self._host.update_jobspec(CURRENT_JOB, updates)

    def jobspec_update_id(self, jobid: int, updates: JsonObject) -> None:
        """Change another job's. Raises: EINVAL for the current one, ENOENT."""
        self._host.update_jobspec(jobid, updates)

    def call(self, jobid: int, topic: str, args: Args) -> int:
        """Call the other plugins for a topic of one's own. Raises: EINVAL for `job.*`, ENOENT."""
        return self._host.call(self, jobid, topic, args)

    def live_jobs(self) -> Iterator[Job]:
        """The active jobs, by id."""
        return self._host.live_jobs()
