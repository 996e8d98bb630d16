"""The adapters: each port's real implementation.

Rule: an adapter turns failures of the outside into `PortError` and bad input into values; it decides nothing about
jobs.
"""
