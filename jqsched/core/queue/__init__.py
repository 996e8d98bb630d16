"""The queue: all live jobs as one frozen value, how events change it, and how it is made, compared and checked at once.

Rule: `value` is the queue and its changes, each O(log n); `whole` is what costs O(n).
"""

from jqsched.core.queue.value import (
    EMPTY,
    Awaited,
    Claim,
    Permit,
    Queue,
    awaited,
    claim,
    evolve,
    evolve_all,
    find,
    gates_known,
    holds_slot,
    is_ready,
    live,
    namesakes,
    permit,
    rank_key,
    recall,
    release,
    singleton_key,
    waiters,
    withdraw,
)
from jqsched.core.queue.whole import check, load, same, set_rules

__all__ = [
    "EMPTY",
    "Awaited",
    "Claim",
    "Permit",
    "Queue",
    "awaited",
    "check",
    "claim",
    "evolve",
    "evolve_all",
    "find",
    "gates_known",
    "holds_slot",
    "is_ready",
    "live",
    "load",
    "namesakes",
    "permit",
    "rank_key",
    "recall",
    "release",
    "same",
    "set_rules",
    "singleton_key",
    "waiters",
    "withdraw",
]
