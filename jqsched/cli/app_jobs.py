"""`jqsched jobs` as typer sees it: the options by which jobs are chosen, sorted and shown.

Rule: declarations only, as in `app`.
"""

from typing import Annotated

import typer

from jqsched.cli.failure import USAGE, Failure
from jqsched.cli.options import AsJson, Failed, SomeJobs, Spool, Store, integer, text

AllUsers = Annotated[bool, typer.Option("-A", "--all-users", help="Jobs of all users (the default).")]
StatesAndResults = Annotated[
    str | None,
    typer.Option("-f", "--filter", metavar="F", help="States and results, such as pending,failed.", parser=text),
]
InQueue = Annotated[
    str | None,
    typer.Option("-q", "--queue", metavar="TEXT", help="Only jobs whose jobspec says this queue.", parser=text),
]
OfUser = Annotated[
    str | None,
    typer.Option("-u", "--user", metavar="USER", help="Only jobs of this user, by name or number.", parser=text),
]
Matching = Annotated[
    str | None,
    typer.Option(
        "--constraint", metavar="JSON", help='Only jobs that match (RFC 31), such as {"not": [...]}.', parser=text
    ),
]
EndedSince = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Of finished jobs those that ended after it.", parser=text)
]
Count = Annotated[int | None, typer.Option("-c", "--count", metavar="N", help="At most so many.", parser=integer(1))]
SortedBy = Annotated[
    str | None,
    typer.Option(
        "--sort", metavar="KEYS", help="Such as name,-t_run: keys as in --format, - for descending.", parser=text
    ),
]
Template = Annotated[
    str | None,
    typer.Option("-o", "--format", metavar="FORMAT", help="Such as '{id:>6} {name}', keys as in --json.", parser=text),
]


def jobs(
    which: SomeJobs = None,
    spool: Spool = None,
    everything: Annotated[bool, typer.Option("-a", "--all", help="Finished jobs too.")] = False,
    all_users: AllUsers = False,
    filter_: StatesAndResults = None,
    failed: Failed = False,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Only jobs of this name.", parser=text)] = None,
    queue: InQueue = None,
    user: OfUser = None,
    constraint: Matching = None,
    since: EndedSince = None,
    count: Count = None,
    sort: SortedBy = None,
    only_ids: Annotated[bool, typer.Option("--ids", help="Print ids only.")] = False,
    template: Template = None,
    expand: Annotated[bool, typer.Option("--expand", help="Each element of an array by itself.")] = False,
    as_json: AsJson = False,
    store: Store = None,
) -> int:
    """List jobs: the active ones, or those asked for."""
    from jqsched.cli import jobs as lists
    from jqsched.cli.selector import read_selector
    from jqsched.cli.target import place, time_us

    if only_ids + as_json + (template is not None) > 1:
        raise Failure("--ids, --format and --json: only one of them", USAGE)
    if all_users and user is not None:
        raise Failure("--all-users and --user: only one of them", USAGE)
    query = lists.Query(
        selectors=[read_selector(word) for word in which or ()],
        everything=everything,
        filter=filter_,
        failed=failed,
        name=name,
        queue=queue,
        user=user,
        constraint=constraint,
        sort=sort,
        since_us=time_us(since) if since is not None else None,
        count=count,
    )
    return lists.jobs(place(spool, store), query, only_ids=only_ids, template=template, as_json=as_json, expand=expand)
