"""What is known of a job, as an object with attributes: `info.status`, `"{0.id.f58} {0.runtime:.1f}".format(info)`.

Rule: made from the raw document that `job-list` returns; the other attributes are computed from it, with the clock and
the user database as the only other sources. An unknown value is `""`, an unknown time 0.0, as in Flux.
Source: docs/reference/python-api.md.
"""

import json
import os
import pwd
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache, cached_property
from typing import TypeAlias, cast

from jqsched.core.job import Result, State
from jqsched.core.json import Json
from jqsched.core.view import PENDING
from jqsched.job.jobid import JobID
from jqsched.job.states import resulttostr, statetostr, statustostr

Document: TypeAlias = Mapping[str, Json]

# Optional keys of a document, in the order of `to_dict`, with their defaults.
_DEFAULTS: dict[str, Json] = {
    **dict.fromkeys(("t_depend", "t_priority", "t_sched", "t_run", "t_cleanup", "t_inactive"), 0.0),
    **dict.fromkeys(("duration", "expiration"), 0.0),
    **dict.fromkeys(("name", "cwd", "queue", "project", "bank", "ntasks", "ncores", "nnodes", "priority"), ""),
    **dict.fromkeys(("ranks", "nodelist", "success", "result", "waitstatus"), ""),
}
_PROPERTIES = (
    "id", "t_submit", "t_remaining", "state", "username", "userid", "urgency", "runtime", "status", "returncode",
    "dependencies",
)  # fmt: skip


class JobInfo:
    """One job. Attributes of the raw document are attributes here (`state` and `result` as names, their numbers as
    `state_id` and `result_id`); the others are computed when they are first asked for.

    Raises: AttributeError for an attribute that there is not, or whose sources were not asked for.
    """

    def __init__(self, info_resp: Document, *, clock: Callable[[], float] = time.time) -> None:
        self._raw = {**_DEFAULTS, **info_resp}
        self._clock = clock
        self.id = JobID(self._raw.pop("id"))
        self.result_id = cast(int | str, self._raw.pop("result"))
        if "state" in self._raw:
            self.state_id = cast(int, self._raw.pop("state"))
        self.exception = ExceptionInfo(self._raw)
        self.annotations = AnnotationsInfo(cast(Document, self._raw.pop("annotations", {})))
        self.dependencies = DependencyList(cast(Iterable[str], self._raw.pop("dependencies", ())))

    def __getattr__(self, name: str) -> Json:
        raw: dict[str, Json] = self.__dict__.get("_raw", {})
        if name not in raw:
            raise AttributeError(f"invalid JobInfo attribute '{name}'")
        return raw[name]

    def __repr__(self) -> str:
        return f"JobInfo({self.to_dict()})"

    # -- names

    @cached_property
    def state(self) -> str:
        """The state's name."""
        return statetostr(self.state_id)

    @cached_property
    def state_single(self) -> str:
        """The state's letter."""
        return statetostr(self.state_id, "S")

    @cached_property
    def result(self) -> str:
        """The result's name, "" while there is none."""
        return resulttostr(self.result_id)

    @cached_property
    def result_abbrev(self) -> str:
        """The result's one or two letters, "" while there is none."""
        return resulttostr(self.result_id, "S")

    @cached_property
    def status(self) -> str:
        """The state's name, or the result's once the job is inactive."""
        return statustostr(self.state_id, self.result_id)

    @cached_property
    def status_abbrev(self) -> str:
        """The state's letter, or the result's letters once the job is inactive."""
        return statustostr(self.state_id, self.result_id, "S")

    @cached_property
    def username(self) -> str:
        """The user's name; the user id where there is no name."""
        return _username(cast(int, self._known("userid")))

    # -- times

    @cached_property
    def runtime(self) -> float:
        """How long the job has run, or ran; 0.0 when it did not."""
        begun, over = self._seconds("t_run"), self._seconds("t_cleanup")
        return (over if over > 0 else self._clock()) - begun if begun > 0 else 0.0

    @property
    def t_remaining(self) -> float:
        """How long a running job has until its time limit; 0.0 when it does not run or has none."""
        if self.__dict__.get("state_id") != State.RUN:
            return 0.0
        return max(0.0, self._seconds("expiration") - self._clock())

    @cached_property
    def contextual_time(self) -> float:
        """The time limit of a job that is pending, the runtime of any other."""
        return self._seconds("duration") if self.state_id & PENDING else self.runtime

    # -- the end

    @cached_property
    def returncode(self) -> int | str:
        """The exit code, or 128 + signal; -128 canceled and 1 failed before it started; "" while active."""
        status = self.waitstatus
        if isinstance(status, int):
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return {Result.CANCELED.value: -128, Result.FAILED.value: 1}.get(cast(int, self.result_id), "")

    @cached_property
    def inactive_reason(self) -> str:
        """Why the job is over, in words; "" while it is not."""
        if self.state_id != State.INACTIVE:
            return ""
        told = self.exception
        if self.result_id == Result.CANCELED:
            return f"Canceled: {told.note}" if told.occurred and told.type == "cancel" and told.note else "Canceled"
        if self.result_id == Result.TIMEOUT:
            return "Timeout"
        if self.result_id == Result.FAILED:
            if told.occurred and told.type != "exec" and told.severity == 0:
                return f"Exception: type={told.type}" + (f" note={told.note}" if told.note else "")
            return _failure(cast(int, self.returncode))
        return f"Exit {self.returncode}"

    # -- what it waits for

    @property
    def sched(self) -> "AnnotationsInfo | EmptyObject":
        """The scheduler's annotations."""
        return self.annotations.sched

    @property
    def user(self) -> "AnnotationsInfo | EmptyObject":
        """The user's annotations."""
        return self.annotations.user

    @property
    def uri(self) -> str | None:
        """The URI that the user noted, None when there is none."""
        return str(self.user.uri) or None

    @cached_property
    def contextual_info(self) -> str:
        """What a pending job waits for; of others, where they run."""
        if self.state_id == State.PRIORITY:
            return "priority-wait"
        if self.state_id == State.DEPEND:
            return f"depends:{self.dependencies}"
        if self.state_id != State.SCHED:
            return cast(str, self.nodelist)
        estimate = self.sched.t_estimate
        if isinstance(estimate, int | float):
            return f"eta:{standard_duration(estimate - self._clock()) if estimate >= self._clock() else 'now'}"
        if self._known("urgency") == 0:
            return "held"
        return "priority-hold" if self.priority == 0 else ""

    # -- as a dict

    def to_dict(self, filtered: bool = True) -> dict[str, Json]:
        """Make a dict of it; without `filtered` with all keys, "" and 0.0 for what is not known.

        Shape: the 36 keys of Flux's `get_job()` in its order; those whose sources were not asked for are left out.
        """
        document: dict[str, Json] = {}
        for key in (*_DEFAULTS, *_PROPERTIES):
            try:
                document[key] = getattr(self, key)
            except AttributeError:
                continue
        document["jobid"] = str(self.id)
        document["annotations"] = self.annotations.document()
        document["exception"] = dict(self.exception.__dict__)
        if self.uri is not None:
            document["uri"] = self.uri
        return _filtered(document) if filtered else document

    # -- sources

    def _known(self, name: str) -> Json:
        return self.__getattr__(name)

    def _seconds(self, name: str) -> float:
        return cast(float, self._raw[name])


def _filtered(document: dict[str, Json]) -> dict[str, Json]:
    """Leave out what is not known, and the URI where it stands a second time."""

    def empty(key: str, value: Json) -> bool:
        timed = key.startswith("t_") or key in ("runtime", "expiration")
        return value == "" or (timed and value == 0)

    shown = {key: value for key, value in document.items() if not empty(key, value)}
    if not cast(Document, shown["exception"])["occurred"]:
        shown["exception"] = {"occurred": False}
    if "uri" in shown:
        annotations = cast(dict[str, Json], shown["annotations"])
        user = {key: value for key, value in cast(Document, annotations["user"]).items() if key != "uri"}
        others: dict[str, Json] = {key: value for key, value in annotations.items() if key != "user"}
        shown["annotations"] = others | ({"user": user} if user else {})
    return shown


class ExceptionInfo:
    """The exception of a job that ended: `occurred`, `severity`, `type`, `note`; "" for what there is not."""

    def __init__(self, raw: dict[str, Json]) -> None:
        self.occurred = raw.get("exception_occurred", "")
        self.severity = raw.get("exception_severity", "")
        self.type = raw.get("exception_type", "")
        self.note = raw.get("exception_note", "")


class EmptyObject:
    """What is not there, all its attributes, and their attributes: in a format it is blank, whatever the type."""

    def __getattr__(self, name: str) -> "EmptyObject":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return ""

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format("", spec.rstrip("bcdoxXeEfFgGn%"))


class AnnotationsInfo:
    """Annotations by attribute: `annotations.sched.resource_summary`; what is not there is blank."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def __getattr__(self, name: str) -> "AnnotationsInfo | EmptyObject":
        if name.startswith("_") or name not in self._document:
            if name.startswith("__"):
                raise AttributeError(name)
            return EmptyObject()
        value = self._document[name]
        return AnnotationsInfo(value) if isinstance(value, Mapping) else cast(EmptyObject, value)

    def document(self) -> dict[str, Json]:
        """Return the document as a new dict."""
        return dict(self._document)

    def __str__(self) -> str:
        return json.dumps(self._document) if self._document else ""

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


class DependencyList(list[Json]):
    """Descriptions of dependencies, begin times in words; as a string joined by commas."""

    def __init__(self, descriptions: Iterable[str]) -> None:
        super().__init__(map(_described, descriptions))

    def __str__(self) -> str:
        return ",".join(map(str, self))

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


def _described(description: str) -> str:
    """Write a begin time in the user's time zone; return any other description unchanged."""
    _, begin, seconds = description.partition("begin-time=")
    if not begin or _:
        return description
    begins, today = datetime.fromtimestamp(float(seconds)).astimezone(), datetime.now().astimezone()
    text = f"begin@{begins:%H:%M}" if begins.date() == today.date() else f"begin@{begins:%b%d-%H:%M}"
    return f"{text}:{begins:%S}" if begins.second else text


@cache
def _username(userid: int) -> str:
    try:
        return pwd.getpwuid(userid).pw_name
    except (KeyError, OverflowError):
        return str(userid)


_EXIT_CODES = {126: "Command invoked cannot execute", 127: "command not found", 128: "Invalid argument to exit"}


def _failure(code: int) -> str:
    """Describe an exit code as a shell means it."""
    if code <= 128:
        return _EXIT_CODES.get(code, f"Exit {code}")
    try:
        told = signal.strsignal(code - 128)
    except ValueError:
        told = None
    return told or f"Signaled {code - 128}"


def standard_duration(seconds: float) -> str:
    """Write a duration as RFC 23 does, in the unit that suits it."""
    if seconds < 0.001:
        return "0s"
    if seconds < 10:
        return f"{seconds:.03f}s"
    for unit, size_s in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size_s:
            return f"{seconds / size_s:.4g}{unit}"
    return f"{seconds:.4g}s"
