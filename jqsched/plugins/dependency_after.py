"""`.dependency-after`: dependencies on other jobs, by id or by name. Source: Flux plugins/dependency-after.c.

The core binds and resolves them; this plugin registers the schemes, so that they count as supported, and answers
queries.
"""

from jqsched.core.job import ArrayId, Scheme, read_wait
from jqsched.core.json import Json
from jqsched.jobtap.plugin import Args, Plugin

SCHEMES = (Scheme.AFTER, Scheme.AFTERANY, Scheme.AFTEROK, Scheme.AFTERNOTOK, Scheme.AFTERSTART, Scheme.AFTEREXCEPT)


def plugin_init(p: Plugin) -> None:
    """Register the schemes, and answer queries."""
    for scheme in SCHEMES:
        p.add_handler(f"job.dependency.{scheme.value}", _known)
    p.add_handler("plugin.query", _query)


def _known(p: Plugin, topic: str, args: Args) -> None:
    """Accept the dependency, which the core has posted already."""


def _query(p: Plugin, topic: str, args: Args) -> None:
    found: list[Json] = []
    for job in p.live_jobs():
        for description in job.waits:
            wait = read_wait(description)
            if wait is not None and wait.scheme in SCHEMES:
                depid = wait.target.id if isinstance(wait.target, ArrayId) else wait.target
                entry: dict[str, Json] = {"id": job.id, "depid": depid, "type": wait.scheme.value}
                found.append({**entry, "description": description})
    args.out["dependencies"] = found
