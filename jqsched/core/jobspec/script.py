"""What the system demands of a command line, and how a script becomes one.

Rule: nothing is guessed: a script that names an interpreter which takes no script on its command line is refused.
"""

import re

ARGUMENT_BYTES_MAX = (1 << 17) - 1
TOO_LONG = f"must be at most {ARGUMENT_BYTES_MAX} bytes long: no longer argument can be handed to a program"

# What follows the option is run by the program, as if it was in a file.
_PROGRAM_OPTIONS = {
    **dict.fromkeys(("sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "python", "pypy"), "-c"),
    **dict.fromkeys(("perl", "ruby"), "-e"),
}


def is_too_long(word: str) -> bool:
    """Whether no program can be started with this argument. Source: execve(2), MAX_ARG_STRLEN with pages of 4 KiB."""
    return len(word) * 4 > ARGUMENT_BYTES_MAX and len(word.encode()) > ARGUMENT_BYTES_MAX


def interpreter_of(text: str) -> tuple[str, ...]:
    """The beginning of the command that runs a script: what its first line names (`#!`), else /bin/sh.

    Raises: ValueError when that is an interpreter that takes no script on its command line.
    """
    first = text.partition("\n")[0]
    words = first[2:].split() if first.startswith("#!") else ["/bin/sh"]
    program = words[:1]
    if program and program[0].rpartition("/")[2] == "env":
        words = [*program, *words[2:]] if words[1:2] == ["-S"] else words
        program = words[1:2]
    base = re.sub(r"[\d.]+\Z", "", program[0].rpartition("/")[2]) if program else ""
    if base not in _PROGRAM_OPTIONS:
        raise ValueError(
            f"begins with {first[:40]!r}, and only scripts for {' '.join(_PROGRAM_OPTIONS)} can stand here: put it into"
            " a file, and name that in `command`"
        )
    return (*words, _PROGRAM_OPTIONS[base])
