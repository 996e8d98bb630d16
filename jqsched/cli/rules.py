"""`jqsched filter`: rules are made, listed, replaced and removed.

Rule: what is given becomes a rule's document here, and is read as the scheduler will read it, so that all that is wrong
is said at once with its place; the scheduler, or the offline commands, make the change.
"""

import json
import re
import sys
import uuid
from collections.abc import Sequence

from attrs import frozen

from jqsched.cli import formats
from jqsched.cli.control import ask, control
from jqsched.cli.failure import INVALID, NO_SCHEDULER, OK, USAGE, Failure, printable, tell
from jqsched.cli.target import Place, reading
from jqsched.core.filters import Action, BadRule, Rule, read_rule, rule_document
from jqsched.core.filters.expression import ALL_JOBS, BadExpression, expression_of, read_expression
from jqsched.core.filters.lint import doubtful_fields
from jqsched.core.jobspec.values import show
from jqsched.core.json import Json
from jqsched.core.policy import UUID_SHOWN

SCHEMA = "jqsched.filter/1"
QUOTED_MAX = 200  # so long may an expression be that is repeated in an error
_NUMBER = re.compile(r"[0-9]{1,19}")
_PREDICATES = re.compile(r"\s*\[\s*[\[\]]")


@frozen
class Wanted:
    """What `filter add` and `filter replace` were given; `which` None: all jobs."""

    action: str
    which: str | None
    priority: int = 0
    note: str = ""


def add(where: Place, wanted: Wanted, name: str | None) -> int:
    """Make a rule, and print its uuid."""
    document = _document(wanted, str(uuid.uuid4()) if name is None else name)
    with control(where) as asked:
        ask(asked, "filter-add", {"rule": document}, "filter add")
    sys.stdout.write(f"{document['uuid']}\n")
    return OK


def replace(where: Place, name: str, wanted: Wanted) -> int:
    """Put another rule in the place of one."""
    document = _document(wanted, name)
    with control(where) as asked:
        ask(asked, "filter-replace", {"uuid": name, "rule": document}, "filter replace")
    tell(f"rule {name}: replaced")
    return OK


def remove(where: Place, names: Sequence[str]) -> int:
    """Remove rules, and say of each what became of it; the worst exit code."""
    worst = OK
    with control(where) as asked:
        for name in dict.fromkeys(names):
            try:
                ask(asked, "filter-remove", {"uuid": name}, "filter remove")
            except Failure as failure:
                tell(*failure.lines)
                worst = max(worst, failure.code)
                if failure.code == NO_SCHEDULER:
                    break
            else:
                tell(f"rule {name}: removed")
    return worst


def listed(where: Place, *, as_json: bool) -> int:
    """Print the rules in the order in which they are asked."""
    with reading(where) as reader:
        rules = reader.rules()
    if as_json:
        documents = [dict(rule_document(rule)) for rule in rules]
        sys.stdout.write(json.dumps({"schema": SCHEMA, "rules": documents}, indent=1) + "\n")
        return OK
    rows = [("UUID", "PRIORITY", "WATERMARK", "ACTION", "JOBS", "NOTE"), *map(_row, rules)]
    for line in formats.columns(rows):
        sys.stdout.write(line + "\n")
    return OK


def _row(rule: Rule) -> tuple[str, ...]:
    jobs = expression_of(rule.predicates)
    shown = "all" if jobs == ALL_JOBS else jobs
    name = rule.uuid if len(rule.uuid) <= UUID_SHOWN else rule.uuid[:UUID_SHOWN]
    note = printable(rule.note)
    return (printable(name), str(rule.priority), str(rule.watermark), action_word(rule), printable(shown), note)


def action_word(rule: Rule) -> str:
    """How an action is written on the command line: `pause`, `rate-limit:2`."""
    word = rule.action.value.lower().replace("_", "-")
    return word if rule.limit is None else f"{word}:{rule.limit}"


# ---- what was given -----------------------------------------------------------------------------------------------


def _document(wanted: Wanted, name: str) -> dict[str, Json]:
    """The rule that is wanted, as a document that was found good."""
    document: dict[str, Json] = {
        "uuid": name,
        "priority": wanted.priority,
        "predicates": predicates(ALL_JOBS if wanted.which is None else wanted.which),
        "action": action(wanted.action),
    }
    if wanted.note:
        document["note"] = wanted.note
    rule = read_rule(document, watermark=0)  # the scheduler puts its own
    if isinstance(rule, BadRule):
        raise Failure([f"filter: {error}" for error in rule.errors], INVALID)
    doubts = doubtful_fields(rule)
    if doubts:
        raise Failure([f"filter: {doubt}" for doubt in doubts], INVALID)
    return document


def action(word: str) -> Json:
    """Read an action as it is written on the command line."""
    kind, colon, number = word.upper().replace("-", "_").partition(":")
    if kind == Action.RATE_LIMIT.value and colon and _NUMBER.fullmatch(number):
        return [kind, int(number)]
    if colon or kind not in {known.value for known in Action} or kind == Action.RATE_LIMIT.value:
        words = "accept, continue, pause, reject, or rate-limit:N"
        raise Failure(f"{show(word)} is no action; there are {words}", USAGE)
    return kind


def predicates(which: str) -> Json:
    """Read an expression, or predicates as JSON, which begin with two brackets (`[]`: none).

    An empty one is refused: where it comes from a variable that is not set, it is not meant for all jobs.
    """
    if _PREDICATES.match(which):
        try:
            document: Json = json.loads(which)
        except ValueError as error:
            raise Failure(f"filter: predicates are not JSON: {error}", INVALID) from None
        except RecursionError:
            raise Failure("filter: predicates are nested too deeply", INVALID) from None
        return document
    if not which.strip():
        raise Failure(f"filter: the expression is empty (for all jobs leave it out, or say {ALL_JOBS!r})", INVALID)
    read = read_expression(which.strip())
    if isinstance(read, BadExpression):
        quoted = repr(which) if len(which) <= QUOTED_MAX else "the expression"
        raise Failure(f"filter: column {read.column} of {quoted}: {read.text}", INVALID)
    return read
