"""What the system demands of a command line, and how a script becomes one.

Rule: nothing is guessed: a script that names an interpreter which takes no script on its command line is refused.
"""

import re

ARGUMENT_BYTES_MAX = (1 << 17) - 1
TOO_LONG = f"must be at most {ARGUMENT_BYTES_MAX} bytes long: no longer argument can be handed to a program"

# What follows the option is run by the program, as if it was in a file.
_SHELLS = ("sh", "bash", "dash", "ash", "ksh", "mksh", "zsh")
_PROGRAM_OPTIONS = {
    **dict.fromkeys((*_SHELLS, "python", "pypy"), "-c"),
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
    words, base = _interpreter(first)
    if base not in _PROGRAM_OPTIONS:
        raise ValueError(
            f"begins with {first[:40]!r}, and only scripts for {' '.join(_PROGRAM_OPTIONS)} can stand here: put it into"
            " a file, and name that in `command`"
        )
    return (*words, _PROGRAM_OPTIONS[base])


def command_of(text: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The command that runs a script with arguments. Raises: ValueError as `interpreter_of`.

    A shell takes the first word after its program for `$0`; other interpreters do not.
    """
    words = (*interpreter_of(text), text)
    is_shell = _interpreter(text.partition("\n")[0])[1] in _SHELLS
    return (*words, "script", *arguments) if arguments and is_shell else (*words, *arguments)


def _interpreter(first: str) -> tuple[list[str], str]:
    """Return the words of a script's first line, and what the program is called, without its version."""
    words = first[2:].split() if first.startswith("#!") else ["/bin/sh"]
    program = words[:1]
    if program and program[0].rpartition("/")[2] == "env":
        words = [*program, *words[2:]] if words[1:2] == ["-S"] else words
        program = words[1:2]
    return words, re.sub(r"[\d.]+\Z", "", program[0].rpartition("/")[2]) if program else ""
