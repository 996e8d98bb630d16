"""No input of any kind brings forth more than a value or a refusal in a line; and a check that could not fail is none.

Long searches: `python -m tests.fuzz`. What one finds goes into the corpus of its kind when it is mended.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from jqsched.adapters import server
from jqsched.adapters.store import codec
from jqsched.core.constraint import BadConstraint
from tests.fuzz import targets
from tests.fuzz.__main__ import main
from tests.fuzz.search import CORPUS, Kind, judge, made, minimised, run
from tests.fuzz.targets import KINDS

SEED = 1
COUNTS = {"frames": 60}  # of a kind whose inputs take longer
COUNT = 200
HUGE_BYTES = 1 << 18

by_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


@pytest.mark.parametrize(
    ("kind", "path"),
    [pytest.param(kind, path, id=f"{kind.name}-{path.name}") for kind in KINDS.values() for path in kind.corpus()],
)
def test_no_file_of_a_corpus_shows_a_fault(kind: Kind, path: Path):
    fault = judge(kind, path.read_bytes())[1]
    assert fault is None, fault.text


@by_kind
def test_no_mutation_shows_a_fault(kind: Kind, tmp_path: Path):
    result = run(kind, SEED, COUNTS.get(kind.name, COUNT), folder=tmp_path)
    assert not result.findings, "\n".join(
        f"{found.number}: {found.data!r}\n{found.fault.text}" for found in result.findings
    )
    assert result.accepted, "none gets as far as being accepted"
    assert result.refused


def test_every_corpus_is_of_a_kind():
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(KINDS)


@pytest.mark.parametrize(
    ("kind", "begin", "part", "end"),
    [
        ("job-files", b'{"command":["true"],"time_limit":"', b"7", b'x"}'),
        ("job-files", b'{"command":["true"],"name":"', b"7", b'"}'),
        ("job-files", b"", b"[a]\n[b]\n", b""),
        ("configuration", b"grace_s = '", b"7", b"x'"),
        ("configuration", b"x.py ", b"a.", b"b=1"),
        ("constraints", b'{"hostlist":["', b",", b'"]}'),
        ("constraints", b'{"hostlist":["', b"[1,", b'"]}'),
        ("constraints", b'{"t_run":[">', b"7", b'x"]}'),
        ("rules", b'name =~ "', b"(a*)*", b'"'),
        ("rules", b"", b"not ", b"name?"),
        ("traces", b"; MaxProcs", b" ", b"x"),
        ("formats", b"{t_run!d:", b"a:", b"}"),
        ("job-ids", b"", b"academy-", b""),
        ("times", b"", b"7", b"x"),
        ("times", b"2026-03-01T", b"0", b"Z"),
        ("statuses", b'{"finished":[', b"[],", b"[]]}"),
    ],
)
def test_work_grows_no_faster_than_the_input(kind: str, begin: bytes, part: bytes, end: bytes):
    fault = judge(KINDS[kind], begin + part * (HUGE_BYTES // len(part)) + end)[1]
    assert fault is None, fault.text


# --- the search is tested ----------------------------------------------------------------------------------------


def raises_key_error(monkeypatch: pytest.MonkeyPatch) -> None:
    read = targets.read_rule

    def broken(document: object, **more: object) -> object:
        return read(document, **more) if not isinstance(document, dict) or document["action"] else None

    monkeypatch.setattr(targets, "read_rule", broken)


def refuses_in_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "read_constraint", lambda _: BadConstraint("no\nconstraint"))


def refuses_at_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "read_constraint", lambda document: BadConstraint(repr(document) * 1_000))


def refuses_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "read_constraint", lambda _: BadConstraint(""))


def stores_less(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = codec.spec_to_json
    monkeypatch.setattr(codec, "spec_to_json", lambda spec: encode(evolve(spec, name="x")))


def recurses(monkeypatch: pytest.MonkeyPatch) -> None:
    def depth(value: object) -> int:
        return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

    read = targets.read_constraint
    monkeypatch.setattr(targets, "read_constraint", lambda document: read(document) if depth(document) else None)


def never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(_: object) -> None:
        while True:
            len("")

    monkeypatch.setattr(targets, "read_trace", endless)


def answers_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.Request, "respond_error", lambda *_: None)


def forgets_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server._Client, "_received", property(lambda _: bytearray(), lambda *_: None), raising=False)


PLANTED: list[tuple[Callable[[pytest.MonkeyPatch], None], str, str]] = [
    (raises_key_error, "rules", "KeyError"),
    (refuses_in_two_lines, "constraints", "a line that is not printable"),
    (refuses_at_any_length, "constraints", "a line too long"),
    (refuses_in_silence, "constraints", "an empty line"),
    (stores_less, "job-files", "the store gives back the spec"),
    (recurses, "constraints", "AttributeError"),
    (never_ends, "traces", "calls"),
    (answers_not, "frames", "AssertionError"),
    (forgets_what_came_before, "frames", "AssertionError"),
]


@pytest.mark.parametrize(("plant", "kind", "told"), [pytest.param(*row, id=row[0].__name__) for row in PLANTED])
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    kind: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    plant(monkeypatch)
    known = evolve(KINDS[kind], calls_max=20_000, calls_per_byte=0) if plant is never_ends else KINDS[kind]
    found = run(known, SEED, COUNTS.get(kind, COUNT), folder=tmp_path, findings_max=1).findings
    assert any(told in finding.fault.text for finding in found), [finding.fault.text for finding in found]


def breaks_at_a_nul(data: bytes) -> tuple[str, ...]:
    assert b"\0" not in data
    return ("refused",) if data.startswith(b"{") else ()


def test_a_finding_is_small_and_can_be_repeated(tmp_path: Path):
    kind = evolve(KINDS["job-files"], target=breaks_at_a_nul)
    found = run(kind, SEED, 200, folder=tmp_path).findings
    assert [finding.data for finding in found] == [b"\0"], "one fault is one finding, without what it does not need"
    assert found[0].path.read_bytes() == b"\0"
    again = run(kind, SEED, 1, first=found[0].number, folder=tmp_path).findings
    assert again == found, "by its number alone"
    assert run(kind, SEED, found[0].number, folder=tmp_path).findings == []


def test_an_input_depends_on_kind_seed_and_number_only():
    seeds = [b'{"a": 1}', b"b = 2"]
    inputs = {(seed, number): made(KINDS["rules"], seed, number, seeds) for seed in (1, 2) for number in range(50)}
    assert inputs == {key: made(KINDS["rules"], *key, seeds) for key in sorted(inputs, reverse=True)}
    assert len(set(inputs.values())) > 80


def test_what_is_minimised_shows_the_same_fault():
    kind = evolve(KINDS["rules"], target=breaks_at_a_nul)
    where = judge(kind, b"ab\0cd")[1].where
    assert minimised(kind, b"ab\0cd" * 100, where) == b"\0"


def test_the_command_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    asked = ["--kind", "constraints", "--count", "20", "--folder", str(tmp_path)]
    assert main(asked) == 0
    assert "20 inputs" in capsys.readouterr().out
    refuses_in_two_lines(monkeypatch)
    assert main(asked) == 1
    told = capsys.readouterr().out
    path = next(tmp_path.iterdir())
    assert str(path) in told
    assert main(["--kind", "constraints", "--file", str(path)]) == 1
