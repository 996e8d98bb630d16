"""The plugins that come with jqsched and are loaded from the start, as those of Flux are.

Rule: each is a jobtap plugin like any other. Where only they are loaded the core does what they would do, and they are
not asked (docs/adr/0011-plugins-and-stages.md).
"""
