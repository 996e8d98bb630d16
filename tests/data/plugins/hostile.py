"""A plugin that hands over all that it should not: every method of what it gets, every key of every answer.

The calls are made of the methods' own signatures, so that a new method is among them. `outcomes` says what came of
each call: `None` where it was taken, the OSError where it was refused; `stray` what was neither. `answers` is how often
each topic was answered.
"""
# fmt: off

import datetime as dt
import decimal
import functools
import inspect
import pathlib
import types

from jqsched.jobtap import Args

FOR_THE_SCHEDULER = ("handler", "is_for")

# A call of each method that is right but for the argument that is under test.
RIGHT = {
    "jobid": -1, "name": "memo", "context": {}, "description": "d", "status": 0, "type": "remark", "severity": 5,
    "note": "n", "priority": 5, "order": "none", "topic": "own.topic", "callback": lambda *_: None, "method": "m",
    "updates": {"attributes.user.k": 1}, "fmt": "%s", "value": 1, "arg": None, "delay_s": 100.0, "repeat_s": 0.0,
    "text": "t", "payload": {}, "number": 1,
}


class Liar:
    """Says that it is a text, and raises at everything else."""

    @property
    def __class__(self):
        return str

    def _no(self, *_):
        raise RuntimeError("no")

    __str__ = __repr__ = __eq__ = __hash__ = __iter__ = __len__ = __bool__ = __lt__ = __format__ = __index__ = _no


def made_hostile(base):
    """A class of values that raise whatever is done with them."""
    names = (
        "__str__", "__repr__", "__eq__", "__iter__", "__len__", "__bool__", "__lt__", "__le__", "__format__",
        "__getitem__", "__contains__", "__int__", "__float__", "__index__", "items", "keys", "values", "encode", "get",
    )
    space = dict.fromkeys(names, Liar._no)
    return type(f"Hostile_{base.__name__}", (base,), {**space, "__hash__": base.__hash__})


class Meta(type):
    """A class whose name cannot be had."""

    @property
    def __name__(cls):
        raise RuntimeError("no")

    def __instancecheck__(cls, instance):
        raise RuntimeError("no")


class Nameless(metaclass=Meta):
    """Of that class."""


class BadError(Exception):
    """An exception without a text."""

    def __str__(self):
        raise RuntimeError("no")

    @property
    def __traceback__(self):
        raise RuntimeError("no")


class BadSystemError(OSError):
    """An OSError whose number is none."""

    errno = "x"
    strerror = b"x"

    def __str__(self):
        return "\udc80\n\x1b[2J"


@functools.cache
def bad_values():
    """Values that are no JSON, or more of it than can be taken, or not what is expected."""
    circle, ring, deep, many = [], {}, [], "x"
    circle.append(circle)
    ring["x"] = ring
    for _ in range(2_000):
        deep = [deep]
    for _ in range(40):
        many = [many, many]
    hostile = [made_hostile(base) for base in (str, int, float, dict, list, tuple)]
    return [
        {1, 2}, frozenset((1,)), b"x", bytearray(b"x"), pathlib.Path("/x"), dt.date(2026, 1, 1), decimal.Decimal(1),
        1j, object(), object, Nameless(), Nameless, Liar(), BadError(), NotImplemented, Ellipsis, lambda *_: None,
        iter(()),
        types.MappingProxyType({}), types, circle, ring, deep, many, {"k": deep}, {1: 2}, {None: 1}, {"\ud800": 1},
        {"k": {1}}, [{1}], {"k": float("nan")}, float("nan"), float("inf"), -float("inf"), 1e308, 2**63,
        -(2**63) - 1, 2**200,
        10**5000, -1, -2, 0, 7, 1.5, True, None, "", " ", "a b", "\ud800", "\udc80", "a\0b", "a\nb", "\x1b[2J",
        "x" * 70_000,
        ["x" * 100] * 1_000, [], [1], {}, {"k": 1}, {".": 1}, {"": 1}, {".".join("a" * 1_000): 1}, {"attributes": 1},
        {"attributes.system.job.name": "another"}, {"attributes.system.duration": -1}, "*", "[z-a]", "[", "submit",
        "exception",
        "after-success=1", "begin-time=x", "singleton", hostile[0]("x"), hostile[1](1), hostile[2](1.0),
        hostile[3]({"k": 1}),
        hostile[4]([1]), hostile[5]((1,)), Args({}), inspect, print,
    ]


ERRORS = (
    BadError, BadSystemError, KeyboardInterrupt, GeneratorExit, BaseException, SystemExit, MemoryError, RecursionError,
    lambda: OSError({1}, {2}), lambda: Exception("\ud800"), lambda: Exception("x" * 100_000),
    lambda: Exception("a\nb\x1b[2J"),
)
OUT_KEYS = ("priority", "annotations", "errmsg", "updates")

called_in = []
outcomes = []
stray = []
answers = {}


def methods(kind):
    """The public methods of a class, with their parameters."""
    for name, method in vars(kind).items():
        if inspect.isfunction(method) and not name.startswith("_") and name not in FOR_THE_SCHEDULER:
            yield name, [p for p in inspect.signature(method).parameters.values() if p.name != "self"]


def calls(kind):
    """All calls of a class's methods in which one argument is bad: the method's name, the arguments."""
    for name, parameters in methods(kind):
        for bad in parameters:
            for value in bad_values():
                words = {p.name: value if p is bad else RIGHT.get(p.name) for p in parameters if p.name != "values"}
                yield name, words


def call_all(p, thing, args=None):
    """Make all the bad calls of a thing's methods."""
    kind = type(thing)
    for name, words in calls(kind):
        if args is not None and "args" in words and words["args"] is None:
            words["args"] = args
        attempt(f"{kind.__name__}.{name}", lambda: getattr(thing, name)(**words))  # noqa: B023 - called at once


def attempt(name, act):
    """Make a call, and note what came of it."""
    try:
        act()
    except OSError as error:
        outcomes.append((name, error))
    except Exception as error:  # what it is does not matter: none should come
        stray.append((name, error))
    else:
        outcomes.append((name, None))


def bad_acts():
    """All that a callback can do: leave something in `out`, put something in its place, return or raise something."""
    for value in bad_values():
        for key in OUT_KEYS:
            yield lambda args, key=key, value=value: args.out.__setitem__(key, value)
        yield lambda args, value=value: args.out.__setitem__(value, 1)
        yield lambda args, value=value: setattr(args, "out", value)
        yield lambda args, value=value: value
    for error in ERRORS:
        yield lambda args, error=error: (_ for _ in ()).throw(error())
    yield lambda args: delattr(args, "out")


ACTS = list(bad_acts())


def answer(p, topic, args):
    """Do the next bad thing for this topic."""
    at = answers[topic] = answers.get(topic, 0) + 1
    return ACTS[at % len(ACTS)](args)


def serve(p, message):
    """Answer a request badly, as it says; or call everything."""
    at = message.payload.get("at")
    if at is None:
        call_all(p, p)
        call_all(p, p.get_handle())
        message.respond({"calls": len(outcomes), "acts": len(ACTS), "values": len(bad_values())})
        return
    value = bad_values()[at]
    if message.payload["how"] == "error":
        message.respond_error(value, value)
    else:
        message.respond(value)


def call_here(p, topic, args):
    """Call everything for the job that the topic is about, where it says so in its jobspec."""
    if args["jobspec"]["attributes"]["system"]["job"]["name"] == topic:
        called_in.append(topic)
        call_all(p, p, args)


def plugin_init(p):
    """Call badly, or answer badly, as `does` says."""
    p.set_name("hostile")
    p.service_register("do", serve)
    for topic in p.conf.get("calls_in", ()):
        p.add_handler(topic, call_here)
    if p.conf.get("subscribes"):
        p.add_handler("job.create", lambda p, topic, args: p.job_subscribe(-1) or p.event_post(-1, "memo"))
    for topic in p.conf.get("answers", ()):
        p.add_handler(topic, answer)
