"""The names that scripts for Flux import from `flux.job`: ids, jobspecs, job information, events, journal and lists.

Rule: names only, each imported on first use, so that a script that needs only ids does not load the client.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for type checkers: the same names as in the table below
    from jqsched.job.control import JobResultFuture as JobResultFuture
    from jqsched.job.control import JobWaitFuture as JobWaitFuture
    from jqsched.job.control import JobWaitResult as JobWaitResult
    from jqsched.job.control import SubmitFuture as SubmitFuture
    from jqsched.job.control import cancel as cancel
    from jqsched.job.control import cancel_async as cancel_async
    from jqsched.job.control import job_raise as job_raise
    from jqsched.job.control import job_raise_async as job_raise_async
    from jqsched.job.control import kill as kill
    from jqsched.job.control import kill_async as kill_async
    from jqsched.job.control import raise_exception as raise_exception
    from jqsched.job.control import raise_exception_async as raise_exception_async
    from jqsched.job.control import result as result
    from jqsched.job.control import result_async as result_async
    from jqsched.job.control import set_urgency as set_urgency
    from jqsched.job.control import set_urgency_async as set_urgency_async
    from jqsched.job.control import submit as submit
    from jqsched.job.control import submit_async as submit_async
    from jqsched.job.control import submit_get_id as submit_get_id
    from jqsched.job.control import urgency as urgency
    from jqsched.job.control import wait as wait
    from jqsched.job.control import wait_async as wait_async
    from jqsched.job.control import wait_get_status as wait_get_status
    from jqsched.job.event import MAIN_EVENTS as MAIN_EVENTS
    from jqsched.job.event import EventLogEvent as EventLogEvent
    from jqsched.job.event import JobEventWatchFuture as JobEventWatchFuture
    from jqsched.job.event import JobException as JobException
    from jqsched.job.event import event_wait as event_wait
    from jqsched.job.event import event_watch as event_watch
    from jqsched.job.event import event_watch_async as event_watch_async
    from jqsched.job.executor import FluxExecutor as FluxExecutor
    from jqsched.job.executor import FluxExecutorFuture as FluxExecutorFuture
    from jqsched.job.format import JobInfoFormat as JobInfoFormat
    from jqsched.job.format import job_fields_to_attrs as job_fields_to_attrs
    from jqsched.job.info import JobInfo as JobInfo
    from jqsched.job.jobid import JobID as JobID
    from jqsched.job.jobid import id_encode as id_encode
    from jqsched.job.jobid import id_parse as id_parse
    from jqsched.job.jobspec import Jobspec as Jobspec
    from jqsched.job.jobspec import JobspecV1 as JobspecV1
    from jqsched.job.jobspec import validate_jobspec as validate_jobspec
    from jqsched.job.journal import SENTINEL_EVENT as SENTINEL_EVENT
    from jqsched.job.journal import JournalConsumer as JournalConsumer
    from jqsched.job.journal import JournalEvent as JournalEvent
    from jqsched.job.list import JobList as JobList
    from jqsched.job.list import JobListIdRPC as JobListIdRPC
    from jqsched.job.list import JobListIdsFuture as JobListIdsFuture
    from jqsched.job.list import JobListRPC as JobListRPC
    from jqsched.job.list import get_job as get_job
    from jqsched.job.list import job_list as job_list
    from jqsched.job.list import job_list_id as job_list_id
    from jqsched.job.list import job_list_inactive as job_list_inactive
    from jqsched.job.lookup import JobInfoLookupRPC as JobInfoLookupRPC
    from jqsched.job.lookup import JobKVSLookup as JobKVSLookup
    from jqsched.job.lookup import JobKVSLookupFuture as JobKVSLookupFuture
    from jqsched.job.lookup import job_info_lookup as job_info_lookup
    from jqsched.job.lookup import job_kvs as job_kvs
    from jqsched.job.lookup import job_kvs_guest as job_kvs_guest
    from jqsched.job.lookup import job_kvs_lookup as job_kvs_lookup
    from jqsched.job.output import JobOutput as JobOutput
    from jqsched.job.output import job_output as job_output
    from jqsched.job.output import output_watch as output_watch
    from jqsched.job.states import resulttostr as resulttostr
    from jqsched.job.states import statetostr as statetostr
    from jqsched.job.states import statustostr as statustostr
    from jqsched.job.states import strtoresult as strtoresult
    from jqsched.job.states import strtostate as strtostate
    from jqsched.job.timeleft import timeleft as timeleft
    from jqsched.job.watcher import JobWatcher as JobWatcher

_EXPORTS = {
    "info": "JobInfo",
    "jobid": "JobID id_encode id_parse",
    "jobspec": "Jobspec JobspecV1 validate_jobspec",
    "states": "resulttostr statetostr statustostr strtoresult strtostate",
    "event": "EventLogEvent JobEventWatchFuture JobException MAIN_EVENTS event_wait event_watch event_watch_async",
    "control": (
        "JobResultFuture JobWaitFuture JobWaitResult SubmitFuture cancel cancel_async job_raise job_raise_async kill"
        " kill_async raise_exception raise_exception_async result result_async set_urgency set_urgency_async submit"
        " submit_async submit_get_id urgency wait wait_async wait_get_status"
    ),
    "journal": "JournalConsumer JournalEvent SENTINEL_EVENT",
    "executor": "FluxExecutor FluxExecutorFuture",
    "format": "JobInfoFormat job_fields_to_attrs",
    "lookup": ("JobInfoLookupRPC JobKVSLookup JobKVSLookupFuture job_info_lookup job_kvs job_kvs_guest job_kvs_lookup"),
    "output": "JobOutput job_output output_watch",
    "timeleft": "timeleft",
    "watcher": "JobWatcher",
    "list": "JobList JobListIdRPC JobListIdsFuture JobListRPC get_job job_list job_list_id job_list_inactive",
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names.split()}

__all__ = list(_MODULE_OF)  # a table says it shorter


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
