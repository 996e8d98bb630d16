"""A job scheduler for one machine or one team: drop a job file into a directory, and it runs."""

__version__ = "0.1.0"
