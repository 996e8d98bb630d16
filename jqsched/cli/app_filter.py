"""The commands of `jqsched filter` as typer sees them.

Rule: declarations only, as in `app`.
"""

from typing import Annotated

import typer

from jqsched.cli.options import AsJson, Spool, Store, integer, text

filter_app = typer.Typer(
    help="Filter rules: which jobs may start, and how many of them at a time.", rich_markup_mode=None
)

Action = Annotated[
    str,
    typer.Argument(
        metavar="ACTION", help="accept, continue, pause, reject, or rate-limit:N (N at a time).", parser=text
    ),
]
Which = Annotated[
    str | None,
    typer.Argument(
        metavar="[EXPRESSION]",
        help="Which jobs, as 'name =~ \"^build\" and cores > 4'; or predicates as JSON. Default: all.",
        parser=text,
    ),
]
Priority = Annotated[
    int, typer.Option("--priority", metavar="N", help="Lower ones are asked first.", parser=integer(0))
]
Note = Annotated[
    str, typer.Option("-m", "--note", metavar="TEXT", help="Why; shown where the rule has an effect.", parser=text)
]
Name = Annotated[str, typer.Argument(metavar="UUID", help="A rule's uuid, or the beginning of it.", parser=text)]


@filter_app.command()
def add(
    action: Action,
    which: Which = None,
    priority: Priority = 0,
    note: Note = "",
    uuid: Annotated[
        str | None, typer.Option("--uuid", metavar="UUID", help="What to call it; default: random.", parser=text)
    ] = None,
    spool: Spool = None,
    store: Store = None,
) -> int:
    """Make a rule; prints its uuid."""
    from jqsched.cli import rules
    from jqsched.cli.target import place

    return rules.add(place(spool, store), rules.Wanted(action, which, priority, note), uuid)


@filter_app.command()
def replace(
    name: Name,
    action: Action,
    which: Which = None,
    priority: Priority = 0,
    note: Note = "",
    spool: Spool = None,
    store: Store = None,
) -> int:
    """Put another rule in the place of one; its watermark becomes the last id given out."""
    from jqsched.cli import rules
    from jqsched.cli.target import place

    return rules.replace(place(spool, store), name, rules.Wanted(action, which, priority, note))


@filter_app.command()
def remove(
    names: Annotated[
        list[str], typer.Argument(metavar="UUID...", help="Rules, by uuid or the beginning of it.", parser=text)
    ],
    spool: Spool = None,
    store: Store = None,
) -> int:
    """Remove rules."""
    from jqsched.cli import rules
    from jqsched.cli.target import place

    return rules.remove(place(spool, store), names)


@filter_app.command("list")
def list_(spool: Spool = None, as_json: AsJson = False, store: Store = None) -> int:
    """List the rules in the order in which they are asked."""
    from jqsched.cli import rules
    from jqsched.cli.target import place

    return rules.listed(place(spool, store), as_json=as_json)
