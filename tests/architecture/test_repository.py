"""What must hold of the files around the package: lock, commands, examples; and that no machine shines through."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import dev

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

# --- the lock ----------------------------------------------------------------------------------------------------

NAMES_A_PLACE = re.compile(r"://|file:/|--(index|extra-index|find-links|trusted-host)|^[\w.-]+ *@|(?m:^-[ifc] )")


def test_the_lock_names_no_place():
    assert not NAMES_A_PLACE.search(LOCK)
    assert not re.search(r"(?m)(^|\s)/\w", LOCK), "a path of some machine"


@pytest.mark.parametrize(
    "line", ["--index-url https://x/", "-i x", "--find-links wheels", "a @ file:///a.whl", "--trusted-host x"]
)
def test_a_place_would_be_seen(line: str):
    assert NAMES_A_PLACE.search(line)


def test_every_pin_has_a_hash():
    for pin in re.split(r"(?m)^(?=[a-z0-9])", LOCK)[1:]:
        assert re.match(r"[\w.-]+==\S+ \\\n +--hash=sha256:[0-9a-f]{64}", pin), pin[:80]


def test_the_lock_has_all_that_the_project_asks_for():
    asked = [*PROJECT["dependencies"], *(name for extra in PROJECT["optional-dependencies"].values() for name in extra)]
    wanted = {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in asked}
    pinned = set(re.findall(r"(?m)^([\w.-]+)==", LOCK))
    assert wanted <= pinned, f"`python3 dev.py lock` was not run after a change: {sorted(wanted - pinned)}"


# --- the commands ------------------------------------------------------------------------------------------------


def test_the_readme_names_only_commands_that_exist():
    named = set(re.findall(r"python3 dev\.py (\w+)", (ROOT / "README.md").read_text("utf-8")))
    assert {"demo", "test"} <= named
    assert named <= {*dev.COMMANDS, "demo", "ci"}


def test_ci_runs_the_readmes_test_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    checks = re.findall(r"(?m)^check \d+ python3 dev\.py (\w+)$", script.read_text("utf-8"))
    assert checks == dev.CI
    assert checks[0] == "test"


def test_every_command_is_explained():
    for name in (*dev.COMMANDS, "demo", "ci"):
        assert re.search(rf"(?m)^  {name} ", dev.__doc__), name


# --- the examples ------------------------------------------------------------------------------------------------


def examples() -> dict[str, dict]:
    """The job files of spool/ by file name."""
    found = {path.name: json.loads(path.read_text("utf-8")) for path in (ROOT / "spool").glob("*.json")}
    return found | {path.name: tomllib.loads(path.read_text("utf-8")) for path in (ROOT / "spool").glob("*.toml")}


def test_the_examples_are_explained_and_nothing_else_lies_there():
    table = re.findall(r"(?m)^\| `([\w.]+)` \|", (ROOT / "spool" / "README.md").read_text("utf-8"))
    assert sorted(table) == sorted(examples())
    assert {path.name for path in (ROOT / "spool").iterdir()} == {*table, "README.md"}


def test_one_example_waits_for_a_name_that_comes_after_it():
    files = {job["name"]: name for name, job in examples().items()}
    assert any(files[job["name"]] < files[other] for job in examples().values() for other in job.get("after", []))


# --- no machine shines through -----------------------------------------------------------------------------------


def forbidden() -> re.Pattern[str]:
    """Absolute paths of the machines this was written on; put together, for this file is looked at too."""
    places = ["/wo" + "rk/", "/ro" + "ot/", "/opt/" + "wheels", "/opt/" + "pypi"]
    if len(ROOT.parts) > 2:
        places.append(f"{ROOT}/")
    return re.compile(r"(?<![\w.}>)~*-])(" + "|".join(map(re.escape, places)) + ")")


def files_of_the_repository() -> list[Path]:
    """Return the files that git tracks or would track."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no git, or not a clone: nothing says which files belong here")
    listing = [git, "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    return [ROOT / name for name in filter(None, names) if (ROOT / name).is_file()]


def test_no_file_names_a_path_of_this_machine():
    for path in files_of_the_repository():
        found = forbidden().search(path.read_text("utf-8", errors="replace"))
        assert not found, f"{path.relative_to(ROOT)}: {found[0]}"


def test_a_path_of_this_machine_would_be_seen():
    assert forbidden().search("cd /wo" + "rk/main")
    assert forbidden().search('"/ro' + 'ot/.cache"')
    assert not forbidden().search("tmp_path / 'x' # {tmp}/wo" + "rk/spool")


# --- what is cited can be opened ---------------------------------------------------------------------------------

DOCUMENT = re.compile(r"(?<![\w/.<{*-])((?:[\w-]+/)*[\w-]+\.md)(?![\w{*])(?!\.\w)")
ABBREVIATED = re.compile(r"\bJ" + r"M/\w+")  # the source folder of Flux's job manager, which a reader cannot look up


def absent_citations(text: str, page: Path) -> list[str]:
    """Return the documents that a text cites and that are neither beside it nor in the repository, nor in docs/."""
    prose = re.sub(r"\w+://\S+", "", text)
    places = (page.parent, ROOT, ROOT / "docs")
    cited = [name for name in DOCUMENT.findall(prose) if not any((place / name).exists() for place in places)]
    known = {path.name for path in ROOT.glob("docs/**/*.md")}
    return [name for name in cited if name not in known] + ABBREVIATED.findall(prose)


def test_documents_that_are_cited_are_in_the_repository():
    here = Path(__file__)
    for path in files_of_the_repository():
        if path.suffix in (".py", ".md", ".toml", ".yaml", ".yml") and path.parent != here.parent:
            assert not absent_citations(path.read_text("utf-8", errors="replace"), path), path.relative_to(ROOT)


@pytest.mark.parametrize(
    "text",
    ["Source: design.md section 5.", "flux.md 1 and 8", "(spec/ganeti.md section 5)", "`threats.md`", "Flux JM/kill.c"],
)
def test_a_citation_of_an_absent_document_is_noticed(text: str):
    assert absent_citations(text, ROOT / "jqsched" / "ports.py")


@pytest.mark.parametrize(
    "text",
    ["docs/reference/laws.md", "the page spool.md", "https://example.org/design.md", "RFC 21", "tests/README.md"],
)
def test_a_citation_that_can_be_opened_is_let_be(text: str):
    assert not absent_citations(text, ROOT / "jqsched" / "ports.py")
