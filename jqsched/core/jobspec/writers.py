"""The writers of single values: from a value of ours to what a job file or a jobspec says.

Rule: each is the inverse of its reader in `values` or `retry_values`; times are written in seconds.
"""

from jqsched.core.job import Dependency, OnInterrupt, Reason, Retries, Scheme
from jqsched.core.json import Json


def plain(value: Json) -> Json:
    """Write a value that is JSON already."""
    return value


def words(command: tuple[str, ...]) -> Json:
    """Write a command as a list."""
    return list(command)


def variables(env: tuple[tuple[str, str], ...]) -> Json:
    """Write variables as an object."""
    return dict(env)


def seconds(time_us: int | None) -> Json:
    """Write a duration; None stays None."""
    return time_us / 1_000_000 if time_us is not None else None


def on_interrupt(policy: OnInterrupt) -> Json:
    """Write what becomes of a job that was interrupted."""
    return policy.value


def dependency_object(dependency: Dependency) -> Json:
    """Write a dependency as an RFC 26 object, times in seconds as Flux does."""
    value = dependency.value
    if dependency.scheme == Scheme.BEGIN_TIME.value and isinstance(value, int):
        return {"scheme": dependency.scheme, "value": value / 1_000_000}
    entries: dict[str, Json] = {"scheme": dependency.scheme, "value": "" if value is None else str(value)}
    if dependency.next_only:
        entries["next"] = True
    return entries


def dependencies(wanted: tuple[Dependency, ...]) -> Json:
    """Write a list of RFC 26 dependency objects."""
    return [dependency_object(dependency) for dependency in wanted]


def retries(wanted: Retries | None) -> Json:
    """Write retries as a job file has them: a number where that says all, else an object; times in seconds."""
    if wanted is None:
        return None
    plainly = Retries(wanted.max)
    wishes: dict[str, Json] = {
        "delay": wanted.delay_us / 1_000_000 if wanted.delay_us else None,
        "factor": wanted.factor if wanted.factor != plainly.factor else None,
        "max_delay": wanted.max_delay_us / 1_000_000 if wanted.max_delay_us != plainly.max_delay_us else None,
        "on": [*wanted.on] or None,
        "separator": None if wanted.separator else False,
    }
    entries: dict[str, Json] = {"max": wanted.max}
    entries |= {key: value for key, value in wishes.items() if value is not None}
    return wanted.max if len(entries) == 1 else entries


def reason_list(reason: Reason) -> Json:
    """Write a reason as `[source, text]`, with the nanoseconds where it has a time of its own."""
    return [reason.source, reason.text] if reason.t_ns is None else [reason.source, reason.text, reason.t_ns]


def reasons(trail: tuple[Reason, ...]) -> Json:
    """Write a reason trail."""
    return [reason_list(reason) for reason in trail]
