"""Who waits long gets ahead: each minute in the queue is worth one point of priority.

`jqsched plugin load age.py points_per_minute=1`; the queue is put in order again once a minute.
"""

import time


def plugin_init(p):
    """Compute the priority of a job from its urgency and its age."""
    points = p.conf.get("points_per_minute", 1)

    def priority(p, topic, args):
        age_min = max(0.0, time.time() - args["t_submit"]) / 60
        args.out["priority"] = args["urgency"] * 1000 + int(age_min * points)

    p.add_handler("job.state.priority", priority)
    p.add_handler("job.priority.get", priority)
    p.get_handle().call_later(60.0, p.reprioritize_all, repeat_s=60.0)
