"""Job files: from the bytes of a `.json` or `.toml` file to a checked `Draft`.

Rule: reading never raises and never guesses: a `Draft`, or a `BadFile` with all errors and their places.
"""

from jqsched.adapters.jobfile.document import BadFile, bad, read_document
from jqsched.adapters.jobfile.job import as_json, read_job
from jqsched.adapters.jobfile.strict import Strict
from jqsched.adapters.jobfile.trusted import Content, Refusal, distrust, open_to_others, read_trusted
from jqsched.adapters.jobfile.written import write_job

__all__ = [
    "BadFile",
    "Content",
    "Refusal",
    "Strict",
    "as_json",
    "bad",
    "distrust",
    "open_to_others",
    "read_document",
    "read_job",
    "read_trusted",
    "write_job",
]
