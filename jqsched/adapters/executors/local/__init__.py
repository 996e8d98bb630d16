"""The local executor: `local` is the scheduler's side, `process` the process that starts, signals and reaps.

`wire` is what they say to each other; `host`, `mark`, `members`, `record`, `run`, `spawn` and `procfs` belong to the
process, which takes only the standard library. Nothing is imported here, so that the process starts fast.
"""
