"""Job files: read the bytes of a `.json` or `.toml` file into a checked `Draft`.

Rule: reading never raises and never guesses: a `Draft`, or a `BadFile` with all errors and their places.
"""

from jqsched.adapters.jobfile.document import BadFile, bad, read_document
from jqsched.adapters.jobfile.job import as_json, is_named_by_file, read_job
from jqsched.adapters.jobfile.owned import (
    Content,
    Distrust,
    Refusal,
    distrust,
    distrust_drop,
    other_owner,
    read_trusted,
)
from jqsched.adapters.jobfile.serialize import write_job
from jqsched.adapters.jobfile.structure import read_keys

__all__ = [
    "BadFile",
    "Content",
    "Distrust",
    "Refusal",
    "as_json",
    "bad",
    "distrust",
    "distrust_drop",
    "is_named_by_file",
    "other_owner",
    "read_document",
    "read_job",
    "read_keys",
    "read_trusted",
    "write_job",
]
