"""Inputs from other inputs: bytes are changed, cut, repeated and spliced, words put in, JSON changed by its structure.

Rule: everything is drawn from the generator that is given, so the same generator and the same seeds make the same
input; nothing here knows what the inputs are for.
"""

import json
import re
from collections.abc import Callable, Sequence
from random import Random

SIZE_MAX_BYTES = 1 << 16
_DEEP = (3, 33, 65, 900, 2_000)  # beyond each limit of ours, and beyond the interpreter's
_TIMES = (2, 3, 40, 1_000)
_TOKEN = re.compile(rb"[\w.]+|\s+|[^\w\s]")
_DIGITS = re.compile(rb"\d+")

# What has hurt some parser, in any format.
NUMBERS = (
    *(
        b"0",
        b"-0",
        b"-1",
        b"00",
        b"1_0",
        b"0x10",
        b"1e400",
        b"-1e400",
        b"1e-400",
        b"1e308",
        b"1E+99999999",
        b"0.1",
        b"5.",
    ),
    *(b"2147483647", b"2147483648", b"4294967296", b"9007199254740993", b"9223372036854775807"),
    *(b"9223372036854775808", b"18446744073709551616", b"1" * 21, b"9" * 101, b"7" * 5_000, b"0." + b"3" * 400),
    *(b"NaN", b"nan", b"Infinity", b"-Infinity", b"inf", "٣".encode(), "²".encode()),
)
ODD = (
    *(
        b"\0",
        b"\\u0000",
        b"\\ud800",
        b"\\udfff\\ud800",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xc0\x80",
        b"\x80",
    ),
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b"\n\n",
        b"\x0b",
        b"\x1b[2J",
        b"\x7f",
        "\u2028".encode(),
        "\u202e".encode(),
        "\u0085".encode(),
    ),
    *("é".encode(), "e\u0301".encode(), "𝔸".encode(), "ƒ".encode(), "\U000e0001".encode(), "\ufdd0".encode()),
    *(
        b"'",
        b'"',
        b"\\",
        b'\\"',
        b"`",
        b"$(x)",
        b"%s",
        b"%n",
        b"{}",
        b"{0}",
        b"../../x",
        b"/",
        b"~",
        b"-",
        b"--",
        b"#",
        b";",
    ),
    *(b"[", b"]", b"{", b"}", b"(", b")", b",", b":", b"=", b".", b"a" * 300, b"." * 300, b"a." * 300, b"x" * 5_000),
)
_VALUES: tuple[object, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63 - 1,
        2**63,
        2**64,
        10**21,
        10**400,
        0.5,
        1.0,
        -0.0,
        1e300,
        1e400,
        -1e400,
    ),
    *(
        "",
        " ",
        "a",
        "0",
        "-1",
        "17",
        "true",
        "null",
        "a\nb",
        "a\0b",
        "\ud800",
        "\x1b[31m",
        "ƒ1",
        "é" * 200,
        "x" * 5_000,
    ),
    *([], [[]], [None], {}, {"": {}}, {"a": 1}, [0] * 50, {"\ud800": 1}, {"k\n": 1}),
)

Mutate = Callable[[Random, bytes, Sequence[bytes], Sequence[bytes]], bytes]


def mutated(random: Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Make an input of one of the seeds; `words` are those of its language. At most SIZE_MAX_BYTES."""
    data = random.choice(seeds)
    while True:
        data = random.choice(_MUTATIONS)(random, data, seeds, words)[:SIZE_MAX_BYTES]
        if random.random() < 0.6:
            return data


# ---- bytes ----------------------------------------------------------------------------------------------------------


def _place(random: Random, data: bytes) -> int:
    return random.randint(0, len(data))


def _part(random: Random, data: bytes) -> tuple[int, int]:
    """A part of the data, more often a short one."""
    begin = _place(random, data)
    return begin, min(len(data), begin + random.choice((1, 2, 8, 40, 1_000)))


def _flip(random: Random, data: bytes, *_: object) -> bytes:
    changed = bytearray(data)
    for _nth in range(random.choice((1, 1, 2, 8))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _truncate(random: Random, data: bytes, *_: object) -> bytes:
    at = _place(random, data)
    return data[:at] if random.random() < 0.8 else data[at:]


def _delete(random: Random, data: bytes, *_: object) -> bytes:
    begin, end = _part(random, data)
    return data[:begin] + data[end:]


def _repeat(random: Random, data: bytes, *_: object) -> bytes:
    begin, end = _part(random, data)
    return data[:end] + data[begin:end] * random.choice(_TIMES) + data[end:]


def _move(random: Random, data: bytes, *_: object) -> bytes:
    begin, end = _part(random, data)
    rest, at = data[:begin] + data[end:], _place(random, data)
    return rest[:at] + data[begin:end] + rest[at:]


def _splice(random: Random, data: bytes, seeds: Sequence[bytes], _words: object) -> bytes:
    other = random.choice(seeds)
    return data[: _place(random, data)] + other[_place(random, other) :]


def _follow(random: Random, data: bytes, seeds: Sequence[bytes], _words: object) -> bytes:
    return data + random.choice((b"", b"\n", b",")) + random.choice(seeds)


# ---- words ----------------------------------------------------------------------------------------------------------


def _word(random: Random, words: Sequence[bytes]) -> bytes:
    return random.choice(random.choice((words, words, NUMBERS, ODD)))


def _insert(random: Random, data: bytes, _seeds: object, words: Sequence[bytes]) -> bytes:
    at = _place(random, data)
    return data[:at] + _word(random, words) + data[at:]


def _replace_token(random: Random, data: bytes, _seeds: object, words: Sequence[bytes]) -> bytes:
    tokens = list(_TOKEN.finditer(data))
    if not tokens:
        return _word(random, words)
    begin, end = random.choice(tokens).span()
    return data[:begin] + _word(random, words) + data[end:]


def _replace_number(random: Random, data: bytes, _seeds: object, words: Sequence[bytes]) -> bytes:
    numbers = list(_DIGITS.finditer(data))
    if not numbers:
        return _insert(random, data, (), words)
    begin, end = random.choice(numbers).span()
    return data[:begin] + random.choice(NUMBERS) + data[end:]


def _nest(random: Random, data: bytes, *_: object) -> bytes:
    """Put deep brackets around a part, or begin them and never end."""
    opened, closed = random.choice(
        ((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")"), (b"not ", b""), (b'["!",', b"]"), (b"a.", b""))
    )
    times = random.choice(_DEEP)
    begin, end = _part(random, data)
    return (
        data[:begin]
        + opened * times
        + data[begin:end]
        + (closed * times if random.random() < 0.8 else b"")
        + data[end:]
    )


# ---- structure ------------------------------------------------------------------------------------------------------


def _restructure(random: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Change one of the lines that are JSON by its structure, or all of it when that is JSON."""
    lines = [data] if random.random() < 0.7 else data.split(b"\n")
    at = random.randrange(len(lines))
    try:
        document = json.loads(lines[at])
    except (ValueError, RecursionError):
        return _replace_token(random, data, seeds, words)
    for _nth in range(random.choice((1, 1, 2, 4))):
        document = _changed(random, document, words)
    lines[at] = _written(random, document)
    return b"\n".join(lines)


def _changed(random: Random, node: object, words: Sequence[bytes]) -> object:
    """Change a value somewhere in a document."""
    if isinstance(node, dict) and node and random.random() < 0.85:
        key = random.choice(list(node))
        how = random.random()
        if how < 0.6:
            return {**node, key: _changed(random, node[key], words)}
        if how < 0.7:
            return {name: value for name, value in node.items() if name != key}
        if how < 0.85:
            return {**node, _text(random, words): node[key]}
        other = random.choice(list(node))
        return {**node, key: node[other], other: node[key]}
    if isinstance(node, list) and node and random.random() < 0.85:
        at = random.randrange(len(node))
        how = random.random()
        if how < 0.6:
            return [*node[:at], _changed(random, node[at], words), *node[at + 1 :]]
        if how < 0.75:
            return [*node[:at], *node[at + 1 :]]
        return [*node, *node[at:]] if how < 0.9 else node * random.choice((2, 20))
    return _instead(random, node, words)


def _instead(random: Random, node: object, words: Sequence[bytes]) -> object:
    """Another value in the place of one: of its own type, of any other, or deeper."""
    how = random.random()
    if how < 0.5:
        return random.choice(_VALUES)
    if how < 0.75:
        return _text(random, words)
    if how < 0.85:
        return [node]
    for _nth in range(random.choice((1, 5, 40, 70))):
        node = {"a": node} if random.random() < 0.5 else [node]
    return node


def _text(random: Random, words: Sequence[bytes]) -> str:
    return random.choice(words).decode(errors="replace").strip('"')


def _written(random: Random, document: object) -> bytes:
    try:
        return json.dumps(document, ensure_ascii=random.random() < 0.5).encode()
    except UnicodeEncodeError:
        return json.dumps(document).encode()


_MUTATIONS: tuple[Mutate, ...] = (
    *(_flip, _truncate, _delete, _repeat, _move, _splice, _follow, _insert, _insert, _replace_token, _replace_token),
    *(_replace_number, _nest, *([_restructure] * 6)),
)
