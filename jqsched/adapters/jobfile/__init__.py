"""Job files: from the bytes of a `.json` or `.toml` file to a checked `Draft`.

Rule: reading never raises and never guesses: a `Draft`, or a `BadFile` with all errors and their places.
"""

from jqsched.adapters.jobfile.document import BadFile, bad, read_document
from jqsched.adapters.jobfile.job import as_json, read_job
from jqsched.adapters.jobfile.strict import Strict
from jqsched.adapters.jobfile.written import write_job

__all__ = ["BadFile", "Strict", "as_json", "bad", "read_document", "read_job", "write_job"]
