"""`jqsched plugin`: plugins of a running scheduler are listed, loaded, unloaded and asked.

Rule: only a scheduler has plugins, so without one there is nothing to ask; what a spool's scheduler loads at its start
stands in `jqsched.toml`.
"""

import json
import os
import sys
from collections.abc import Sequence

from jqsched.cli import formats
from jqsched.cli.control import ANSWER_TIMEOUT_S, ask
from jqsched.cli.failure import OK, USAGE, Failure, printable, tell
from jqsched.cli.target import Place
from jqsched.client.connection import Connection
from jqsched.core.json import Json
from jqsched.jobtap.loading import read_conf

SCHEMA = "jqsched.plugin/1"


def listed(where: Place, *, as_json: bool) -> int:
    """List what is loaded, in the order in which it is asked."""
    plugins = _ask(where, "jobtap-list", {}, "plugin list").get("plugins")
    entries = [entry for entry in plugins if isinstance(entry, dict)] if isinstance(plugins, list) else []
    if as_json:
        sys.stdout.write(json.dumps({"schema": SCHEMA, "plugins": entries}, indent=1) + "\n")
        return OK
    rows = [("NAME", "PATH"), *((str(entry.get("name")), str(entry.get("path"))) for entry in entries)]
    for line in formats.columns(rows):
        sys.stdout.write(f"{printable(line)}\n")
    return OK


def load(where: Place, name: str, pairs: Sequence[str], remove_first: str | None) -> int:
    """Load a plugin, perhaps in the place of another."""
    try:
        conf = read_conf(pairs)
    except ValueError as error:
        raise Failure(f"plugin load: {error}", USAGE) from None
    payload: dict[str, Json] = {"load": absolute(name), "conf": conf}
    if remove_first is not None:
        payload["remove"] = remove_first
    _ask(where, "jobtap", payload, "plugin load")
    tell(f"plugin {os.path.basename(name)}: loaded")
    return OK


def absolute(name: str) -> str:
    """A path from here becomes one from everywhere; a name stays as it is."""
    return os.path.abspath(name) if "/" in name or name.endswith(".py") else name


def wanted(entry: str) -> str:
    """`PLUGIN KEY=VALUE …`, with a path from here made one from everywhere; the rest is as it was written."""
    name, blank, rest = entry.partition(" ")
    return absolute(name) + blank + rest


def remove(where: Place, name: str) -> int:
    """Unload plugins."""
    _ask(where, "jobtap", {"remove": name}, "plugin remove")
    tell(f"plugin {name}: removed")
    return OK


def query(where: Place, name: str, *, as_json: bool) -> int:
    """Print what a plugin says of itself: JSON, in a line where it is for a program."""
    said = _ask(where, "jobtap-query", {"name": name}, "plugin query")
    sys.stdout.write(json.dumps(said, indent=None if as_json else 1) + "\n")
    return OK


def _ask(where: Place, topic: str, payload: dict[str, Json], doing: str) -> dict[str, Json]:
    with Connection(where.root, timeout_s=ANSWER_TIMEOUT_S) as scheduler:
        return ask(scheduler, topic, payload, doing)
