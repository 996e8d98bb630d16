"""A plugin that has something to say to everything, for worlds.

Late priorities, dependencies, prologs, epilogs, faults: what it does to a job follows from the job's id, so that a seed
tells the same story again.
"""

from contextlib import suppress


def plugin_init(p):
    """Look at all, and act on some."""
    for topic, act in (
        ("job.new", new),
        ("job.state.depend", depend),
        ("job.state.priority", priority),
        ("job.priority.get", again),
        ("job.state.run", run),
        ("job.state.cleanup", cleanup),
        ("job.event.*", event),
        ("job.*", fail_sometimes),
    ):
        p.add_handler(topic, act)


def soon(p, args, act):
    """Do something for a job later, if it is still there."""

    def later():
        with suppress(OSError):  # it is over, or somewhere else by now
            act()

    p.get_handle().call_later(0.001 * (args["id"] % 7), later)


def new(p, topic, args):
    if args["id"] % 5 == 0:
        p.job_subscribe(-1)
    if args["id"] % 4 == 1 and args["state"] == 1:
        p.dependency_add(-1, "busy")


def depend(p, topic, args):
    id_ = args["id"]
    if id_ % 4 == 1:
        soon(p, args, lambda: p.dependency_remove(id_, "busy"))


def priority(p, topic, args):
    id_ = args["id"]
    if id_ % 3 == 0:
        soon(p, args, lambda: p.reprioritize_job(id_, 100 + id_))
        return p.priority_unavail(args)
    args.out["priority"] = 10 + id_ % 10
    return 0


def again(p, topic, args):
    args.out["priority"] = 5 + args["id"] % 10


def run(p, topic, args):
    id_ = args["id"]
    if id_ % 2 == 0:
        p.prolog_start("busy")
        soon(p, args, lambda: p.prolog_finish(id_, "busy", 0))


def cleanup(p, topic, args):
    id_ = args["id"]
    if id_ % 3 == 1:
        p.epilog_start("busy")
        soon(p, args, lambda: p.epilog_finish(id_, "busy", 0))


def event(p, topic, args):
    if topic in ("job.event.depend", "job.event.alloc"):
        p.event_post(-1, "memo", {"seen": topic})
    if topic == "job.event.priority" and args["id"] % 15 == 0:
        p.raise_exception(-1, "busy", 0, "enough")


def fail_sometimes(p, topic, args):
    if args["id"] % 6 == 5 and topic in ("job.state.sched", "job.state.inactive"):
        raise RuntimeError("as it was written")
    if args["id"] % 20 == 19 and topic == "job.validate":
        return p.reject_job(args, "no %dth", args["id"])
    return 0
