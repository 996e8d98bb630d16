"""The local executor: `client` is the scheduler's side, `process` the process that starts, signals and reaps jobs.

`wire` is the protocol between them. All other modules but `heartbeat` belong to the process, which imports only the
standard library. Rule: nothing is imported here, so that the process starts fast.
"""
