"""The functional core: values and pure functions.

Rule: values in, values out. Nothing here reads a clock, a file, the environment or a random source, and nothing
here is mutable once it has been returned. The layers inside are, from the top: `view | decide`, `policy`, `queue`,
`event`, `jobspec`, `job`, `order | json`.
"""
