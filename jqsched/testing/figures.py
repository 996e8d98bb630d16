"""The former name of `jqsched.testing.metrics`, kept for one version."""

from jqsched.testing.metrics import *  # noqa: F403  # an alias has all its names
