"""The executor process: starts, signals and reaps the jobs of one spool, and outlives the scheduler.

Rule: one thread, one epoll loop, standard library only. It starts nothing while no scheduler is connected, forgets no
status before it was acknowledged, and frees a slot only when what had to be killed is gone. It decides nothing about
jobs: order, limits and permits come from the scheduler.

It runs by `main`, in a process made by `LocalExecutor` (see there), which reads "ready" from its standard output.
"""

import contextlib
import os
import select
import signal
import traceback
from collections.abc import Callable

from jqsched.adapters.executors.local import procfs
from jqsched.adapters.executors.local.exit_status_journal import Ended, Record
from jqsched.adapters.executors.local.mark import Marker
from jqsched.adapters.executors.local.members import Members
from jqsched.adapters.executors.local.mounts import Mounts
from jqsched.adapters.executors.local.outbox import Outbox, started
from jqsched.adapters.executors.local.run import Run, as_flux_logs_it, now_us, told_us
from jqsched.adapters.executors.local.spawn import Launcher, NotNow, Order, StartFailed
from jqsched.adapters.executors.local.syscalls import accept, child_signal_fd, complain, listen
from jqsched.adapters.executors.local.wire import READY, SOCKET, VERSION, Key, Link, Message, boot_id, open_spool

_PATIENCE_US = 10_000_000  # how long it waits for the scheduler that started it
_RETRY_US, _RETRY_MOST_US = 100_000, 5_000_000
_PAUSE_US, _PAUSE_MOST_US = 5_000, 500_000
_SUSPEND_US = 5_000_000  # epoll's clock stands still during suspend, ours does not: look at least this often


class Executor:
    """One executor for one spool; `run` returns when no scheduler and no job is left."""

    def __init__(self, spool: str) -> None:
        self.spool_fd = open_spool(spool)
        self._record = Record(self.spool_fd)
        marker = Marker(self.spool_fd)
        marker.clear()
        self._mounts = Mounts()
        self._launcher = Launcher(spool, self.spool_fd, marker, self._mounts)
        self._starting = self._launcher.starting
        self._boot_id = boot_id()
        self._link: Link | None = None
        self._begun = False  # a scheduler said hello, so orders may have come
        self._greeted = False  # the present one did: its first answer is the state, and nothing may come before it
        self._alone_until_us = now_us() + _PATIENCE_US
        self._max_running = self._cores = self._grace_us = 0
        self._waiting: dict[Key, Order] = {}  # in the order given
        self._running: dict[Key, Run] = {}
        self._finished: dict[Key, Ended] = {(ended[0], ended[1]): ended for ended in self._record.load()}
        self._children: dict[int, Run] = {}  # by the pid of an unreaped main process
        self._members = Members(self.spool_fd, spool, marker, self._children.keys())
        self._pidfds: dict[int, tuple[int, Run]] = {}  # of adopted main processes, with their pid
        self._cores_used = 0
        self._retry_us = self._retry_delay_us = 0
        self._wake_us = 0  # not later than the first `Run.wake_us`; 0: never
        self._news = Outbox()
        self._epoll = select.epoll()
        self._child_fd = child_signal_fd()
        self._listener = listen(self.spool_fd)
        self._epoll.register(self._child_fd, select.EPOLLIN)
        self._epoll.register(self._listener, select.EPOLLIN)
        self._epoll.register(self._mounts, select.EPOLLPRI)
        self._orders: dict[str, Callable[..., None]] = {
            "hello": self._hello, "limits": self._limit, "start": self._start, "withdraw": self._withdraw,
            "stop": self._stop, "signal": self._signal, "relimit": self._relimit, "ack": self._acknowledge,
            "ping": lambda: self._send([["pong"]]),
        }  # fmt: skip

    def run(self) -> None:
        """Serve until no scheduler is connected and no job is left."""
        while not self._over():
            for fd, mask in self._epoll.poll(self._timeout_s()):
                self._handle(fd, mask)
            self._members.look_anew()
            if self._wake_us:
                self._tend_all(now_us())
            if self._waiting:
                self._launch_waiting()
            if self._starting.due_us:
                self._look_at_starting(now_us())
            if self._news:
                self._tell()
            if not self._link:
                self._listen_again()

    # ---- the loop -------------------------------------------------------------------------------------------------

    def _handle(self, fd: int, mask: int) -> None:
        if fd == self._child_fd:
            self._reap()
        elif fd == self._listener.fileno():
            self._accept()
        elif fd in self._pidfds:
            self._adopted_ended(fd)
        elif fd == self._mounts.fileno():
            self._mounts.look()
        elif self._link and fd == self._link.sock.fileno():
            self._converse(self._link, mask)

    def _timeout_s(self) -> float:
        """Say how long epoll may wait: until the first thing that is due, for ever when nothing is."""
        due_us = [self._wake_us, self._retry_us if self._waiting else 0, self._starting.due_us, self._news_due_us()]
        if not self._link:
            due_us.append(now_us() + _SUSPEND_US)
            if not self._running:
                due_us.append(self._alone_until_us)
        if not any(due_us):
            return -1
        return min(max(min(filter(None, due_us)) - now_us(), 0), _SUSPEND_US) / 1_000_000

    def _over(self) -> bool:
        """End, unless a scheduler is connected or may still connect, or work is left."""
        if self._link or self._running or now_us() < self._alone_until_us:
            return False
        self._accept()  # a scheduler that came at the last moment
        if self._link:
            return False
        try:
            self._record.end(list(self._finished.values()), self._begun)
        except OSError as failure:
            if os.fstat(self.spool_fd).st_nlink:  # else the spool is deleted: no scheduler will ever ask
                complain(self.spool_fd, f"cannot keep the statuses of finished jobs, trying again: {failure}")
                self._alone_until_us = now_us() + _RETRY_MOST_US
                return False
        with contextlib.suppress(OSError):
            os.unlink(SOCKET, dir_fd=self.spool_fd)
        return True

    # ---- the scheduler --------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        """Take the newest scheduler. There is only one (it holds the spool's lock), so any before it is dead."""
        while sock := accept(self._listener):
            self._let_go()
            self._link, self._greeted = Link(sock), False
            self._epoll.register(sock, select.EPOLLIN)

    def _listen_again(self) -> None:
        """Make the socket again if it was removed: no scheduler could connect as long as jobs run."""
        if not os.access(SOCKET, os.F_OK, dir_fd=self.spool_fd, follow_symlinks=False):
            with contextlib.suppress(OSError):  # the whole spool is removed
                listener = listen(self.spool_fd)
                self._epoll.unregister(self._listener)
                self._listener.close()
                self._listener = listener
                self._epoll.register(listener, select.EPOLLIN)

    def _converse(self, link: Link, mask: int) -> None:
        if mask & select.EPOLLOUT:
            link.flush()
            self._watch_link(link)
        if not mask & ~select.EPOLLOUT:
            return
        try:
            messages = link.receive()
            for message in messages or ():
                self._orders[message[0]](*message[1:])
        except (ValueError, TypeError, LookupError):  # it does not follow the protocol: jobs must not suffer from that
            complain(self.spool_fd, traceback.format_exc())
            messages = None
        if messages is None:
            self._let_go()

    def _let_go(self) -> None:
        """Drop the scheduler, which is gone, and give up what has not started."""
        if not self._link:
            return
        self._epoll.unregister(self._link.sock)
        self._link.close()
        self._link = None
        self._alone_until_us = 0
        self._waiting.clear()
        self._news.clear()

    def _send(self, messages: list[Message]) -> None:
        if self._link:
            self._link.send(messages)
            if self._link.wants_write:
                self._watch_link(self._link)

    def _watch_link(self, link: Link) -> None:
        self._epoll.modify(link.sock, select.EPOLLIN | (select.EPOLLOUT if link.wants_write else 0))

    def _content(self) -> bool:
        """Say whether each slot is busy and has its next order: then news may wait a little, for a batch costs less."""
        return len(self._waiting) >= len(self._running) > 0 and not self._has_room()

    def _news_due_us(self) -> int:
        return self._news.due_us(may_wait=self._content()) if self._news and self._greeted else 0

    def _tell(self) -> None:
        """Send the news that are due."""
        now = now_us()
        if self._greeted and self._news_due_us() <= now and (due := self._news.take(now)):
            self._send(due)

    # ---- orders ---------------------------------------------------------------------------------------------------

    def _hello(self, version: int, asked: list[tuple[int, int, int, int, str, int, int | None]]) -> None:
        """Answer with the states of these attempts. The first time, unknown ones were a dead executor's; later, they
        were meant for this one, and never came."""
        if version != VERSION:
            self._send([["refused", f"executor {os.getpid()} speaks version {VERSION}; it ends when its jobs have"]])
            return
        never: list[Key] = []
        for id_, attempt, pid, start_ticks, boot, cores, userid in asked:
            key = (id_, attempt)
            if key in self._running or key in self._finished:
                continue
            if not pid and (self._begun or self._record.after_clean_end):
                never.append(key)
            elif self._begun or not self._adopt(key, pid, start_ticks, boot, cores, userid):
                status = None if self._begun else self._status_of_zombie(key, pid, start_ticks, boot)
                self._finished[key] = (id_, attempt, status, None, pid, start_ticks, False, 0, 0)
        if not self._begun:
            self._record.begin(self._boot_id)
            self._begun = True
        self._news.clear()
        self._greeted = True
        self._starting.tell_again()
        running = [[*started(run)[1:], run.expired] for run in self._running.values()]
        self._send([["state", running, list(self._finished.values()), never]])

    def _adopt(self, key: Key, pid: int, start_ticks: int, boot: str, cores: int, userid: int | None) -> bool:
        """Look for an attempt whose executor died, and watch over it from now on."""
        if boot not in ("", self._boot_id):
            return False
        watched = self._members.snapshot.watch(key, pid, start_ticks, userid)
        if not watched:
            return False
        run = Run.of_adopted(key, cores, userid, list(watched.values()))
        run.is_sure = bool(pid) and len(watched) == 1 and self._members.snapshot.is_single(key, run.pid)
        for fd, main in watched.items():
            self._pidfds[fd] = (main.pid, run)
            self._epoll.register(fd, select.EPOLLIN)
        self._begin(run)
        return True

    def _status_of_zombie(self, key: Key, pid: int, start_ticks: int, boot: str) -> int | None:
        """Return how an attempt ended whose main process is a zombie; None: that cannot be known."""
        if not pid or boot != self._boot_id or not self._members.snapshot.is_single(key, pid):
            return None
        status = procfs.exit_status(pid, start_ticks)
        return None if status is None else as_flux_logs_it(status)

    def _limit(self, max_running: int, cores: int, grace_us: int) -> None:
        self._max_running, self._cores, self._grace_us = max_running, cores, grace_us

    def _start(self, *fields: object) -> None:
        order = Order(*fields)  # type: ignore[arg-type]  # the other end made them from a typed Start
        if order.key not in self._running and order.key not in self._finished:
            self._waiting[order.key] = order

    def _withdraw(self, attempts: list[tuple[int, int]]) -> None:
        for id_, attempt in attempts:
            key = (id_, attempt)
            if run := self._running.get(key):
                self._news.add(started(run))  # again, if it was told: it is the answer
            elif ended := self._finished.get(key):
                self._news.add(["finished", *ended])
            else:
                self._waiting.pop(key, None)
                self._news.add(["withdrawn", id_, attempt])

    def _stop(self, id_: int, attempt: int) -> None:
        if run := self._running.get((id_, attempt)):
            self._begin_stop(run, self._grace_us)

    def _signal(self, id_: int, attempt: int, signum: int) -> None:
        if run := self._running.get((id_, attempt)):
            self._members.signal_main(run, signum)

    def _relimit(self, id_: int, attempt: int, limit_us: int | None) -> None:
        run = self._running.get((id_, attempt))
        if run and not run.stopping:
            run.limit(limit_us)
            self._wake_by(run.wake_us)

    def _acknowledge(self, attempts: list[tuple[int, int]]) -> None:
        for id_, attempt in attempts:
            self._finished.pop((id_, attempt), None)
            try:
                self._record.forget((id_, attempt))
            except OSError as failure:  # it is told again to the next executor, and acknowledged again
                complain(self.spool_fd, f"cannot remove what was taken: {failure}")

    # ---- processes ------------------------------------------------------------------------------------------------

    def _has_room(self) -> bool:
        """Say whether the first order in turn could start now. If not, it holds back those behind it."""
        order = next(iter(self._waiting.values()), None)
        cores = order.cores if order else 1
        return len(self._running) < self._max_running and self._cores_used + cores <= self._cores

    def _launch_waiting(self) -> None:
        while self._waiting and self._has_room() and (not self._retry_us or now_us() >= self._retry_us):
            order = next(iter(self._waiting.values()))
            if not self._launch(order):
                return

    def _launch(self, order: Order) -> bool:
        """Start an order; False when the machine has no room for it, which is tried again after a while."""
        pids: list[int] = []
        failed: StartFailed | None = None
        begun_us = now_us()  # afterwards it may have run for a while
        try:
            self._launcher.launch(order, pids)
        except NotNow:
            self._retry_delay_us = min(self._retry_delay_us * 2 or _RETRY_US, _RETRY_MOST_US)
            self._retry_us = now_us() + self._retry_delay_us
            return False
        except StartFailed as failure:
            failed = failure
        self._retry_us = self._retry_delay_us = 0
        del self._waiting[order.key]
        if failed and not pids:
            now = told_us(now_us())
            self._keep((*order.key, failed.status, str(failed), 0, 0, False, now, now))
            return True
        run = Run.of_order(order, pids, begun_us)
        self._children.update((pid, run) for pid in pids)
        self._begin(run)
        self._news.add(run)
        if failed:  # one of several tasks: the others are not left alone
            run.status, run.error = failed.status, str(failed)
            self._begin_stop(run, 0)
        return True

    def _look_at_starting(self, now: int) -> None:
        """Tell what keeps processes from becoming their programs, where that takes long."""
        for key, step, since_us in self._starting.look(now):
            self._news.add(["starting", *key, step, told_us(since_us) if step else 0])

    def _begin(self, run: Run) -> None:
        self._running[run.key] = run
        self._cores_used += run.cores
        self._wake_by(run.wake_us)

    def _reap(self) -> None:
        """Reap all that ended, orphans too. Jobs are over with their main processes, stopped ones are looked at."""
        with contextlib.suppress(ChildProcessError, BlockingIOError):
            os.read(self._child_fd, 4096)  # first, so that a child that ends from here on wakes the loop again
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if run := self._children.pop(pid, None):
                    run.ended(status, self._launcher.failure(pid, run.pids.index(pid)))
                    self._main_ended(run, pid)

    def _adopted_ended(self, fd: int) -> None:
        pid, run = self._pidfds.pop(fd)
        if run.is_sure and (status := procfs.exit_status(pid, run.start_ticks, fd)) is not None:
            run.ended(status, None)
        self._epoll.unregister(fd)
        os.close(fd)
        self._main_ended(run, pid)

    def _main_ended(self, run: Run, pid: int) -> None:
        run.mains.discard(pid)
        if run.mains and run.error:  # it could not be started: the other tasks are not left alone
            self._begin_stop(run, 0)
        elif not run.mains and run.stopping:
            run.wake_us = now_us()
            self._wake_by(run.wake_us)
        elif not run.mains:
            self._finish(run)

    def _finish(self, run: Run) -> None:
        del self._running[run.key]
        self._cores_used -= run.cores
        self._keep((*run.key, run.status, run.error, run.pid, run.start_ticks, run.expired, *run.times_us()), run)

    def _keep(self, ended: Ended, run: Run | None = None) -> None:
        """Keep a status until it is acknowledged; an end whose start was not told yet is told in the start's place."""
        self._finished[ended[0], ended[1]] = ended
        told_by_end = run is not None and self._news.replace_start(run, ["finished", *ended])
        if self._link and not told_by_end:
            self._news.add(["finished", *ended])

    # ---- time limits and stopping ---------------------------------------------------------------------------------

    def _wake_by(self, us: int) -> None:
        if us and (not self._wake_us or us < self._wake_us):
            self._wake_us = us

    def _tend_all(self, now: int) -> None:
        if now < self._wake_us:
            return
        for run in list(self._running.values()):
            if run.wake_us and run.wake_us <= now:
                run.wake_us = 0
                self._tend(run, now)
        self._wake_us = min((run.wake_us for run in self._running.values() if run.wake_us), default=0)

    def _tend(self, run: Run, now: int) -> None:
        if run.stopping:
            self._go_on_stopping(run, now)
        elif not run.expired:
            run.expired = True
            if self._link:
                self._news.fix_start(run)
                self._news.add(["expired", *run.key])
            self._begin_stop(run, self._grace_us)  # the scheduler may be frozen

    def _begin_stop(self, run: Run, grace_us: int) -> None:
        """End a run: TERM to all of it now, KILL to what is left after the grace."""
        if run.stopping:
            return
        now = now_us()
        run.stopping, run.kill_us, run.pause_us = True, now + grace_us, _PAUSE_US
        if grace_us:
            self._members.signal_all(run, signal.SIGTERM)
            self._members.signal_all(run, signal.SIGCONT)  # one that was stopped gets to see it
        run.wake_us = run.kill_us
        self._wake_by(run.wake_us)

    def _go_on_stopping(self, run: Run, now: int) -> None:
        left = self._members.of(run)
        if not run.mains and not left:
            self._finish(run)
            return
        run.wake_us = now + run.pause_us
        run.pause_us = min(run.pause_us * 2, _PAUSE_MOST_US)
        if now >= run.kill_us:
            self._members.signal_all(run, signal.SIGKILL)
        else:
            run.wake_us = min(run.wake_us, run.kill_us)


def main(spool: str) -> None:
    """Run the executor of this spool. Until it is ready it reports errors to its parent, after that in its log."""
    os.closerange(3, 1 << 20)
    os.chdir("/")
    os.umask(0o022)
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    executor = Executor(spool)
    os.write(1, READY)
    os.dup2(0, 1)
    os.dup2(0, 2)
    try:
        executor.run()
    except BaseException:  # the last chance to say why: its stderr is not read
        complain(executor.spool_fd, traceback.format_exc())
        raise
