"""`jqsched submit` as typer sees it: its own options, and one for each key of the job file.

Rule: declarations only. The options of the keys come from the table `core.jobspec.keys`: a new key has its option.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from jqsched.cli.failure import USAGE, Failure
from jqsched.cli.options import AsJson, FollowOutput, Spool, Store, Wait, any_integer, path, text
from jqsched.core.jobspec.key import Key, Words
from jqsched.core.jobspec.keys import KEYS

F = TypeVar("F", bound=Callable[..., Any])

_READERS: dict[Words, Callable[[Any], object]] = {
    Words.TEXT: text,
    Words.TEXTS: text,
    Words.PATH: path,
    Words.PATHS: path,
    Words.INTEGER: any_integer,
}
_TYPES: dict[Words, Any] = {Words.INTEGER: int | None, Words.TEXTS: list[str] | None, Words.PATHS: list[str] | None}


def with_key_options(command: F) -> F:
    """Give a command an option for each key that has one, in place of its parameter `**keys`."""
    signature = inspect.signature(command)
    own = [given for given in signature.parameters.values() if given.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [
        inspect.Parameter(key.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_declared(key))
        for key in KEYS
        if key.option is not None
    ]
    command.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]  # PEP 362
    return command


def _declared(key: Key) -> Any:
    assert key.option is not None
    option = key.option
    declaration = typer.Option(key.flag, metavar=option.metavar, help=option.help, parser=_READERS[option.words])
    return Annotated[_TYPES.get(option.words, str | None), declaration]


@with_key_options
def submit(
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND...", help="What to run, with its arguments.", parser=path)
    ],
    spool: Spool = None,
    env_all: Annotated[bool, typer.Option("--env-all", help="All variables but the session's and secrets.")] = False,
    env_none: Annotated[bool, typer.Option("--env-none", help="No variables but those of --env.")] = False,
    hold: Annotated[bool, typer.Option("--hold", help="Keep it from starting until it is released.")] = False,
    shell: Annotated[bool, typer.Option("--shell", help="Have /bin/sh run COMMAND, as a script.")] = False,
    array: Annotated[
        str | None, typer.Option(metavar="RANGE", help="A job for each index: 0-99, 1-9:2, 0-99%4.", parser=text)
    ] = None,
    each_line: Annotated[
        str | None, typer.Option(metavar="FILE", help="A job for each line; {value} is the line.", parser=path)
    ] = None,
    from_json: Annotated[
        str | None, typer.Option(metavar="FILE", help="A job for each item of a JSON list.", parser=path)
    ] = None,
    array_limit: Annotated[
        int | None, typer.Option(metavar="N", help="So many of them run at a time.", parser=any_integer)
    ] = None,
    max_failures: Annotated[
        int | None, typer.Option(metavar="N", help="Cancel the rest after so many failures.", parser=any_integer)
    ] = None,
    wait: Wait = False,
    follow: FollowOutput = False,
    as_json: AsJson = False,
    store: Store = None,
    **keys: Any,
) -> int:
    """Submit a job; prints its id and nothing else."""
    from jqsched.cli import control
    from jqsched.cli.attend import Attention
    from jqsched.cli.environment import Capture
    from jqsched.cli.submission import entries_of, program_of
    from jqsched.cli.target import place

    if env_all and env_none:
        raise Failure("submit: --env-all and --env-none exclude each other", USAGE)
    if follow and as_json:
        raise Failure("submit: --json and --follow: only one of them", USAGE)
    capture = Capture.ALL if env_all else Capture.NONE if env_none else Capture.DEFAULT
    arrays = {"array": array, "array_limit": array_limit, "max_failures": max_failures}
    wished = entries_of(keys, hold=hold) | {key: value for key, value in arrays.items() if value is not None}
    program = program_of(command, wished.get("cwd"), shell=shell)
    given = control.Submission(program, wished, capture, control.values_of(each_line, from_json))
    attention = Attention.of(wait=wait, follow=follow)
    return control.submit(place(spool, store, makes=True), given, as_json=as_json, attention=attention)


@with_key_options
def batch(
    script: Annotated[
        list[str], typer.Argument(metavar="SCRIPT [ARGS...]", help="A script, or - for standard input.", parser=path)
    ],
    spool: Spool = None,
    env_all: Annotated[bool, typer.Option("--env-all", help="All variables but the session's and secrets.")] = False,
    env_none: Annotated[bool, typer.Option("--env-none", help="No variables but those of --env.")] = False,
    hold: Annotated[bool, typer.Option("--hold", help="Keep it from starting until it is released.")] = False,
    ignore_unknown: Annotated[
        bool, typer.Option("--ignore-unknown", help="Ignore directives that nothing here understands.")
    ] = False,
    wait: Wait = False,
    follow: FollowOutput = False,
    as_json: AsJson = False,
    store: Store = None,
    **keys: Any,
) -> int:
    """Submit a script with its directives; prints its id and nothing else."""
    from jqsched.cli import batch as scripts
    from jqsched.cli import control
    from jqsched.cli.attend import Attention
    from jqsched.cli.environment import Capture
    from jqsched.cli.submission import entries_of
    from jqsched.cli.target import place

    if env_all and env_none:
        raise Failure("batch: --env-all and --env-none exclude each other", USAGE)
    if follow and as_json:
        raise Failure("batch: --json and --follow: only one of them", USAGE)
    capture = Capture.ALL if env_all else Capture.NONE if env_none else None
    given = scripts.submission(script, entries_of(keys, hold=hold), capture, ignore_unknown=ignore_unknown)
    attention = Attention.of(wait=wait, follow=follow)
    return control.submit(place(spool, store, makes=True), given, as_json=as_json, attention=attention)
