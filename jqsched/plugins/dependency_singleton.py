"""`.dependency-singleton`: one job of a name at a time. Source: Flux plugins/dependency-singleton.c.

The core resolves it; here it is said that somebody does.
"""

from jqsched.jobtap.plugin import Args, Plugin


def plugin_init(p: Plugin) -> None:
    """Know the scheme."""
    p.add_handler("job.dependency.singleton", _known)


def _known(p: Plugin, topic: str, args: Args) -> None:
    """The core has posted the dependency."""
