"""The scheduler around the core: one loop that decides, makes durable, makes visible, then acts.

`atom` holds the visible queue, `ledger` is the way to the store and back, `dispatch` deals with the executor, `intake`
with job files, `commands` with users, `loop` turns them all. Nothing here knows an adapter; only ports.
"""
