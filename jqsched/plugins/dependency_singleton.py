"""`.dependency-singleton`: one job of a name at a time. Source: Flux plugins/dependency-singleton.c.

The core resolves it; this plugin only registers the scheme, so that it counts as supported.
"""

from jqsched.jobtap.plugin import Args, Plugin


def plugin_init(p: Plugin) -> None:
    """Register the scheme."""
    p.add_handler("job.dependency.singleton", _known)


def _known(p: Plugin, topic: str, args: Args) -> None:
    """Accept the dependency, which the core has posted already."""
