"""The queue: all live jobs as one frozen value, how events change it, and how it is made, compared and checked at once.

Rule: `keys` says where a job is filed; `value` is the queue and its changes, each O(log n); `rebuild` is what costs
O(n).
"""

from jqsched.core.queue.arrays import advanced, progress_of
from jqsched.core.queue.keys import Awaited, as_order, awaited, end_key, holds_slot, is_ready, rank_key, singleton_key
from jqsched.core.queue.rebuild import check, load, same, set_rules
from jqsched.core.queue.value import (
    EMPTY,
    Claim,
    Permit,
    Queue,
    claim,
    elements,
    evolve,
    evolve_all,
    file_of,
    find,
    gates_known,
    has_file,
    live,
    namesakes,
    permit,
    position_of,
    recall,
    release,
    waiters,
    withdraw,
)

__all__ = [
    "EMPTY",
    "Awaited",
    "Claim",
    "Permit",
    "Queue",
    "advanced",
    "as_order",
    "awaited",
    "check",
    "claim",
    "elements",
    "end_key",
    "evolve",
    "evolve_all",
    "file_of",
    "find",
    "gates_known",
    "has_file",
    "holds_slot",
    "is_ready",
    "live",
    "load",
    "namesakes",
    "permit",
    "position_of",
    "progress_of",
    "rank_key",
    "recall",
    "release",
    "same",
    "set_rules",
    "singleton_key",
    "waiters",
    "withdraw",
]
