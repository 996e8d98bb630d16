"""How jobs are named on the command line, for every command in the same way; and words of other programs."""

import io
import re
import sys

import pytest

from jqsched.cli import selection, suggestions
from jqsched.cli.app import app
from jqsched.cli.failure import Failure
from jqsched.cli.selection import Filters, Scope, read_ids, select
from jqsched.cli.selector import Elements, Ids, Named, Special, is_read_as_other, read_selector
from jqsched.cli.suggestions import suggestion
from jqsched.cli.target import Place
from tests.cli.conftest import CANCELED, COMPLETED, QUEUED, STARTED, TIMED_OUT, FakeScheduler, SpoolMaker, failed
from tests.cli.test_hostile_values import COMMANDS

# ---- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "selector"),
    [
        ("42", Ids(42, 42)),
        ("0x2a", Ids(42, 42)),
        ("ƒk", Ids(43, 43)),
        ("40-44", Ids(40, 44)),
        ("7-7", Ids(7, 7)),
        ("42_7", Elements(42, ((7, 7),))),
        ("42_0", Elements(42, ((0, 0),))),
        ("42_[1-5,9]", Elements(42, ((1, 5), (9, 9)))),
        ("last", Special.LAST),
        ("-", Special.STANDARD_INPUT),
        ("build", Named("build")),
        ("fun", Named("fun")),
        ("Last", Named("Last")),
        ("a-b", Named("a-b")),
        ("40-", Named("40-")),
        ("42_", Named("42_")),
        ("42_[", Named("42_[")),
        ("e\u0301tape", Named("\xe9tape")),
        ("name:last", Named("last")),
        ("name:40-44", Named("40-44")),
        ("name:0x2a", Named("0x2a")),
        ("name:name:x", Named("name:x")),
    ],
)
def test_what_a_word_means(word: str, selector: object):
    assert read_selector(word) == selector


@pytest.mark.parametrize(
    "word",
    [
        *("", "0", "-1", "+1", str(2**63), "9" * 5000, "0x0", "ƒ", "ƒƒ", "a\tb", "a\x1bb", "a\nb"),
        *(f"1-{2**63}", f"1-{'9' * 5000}", "44-40", "4_[5-1]", f"4_{'9' * 30}", "name:", "name:17", "name:-x"),
    ],
)
def test_a_word_that_can_name_no_job_is_refused_in_a_line(word: str):
    with pytest.raises(Failure) as refused:
        read_selector(word)
    assert refused.value.code == 2
    assert len(refused.value.lines) == 1


@pytest.mark.parametrize("name", ["last", "0x10", "40-44", "42_7", "42_[1-5]", "name:x", "🌊😘"])
def test_submit_warns_of_a_name_that_commands_read_otherwise(spool: SpoolMaker, scheduler: FakeScheduler, name: str):
    scheduler.answers["submit"] = {"id": 3}
    code, out, err = spool.run("submit", "--env-none", "--name", name, "true")
    assert (code, out) == (0, "3\n")
    assert err == f"jqsched: submit: commands read '{name}' as something else than a name: say name:{name}\n"
    assert read_selector(f"name:{name}") == Named(name)


@pytest.mark.parametrize("name", ["build", "fun", "a-b", "40-", "Last", "e\u0301tape"])
def test_of_other_names_it_does_not(name: str):
    assert not is_read_as_other(name)


# ---- several jobs -------------------------------------------------------------------------------------------------


@pytest.fixture
def six(spool: SpoolMaker) -> SpoolMaker:
    """1 and 2 finished, 3 timed out, 4 to 6 live."""
    spool.add(*COMPLETED, name="build")
    spool.add(*failed(256), name="build")
    spool.add(*TIMED_OUT, name="slow")
    spool.add(*QUEUED, name="build")
    spool.add(*STARTED, name="test")
    spool.add(*QUEUED, name="build")
    return spool


def chosen(spool: SpoolMaker, scope: Scope, *words: str, **filters) -> list[int]:
    return select(Place(str(spool.root), str(spool.root)), "cancel", words, Filters(**filters), scope)


@pytest.mark.parametrize(
    ("scope", "words", "filters", "ids"),
    [
        (Scope.LIVE, ["17", "2", "17"], {}, [17, 2]),
        (Scope.LIVE, ["build"], {}, [4, 6]),
        (Scope.FINISHED, ["build"], {}, [1, 2]),
        (Scope.EITHER, ["build"], {}, [4, 6]),
        (Scope.EITHER, ["build"], {"everything": True}, [1, 2, 4, 6]),
        (Scope.EITHER, ["build"], {"failed": True}, [2]),
        (Scope.AWAITED, ["build", "slow"], {}, [4, 6, 3]),
        (Scope.AWAITED, ["name:build"], {"everything": True}, [1, 2, 4, 6]),
        (Scope.LIVE, ["2-5"], {}, [4, 5]),
        (Scope.FINISHED, ["2-5"], {}, [2, 3]),
        (Scope.EITHER, [f"2-{2**63 - 1}"], {}, [2, 3, 4, 5, 6]),
        (Scope.LIVE, ["5", "4-6", "build", "last"], {}, [5, 4, 6]),
        (Scope.LIVE, ["last"], {}, [6]),
        (Scope.LIVE, [], {"everything": True}, [6, 4, 5]),
        (Scope.FINISHED, [], {"everything": True}, [3, 2, 1]),
        (Scope.FINISHED, [], {"failed": True}, [3, 2]),
        (Scope.LIVE, [], {"failed": True}, []),
        (Scope.LIVE, [], {"filter": "pending"}, [6, 4]),
        (Scope.LIVE, ["4", "5", "17"], {"filter": "run"}, [5, 17]),
    ],
)
def test_the_jobs_of_a_command_line(six: SpoolMaker, scope: Scope, words: list[str], filters: dict, ids: list[int]):
    """Ids are taken as they are; sets are of what there is, in the scope of the command."""
    found = chosen(six, scope, *words, **filters)
    assert found == (ids if words else sorted(ids))


@pytest.mark.parametrize(
    ("scope", "word", "text"),
    [
        (Scope.LIVE, "biuld", "no job is named 'biuld'"),
        (Scope.LIVE, "slow", "no active job is named 'slow': 1 finished (`jqsched jobs -a`)"),
        (Scope.FINISHED, "test", "no finished job is named 'test': 1 active"),
        (Scope.LIVE, "1-3", "1-3: no active job has one of these ids"),
        (Scope.EITHER, "7-99", "7-99: no job has one of these ids"),
        (Scope.LIVE, "4_1", "job 4 is no array: it has no elements"),
        (Scope.LIVE, "17_[1-3]", "job 17: unknown (never given out, or purged)"),
    ],
)
def test_what_names_no_job_is_4(six: SpoolMaker, scope: Scope, word: str, text: str):
    with pytest.raises(Failure) as refused:
        chosen(six, scope, word)
    assert (refused.value.code, refused.value.lines) == (4, (text,))


def test_last_of_an_empty_spool(spool: SpoolMaker):
    assert spool.run("cancel", "last") == (4, "", "jqsched: last: there are no jobs\n")


CHANGING = ["cancel", "hold", "release", "kill", "raise", "requeue", "retry", "urgency", "priority", "purge"]


@pytest.mark.parametrize("command", CHANGING)
def test_every_command_that_changes_jobs_takes_them_by_name_and_filter(
    six: SpoolMaker, scheduler: FakeScheduler, command: str
):
    scheduler.answers.update({key: {"purged": 1, "outcome": "changed", "id": 9} for key in CHANGING})
    more = ["9"] if command in ("urgency", "priority") else []
    assert six.run(command, "build", *more)[0] == 0
    asked = [payload.get("ids", payload.get("id")) for _, payload in scheduler.asked]
    assert asked == {"purge": [[1, 2]], "retry": [1, 2]}.get(command, [4, 6])
    assert six.run(command, "--filter", "run", *more)[0] == 0
    assert six.run(command, *more)[0] == 2, "none is named: all are not meant"


def test_all_commands_that_take_jobs_take_the_same_filters():
    for path, params in COMMANDS.items():
        options = {opt for param in params for opt in param.opts}
        if any(param.metavar == "[JOB...]" for param in params):
            assert {"--failed", "--filter", "--all"} <= options, path
            assert path[0] in ("jobs", "wait", "archive") or "--yes" in options, path


# ---- many ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def eleven(spool: SpoolMaker, scheduler: FakeScheduler) -> SpoolMaker:
    for _ in range(11):
        spool.add(*QUEUED, name="many")
    scheduler.answers["hold"] = {"outcome": "changed"}
    return spool


def test_many_by_a_filter_need_yes(eleven: SpoolMaker, scheduler: FakeScheduler):
    told = "jqsched: hold: 11 jobs would be changed; --yes says that they are meant\n"
    assert eleven.run("hold", "--all") == (2, "", told)
    assert eleven.run("hold", "many", "--filter", "pending") == (2, "", told)
    assert scheduler.asked == []
    assert eleven.run("hold", "--all", "--yes")[0] == 0
    assert len(scheduler.asked) == 11


@pytest.mark.parametrize("words", [["1-11"], ["many"], [str(number) for number in range(1, 12)]], ids=len)
def test_many_that_are_named_do_not(eleven: SpoolMaker, scheduler: FakeScheduler, words: list[str]):
    assert eleven.run("hold", *words)[0] == 0
    assert len(scheduler.asked) == 11


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code", "held"), [("y\n", 0, 11), ("YES\n", 0, 11), ("n\n", 2, 0), ("", 2, 0)])
def test_on_a_terminal_there_is_a_question(
    eleven: SpoolMaker, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, held: int
):
    question = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", question)
    assert eleven.run("hold", "--all")[0] == code
    assert question.getvalue().startswith("jqsched: hold 11 jobs? [y/N] ")
    assert len(scheduler.asked) == held


# ---- standard input -----------------------------------------------------------------------------------------------


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_ids_from_standard_input(six: SpoolMaker, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch):
    scheduler.answers["cancel"] = {"outcome": "dequeued"}
    listed = six.run("jobs", "--ids", "build")[1]
    assert listed == "4\n6\n"
    stdin(monkeypatch, listed.encode())
    assert six.run("cancel", "-")[0] == 0
    assert [payload["id"] for _, payload in scheduler.asked] == [4, 6]


@pytest.mark.parametrize(
    ("data", "code", "err"),
    [
        (b"", 0, "jqsched: cancel: no such jobs\n"),
        (b"4\nbuild\n", 2, "jqsched: standard input, line 2: 'build' is no job id\n"),
        (b"\xff\x00\n", 2, "jqsched: standard input, line 1: '�\\x00' is no job id\n"),
        (b"7-9", 4, "jqsched: 7-9: no active job has one of these ids\n"),
    ],
)
def test_what_is_on_standard_input(six: SpoolMaker, monkeypatch: pytest.MonkeyPatch, data: bytes, code: int, err: str):
    stdin(monkeypatch, data)
    assert six.run("cancel", "-") == (code, "", err)


def test_nothing_on_standard_input_is_nothing_to_wait_for(six: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    """Seen to fail: a wait for all jobs."""
    stdin(monkeypatch, b"\n")
    assert six.run("wait", "-") == (0, "", "")


def test_standard_input_without_end_is_not_held(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(selection, "INPUT_MAX", 1000)

    class Endless:
        def readline(self, size: int = -1, /) -> bytes:
            assert 0 < size < 10_000
            return b"1 " * (size // 2)

    with pytest.raises(Failure, match="more than 1000 ids"):
        read_ids(Endless())


# ---- one job ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "events", "log", "explain", "wait-event"])
@pytest.mark.parametrize(
    ("word", "id_", "said"),
    [
        ("5", 5, ""),
        ("test", 5, ""),
        ("slow", 3, ""),
        ("last", 6, ""),
        ("build", 6, "'build' names 4 jobs; this is the newest active one, 6"),
        ("1-2", 2, "'1-2' names 2 jobs; this is the newest, 2"),
    ],
)
def test_of_several_jobs_the_newest_is_shown(six: SpoolMaker, command: str, word: str, id_: int, said: str):
    more = ["submit"] if command == "wait-event" else []
    code, out, err = six.run(command, word, *more)
    by_id = six.run(command, str(id_), *more)
    assert (code, out) == by_id[:2]
    assert err == (f"jqsched: {said}\n" if said else "") + by_id[2]


def test_jobs_lists_names_ranges_and_failed_ones(six: SpoolMaker):
    def ids(*arguments: str) -> list[int]:
        return [int(line) for line in six.run("jobs", "--ids", *arguments)[1].splitlines()]

    assert ids("build") == [4, 6]
    assert ids("-a", "build") == [1, 2, 4, 6]
    assert ids("2-5", "last") == [2, 3, 4, 5, 6]
    assert sorted(ids("--failed")) == [2, 3]
    assert ids("--failed", "build") == [2]
    assert six.run("jobs", "slow")[0] == 4


# ---- words of other programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["ls"], "`jqsched jobs`"),
        (["list"], "`jqsched jobs`"),
        (["squeue"], "`jqsched jobs`"),
        (["rm", "3"], "`jqsched cancel JOB`"),
        (["restart", "3"], "JOB`"),
        (["add", "true"], "`jqsched submit -- COMMAND`"),
        (["status", "3"], "`jqsched show JOB`"),
        (["jobs", "--state", "RUN"], "`--filter pending,failed`"),
        (["wait", "--state", "RUN"], "`--filter pending,failed`"),
        (["jobs", "-n", "3"], "`-c N`"),
        (["submit", "-n", "3", "true"], "`--cores N`"),
        (["log", "3", "-n", "3"], "`jqsched log JOB | tail -n N`"),
        (["wait", "-n", "3"], "`--count N`"),
        (["cancle", "3"], "Did you mean 'cancel'?"),
    ],
)
def test_a_word_of_another_program_has_a_suggestion(spool: SpoolMaker, arguments: list[str], meant: str):
    code, out, err = spool.run(*arguments, spool=False)
    assert (code, out, err.count("\n")) == (64 if arguments[0] == "wait" else 2, "", 1)
    assert meant in err
    assert "Possible options" not in err


def test_what_is_suggested_exists():
    """Each suggestion names commands and options that there are; and none stands for a word that is one."""
    options = {(*path,): {opt for param in params for opt in param.opts} for path, params in COMMANDS.items()}
    for word, meant in suggestions._COMMANDS.items():
        assert (word,) not in options, word
        for command, rest in re.findall(r"`jqsched ([a-z-]+)([^`]*)`", meant):
            if command.startswith("-"):
                continue
            assert (command,) in options, meant
            named = re.findall(r"(?<!\S)--?[a-z][\w-]*", rest)
            assert set(named) <= options[command,], meant
    for path, words in suggestions._OPTIONS.items():
        known = options[path.split()[1],]
        for word, meant in words.items():
            assert word not in known, (path, word)
            if "`jqsched" not in meant:
                assert set(re.findall(r"(?<=`)--?[a-z][\w-]*", meant)) <= known, meant
    assert suggestion("jqsched", "No such command 'frobnicate'.") is None


def test_h_is_help_everywhere(spool: SpoolMaker):
    for path in COMMANDS:
        assert spool.run(*path, "-h", spool=False) == spool.run(*path, "--help", spool=False)
    assert "Usage" in spool.run("-h", spool=False)[1]
    assert app.info.context_settings == {"help_option_names": ["-h", "--help"]}


def test_a_canceled_job_is_none_of_the_failed(spool: SpoolMaker):
    spool.add(*CANCELED)
    assert chosen(spool, Scope.FINISHED, failed=True) == []
