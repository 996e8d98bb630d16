"""The composition root: the only place that knows scheduler and adapters.

`build` puts a scheduler together, `daemon` runs one, `offline` does a command without one, `lock` keeps them apart.
"""

from jqsched.adapters.spool import SpoolRefused
from jqsched.adapters.store.schema import StoreRefused
from jqsched.wiring.build import Report
from jqsched.wiring.daemon import RunOptions, run_daemon
from jqsched.wiring.lock import SpoolInUse, spool_lock
from jqsched.wiring.offline import Offline, offline

__all__ = [
    "Offline", "Report", "RunOptions", "SpoolInUse", "SpoolRefused", "StoreRefused", "offline", "run_daemon",
    "spool_lock",
]  # fmt: skip
