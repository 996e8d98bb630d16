"""`Plugin`: what a plugin gets as `p`, with the functions of Flux's jobtap as methods.

Rule: a method takes what it is given through `boundary`, which checks and copies it, and hands it to the host; failures
are OSError with Flux's errno. Nothing that the scheduler holds is handed out, only copies. Callbacks are
`callback(p, topic, args)`, return None, 0, or a negative number to refuse, and may be called for any job. All methods
are for the scheduler's thread, on which callbacks run; on another they raise EPERM.
Source: flux_jobtap_get_flux(3), flux-jobtap-plugins(7), jobtap.h.
"""

import errno
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase, translate
from typing import Protocol, TypeAlias

from attrs import evolve

from jqsched.core.job import PRIORITY_MAX, Job
from jqsched.core.json import Json, JsonObject
from jqsched.jobtap import boundary
from jqsched.jobtap.boundary import failure
from jqsched.jobtap.handle import Handle, Payload

CURRENT_JOB = -1
PRIORITY_UNAVAIL = -2
MESSAGE_MAX = 1024
SEVERITY_MAX = 7
ERRNO_MAX = 4095

Callback: TypeAlias = Callable[..., int | None]
Answer: TypeAlias = Callable[[Payload | OSError], None]


def is_priority(value: object) -> bool:
    """Whether this may be a job's priority."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= PRIORITY_MAX


class Args(Mapping[str, Json]):
    """The arguments of a callback: a mapping of what is given, and `out` for what the callback has to say.

    What is read out of it is a copy. `out` is shared along the stack: a later plugin sees and overwrites what an
    earlier one put there.
    """

    def __init__(self, given: Mapping[str, Json]) -> None:
        self._given = given
        self.out: dict[str, Json] = {}

    def __getitem__(self, key: str) -> Json:
        return boundary.given(self._given[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __repr__(self) -> str:
        return f"Args({dict(self._given)!r}, out={self.out!r})"


class Message:
    """A request to a plugin's service; it is answered once, now or later.

    An answer that cannot be sent raises EINVAL, and the client gets EIO.
    """

    def __init__(self, topic: str, payload: Payload, userid: int, answer: Answer) -> None:
        self.topic, self.payload, self.userid = topic, boundary.given_object(payload), userid
        self._topic, self._answer, self._thread = topic, answer, threading.get_ident()
        self._is_answered = False

    def respond(self, payload: Payload | None = None) -> None:
        """Answer with a payload."""
        self._send(lambda: boundary.json_object(payload, "answer", boundary.ANSWER_SIZE_MAX))

    def respond_error(self, number: int, text: str = "") -> None:
        """Answer with an error."""
        self._send(lambda: _error(number, text))

    def _send(self, make: Callable[[], Payload | OSError]) -> None:
        _check_thread(self._thread)
        if self._is_answered:
            raise failure(errno.EINVAL, "the request was answered already")
        self._is_answered = True
        try:
            answer = make()
        except OSError as wrong:
            self._answer(failure(errno.EIO, f"{self._topic}: the plugin's answer cannot be sent: {wrong.strerror}"))
            raise
        self._answer(answer)

    @property
    def is_answered(self) -> bool:
        """Whether it was answered."""
        return self._is_answered


def _error(number: int, text: str) -> OSError:
    number = boundary.integer(number, "errno", 1, ERRNO_MAX)
    return failure(number, boundary.one_line(boundary.text(text, "text", boundary.EVENT_SIZE_MAX)))


def _check_thread(thread: int) -> None:
    """Raises: EPERM on another thread than this one."""
    if threading.get_ident() != thread:
        raise failure(errno.EPERM, "only call_soon_threadsafe may be called from another thread")


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
        self.conf = boundary.given_object(conf)
        self._name, self._path, self._own_name, self._sort_order = name, path, "", "none"
        self._services: dict[str, tuple[Callable[..., object], object]] = {}
        self._handlers: list[tuple[str, Callback, object]] = []
        self._found: dict[str, Callable[[Args], int | None] | None] = {}  # by topic: there are few, asked very often
        self._the_host, self._handle, self._thread = host, handle, threading.get_ident()

    def __repr__(self) -> str:
        return f"Plugin({self._name!r})"

    @property
    def _host(self) -> Host:
        _check_thread(self._thread)
        return self._the_host

    # -- itself

    @property
    def name(self) -> str:
        """What it is called in lists."""
        return self._name

    @property
    def path(self) -> str:
        """Where it was found."""
        return self._path

    @property
    def sort_order(self) -> str:
        """In which order the jobs that are there already are shown to it."""
        return self._sort_order

    @property
    def services(self) -> Mapping[str, tuple[Callable[..., object], object]]:
        """What answers requests, by topic."""
        return self._services

    def set_name(self, name: str) -> None:
        """Choose the name under which its services are registered. Raises: EINVAL."""
        own_name = boundary.text(name, "name")
        self._own_name = boundary.word(own_name, "name") if own_name else ""

    def add_handler(self, topic: str, callback: Callback, arg: object = None) -> None:
        """Have `callback(p, topic, args)` called for topics that match a glob; a given `arg` is a fourth argument.

        Of several handlers of a plugin that match, the first is called. Raises: EINVAL.
        """
        glob = boundary.line(topic, "topic")
        boundary.function(callback, "callback")
        try:
            re.compile(translate(glob))
        except (re.error, RecursionError) as error:
            raise failure(errno.EINVAL, f"topic: {boundary.error_text(error)}") from None
        self._handlers.append((glob, callback, arg))
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
        order = boundary.word(order, "order")
        if order not in ("none", "state", "-state"):
            raise failure(errno.EINVAL)
        self._sort_order = order

    # -- flux_jobtap_get_flux(3)

    def get_handle(self) -> Handle:
        """The scheduler's handle, for requests, timers and other threads. Source: flux_jobtap_get_flux."""
        return self._handle

    def service_register(self, method: str | None, callback: Callable[..., object], arg: object = None) -> None:
        """Answer requests to `job-manager.NAME.METHOD` (without method: `job-manager.NAME`) by `callback(p, message)`.

        NAME is the plugin's own name, else its file's up to the first dot. Raises: EINVAL. It lives as long as the
        plugin is loaded. Source: flux_jobtap_service_register.
        """
        boundary.function(callback, "callback")
        if method is not None:
            method = boundary.text(method, "method")
        name = self._own_name if self._own_name and not set("/.") & set(self._own_name) else self._base()
        topic = f"job-manager.{name}.{method}" if method else f"job-manager.{name}"
        if not name or "/" in name or len(topic) > MESSAGE_MAX:
            raise failure(errno.EINVAL)
        self._services[topic] = (callback, arg)

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
        priority = boundary.integer(priority, "priority", 0, PRIORITY_MAX)
        self._host.reprioritize_job(_id(jobid), priority)

    def priority_unavail(self, args: Args) -> int:
        """Say in `job.state.priority` that there is no priority yet: `return p.priority_unavail(args)`.

        Source: flux_jobtap_priority_unavail.
        """
        _check_args(args)
        args.out["priority"] = PRIORITY_UNAVAIL
        return 0

    def reject_job(self, args: Args, fmt: str | None = None, *values: object) -> int:
        """Refuse a job that is being submitted: `return p.reject_job(args, "user exceeded %d jobs", 5)`; always -1.

        Source: flux_jobtap_reject_job.
        """
        _check_args(args)
        text = f"rejected by job-manager plugin '{self.name}'" if fmt is None else fmt % values if values else fmt
        args.out["errmsg"] = boundary.text(text, "text", boundary.EVENT_SIZE_MAX)[:MESSAGE_MAX]
        return -1

    # -- dependencies, prolog and epilog

    def dependency_add(self, jobid: int, description: str) -> None:
        """Have a job wait until `dependency_remove` with the same description. Raises: EINVAL when it is too late,
        ENOENT, EEXIST when it was removed before.
        """
        self._host.dependency_add(_id(jobid), boundary.line(description, "description"))

    def dependency_remove(self, jobid: int, description: str) -> None:
        """Have it wait no longer. Raises: ENOENT for an unknown job or description, EINVAL."""
        self._host.dependency_remove(_id(jobid), boundary.line(description, "description"))

    def prolog_start(self, description: str) -> None:
        """Keep the current job from starting until `prolog_finish`. Raises: EINVAL when it is too late."""
        self._host.perilog(CURRENT_JOB, "prolog-start", boundary.text(description, "description"), None)

    def prolog_finish(self, jobid: int, description: str, status: int) -> None:
        """Let it start; the status is noted, no more. Raises: EINVAL when no prolog runs, ENOENT."""
        description, status = boundary.text(description, "description"), boundary.integer(status, "status")
        self._host.perilog(_id(jobid), "prolog-finish", description, status)

    def epilog_start(self, description: str) -> None:
        """Keep the current job, which ended, from leaving its slot until `epilog_finish`. Raises: EINVAL."""
        self._host.perilog(CURRENT_JOB, "epilog-start", boundary.text(description, "description"), None)

    def epilog_finish(self, jobid: int, description: str, status: int) -> None:
        """Let it go. Raises: EINVAL when no epilog runs, ENOENT."""
        description, status = boundary.text(description, "description"), boundary.integer(status, "status")
        self._host.perilog(_id(jobid), "epilog-finish", description, status)

    # -- events

    def event_post(self, jobid: int, name: str, context: JsonObject | None = None) -> None:
        """Log an event of one's own. Raises: EINVAL for a name that the scheduler uses, ENOENT."""
        self._host.post(_id(jobid), boundary.word(name, "name"), boundary.json_object(context, "context"))

    def raise_exception(self, jobid: int, type: str, severity: int, note: str = "") -> None:  # noqa: A002  # Flux's word
        """Raise an exception on a job; severity 0 ends it. Raises: EINVAL, ENOENT."""
        kind, severity = boundary.word(type, "type"), boundary.integer(severity, "severity", 0, SEVERITY_MAX)
        note = boundary.text(note, "note", boundary.EVENT_SIZE_MAX)[:MESSAGE_MAX]
        self._host.raise_exception(_id(jobid), kind, severity, note)

    def job_subscribe(self, jobid: int) -> None:
        """Have `job.event.NAME` called for this job's events."""
        self._host.subscribe(self, _id(jobid), wanted=True)

    def job_unsubscribe(self, jobid: int) -> None:
        """Do not, any more."""
        self._host.subscribe(self, _id(jobid), wanted=False)

    def job_event_posted(self, jobid: int, name: str) -> bool:
        """Whether this event was posted for an active job (since this scheduler began, or the plugins were loaded)."""
        return self._host.was_posted(_id(jobid), boundary.word(name, "name"))

    # -- jobs

    def job_lookup(self, jobid: int) -> JsonObject:
        """What callbacks are given of a job, for any active one. Raises: ENOENT."""
        return boundary.given_object(self._host.lookup(_id(jobid)))

    def get_job_result(self, jobid: int) -> int:
        """The result (1, 2, 4, 8) of a job in CLEANUP or INACTIVE. Raises: EINVAL, ENOENT."""
        return self._host.result(_id(jobid))

    def job_aux_set(self, jobid: int, name: str, value: object) -> None:
        """Keep something with a job until it is over or the plugin is unloaded. Raises: ENOENT."""
        self._host.aux(self, _id(jobid))[boundary.line(name, "name")] = value

    def job_aux_get(self, jobid: int, name: str) -> object:
        """What was kept; None if nothing was. Raises: ENOENT for an unknown job."""
        return self._host.aux(self, _id(jobid)).get(boundary.line(name, "name"))

    def job_aux_delete(self, jobid: int, name: str) -> None:
        """Forget it."""
        self._host.aux(self, _id(jobid)).pop(boundary.line(name, "name"), None)

    def jobspec_update(self, updates: JsonObject) -> None:
        """Change the current job's jobspec, by dotted keys, when the callback is done. Raises: EINVAL outside of
        callbacks, once the job runs, or for what makes no jobspec.
        """
        self._host.update_jobspec(CURRENT_JOB, boundary.json_object(updates, "updates"))

    def jobspec_update_id(self, jobid: int, updates: JsonObject) -> None:
        """Change another job's. Raises: EINVAL for the current one, ENOENT."""
        self._host.update_jobspec(_id(jobid), boundary.json_object(updates, "updates"))

    def call(self, jobid: int, topic: str, args: Args) -> int:
        """Call the other plugins for a topic of one's own. Raises: EINVAL for `job.*`, ENOENT."""
        _check_args(args)
        return self._host.call(self, _id(jobid), boundary.line(topic, "topic"), args)

    def live_jobs(self) -> Iterator[Job]:
        """The active jobs, by id."""
        return map(_given_job, self._host.live_jobs())


def _id(jobid: object) -> int:
    return boundary.integer(jobid, "jobid")


def _check_args(args: object) -> None:
    """Raises: EINVAL for what is not the arguments of a callback."""
    if not issubclass(type(args), Args):
        raise failure(errno.EINVAL, "args: must be the arguments of a callback")


def _given_job(job: Job) -> Job:
    """A job whose jobspec is a copy; all else of it is immutable."""
    if job.spec.jobspec is None:
        return job
    return evolve(job, spec=evolve(job.spec, jobspec=boundary.given_object(job.spec.jobspec)))
