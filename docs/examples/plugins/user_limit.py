"""No user has more than so many jobs at a time: `jqsched plugin load user_limit.py most=5`."""

from collections import Counter


def plugin_init(p):
    """Count the active jobs of each user, and reject those that are too many."""
    most = p.conf.get("most", 10)
    active = Counter()

    def new(p, topic, args):
        active[args["userid"]] += 1
        p.job_aux_set(args["id"], "counted", value=True)

    def inactive(p, topic, args):
        if p.job_aux_get(args["id"], "counted"):
            active[args["userid"]] -= 1

    def validate(p, topic, args):
        if active[args["userid"]] >= most:
            return p.reject_job(args, "user %d has %d jobs, as many as may be", args["userid"], most)
        return 0

    p.add_handler("job.new", new)
    p.add_handler("job.validate", validate)
    p.add_handler("job.state.inactive", inactive)
