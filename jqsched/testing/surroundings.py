"""The former name of `jqsched.testing.simulation_ports`, kept for one version."""

from jqsched.testing.simulation_ports import *  # noqa: F403  # an alias has all its names
