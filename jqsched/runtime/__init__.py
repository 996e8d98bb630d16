"""The composition root: the only place that knows scheduler and adapters.

`build` makes a scheduler as `configuration` says, `daemon` runs one, `offline` carries out a command without one, and
`lock` lets only one of them at a spool.
"""

from jqsched.adapters.spool import SpoolRefused
from jqsched.adapters.store.schema import StoreRefused
from jqsched.runtime.build import Report
from jqsched.runtime.configuration import RunOptions
from jqsched.runtime.daemon import run_daemon
from jqsched.runtime.lock import Holder, Role, SpoolInUse, past_commands, spool_lock
from jqsched.runtime.offline import Offline, offline

__all__ = [
    "Holder", "Offline", "Report", "Role", "RunOptions", "SpoolInUse", "SpoolRefused", "StoreRefused", "offline",
    "past_commands", "run_daemon", "spool_lock",
]  # fmt: skip
