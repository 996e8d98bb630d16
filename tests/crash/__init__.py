"""Crash tests: the scheduler and its executor are killed, or refused, at each call that changes something."""
