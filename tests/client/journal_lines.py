"""What tests of the journal share: all that it has to say, and that in lines of job and name."""

from jqsched import Handle
from jqsched.job.journal import JournalConsumer, JournalEvent

Line = tuple[int, str]


def drained(consumer: JournalConsumer) -> list[JournalEvent]:
    """All that has happened so far; the consumer is stopped."""
    consumer.stop()
    found = []
    while (event := consumer.poll(timeout=100)) is not None:
        found.append(event)
    return found


def lines(events: list[JournalEvent]) -> list[Line]:
    return [(int(event.jobid), "" if event.is_empty() else event.name) for event in events]


def all_events(handle: Handle, **choice) -> list[JournalEvent]:
    return drained(JournalConsumer(handle, **choice).start())


def of(job, *facts) -> list[Line]:
    names = [fact if isinstance(fact, str) else fact[0] for fact in facts]
    return [(job.id, name) for name in ("submit", *names)]
