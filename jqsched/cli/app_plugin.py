"""The commands of `jqsched plugin` as typer sees them.

Rule: declarations only, as in `app`.
"""

from typing import Annotated

import typer

from jqsched.cli.options import AsJson, Spool, Store, text

plugin_app = typer.Typer(help="Plugins of the running scheduler (jobtap).", rich_markup_mode=None)


@plugin_app.command("list")
def list_(spool: Spool = None, as_json: AsJson = False, store: Store = None) -> int:
    """List the plugins in the order in which they are asked."""
    from jqsched.cli import plugins
    from jqsched.cli.target import place

    return plugins.listed(place(spool, store), as_json=as_json)


@plugin_app.command()
def load(
    name: Annotated[str, typer.Argument(metavar="PLUGIN", help="A path, a module, or an entry point.", parser=text)],
    conf: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Its configuration.", parser=text)
    ] = None,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="NAME", help="Unload this one (or `all`) before.", parser=text)
    ] = None,
    spool: Spool = None,
    store: Store = None,
) -> int:
    """Load a plugin into the running scheduler; `plugins` in jqsched.toml loads it at each start."""
    from jqsched.cli import plugins
    from jqsched.cli.target import place

    return plugins.load(place(spool, store), name, conf or [], remove)


@plugin_app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin, `all`, or a glob like 'age*'.", parser=text)],
    spool: Spool = None,
    store: Store = None,
) -> int:
    """Unload plugins. Jobs that wait for one of them go on waiting."""
    from jqsched.cli import plugins
    from jqsched.cli.target import place

    return plugins.remove(place(spool, store), name)


@plugin_app.command()
def query(
    name: Annotated[str, typer.Argument(metavar="NAME", parser=text)],
    spool: Spool = None,
    as_json: AsJson = False,
    store: Store = None,
) -> int:
    """Ask a plugin about itself; prints JSON."""
    from jqsched.cli import plugins
    from jqsched.cli.target import place

    return plugins.query(place(spool, store), name, as_json=as_json)
