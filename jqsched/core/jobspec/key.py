"""What the table of the job file's keys says of each key (`keys.KEYS`)."""

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias, TypeVar, cast

from attrs import fields, frozen

from jqsched.core.job import Draft, Spec
from jqsched.core.jobspec import writers
from jqsched.core.json import Json, JsonObject

T = TypeVar("T")
Reader: TypeAlias = Callable[[object], object]
Writer: TypeAlias = Callable[[object], Json]


class Edit(Enum):
    """Until when an edit of the job's file may change a key."""

    NEVER = "never"
    QUEUED = "while the job is queued"
    RUNNING = "also while it runs"


class Seen(Enum):
    """Whether filter rules see a key."""

    ALWAYS = "every job has it"
    SOMETIMES = "a job may lack it"
    NEVER = "it is no field of rules"


class Words(Enum):
    """What the words after an option of `submit` are."""

    TEXT = "a text, as the key's reader takes it"
    PATH = "a path: any bytes"
    INTEGER = "an integer"
    TEXTS = "a text each time that the option is given"
    PATHS = "a path each time that the option is given"


@frozen
class Option:
    """The option of `submit` for a key; its name is `flag`, or the key's with dashes.

    `parse`: from one word to what the job file has; of an option that may be given several times, to a list, and the
    lists are put together.
    """

    metavar: str
    help: str
    words: Words = Words.TEXT
    flag: str = ""
    parse: Callable[[str], Json] | None = None


@frozen
class Key:
    """One key of the job file, in all places where it appears.

    `about`, `default`: its cells on the reference page. `schema`: its value in JSON Schema. `examples`, `wrong`: values
    that are taken and refused. `fills`: the field of `Spec` (`in_draft`: of `Draft`), `absent` its value without the
    key. `is_shorthand`: it adds to the field, and is not written. `place`: where a jobspec has it; "": nowhere.
    `read_there`, `write_there`: reader and writer for that place. `changed`: what `jobspec-update` says. `shape`,
    `as_seen`: what it is for rules. `shown`: its key in a job's document. `option`: None: `submit` has another way.
    """

    name: str
    about: str
    default: str
    schema: JsonObject
    examples: tuple[Json, ...]
    wrong: tuple[Json, ...]
    fills: str
    in_draft: bool
    absent: object
    is_shorthand: bool
    read: Reader
    write: Writer
    place: str
    read_there: Reader
    write_there: Writer
    changed: Writer
    edit: Edit
    seen: Seen
    shape: str
    as_seen: Callable[[object], object]
    shown: str
    option: Option | None

    @property
    def flag(self) -> str:
        """The name of its option."""
        return (self.option.flag if self.option is not None else "") or f"--{self.name.replace('_', '-')}"


def make_key(
    name: str,
    about: str,
    default: str,
    schema: JsonObject,
    examples: tuple[Json, ...],
    wrong: tuple[Json, ...],
    *,
    read: Callable[[object], T],
    write: Callable[[T], Json],
    fills: str = "",
    in_draft: bool = False,
    is_shorthand: bool = False,
    place: str = "",
    read_there: Callable[[object], T] | None = None,
    write_there: Callable[[T], Json] | None = None,
    changed: Callable[[T], Json] | None = None,
    edit: Edit = Edit.QUEUED,
    seen: Seen = Seen.NEVER,
    shape: str = "",
    as_seen: Callable[[T], object] | None = None,
    shown: str = "",
    option: Option | None,
) -> Key:
    """Make a row. Here the type checker sees that readers and writers fit; the table forgets their types."""
    fills = fills or name
    return Key(
        name, about, default, schema, examples, wrong,
        fills=fills,
        in_draft=in_draft,
        absent=getattr(fields(Draft if in_draft else Spec), fills).default,
        is_shorthand=is_shorthand,
        read=read,
        write=cast(Writer, write),
        place=place,
        read_there=read_there or read,
        write_there=cast(Writer, write_there or write),
        changed=cast(Writer, changed or write_there or write),
        edit=edit,
        seen=seen,
        shape=shape,
        as_seen=cast(Callable[[object], object], as_seen or (unchanged if write is writers.plain else write)),
        shown=shown,
        option=option,
    )  # fmt: skip


def unchanged(value: object) -> object:
    """Return a value as rules see it where it is seen as it is."""
    return value
