"""`.begin-time`: a job starts at some time, not before. Source: Flux plugins/begin-time.c.

The core watches the time; here it is said that somebody does.
"""

from jqsched.jobtap.plugin import Args, Plugin


def plugin_init(p: Plugin) -> None:
    """Know the scheme."""
    p.add_handler("job.dependency.begin-time", _known)


def _known(p: Plugin, topic: str, args: Args) -> None:
    """The core has posted the dependency."""
