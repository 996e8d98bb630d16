"""`FileSpool`: the spool directory as the port `Spool`, made of the drop zone, the job files and `rejected/`.

Rule: only here do the package's OSErrors become `PortError`s, and only here is a spool checked as a whole: its layout,
its permissions, what a crash left in it.
"""

import errno
import logging
import os
import stat
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager, suppress

from attrs import evolve

from jqsched.adapters.jobfile import distrust, distrust_drop, read_job, write_job
from jqsched.adapters.secure_open import open_to_others
from jqsched.adapters.spool.edits import Edits, Known
from jqsched.adapters.spool.folder import Folder, escaped
from jqsched.adapters.spool.inbox import Drops
from jqsched.adapters.spool.lingering import Lingering
from jqsched.adapters.spool.recovery import set_stray_aside, take_leftovers
from jqsched.adapters.spool.rejects import FILES_MAX, Rejects
from jqsched.adapters.spool.write_stability import Quiet
from jqsched.core.job import Draft
from jqsched.ports import UNLIMITED, Clock, Edit, PortError, Room, ScanResult

DROP = "drop"  # a drop zone in which nothing else is; with `run_as_owner` that of other users
FOLDERS = ("jobs", "output", "rejected", "archive", DROP)


class SpoolRefused(Exception):
    """This directory cannot be a spool; the text is one line for the user, with the way out."""


@contextmanager
def _port(doing: str) -> Iterator[None]:
    """Turn OSErrors into PortErrors that say what was going on."""
    try:
        yield
    except OSError as wrong:
        raise _port_error(doing, wrong) from wrong


def _port_error(doing: str, wrong: OSError) -> PortError:
    path = escaped(os.fsdecode(wrong.filename)) if isinstance(wrong.filename, str | bytes) else "the spool"
    return PortError(doing, path, wrong.errno, wrong.strerror or str(wrong))


class FileSpool:
    """The spool directory. All methods are the loop's, except where they say: any thread.

    `known` tells the name and the accepted file of a live job (None: there is no such job). With `run_as_owner`, a file
    of another user is that user's job, and the second drop zone, `drop/`, is made for all to write to.
    """

    def __init__(
        self,
        root: str,
        log: logging.Logger,
        clock: Clock,
        known: Callable[[int], Known | None],
        *,
        run_as_owner: bool = False,
    ) -> None:
        """Open the spool and make what is missing. Raises SpoolRefused, or PortError when the disk is at fault."""
        self.root = os.path.abspath(root)
        self._log, self._run_as_owner = log, run_as_owner
        self._folders = _open(self.root, log, run_as_owner=run_as_owner)
        top, jobs, rejected = self._folders["."], self._folders["jobs"], self._folders["rejected"]
        cwd = self._cwd = os.path.dirname(self.root)
        self._rejects = Rejects(rejected, top)
        self._edit_quiet = Quiet(clock)
        zones = [top, self._folders[DROP]]
        trust = distrust_drop if run_as_owner else distrust
        self._zones = [
            Drops(zone, jobs, self._rejects, Quiet(clock), Lingering(clock), cwd, log, trust) for zone in zones
        ]
        self._edits = Edits(jobs, self._rejects, self._edit_quiet, cwd, known, log)

    # ---- wake-ups (any thread) ------------------------------------------------------------------------------------

    def ring(self, name: str | None = None, settled: bool = False) -> None:
        """Look again at the drop zone. With a name: closed by its writer, or (settled) renamed in whole. Any thread."""
        self._zones[0].ring(name, settled)
        if name is None:
            self.ring_shared()

    def ring_shared(self, name: str | None = None, settled: bool = False) -> None:
        """The same for `drop/`. Any thread."""
        self._zones[1].ring(name, settled)

    def remarks(self, plugins: Container[str] = ()) -> list[str]:
        """Return a line for each thing that a user should look at. `plugins`: files that are meant to be no jobs."""
        lines = [line for zone in self._zones for line in zone.lingering.due(plugins)]
        if beyond := sum(zone.beyond_count for zone in self._zones):
            full = f"rejected/ is full ({FILES_MAX} files or more)"
            lines.append(f"{full}: {beyond} bad file(s) stay in the drop zone: delete some")
        return lines

    def fresh_remarks(self, plugins: Container[str] = ()) -> list[str]:
        """Return a line for each new file in the drop zones that has been there for a while and becomes no job."""
        return [line for zone in self._zones for line in zone.lingering.fresh(plugins)]

    def own_change(self, id_: int) -> bool:
        """Whether a change of `jobs/ID.json` is our own or known, and needs no look. Any thread; one stat."""
        return self._edits.is_ours(id_)

    # ---- the drop zone --------------------------------------------------------------------------------------------

    @_port("taking dropped files")
    def intake(self, next_id: int, most: int, room: Room = UNLIMITED) -> ScanResult:
        """Take up to `most` dropped files. PortError: nothing was taken by this call, and all is where it was."""
        whole = ScanResult()
        for zone in self._zones:
            left = most - len(whole.taken) - len(whole.refused)
            jobs = sum(taken.draft.ids for taken in whole.taken)
            following = max([next_id, *(taken.next_id for taken in whole.taken)])
            try:
                found = zone.intake(following, left, self._edits.seen, evolve(room, jobs=room.jobs - jobs))
                whole = _together(whole, found)
            except OSError as wrong:
                if not whole.taken and not whole.refused:
                    raise
                self._log.warning("%s: it is tried again", _port_error("taking dropped files", wrong))
                return evolve(whole, more=True)
        return whole

    @_port("looking for files that a crash left")
    def leftovers(self, live: Callable[[int], bool], finished: Callable[[int], bool], next_id: int) -> ScanResult:
        """Take the files in `jobs/` that have no job yet, and remove those of finished jobs. Called at start."""
        return take_leftovers(
            self._folders["jobs"], self._zones[0], self._edits, self._rejects, live, finished, next_id, self._log
        )

    @_port("setting a file aside")
    def refuse(self, id_: int, name: str, errors: str) -> None:
        """Set a taken file aside after all; where there is no room for it, it goes back to where it was dropped."""
        self._edits.forget(id_)
        try:
            if self._rejects.is_full and self._zones[0].give_back(f"{id_}.json", name):
                return
            self._rejects.set_aside(self._folders["jobs"], f"{id_}.json", name, errors.splitlines())
        except FileNotFoundError:
            if self._folders["jobs"].has(f"{id_}.json"):
                raise

    def is_stray(self, id_: int) -> bool:
        """Whether there is a `jobs/ID.json` without a live job. Any thread; mostly without a system call."""
        return self._edits.is_stray(id_)

    @_port("setting a file aside")
    def strays(self, ids: Iterable[int]) -> list[tuple[str, str]]:
        """Set aside the files of these ids, which belong to no live job; returns the name of each, and why."""
        jobs, set_aside = self._folders["jobs"], list[tuple[str, str]]()
        for id_ in ids:
            entry = f"{id_}.json"
            if self._edits.is_stray(id_) and not any(zone.is_halfway(entry) for zone in self._zones):
                with suppress(FileNotFoundError):
                    set_aside.append((entry, set_stray_aside(jobs, self._rejects, entry)))
        return set_aside

    # ---- texts -----------------------------------------------------------------------------------------------------

    def parse(self, text: str, name: str = "") -> Draft | str:
        """Check the text of a job file: the draft, or all errors. `name`: the job's, where the text states none."""
        job = read_job(text.encode(errors="surrogatepass"), ".json", self._cwd, name=name)
        return job if isinstance(job, Draft) else "\n".join(job.errors)

    def write_out(self, draft: Draft) -> str:
        """Write the text of a job file that reads back as this draft, but for `requeue_of`."""
        return write_job(draft)

    # ---- job files ------------------------------------------------------------------------------------------------

    @_port("writing a job file")
    def write(self, id_: int, text: str, userid: int | None = None) -> None:
        """Make `jobs/ID.json`, another user's if one is given. What lies there is set aside, unless it is empty."""
        if os.geteuid() != 0:  # of a spool that was another user's, say: only root can change a file's owner
            userid = None
        try:
            self._edits.write(id_, text, userid)
        except FileExistsError:
            jobs, entry = self._folders["jobs"], f"{id_}.json"
            found = jobs.stat(entry)
            if not stat.S_ISREG(found.st_mode) or found.st_size > 0:
                self._rejects.set_aside(jobs, entry, entry, (f"job {id_} came by command; this file was in its place",))
            self._edits.write(id_, text, userid, over=True)

    @_port("looking at job files")
    def edits(self, ids: Iterable[int], *, at_start: bool = False) -> list[Edit]:
        """Return the changes of these files, and of those that were still being written (`edits_again_us`)."""
        return self._edits.look(ids, at_start=at_start)

    @property
    def edits_again_us(self) -> int | None:
        """When to call `edits` again, with any ids or none (monotonic); None: nothing is waiting."""
        return self._edit_quiet.again_us()

    @_port("looking at job files")
    def scan_jobs(self, most: int) -> list[int]:
        """Look at up to `most` files, on from where the last call stopped: the ids to ask `edits` about."""
        return self._edits.scan(most)

    @property
    def is_scanning_jobs(self) -> bool:
        """Whether a round of `scan_jobs` is under way."""
        return self._edits.is_scanning

    @_port("removing a reason")
    def accepted(self, id_: int, text: str) -> None:  # noqa: ARG002  # the text is kept by the store; `known` asks it
        """Remove the reason beside a file that was accepted as it is."""
        self._edits.forget_reason(id_)

    @_port("writing a reason")
    def complain(self, id_: int, errors: str) -> None:
        """Write why an edit was refused beside the file."""
        self._edits.complain(id_, errors)

    @_port("removing job files")
    def remove(self, ids: Iterable[int]) -> None:
        """Remove the files of jobs that are over."""
        for id_ in ids:
            self._edits.remove(id_)

    # ---- the spool as a whole -------------------------------------------------------------------------------------

    @_port("syncing the spool")
    def sync(self) -> None:
        """Make renames durable: first where files went to, then where they came from. The store's thread."""
        for name in ("jobs", "rejected", DROP, "."):
            self._folders[name].sync()

    @_port("looking at the spool")
    def check_alive(self) -> None:
        """Make sure that the folders are still those that were opened. Raises PortError if they were replaced.

        But for those whose files nothing here depends on: `drop/`, `output/` and `rejected/` are opened anew, or made
        again; `archive/` is made when it is wanted.
        """
        for name, folder in self._folders.items():
            if name in (DROP, "output", "rejected"):
                self._renew(folder, is_drop=name == DROP)
            elif name != "archive" and not folder.is_in_place():
                raise OSError(errno.ESTALE, "the directory was replaced by another", folder.path)

    def _renew(self, folder: Folder, *, is_drop: bool) -> None:
        with suppress(FileNotFoundError):
            if folder.is_in_place():
                return
        self._log.warning("%s was removed or replaced: opened anew", escaped(folder.path))
        folder.open_again(self._folders["."])
        if self._run_as_owner and is_drop:
            _open_to_all(folder, self._log)
        try:
            _check(folder, self._folders["."], self._log)
        except SpoolRefused as why:
            if not is_drop:
                raise OSError(errno.EPERM, str(why), folder.path) from why
            self._log.warning("%s", why)  # each file in it is judged by itself: no reason to end while jobs run

    def close(self) -> None:
        """Let go of the directories."""
        for folder in self._folders.values():
            folder.close()


def _together(first: ScanResult, then: ScanResult) -> ScanResult:
    again = [us for us in (first.again_us, then.again_us) if us is not None]
    return ScanResult(
        first.taken + then.taken,
        first.refused + then.refused,
        first.more or then.more,
        min(again, default=None),
        max(first.awaits_room, then.awaits_room),
    )


def _open(root: str, log: logging.Logger, *, run_as_owner: bool) -> dict[str, Folder]:
    folders: dict[str, Folder] = {}
    try:
        top = folders["."] = Folder(root)
        _check(top, top, log)
        for name in FOLDERS:
            folder = folders[name] = Folder(f"{root}/{name}", top)
            if name == DROP and run_as_owner:
                _open_to_all(folder, log)
            _check(folder, top, log)
    except (OSError, SpoolRefused) as wrong:
        for folder in folders.values():
            folder.close()
        if isinstance(wrong, OSError):
            raise _port_error("opening the spool", wrong) from wrong
        raise
    return folders


def _open_to_all(folder: Folder, log: logging.Logger) -> None:
    """Open a drop zone to other users if it has the mode that it was made with; other modes are its owner's choice."""
    if stat.S_IMODE(os.fstat(folder.fd).st_mode) == 0o700:
        os.fchmod(folder.fd, 0o1733)
        if not folder.dirty:
            log.warning("%s is now open to others (mode 1733): run_as_owner", escaped(folder.path))


def _check(folder: Folder, top: Folder, log: logging.Logger) -> None:
    """Refuse a folder that other users may change. Its parent is not checked: its writers can replace the spool anyway.

    The top holds store, lock, sockets and configuration, so no other user may make names in it, even if it has the
    sticky bit; only `drop/`, where nothing is trusted by its name, may be open to others.
    """
    found, shown = os.fstat(folder.fd), escaped(folder.path)
    mode = stat.S_IMODE(found.st_mode)
    _check_owner(shown, found)
    is_drop = os.path.basename(folder.path) == DROP and folder is not top
    if open_to_others(found) and not (is_drop and mode & stat.S_ISVTX):
        way_out = "chmod 1733, or 0700" if is_drop else f"chmod 0700 (with run_as_owner: 0711, and others use {DROP}/)"
        raise SpoolRefused(f"{shown} may be written to by others (mode {mode:04o}): {way_out}")
    if found.st_dev != os.fstat(top.fd).st_dev:
        raise SpoolRefused(f"{shown} is on another file system than the spool: files cannot be renamed into it")
    if folder is top and mode & (stat.S_IRGRP | stat.S_IROTH):
        log.warning("%s may be read by others (mode %04o), secrets too: chmod 0700", shown, mode)


def refuse_foreign(root: str) -> None:
    """Refuse the spool of another user before anything is made in it. Raises SpoolRefused, PortError."""
    with _port("opening the spool"):
        found = os.stat(root)
    _check_owner(escaped(root), found)


def _check_owner(shown: str, found: os.stat_result) -> None:
    if found.st_uid not in (os.geteuid(), 0):
        raise SpoolRefused(f"{shown} belongs to user {found.st_uid}: a spool belongs to the one who runs its scheduler")
