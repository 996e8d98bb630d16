"""The entry point: runs a command, and turns how it ended into an exit code.

Rule: nothing gets past `main`: not a traceback, not a Ctrl-C, not a reader that closed its end of the pipe. With stdin,
stdout or stderr closed a command does the same and ends with the same code; what it would have written is lost.
"""

import gc
import os
import re
import sys
import traceback
from collections.abc import Sequence

from jqsched.cli.failure import INTERRUPTED, USAGE, Failure, explained, of_wait, tell

# What typer guesses by spelling, where there is something better to say.
_WITHOUT_GUESSES = re.compile(r"[ .]*(\(Possible options: .*\)|\(Did you mean .*\)|Did you mean .*)$", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `jqsched ARGUMENTS` and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_standard_streams()
    try:
        code = _run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has enough of it
        _silence_stdout()
        return 0
    except Exception as error:  # the last line of defence: the user gets one line, not a traceback
        if os.environ.get("JQSCHED_DEBUG"):
            traceback.print_exc()
        failure = of_wait(explained(error)) if given[:1] == ["wait"] else explained(error)
        if isinstance(error, OSError):
            _silence_stdout()  # what is buffered may be what cannot be written: the interpreter would complain again
        tell(*failure.lines)
        return failure.code
    return code


def _run(given: list[str]) -> int:
    from jqsched.cli.app import UsageError, call

    # Commands are short, and the cyclic collector would walk 100,000 jobs again and again; `run` turns it on.
    gc.disable()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks
    try:
        code = call(list(given) or ["--help"])  # click empties the list that it gets
    except UsageError as error:
        raise _usage(error) from None
    return code if given else USAGE


def _usage(error: Exception) -> Failure:
    """One line for what typer did not understand."""
    from jqsched.cli.suggestions import suggestion

    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "jqsched"
    text = getattr(error, "format_message", error.__str__)().strip().rstrip(".").replace("\n", " ")
    meant = suggestion(path, text)
    if meant is not None:
        return Failure(f"{_WITHOUT_GUESSES.sub('', text)}: {meant}", USAGE)
    return Failure(f"{text} (see `{path} --help`)", USAGE)


def _open_standard_streams() -> None:
    """Open what was closed (`>&-`) on /dev/null: else the next file that is opened would be our stdout."""
    names = ("stdin", "stdout", "stderr")
    if all(getattr(sys, name) is not None for name in names):
        return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < len(names):
        os.set_inheritable(descriptor, True)  # as the standard streams are
        mode = "r" if descriptor == 0 else "w"
        setattr(sys, names[descriptor], open(descriptor, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as we run
    os.close(descriptor)


def _silence_stdout() -> None:
    """Let what is still buffered go nowhere when the interpreter ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is closed, or is none
        return
