"""A job scheduler for one machine or one team: drop a job file into a directory, and it runs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jqsched.client.handle import Handle as Handle

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`jqsched.Handle`, loaded when it is asked for: commands that need none start faster."""
    if name == "Handle":
        from jqsched.client.handle import Handle  # noqa: PLC0415 - that is the point

        return Handle
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
