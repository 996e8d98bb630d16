"""Plugins of the scheduler, as Flux's jobtap: what a plugin sees, and how one is found.

Rule: a plugin is a Python module with `plugin_init(p)`; `p` is a `Plugin`, and all that it may do. What a plugin's
callbacks mean for a job is the scheduler's business. Source: Flux flux-jobtap-plugins(7), flux_jobtap_get_flux(3).
"""

from jqsched.jobtap.handle import Handle, Reply, Timer
from jqsched.jobtap.loading import BUILT_IN, find_plugin
from jqsched.jobtap.plugin import CURRENT_JOB, PRIORITY_UNAVAIL, Args, Host, Message, Plugin

__all__ = [
    "BUILT_IN",
    "CURRENT_JOB",
    "PRIORITY_UNAVAIL",
    "Args",
    "Handle",
    "Host",
    "Message",
    "Plugin",
    "Reply",
    "Timer",
    "find_plugin",
]
