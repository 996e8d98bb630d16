"""`.begin-time`: a job starts at some time, not before. Source: Flux plugins/begin-time.c.

The core resolves these dependencies; this plugin only registers the scheme, so that it counts as supported.
"""

from jqsched.jobtap.plugin import Args, Plugin


def plugin_init(p: Plugin) -> None:
    """Register the scheme."""
    p.add_handler("job.dependency.begin-time", _known)


def _known(p: Plugin, topic: str, args: Args) -> None:
    """Accept the dependency, which the core has posted already."""
