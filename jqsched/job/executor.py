"""Jobs as futures of `concurrent.futures`: `FluxExecutor.submit(jobspec)`, and `attach(jobid)` for existing jobs.

In: jobspecs, from any thread. Out: futures that tell the job's id, its events, and how it ended. Each worker thread has
a handle of its own, on which it submits and follows the jobs; callbacks are called by it.
Rule: a future ends once, and its id is told before. A worker that fails fails all its futures with what went wrong.
In a child process an executor takes no jobs. Source: Flux's `flux.job.executor`; the names that begin with an
underscore are those that Flux's own test of it looks at.
"""

import concurrent.futures
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple, NoReturn, Self, TypeAlias

from jqsched.client.handle import Handle
from jqsched.constants import MAIN_EVENTS
from jqsched.job.control import SubmitFuture, submit_async, submit_get_id
from jqsched.job.event import EventLogEvent, JobEventWatchFuture, JobException, event_watch_async
from jqsched.job.jobid import JobID

__all__ = ["FluxExecutor", "FluxExecutorFuture"]

_logger = logging.getLogger(__name__)


class FluxExecutorFuture(concurrent.futures.Future[int]):
    """A job. The result is its exit code, or the negative number of the signal that ended it.

    Raises, where the result is asked for: JobException when an exception ended the job; OSError when it could not be
    submitted; RuntimeError in a callback of the thread that would have to end the future.
    """

    EVENTS = MAIN_EVENTS

    def __init__(self, owning_thread_id: int | None) -> None:
        super().__init__()
        self._owning_thread_id = owning_thread_id
        self._told = threading.Condition()
        self._is_told = False
        self._jobid: Any = None
        self._jobid_error: BaseException | None = None
        self._jobid_calls: list[Callable[..., object]] = []
        self._events_lock = threading.RLock()
        self._occurred: dict[str, list[EventLogEvent]] = {name: [] for name in self.EVENTS}
        self._event_calls: dict[str, list[Callable[..., object]]] = {name: [] for name in self.EVENTS}

    # -- the id

    def jobid(self, timeout: float | None = None) -> JobID:
        """Wait for the job's id.

        Raises: concurrent.futures.TimeoutError; CancelledError when the future was canceled before; RuntimeError when
        the job could not be submitted.
        """
        with self._told:
            if not self._told.wait_for(lambda: self._is_told, timeout):
                raise concurrent.futures.TimeoutError
        if self._jobid_error is not None:
            raise self._jobid_error
        jobid: JobID = self._jobid
        return jobid

    def add_jobid_callback(self, callback: Callable[[Self], object]) -> Self:
        """Have `callback(future)` called when the id is there; at once when it is. What it raises is logged."""
        with self._told:
            if not self._is_told:
                self._jobid_calls.append(callback)
                return self
        self._invoke(callback)
        return self

    def _set_jobid(self, jobid: object, exc: BaseException | None = None) -> None:
        """Set the id, or the reason why there is none. Raises RuntimeError when either was set before."""
        with self._told:
            if self._is_told:
                raise RuntimeError("invalid state: jobid already set")
            self._jobid, self._jobid_error, self._is_told = jobid, exc, True
            self._told.notify_all()
        for callback in self._jobid_calls:
            self._invoke(callback)

    def _tell_no_jobid(self, error: BaseException) -> None:
        if not self._is_told:
            self._set_jobid(None, error)

    # -- events

    def add_event_callback(self, event: str, callback: Callable[[Self, EventLogEvent], object]) -> Self:
        """Have `callback(future, event)` called for each event of this name, those that were included.

        What it raises is logged. Raises ValueError for a name that is not in `EVENTS`.
        """
        if event not in self.EVENTS:
            raise ValueError(event)
        with self._events_lock:
            self._event_calls[event].append(callback)
            for entry in list(self._occurred[event]):
                self._invoke(callback, entry)
        return self

    def _set_event(self, log_entry: EventLogEvent) -> None:
        """Report an event to its callbacks. Raises ValueError for a name that is not in `EVENTS`."""
        if log_entry.name not in self.EVENTS:
            raise ValueError(log_entry.name)
        with self._events_lock:
            self._occurred[log_entry.name].append(log_entry)
            for callback in list(self._event_calls[log_entry.name]):
                self._invoke(callback, log_entry)

    def _invoke(self, callback: Callable[..., object], *args: object) -> None:
        try:
            callback(self, *args)
        except Exception:  # a callback is the user's: whatever it raises is logged
            _logger.exception("exception calling callback for %r", self)

    # -- the end

    def add_done_callback(self, fn: Callable[[Any], object]) -> Self:  # type: ignore[override]  # returns itself, as Flux's
        """Have `fn(future)` called when the future is done; at once when it is. Returns the future."""
        super().add_done_callback(fn)
        return self

    def result(self, timeout: float | None = None) -> int:
        """Wait for the end: the exit code, or `-signum`."""
        self._refuse_to_wait_for_oneself()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end: what `result` would raise, None when it would not."""
        self._refuse_to_wait_for_oneself()
        return super().exception(timeout)

    def _refuse_to_wait_for_oneself(self) -> None:
        if not self.done() and threading.get_ident() == self._owning_thread_id:
            raise RuntimeError("Cannot wait for future from inside callback")

    def set_exception(self, exception: BaseException | None) -> None:
        """End the future with an exception; where the id is not known it never will be."""
        self._tell_no_jobid(RuntimeError(f"job could not be submitted due to {exception}"))
        super().set_exception(exception)

    def cancel(self) -> bool:
        """Withdraw the job if no worker has taken it yet. A submitted job is canceled by `job.cancel`."""
        if self.cancelled():
            return True
        canceled = super().cancel()
        if canceled:
            self._tell_no_jobid(concurrent.futures.CancelledError())
        return canceled


# ---- the worker ---------------------------------------------------------------------------------------------------


class _SubmitPackage(NamedTuple):
    """A job that is to be submitted: the arguments of `submit` after the handle."""

    submit_args: Sequence[Any]
    submit_kwargs: Mapping[str, Any]
    future: FluxExecutorFuture


class _AttachPackage:
    """A job that is to be followed. Its future has the id at once."""

    __slots__ = ("future", "jobid")

    def __init__(self, jobid: Any, future: FluxExecutorFuture) -> None:
        self.jobid, self.future = jobid, future
        future._set_jobid(jobid)  # noqa: SLF001 - one module's


_Package: TypeAlias = _SubmitPackage | _AttachPackage


class _FluxExecutorThread(threading.Thread):
    """Submits what is put into its queue and follows it. `wake` has it look there; `poll_interval` is not needed."""

    def __init__(
        self,
        broken_event: threading.Event,
        exit_event: threading.Event,
        packages_to_handle: deque[_Package],
        poll_interval: float,  # noqa: ARG002 - Flux's parameter
        handle_args: Sequence[Any],
        handle_kwargs: Mapping[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.__broken_event, self.__exit_event = broken_event, exit_event
        self.__packages_to_handle = packages_to_handle
        self.__flux_handle = Handle(*handle_args, **handle_kwargs)
        self.__running_user_futures: set[FluxExecutorFuture] = set()

    def wake(self) -> None:
        """Make the worker check its queue, and whether it is to end. Callable from any thread."""
        self.__flux_handle.reactor.wake()

    def close(self) -> None:
        """Close the handle, after the thread has ended."""
        self.__flux_handle.close()

    def run(self) -> None:
        """Serve jobs until the executor is shut down and all are done; an exception here fails all futures."""
        try:
            self.__run()
        except Exception as error:  # whatever it is, all futures end with it
            self.__broken_event.set()
            for future in self.__running_user_futures:
                if not future.done():
                    future.set_exception(error)
            self.__running_user_futures.clear()
            while self.__packages_to_handle:
                package = self.__packages_to_handle.popleft()
                if package.future.set_running_or_notify_cancel():
                    package.future.set_exception(error)
            raise

    def __run(self) -> None:
        reactor = self.__flux_handle.reactor
        reactor.watch(self, self.__is_wanted, self.__take_packages)
        try:
            while self.__work_remains():
                if self.__flux_handle.reactor_run() < 0:
                    raise RuntimeError("reactor start failed")
        finally:
            reactor.forget(self)

    def __work_remains(self) -> bool:
        return bool(not self.__exit_event.is_set() or self.__packages_to_handle or self.__running_user_futures)

    def __is_wanted(self) -> bool:
        return bool(self.__packages_to_handle) or not self.__work_remains()

    def __take_packages(self) -> None:
        while self.__packages_to_handle:
            package = self.__packages_to_handle.popleft()
            if package.future.set_running_or_notify_cancel():
                self.__begin(package)
        if not self.__work_remains():
            self.__flux_handle.reactor_stop()

    def __begin(self, package: _Package) -> None:
        future = package.future
        try:
            if isinstance(package, _SubmitPackage):
                submitted = submit_async(self.__flux_handle, *package.submit_args, **package.submit_kwargs)
                submitted.then(self.__submission_callback, future)
            else:
                event_watch_async(self.__flux_handle, package.jobid).then(self.__event_update, future)
        except Exception as error:  # whatever it is, it is the future's
            future.set_exception(error)
        else:
            self.__running_user_futures.add(future)

    def __submission_callback(self, submitted: SubmitFuture, future: FluxExecutorFuture) -> None:
        try:
            jobid = submit_get_id(submitted)
        except Exception as error:  # whatever it is, it is the future's
            future.set_exception(error)
            self.__running_user_futures.discard(future)
        else:
            future._set_jobid(jobid)  # noqa: SLF001 - one module's
            event_watch_async(self.__flux_handle, jobid).then(self.__event_update, future)

    def __event_update(self, watch: JobEventWatchFuture, future: FluxExecutorFuture) -> None:
        event = None
        try:
            event = watch.get_event()
        except FileNotFoundError:
            _fail(future, ValueError("job ID does not match any job"))
        except Exception as error:  # as above
            _fail(future, error)
        if event is None:
            self.__running_user_futures.discard(future)
            return
        if event.name in future.EVENTS:
            future._set_event(event)  # noqa: SLF001 - one module's
        if future.done():
            return
        if event.name == "finish":
            _finish(future, event.context["status"])
        elif event.name == "exception" and event.context["severity"] == 0:
            future.set_exception(JobException(event))


def _fail(future: FluxExecutorFuture, error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _finish(future: FluxExecutorFuture, status: int) -> None:
    if os.WIFEXITED(status):
        future.set_result(os.WEXITSTATUS(status))
    elif os.WIFSIGNALED(status):
        future.set_result(-os.WTERMSIG(status))
    else:
        future.set_exception(ValueError(status))


# ---- the executor -------------------------------------------------------------------------------------------------


class FluxExecutor(concurrent.futures.Executor):
    """Submits jobs and gives futures of them. Jobs are shared out among `threads` workers.

    `handle_args` and `handle_kwargs` are those of the workers' `Handle`. `poll_interval` is taken as Flux takes it, and
    not needed: a worker is woken. Raises ValueError for less than one thread; as `Handle`.
    """

    EVENTS = MAIN_EVENTS
    _counter = count().__next__

    def __init__(
        self,
        threads: int = 1,
        thread_name_prefix: str = "",
        poll_interval: float = 0.1,
        handle_args: Sequence[Any] = (),
        handle_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if threads < 1:
            raise ValueError("the number of threads must be > 0")
        self._pid = os.getpid()
        self._broken_event, self._shutdown_event = threading.Event(), threading.Event()
        self._shutdown_lock = threading.Lock()
        self._next_thread = 0
        self._submission_queues: list[deque[_Package]] = [deque() for _ in range(threads)]
        prefix = thread_name_prefix or f"{type(self).__name__}-{self._counter()}"
        events = (self._broken_event, self._shutdown_event)
        self._executor_threads = [
            _FluxExecutorThread(
                *events, queue, poll_interval, handle_args, handle_kwargs or {}, name=f"{prefix}-{number}", daemon=True
            )
            for number, queue in enumerate(self._submission_queues)
        ]
        for thread in self._executor_threads:
            thread.start()
        self._finalizer = weakref.finalize(self, _end, self._pid, self._shutdown_event, self._executor_threads)

    def submit(self, *args: Any, **kwargs: Any) -> FluxExecutorFuture:  # type: ignore[override]  # a job is no call
        """Submit a job: the arguments of `job.submit` after the handle. An error in it ends the future.

        Raises RuntimeError after `shutdown`, when a worker has failed, and in a child process.
        """
        return self._put(lambda future: _SubmitPackage(args, kwargs, future))

    def attach(self, jobid: int | str) -> FluxExecutorFuture:
        """Follow an existing job, also one that was submitted elsewhere.

        Raises as `submit`; the future raises ValueError for a bad id.
        """
        return self._put(lambda future: _AttachPackage(jobid, future))

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> NoReturn:
        """Raise NotImplementedError: jobs are made of jobspecs, not of calls."""
        raise NotImplementedError("map: an executor of jobs takes jobspecs; call submit for each")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs; with `wait` return when all futures are done and all event callbacks were called.

        `cancel_futures` cancels those that no worker has taken yet.
        """
        if os.getpid() != self._pid:
            return
        with self._shutdown_lock:
            self._shutdown_event.set()
        for queue in self._submission_queues if cancel_futures else ():
            _cancel_all(queue)
        for thread in self._executor_threads:
            thread.wake()
        if wait:
            for thread in self._executor_threads:
                thread.join()
                thread.close()

    def _put(self, package: Callable[[FluxExecutorFuture], _Package]) -> FluxExecutorFuture:
        if os.getpid() != self._pid:
            raise RuntimeError("the executor belongs to another process: make one of your own")
        with self._shutdown_lock:
            self._refuse_when_broken()
            if self._shutdown_event.is_set():
                raise RuntimeError("cannot schedule new futures after shutdown")
            thread, queue = self._executor_threads[self._next_thread], self._submission_queues[self._next_thread]
            future = FluxExecutorFuture(thread.ident)
            wanted = package(future)
            queue.append(wanted)
            self._next_thread = (self._next_thread + 1) % len(self._executor_threads)
            if self._broken_event.is_set() and wanted in queue:  # the worker has failed all that was there
                queue.remove(wanted)
                self._refuse_when_broken()
        thread.wake()
        return future

    def _refuse_when_broken(self) -> None:
        if self._broken_event.is_set():
            raise RuntimeError("Executor is broken, new futures cannot be scheduled")


def _cancel_all(queue: deque[_Package]) -> None:
    while queue:
        try:
            future = queue.popleft().future
        except IndexError:
            return  # a worker has taken it meanwhile
        future.cancel()
        future.set_running_or_notify_cancel()


def _end(pid: int, shutdown: threading.Event, threads: Sequence[_FluxExecutorThread]) -> None:
    """Let the workers finish when their executor is garbage-collected or the program ends."""
    if os.getpid() != pid:
        return
    shutdown.set()
    for thread in threads:
        thread.wake()
    for thread in threads:
        thread.join()
