"""Finds the processes of attempts, and signals them.

Rule: /proc is read at most once in a round of the executor's loop (`look_anew` ends one): a look costs more than all
else there. Standard library only (see `wire`).
"""

import contextlib
import os
import signal
from collections.abc import Collection

from jqsched.adapters.executors.local import procfs
from jqsched.adapters.executors.local.mark import Marker
from jqsched.adapters.executors.local.run import ProcessTable, Run


class Members:
    """The processes of this spool's attempts. `children`: the pids of all unreaped main processes, as they change."""

    def __init__(self, spool_fd: int, spool: str, marker: Marker, children: Collection[int]) -> None:
        self._spool_fd, self._spool, self._marker, self._children = spool_fd, spool, marker, children
        self._snapshot: ProcessTable | None = None

    def look_anew(self) -> None:
        """Look at /proc again when it is asked for the next time."""
        self._snapshot = None

    @property
    def snapshot(self) -> ProcessTable:
        """Return all processes as they were in this round."""
        if self._snapshot is None:
            self._snapshot = ProcessTable(self._spool_fd, self._spool, self._marker)
        return self._snapshot

    def of(self, run: Run) -> list[procfs.Process]:
        """Return all living processes of an attempt."""
        return self.snapshot.members(run, set(self._children))

    def signal_all(self, run: Run, signum: signal.Signals) -> None:
        """Signal all processes of an attempt."""
        members = self.of(run)  # first: a process that loses its parent by the signal may not be found by anything else
        _signal_groups(run, signum)
        groups = set() if run.adopted else run.mains
        procfs.send((process for process in members if process.pgrp not in groups), signum)

    def signal_main(self, run: Run, signum: int) -> None:
        """Signal the process groups of the main processes."""
        _signal_groups(run, signum)
        if run.adopted:
            procfs.send((process for process in self.of(run) if process.pgrp in run.mains), signum)


def _signal_groups(run: Run, signum: int) -> None:
    """Signal whole groups at once, where nothing can slip through: those whose leader is a child of ours, which keeps
    its number until it is reaped."""
    if not run.adopted:
        for pid in run.mains:
            with contextlib.suppress(OSError):  # set-user-id: not ours to signal
                os.killpg(pid, signum)
