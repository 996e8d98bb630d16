"""`.priority-default`: a job's priority is its urgency. Source: Flux plugins/priority-default.c."""

from jqsched.jobtap.plugin import Args, Plugin


def plugin_init(p: Plugin) -> None:
    """Register the priority callback, before all others: later plugins overwrite its answer."""
    p.add_handler("job.state.priority", _priority)
    p.add_handler("job.priority.get", _priority)


def _priority(p: Plugin, topic: str, args: Args) -> None:
    args.out["priority"] = args["urgency"]
