"""The entry point: help, usage errors, and that whatever happens is one line and an exit code."""

import os
import subprocess
import sys

import pytest

from jqsched import __version__
from jqsched.cli import jobs as lists
from jqsched.cli.failure import explained, printable
from jqsched.cli.main import main
from jqsched.ports import PortError
from tests.cli.conftest import COMPLETED, SpoolMaker

COMMANDS = (
    "run submit batch check jobs show explain filter events journal log status wait wait-event top cancel kill raise "
    "hold release requeue retry urgency priority plugin drain resume simulate archive purge check-spool"
)


def test_help_names_every_command(spool: SpoolMaker):
    code, out, err = spool.run("--help", spool=False)
    assert (code, err) == (0, "")
    listed = out.partition("Commands:")[2].split("\n")
    assert {line.split()[0] for line in listed if line.strip()} == set(COMMANDS.split())


@pytest.mark.parametrize("name", COMMANDS.split())
def test_each_command_has_help(spool: SpoolMaker, name: str):
    code, out, _ = spool.run(name, "--help", spool=False)
    assert code == 0
    assert "Usage: jqsched " + name in out


def test_without_a_command_it_is_a_usage_error_with_help(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().out


def test_the_version(spool: SpoolMaker):
    assert spool.run("--version", spool=False) == (0, f"jqsched {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["jobs", "--nope"],
        ["jobs", "44-40"],
        ["jobs", "--count", "0"],
        ["jobs", "--count", "many"],
        ["jobs", "--filter", "sleeping"],
        ["jobs", "--since", "yesterday"],
        ["jobs", "--ids", "--json"],
        ["show"],
        ["show", "0"],
        ["show", "+build"],
        ["urgency", "1", "high"],
        ["priority", "1", "high"],
        ["journal", "--since-seq", "-1"],
        ["cancel"],
        ["purge"],
        ["purge", "--older-than", "soon"],
        ["submit"],
        ["submit", "--env", "NAME", "--", "true"],
        ["check"],
    ],
)
def test_a_usage_error_is_one_line_and_2(spool: SpoolMaker, arguments: list[str]):
    code, out, err = spool.run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("jqsched: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["wait", "0"], ["wait", "--nope"], ["wait", "1", "--count", "2"]])
def test_waits_usage_errors_are_64(spool: SpoolMaker, arguments: list[str]):
    assert spool.run(*arguments)[0] == 64


@pytest.mark.parametrize("command", ["jobs", "status", "journal", "wait"])
def test_a_spool_must_be_named_and_be_there(spool: SpoolMaker, command: str):
    usage = 64 if command == "wait" else 2
    code, _, err = spool.run(command, spool=False)
    assert code == usage
    assert "JQSCHED_SPOOL" in err
    code, _, err = spool.run(command, "--spool", str(spool.root / "absent"), spool=False)
    assert code == usage
    assert "no such directory" in err


def test_the_spool_may_come_from_the_environment(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    spool.add(*COMPLETED)
    monkeypatch.setenv("JQSCHED_SPOOL", str(spool.root))
    assert spool.run("jobs", "-a", "--ids", spool=False) == (0, "1\n", "")


def test_the_store_may_be_elsewhere(spool: SpoolMaker):
    spool.add(*COMPLETED)
    elsewhere = spool.root.parent / "store"
    elsewhere.mkdir()
    for file in spool.root.glob("jqsched.db*"):
        file.rename(elsewhere / file.name)
    assert spool.run("jobs", "-a", "--ids")[1] == ""
    assert spool.run("jobs", "-a", "--ids", "--store", str(elsewhere))[1] == "1\n"


def test_a_damaged_store_is_one_line(spool: SpoolMaker):
    (spool.root / "jqsched.db").write_bytes(b"this is no database, whatever its name" * 100)
    code, out, err = spool.run("jobs")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "jqsched.db" in err


def test_a_bug_is_one_line_too(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    def broken(*_, **__):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(lists, "jobs", broken)
    code, out, err = spool.run("jobs")
    assert (code, out) == (1, "")
    assert "internal error: ZeroDivisionError: oh" in err
    assert "Traceback" not in err


def test_a_ctrl_c_is_130_and_quiet(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(lists, "jobs", interrupted)
    assert spool.run("jobs") == (130, "", "")


def test_a_failure_of_the_outside_keeps_its_words():
    assert str(explained(PortError("commit", "/x", 28, "no space"))) == "commit: /x: no space"
    assert str(explained(FileNotFoundError(2, "No such file", "/y"))) == "/y: No such file"


def test_nothing_acts_on_a_terminal():
    assert printable("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    assert printable("grüße") == "grüße"
    assert printable("\udcff") == "\\udcff"


# --- as a process ------------------------------------------------------------------------------------------------


def process(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "jqsched", *arguments], stderr=subprocess.PIPE, **options)


def test_a_reader_that_has_enough_is_no_error(spool: SpoolMaker):
    for _ in range(3):
        spool.add(*COMPLETED, name="x" * 100, cwd="/" + "y" * 4000)
    reading, writing = os.pipe()
    os.close(reading)
    with process("jobs", "-a", "--json", "--spool", str(spool.root), stdout=writing) as listing:
        os.close(writing)
        assert listing.communicate(timeout=120)[1] == b""
        assert listing.returncode == 0


def test_a_full_disk_is_said(spool: SpoolMaker):
    spool.add(*COMPLETED)
    with open("/dev/full", "w") as full, process("jobs", "-a", "--spool", str(spool.root), stdout=full) as listing:
        err = listing.communicate(timeout=120)[1]
    assert listing.returncode == 1
    assert err.startswith(b"jqsched: ")
    assert err.count(b"\n") == 1


def test_reading_commands_import_little(spool: SpoolMaker):
    spool.add(*COMPLETED)
    program = (
        "import sys\nfrom jqsched.cli.main import main\n"
        f"code = main(['jobs', '-a', '--spool', {str(spool.root)!r}])\n"
        "heavy = {'rich', 'watchdog', 'jqsched.scheduler', 'jqsched.runtime', 'hypothesis'}\n"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.endswith("0 []\n"), done
