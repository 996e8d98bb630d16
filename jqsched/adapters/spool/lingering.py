"""Files that lie in a drop zone and become no job: reported after a while, so that each is noticed.

Rule: a note is a name and a reason, and is dropped when the file is gone; the number of notes is limited.
"""

from collections.abc import Container, Iterable

from jqsched.adapters.spool.folder import escaped
from jqsched.ports import Clock

AFTER_US = 10_000_000
_KEPT_MAX = 1_000
_SHOWN_MAX = 10


class Lingering:
    """The names, why they are no jobs, and since when that is known (monotonic)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._notes: dict[str, tuple[str, int]] = {}
        self._reported: set[str] = set()

    def note(self, name: str, why: str) -> None:
        """Note a file that is no job (yet)."""
        known = self._notes.get(name)
        if known is not None and known[0] == why:
            return
        if known is not None or len(self._notes) < _KEPT_MAX:
            self._notes[name] = why, known[1] if known else self._clock.monotonic_us()

    def forget(self, name: str) -> None:
        """Drop the note of a file that became a job, was set aside, or is gone."""
        self._notes.pop(name, None)
        self._reported.discard(name)

    def names(self) -> list[str]:
        """Return all noted names."""
        return list(self._notes)

    def due(self, without: Container[str] = ()) -> list[str]:
        """Return the messages about files that have been there for a while, one line for each reason."""
        before_us = self._clock.monotonic_us() - AFTER_US
        names: dict[str, list[str]] = {}
        for name, (why, since_us) in self._notes.items():
            if since_us <= before_us and name not in without:
                names.setdefault(why, []).append(name)
        return [_line(why, sorted(found)) for why, found in sorted(names.items())]

    def fresh(self, without: Container[str] = ()) -> list[str]:
        """Return `due`, but only if it names files that no earlier call did."""
        before_us = self._clock.monotonic_us() - AFTER_US
        late = {name for name, (_, since_us) in self._notes.items() if since_us <= before_us and name not in without}
        if late <= self._reported:
            return []
        self._reported |= late
        return self.due(without)


def _line(why: str, names: Iterable[str]) -> str:
    shown = [escaped(name) for name in names]
    more = f" and {len(shown) - _SHOWN_MAX} more" if len(shown) > _SHOWN_MAX else ""
    return f"{why}: {', '.join(shown[:_SHOWN_MAX])}{more}"
