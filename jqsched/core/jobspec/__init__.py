"""A job's spec as a jobspec of RFC 25 version 1, and back; and the rules for the values in both.

Rule: `from_jobspec(to_jobspec(spec)) == spec`, and whatever is not valid is said all at once, with its place.
"""

from jqsched.core.jobspec.document import (
    JobspecError,
    from_jobspec,
    shown_jobspec,
    to_jobspec,
    updated,
)
from jqsched.core.jobspec.remarks import remarks
from jqsched.core.jobspec.values import Wrong

__all__ = [
    "JobspecError",
    "Wrong",
    "from_jobspec",
    "remarks",
    "shown_jobspec",
    "to_jobspec",
    "updated",
]
