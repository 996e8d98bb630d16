"""The documentation against the program: commands, options, keys, settings, events, links; each check can fail.

A check takes texts and facts, and returns complaints. It is run on the repository, and on a doctored text that it must
complain of.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import fields

import dev
from jqsched.adapters.config import Config
from jqsched.cli import failure
from jqsched.cli.app import commands as all_commands
from jqsched.core.event import TRANSITIONS
from jqsched.core.jobspec.keys import KEYS
from jqsched.core.view import INFO_KEYS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(ROOT / name for name in ("spool/README.md", "tests/README.md")),
    *sorted(DOCS.rglob("*.md")),
]
UNITS = sorted((DOCS / "systemd").glob("*.service"))

OF_EVERY_COMMAND = {"--spool", "--store", "-h", "--help"}

Options = Mapping[str, set[str]]


def options() -> dict[str, set[str]]:
    """The options of each command, as typer sees them; those of a group by `GROUP COMMAND`."""
    return dict(options_of(all_commands(), ""))


def options_of(group: Any, prefix: str) -> Iterator[tuple[str, set[str]]]:  # groups of the click that typer brings
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from options_of(command, f"{name} ")
        else:
            flags = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
            yield prefix + name, {"--help", *(flag for flag in flags if flag.startswith("-"))}


def read(path: Path) -> str:
    return path.read_text("utf-8")


def sections(text: str, level: int) -> dict[str, str]:
    """The text under each heading of a level, down to the next heading of that level or above."""
    found = re.split(rf"(?m)^(#{{1,{level}}}) (.*)$", text)
    return {
        title: body
        for hashes, title, body in zip(found[1::3], found[2::3], found[3::3], strict=True)
        if len(hashes) == level
    }


def first_cells(text: str) -> list[str]:
    """What stands in code in the first cell of each table row."""
    rows = re.findall(r"(?m)^\| (`[^|]*) \|", text)
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


def differences(documented: Iterable[str], real: Iterable[str], what: str) -> list[str]:
    """What is only on one side."""
    here, there = set(documented), set(real)
    return [f"{what} {name} is not documented" for name in sorted(there - here)] + [
        f"{what} {name} is documented, but there is none" for name in sorted(here - there)
    ]


# ---- the checks ---------------------------------------------------------------------------------------------------


def commands(text: str, real: Options) -> list[str]:
    """Each command has a section that names each of its options, and no other.

    Those by which jobs are chosen are explained once, for all commands that take jobs.
    """
    titles = {title: title.split()[1:] for title in sections(text, 3) if title.startswith("jqsched ")}
    groups = {name.split()[0] for name in real if " " in name}
    found = {" ".join(words[: 1 + (words[0] in groups)]): sections(text, 3)[title] for title, words in titles.items()}
    complaints = differences(found, real, "command")
    choosing = {cell.split()[0] for cell in first_cells(sections(text, 2)["Naming jobs"]) if cell.startswith("-")}
    takes_jobs = {" ".join(words[: 1 + (words[0] in groups)]) for title, words in titles.items() if "JOB..." in title}
    for name in sorted(real.keys() & found.keys()):
        said = set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", " ".join(re.findall(r"`([^`]+)`", found[name]))))
        said |= choosing & real[name] if name in takes_jobs else set()
        complaints += differences(said - OF_EVERY_COMMAND, real[name] - OF_EVERY_COMMAND, f"jqsched {name}: option")
    everywhere = {cell.split()[0] for cell in first_cells(text.partition("\n## ")[0])}
    return complaints + differences(everywhere, OF_EVERY_COMMAND, "option of every command")


def exit_codes(text: str, real: Iterable[int]) -> list[str]:
    """The table of exit codes is that of `failure`."""
    table = re.findall(r"(?m)^\| (\d+) \|", sections(text, 2)["Exit codes"])
    return differences(table, map(str, real), "exit code")


def json_keys(text: str, real: Iterable[str]) -> list[str]:
    """Each key of a job's document is explained."""
    return differences(first_cells(sections(text, 2)["JSON"]), real, "key")


def job_file(text: str, table: str) -> list[str]:
    """The table of the short form is the one that is made from the table of keys."""
    (there,) = re.findall(r"(?m)^\| key \| value \| default \|\n(?:\|.*\n)+", sections(text, 2)["Short form"])
    return [] if there == table else [f"the table of keys is out of date; put this into the page:\n{table}"]


def key_table() -> str:
    """The table of the reference page, made from the table of keys."""
    rows = [f"| `{key.name}` | {key.about} | {key.default}{' ' if key.default else ''}|" for key in KEYS]
    return "\n".join(["| key | value | default |", "|---|---|---|", *rows, ""])


def configuration(text: str, real: Iterable[str]) -> list[str]:
    """Each setting has its row."""
    return differences(first_cells(text.partition("\n## ")[0]), real, "setting")


def events(text: str, real: Iterable[str]) -> list[str]:
    """Each event has its row."""
    return differences(first_cells(sections(text, 2)["All of them"]), real, "event")


def links(page: Path, text: str) -> list[str]:
    """Each relative link leads to a file, and to a heading in it."""
    complaints = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            complaints.append(f"{target}: no such file")
        elif anchor and anchor not in anchors(text if file == page else read(file)):
            complaints.append(f"{target}: no such heading")
    return complaints


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    prose = re.sub(r"(?ms)^```.*?^```", "", text)
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        for title in re.findall(r"(?m)^#+ (.*)$", prose)
    }


ADR_HEAD = re.compile(
    r"\A# .*\n\n\*\*Date:\*\* \d{4}-\d\d-\d\d\. \*\*Status:\*\* "
    r"(Accepted|Proposed|Replaced by \[\d+\]\(\d{4}-[\w.-]+\))(, amended \d{4}-\d\d-\d\d)?\.\n"
)
ADR_PARTS = ("**Context.**", "**Decision.**", "**Consequences.**", "**We would change it if**")


def decisions(pages: Mapping[str, str], index: str) -> list[str]:
    """The decisions are numbered without gaps, listed in order, and have all their parts."""
    names = sorted(pages)
    wanted = [f"{number:04d}" for number in range(1, len(names) + 1)]
    complaints = [
        f"{name}: should be {number}" for name, number in zip(names, wanted, strict=True) if name[:4] != number
    ]
    if re.findall(r"\]\((\d{4}[^)]*)\)", index) != names:
        complaints.append("the index does not list them all in order")
    for name, text in pages.items():
        complaints += [f"{name}: {part} is missing" for part in ADR_PARTS if part not in text]
        if not text.startswith(f"# {int(name[:4])}. "):
            complaints.append(f"{name}: its title does not begin with its number")
        if not ADR_HEAD.search(text):
            complaints.append(f"{name}: has no line with its date and status below the title")
    return complaints


def said_commands(text: str) -> Iterator[str]:
    """Command lines in a text: in sessions, in shell scripts, and in code within sentences."""
    prose = text
    for kind, block in re.findall(r"(?ms)^```(\w*)\n(.*?)^```", text):
        prose = prose.replace(block, "")
        lines = block.splitlines()
        yield from (line for line in lines if kind == "sh" or not kind or line.startswith(("$ ", "# ")))
    yield from re.findall(r"`([^`\n]+)`", prose)


def invocations(text: str, real: Options) -> list[str]:
    """Each `jqsched COMMAND --option` that a page says to call exists; so does each `python3 dev.py COMMAND`."""
    complaints = []
    for line in said_commands(text):
        for called in re.findall(r"(?<![\w/.@-])jqsched ([a-z-]+)((?: (?!-- )[^|;)`&]*)?)", line):
            name, rest = called
            if any(other.startswith(f"{name} ") for other in real):
                second, _, rest = rest.strip().partition(" ")
                name, rest = f"{name} {second}".strip(), f" {rest}"
            if name not in real and name != "--version":
                complaints.append(f"jqsched {name}: no such command")
                continue
            given = re.findall(r"(?<= )--?[a-zA-Z][\w-]*", rest.split(" -- ")[0])
            complaints += [
                f"jqsched {name} {flag}: no such option" for flag in given if flag not in real.get(name, given)
            ]
        for name in re.findall(r"python3 dev\.py (\w+)", line):
            if name not in {*dev.KNOWN, "help"}:
                complaints.append(f"dev.py {name}: no such command")
    return complaints


def paths(text: str) -> list[str]:
    """Each path of the repository that stands in code exists."""
    named = re.findall(r"`((?:tests|jqsched|docs|spool)/[\w./-]*)`", text)
    complaints = [f"{path}: no such path" for path in named if not (ROOT / path).exists()]
    modules = re.findall(r"`((?:core|scheduler|adapters|runtime|client|cli|jobtap)/[\w/]+)(?:\.\w+)?`", text)
    return complaints + [
        f"{module}: no such module"
        for module in modules
        if not any((ROOT / "jqsched" / name).exists() for name in (f"{module}.py", module))
    ]


def named_tests(text: str) -> list[str]:
    """Each test that is named as `FILE::TEST` is there."""
    complaints = []
    for path, name in re.findall(r"\b(tests/[\w/.-]+\.py)::(\w+)", text):
        if not (ROOT / path).exists():
            complaints.append(f"{path}: no such file")
        elif not re.search(rf"(?m)^def {name}\(", read(ROOT / path)):
            complaints.append(f"{path}::{name}: no such test")
    return complaints


def weaknesses(text: str) -> list[str]:
    """W1 to W19 are all there once: in the table with tests, or below it with a reason why there is none."""
    table, _, below = text.partition("|---|---|---|---|\n")[2].partition("\n## ")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    complaints = [f"no test shows: {row[1]}" for row in rows if "::test_" not in row[-1]]
    named = [row[0] for row in rows] + re.findall(r"(?m)^\*\*(W\d+): ", below)
    wanted = [f"W{number}" for number in range(1, 20)]
    return complaints + [f"{one} is told {named.count(one)} times" for one in wanted if named.count(one) != 1]


# ---- the repository -----------------------------------------------------------------------------------------------

EXIT_CODES = {
    *(failure.OK, failure.INSIDE, failure.USAGE, failure.INVALID, failure.NO_JOB, failure.NOT_NOW),
    *(failure.NO_SCHEDULER, failure.IN_USE, failure.INTERRUPTED),
}
SETTINGS = [setting.name for setting in fields(Config)]
EVENTS = [*TRANSITIONS, "submit", "invalidate"]

COMMANDS_MD, JOB_FILE_MD, CONFIGURATION_MD, EVENTS_MD = (
    read(REFERENCE / name) for name in ("commands.md", "job-file.md", "configuration.md", "events.md")
)
WEAKNESSES_MD = read(DOCS / "explanation" / "ganeti-weaknesses.md")


def test_every_command_and_option_is_documented():
    assert not commands(COMMANDS_MD, options())


def test_every_exit_code_is_documented():
    assert not exit_codes(COMMANDS_MD, EXIT_CODES)


def test_every_key_of_a_job_s_document_is_documented():
    assert not json_keys(COMMANDS_MD, INFO_KEYS)


def test_every_key_of_the_job_file_is_documented():
    assert not job_file(JOB_FILE_MD, key_table()), key_table()


def test_every_setting_is_documented():
    assert not configuration(CONFIGURATION_MD, SETTINGS)


def test_every_event_is_documented():
    assert not events(EVENTS_MD, EVENTS)


def test_decisions_are_numbered_listed_and_whole():
    pages = {path.name: read(path) for path in (DOCS / "adr").glob("[0-9]*.md")}
    assert pages
    assert not decisions(pages, read(DOCS / "adr" / "README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_s_links_commands_and_paths_exist(page: Path):
    text = read(page)
    assert not [*links(page, text), *invocations(text, options()), *paths(text), *named_tests(text)]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_calls_a_command_that_exists(unit: Path):
    (line,) = re.findall(r"(?m)^ExecStart=\S*/(jqsched .*)$", read(unit))
    assert not invocations(f"`{line}`", options())


def test_every_weakness_of_ganeti_has_a_test_or_a_reason():
    assert not weaknesses(WEAKNESSES_MD)


def test_the_readme_has_a_session_and_the_two_commands():
    text = read(ROOT / "README.md")
    assert any(line.startswith("$ jqsched run") for line in said_commands(text))
    assert {"python3 dev.py demo", "python3 dev.py test"} <= set(re.findall(r"python3 dev\.py \w+", text))


# ---- the checks are tested ----------------------------------------------------------------------------------------

# what is checked, and by which replacement it goes wrong
DOCTORED: list[tuple[Callable[[str], list[str]], str, str, str]] = [
    (lambda text: commands(text, options()), COMMANDS_MD, "### jqsched drain", "### jqsched drian"),
    (lambda text: commands(text, options()), COMMANDS_MD, "`--since-seq N`", "`--since-sequence N`"),
    (lambda text: commands(text, options()), COMMANDS_MD, "`-a`, `--all`", "`--all`"),
    (lambda text: commands(text, options()), COMMANDS_MD, "`--store DIR`", "a store"),
    (lambda text: exit_codes(text, EXIT_CODES), COMMANDS_MD, "| 8 |", "| 7 |"),
    (lambda text: json_keys(text, INFO_KEYS), COMMANDS_MD, "| `attempt` |", "| attempt |"),
    (lambda text: job_file(text, key_table()), JOB_FILE_MD, "| `on_interrupt` | `", "| `on_interrupt` | never `"),
    (lambda text: configuration(text, SETTINGS), CONFIGURATION_MD, "| `grace_s` |", "| `grace` |"),
    (lambda text: events(text, EVENTS), EVENTS_MD, "| `requeue` | RUN |", "| again | RUN |"),
]


@pytest.mark.parametrize(
    ("check", "text", "good", "bad"), [pytest.param(*row, id=row[3].strip("# |`")) for row in DOCTORED]
)
def test_a_doctored_reference_is_noticed(check: Callable[[str], list[str]], text: str, good: str, bad: str):
    assert good in text, "the sample is out of date"
    assert not check(text)
    assert check(text.replace(good, bad))


@pytest.mark.parametrize(
    "text",
    [
        "`jqsched sumbit -- true`",
        "`jqsched jobs --al`",
        "```console\n$ jqsched frobnicate\n```",
        "```sh\nid=$(jqsched submit --nmae x -- true)\n```",
        "```console\n$ jqsched jobs --ids | xargs jqsched cancle\n```",
        "`python3 dev.py tset`",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(text: str):
    assert invocations(text, options())


@pytest.mark.parametrize(
    "text",
    [
        "jqsched is no command here",
        "`jqsched submit -- ls --all`",
        "```console\n$ jqsched jobs -a | sort --reverse\nno jqsched frobnicate in output\n```",
        "`jqsched.toml`, `bin/jqsched frobnicate`, `jqsched COMMAND`",
    ],
)
def test_what_is_no_call_is_let_be(text: str):
    assert not invocations(text, options())


@pytest.mark.parametrize("target", ["missing.md", "#no-such-heading", "reference/events.md#no-such-heading"])
def test_a_link_that_leads_nowhere_is_noticed(target: str):
    assert links(DOCS / "tutorial.md", f"# Heading\n[there]({target})")


@pytest.mark.parametrize(
    "target", ["tutorial.md", "#a-heading-jqsched-x", "reference/events.md#exceptions", "https://x/y"]
)
def test_a_link_that_leads_somewhere_is_let_be(target: str):
    assert not links(DOCS / "tutorial.md", f"# A heading: `jqsched x`\n[there]({target})")


def test_a_path_that_does_not_exist_is_noticed():
    assert paths("`tests/no/such.py`")
    assert paths("`core/no_such.name`")
    assert not paths("`core/event`, `adapters/store/schema`, `core/filters/`, `core/policy.select`")
    assert not paths("`tests/README.md`, `jqsched/core/`")


def test_a_test_that_does_not_exist_is_noticed():
    assert named_tests("`tests/no/such.py::test_it`")
    assert named_tests("`tests/architecture/test_docs.py::test_it`")
    assert named_tests("`tests/architecture/test_docs.py::test_a_test`"), "the beginning of a name is none"
    assert not named_tests("`tests/architecture/test_docs.py::test_a_test_that_does_not_exist_is_noticed`")


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("| W2 |", "| W1 |"),
        ("**W13: ", "**"),
        ("| W19 |", "| |"),
        ("py::test_an_end_overwrites_nothing_of_what_was", "py"),
    ],
)
def test_a_weakness_without_test_or_reason_is_noticed(good: str, bad: str):
    assert good in WEAKNESSES_MD, "the sample is out of date"
    assert weaknesses(WEAKNESSES_MD.replace(good, bad, 1))


GOOD_ADR = "# 1. Title\n\n**Date:** 2026-01-31. **Status:** Accepted.\n\n" + " ".join(ADR_PARTS)


@pytest.mark.parametrize(
    ("pages", "index"),
    [
        ({"0001-a.md": GOOD_ADR, "0003-b.md": GOOD_ADR.replace("# 1", "# 3")}, "[1](0001-a.md) [3](0003-b.md)"),
        ({"0001-a.md": GOOD_ADR}, ""),
        ({"0001-a.md": GOOD_ADR.replace(ADR_PARTS[3], "")}, "[1](0001-a.md)"),
        ({"0001-a.md": GOOD_ADR.replace("# 1.", "# 2.")}, "[1](0001-a.md)"),
        ({"0001-a.md": GOOD_ADR.replace("2026-01-31", "soon")}, "[1](0001-a.md)"),
        ({"0001-a.md": GOOD_ADR.replace("Accepted", "Good")}, "[1](0001-a.md)"),
    ],
    ids=["gap", "not listed", "part missing", "number in the title", "no date", "no status"],
)
def test_a_decision_out_of_order_is_noticed(pages: dict[str, str], index: str):
    assert decisions(pages, index)


def test_decisions_in_order_are_let_be():
    assert not decisions({"0001-a.md": GOOD_ADR}, "[1](0001-a.md)")
