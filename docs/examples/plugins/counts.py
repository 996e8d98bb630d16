"""A service that answers queries: how many jobs of each name have ended how.

Anybody who may use the spool's socket can ask: `job-manager.counts.get` with `{"name": "build"}`; `jqsched plugin query
counts.py` prints all of it.
"""

import errno
from collections import Counter

RESULTS = {1: "completed", 2: "failed", 4: "canceled", 8: "timeout"}


def plugin_init(p):
    """Count results, and answer for them."""
    counts = {}

    def inactive(p, topic, args):
        name = args["jobspec"]["attributes"]["system"]["job"]["name"]
        counts.setdefault(name, Counter())[RESULTS[p.get_job_result(args["id"])]] += 1

    def get(p, message):
        name = message.payload.get("name")
        if name not in counts:
            message.respond_error(errno.ENOENT, f"no job named {name} has ended")
        else:
            message.respond(dict(counts[name]))

    def query(p, topic, args):
        args.out["counts"] = {name: dict(counted) for name, counted in counts.items()}

    p.add_handler("job.state.inactive", inactive)
    p.add_handler("plugin.query", query)
    p.service_register("get", get)
