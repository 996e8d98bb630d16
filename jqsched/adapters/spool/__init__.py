"""The spool directory: the drop zone, the files of live jobs, and what was rejected.

Rule: every file in it but the store's and the jobs' output is read and written here, and no file is ever lost.
"""

from jqsched.adapters.spool.edits import Known
from jqsched.adapters.spool.files import FileSpool, SpoolRefused, refuse_foreign

__all__ = ["FileSpool", "Known", "SpoolRefused", "refuse_foreign"]
