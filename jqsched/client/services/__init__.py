"""The topics that are answered from the store, scheduler or no scheduler.

Rule: a service takes a call and gives answers, and its errors are Flux's, errno and text; it changes nothing.
Source: docs/adr/0008-the-socket-carries-commands-and-a-doorbell.md.
"""

from collections.abc import Mapping
from types import MappingProxyType

from jqsched.client.services import eventlog, journal, result
from jqsched.client.services import list as lists
from jqsched.client.store_channel import Service

SERVICES: Mapping[str, Service] = MappingProxyType(
    {
        "job-info.eventlog-watch": eventlog.watch,
        "job-info.lookup": eventlog.lookup,
        "job-info.result": result.result,
        "job-list.list": lists.list_jobs,
        "job-list.list-attrs": lists.list_attrs,
        "job-list.list-id": lists.list_id,
        "job-manager.events-journal": journal.events_journal,
    }
)

__all__ = ["SERVICES"]
