"""The rules for a job's `input`, the file that is its stdin: in a job file a path, in a jobspec Flux's object.

Rule: as in `values`: a valid value, or `Wrong` with all that is wrong, each with its place.
Source: flux-submit(1), `--input`; flux-shell(1), `input.stdin`.
"""

from jqsched.core.jobspec.values import PATH_BYTES_MAX, Wrong, mapping, must, show, string
from jqsched.core.json import Json


def path(value: object) -> str | None:
    """Read the path of a file to read. Nothing is filled in: braces are braces."""
    text = string(value)
    if not text or text.endswith("/"):
        raise must("the path of a file", value)
    if len(text.encode()) > PATH_BYTES_MAX:
        raise Wrong(("", f"must be at most {PATH_BYTES_MAX} bytes long"))
    return text


def flux_stdin(value: object) -> str | None:
    """Read where Flux's job shell takes stdin from: a file, or `service` (a terminal that attaches): none."""
    entries = mapping(value)
    kind = entries.get("type", "file" if "path" in entries else "service")
    errors = [(f".{show(key)[1:-1]}", "unknown key") for key in entries if key not in ("type", "path")]
    if kind not in ("file", "service"):
        errors.append((".type", f"must be file or service, not {show(kind)}"))
    if kind == "file" and "path" not in entries:
        errors.append((".path", "missing"))
    if errors:
        raise Wrong(*errors)
    try:
        return path(entries["path"]) if kind == "file" else None
    except Wrong as wrong:
        raise Wrong(*((f".path{place}", what) for place, what in wrong.errors)) from None


def as_flux_stdin(file: str | None) -> Json:
    """Write it as `flux submit --input` does."""
    return {"type": "file", "path": file} if file is not None else None
