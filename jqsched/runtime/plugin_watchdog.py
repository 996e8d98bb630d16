"""The plugin watchdog: report a callback that hangs, and in the end exit, so that another scheduler can take over.

Jobs run on. Rule: it runs in its own thread, for the loop's thread is the one that hangs; it reads, and changes
nothing. Source: docs/reference/plugins.md.
"""

import os
import threading
import time
from collections.abc import Callable

from jqsched.scheduler.plugin_registry import Registry

LOOK_S = 1.0
REPORT_S = 5.0
GIVE_UP_S = 30.0


class PluginWatchdog:
    """Watches the callbacks of plugins from the first one that is loaded, as long as the process lives."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log, self._is_watching = log, False

    def watch(self, registry: Registry) -> None:
        """Watch the plugins of a registry, if they are not watched already."""
        if not self._is_watching:
            self._is_watching = True
            threading.Thread(target=_watch, args=(registry, self._log), name="hangs", daemon=True).start()


def _watch(registry: Registry, log: Callable[[str], None]) -> None:
    seen, since_s, is_reported = -1, 0.0, False
    while True:
        time.sleep(LOOK_S)
        calling, now_s = registry.calling, time.monotonic()
        if calling is None or registry.calls != seen:
            seen, since_s, is_reported = registry.calls, now_s, False
            continue
        hangs_s = now_s - since_s
        if hangs_s >= GIVE_UP_S:
            log(f"plugin {calling[0]} has not come back from {calling[1]} for {hangs_s:.0f} s: the scheduler ends")
            os._exit(1)  # nothing else ends a hanging thread; the store is safe at any moment, and jobs run on
        if hangs_s >= REPORT_S and not is_reported:
            is_reported = True
            log(f"plugin {calling[0]} hangs in {calling[1]} for {hangs_s:.0f} s; nothing is decided meanwhile")
