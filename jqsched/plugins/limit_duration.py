"""`.limit-duration`: no job asks for more time than is allowed. Source: Flux plugins/limit-duration.c.

Without `duration` there is no limit: `jqsched plugin load .limit-duration duration=1h` after `plugin remove`, or
`plugins = [".limit-duration duration=1h"]` in the configuration.
"""

import errno
from collections.abc import Mapping

from jqsched.core.jobspec import Wrong
from jqsched.core.jobspec.values import duration_us
from jqsched.core.json import Json
from jqsched.jobtap.boundary import failure
from jqsched.jobtap.plugin import Args, Plugin


def plugin_init(p: Plugin) -> None:
    """Check durations, if there is a limit. Raises EINVAL for one that is no duration."""
    wanted = p.conf.get("duration")
    if wanted is None:
        return
    try:
        limit_us = duration_us(wanted)
    except Wrong as wrong:
        raise failure(errno.EINVAL, f"duration {wrong}") from None

    def validate(p: Plugin, topic: str, args: Args) -> int:
        asked_s = _duration_s(args["jobspec"])
        if asked_s == 0:
            return p.reject_job(args, "requested duration (unlimited) exceeds policy limit of %s", wanted)
        if asked_s * 1_000_000 > limit_us:
            return p.reject_job(args, "requested duration exceeds policy limit of %s", wanted)
        return 0

    p.add_handler("job.validate", validate)


def _duration_s(jobspec: Json) -> float:
    """Return the time that a jobspec asks for in seconds, 0 = without limit."""
    here: Json = jobspec
    for key in ("attributes", "system", "duration"):
        here = here.get(key) if isinstance(here, Mapping) else None
    if isinstance(here, str):
        return duration_us(here) / 1_000_000
    return float(here) if isinstance(here, int | float) else 0.0
