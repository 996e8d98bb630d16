"""Make a release: `python3 dev.py release VERSION`. Docs: docs/howto/release.md.

In: a clean clone whose CHANGELOG.md has entries under "Unreleased". Out: the version and the dated changelog in one
commit, its tag, and an sdist and a wheel in dist/ that were installed and run in fresh environments. Nothing is
pushed or uploaded. Rule: what fails leaves the clone as it was. With `--check` nothing is committed or tagged.
"""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VERSION_FILE = ROOT / "jqsched" / "__init__.py"
CHANGELOG = ROOT / "CHANGELOG.md"
DIST = ROOT / "dist"

VERSION = re.compile(r"\d+\.\d+\.\d+")
VERSION_LINE = re.compile(r'(?m)^__version__ = "(.*)"$')
UNRELEASED = "## [Unreleased]\n"
IN_THE_SDIST = (
    "dev.py",
    "requirements.lock",
    "CHANGELOG.md",
    "tests/README.md",
    "docs/guarantees.md",
    "spool/README.md",
)


class NotReady(Exception):
    """What stands in the way of a release, in a line."""


def with_version(text: str, version: str) -> str:
    """Return the version file with the new version; it must be higher than the present one."""
    present = VERSION_LINE.search(text)
    if present is None:
        raise NotReady(f'{VERSION_FILE.name}: has no line __version__ = "…"')
    if not VERSION.fullmatch(version):
        raise NotReady(f"{version}: a version is three numbers, such as 0.2.0")
    if numbers(version) <= numbers(present[1]):
        raise NotReady(f"{version}: not higher than the present version, {present[1]}")
    return VERSION_LINE.sub(f'__version__ = "{version}"', text)


def numbers(version: str) -> list[int]:
    """Return the parts of a version, for comparison."""
    return [int(part) for part in version.split(".")]


def with_release(text: str, version: str, day: str) -> str:
    """Return the changelog with what is unreleased under a dated version, and "Unreleased" empty above it."""
    before, heading, after = text.partition(UNRELEASED)
    entries = after.partition("\n## ")[0]
    if not heading or not re.search(r"(?m)^- ", entries):
        raise NotReady("CHANGELOG.md: nothing stands under [Unreleased]")
    if f"## [{version}]" in text:
        raise NotReady(f"CHANGELOG.md: has {version} already")
    return f"{before}{heading}\n## [{version}] - {day}\n{after}"


def run(*command: str | Path) -> str:
    """Say and run a command at the top of the clone, and return its output; its failure stops the release."""
    print("release:", *command, file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotReady(f"{' '.join(map(str, command))}: failed\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def check_clone(version: str) -> None:
    """Refuse a clone with changes that are in no commit, another branch than main, or a tag that is taken."""
    if run("git", "status", "--porcelain"):
        raise NotReady("commit or stash your changes first")
    branch = run("git", "rev-parse", "--abbrev-ref", "HEAD").strip()
    if branch != "main":
        raise NotReady(f"releases are made on main, this is {branch}")
    if run("git", "tag", "--list", f"v{version}"):
        raise NotReady(f"the tag v{version} is there already")


def build() -> list[Path]:
    """Make sdist and wheel in dist/, alone there."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "hatchling", "build", "--directory", DIST)
    return sorted(DIST.iterdir())


def try_out(packages: Sequence[Path], version: str) -> None:
    """Install each package into a fresh environment, and run a job there with nothing of the clone in sight."""
    with tempfile.TemporaryDirectory(prefix="jqsched-release-") as scratch:
        environment = Path(scratch, "venv")
        run(sys.executable, "-m", "venv", environment)
        python, jqsched = environment / "bin" / "python", environment / "bin" / "jqsched"
        pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
        run(*pip, "install", "--require-hashes", "--requirement", ROOT / "requirements.lock")
        for package in packages:
            run(*pip, "install", "--no-deps", "--no-build-isolation", package)
            run_a_job(jqsched, package, version, spool=Path(scratch, package.name))
            run(*pip, "uninstall", "--yes", "jqsched")


def run_a_job(jqsched: Path, package: Path, version: str, *, spool: Path) -> None:
    """Refuse a package whose command says another version, or does not run a job."""
    shown = run(jqsched, "--version").split()
    if version not in shown:
        raise NotReady(f"{package.name}: `jqsched --version` says {' '.join(shown)}")
    spool.mkdir(mode=0o700)
    run(jqsched, "submit", "--spool", spool, "--", "echo", "released")
    run(jqsched, "run", "--spool", spool, "--exit-when-idle")
    if run(jqsched, "log", "1", "--spool", spool) != "released\n":
        raise NotReady(f"{package.name}: a job did not write what it should")


def check_sdist(sdist: Path) -> None:
    """Refuse an sdist from which nobody could work on."""
    names = set(run("tar", "--list", "--file", sdist).splitlines())
    folder = sdist.name.removesuffix(".tar.gz")
    missing = [name for name in IN_THE_SDIST if f"{folder}/{name}" not in names]
    if missing:
        raise NotReady(f"{sdist.name}: lacks {', '.join(missing)}")


def release(version: str, *, only_check: bool) -> str:
    """Make or check a release; return what to do next."""
    if not only_check:
        check_clone(version)
    before = {path: path.read_text("utf-8") for path in (VERSION_FILE, CHANGELOG)}
    day = datetime.now(tz=UTC).date().isoformat()
    after = {
        VERSION_FILE: with_version(before[VERSION_FILE], version),
        CHANGELOG: with_release(before[CHANGELOG], version, day),
    }
    done = False
    try:
        for path, text in after.items():
            path.write_text(text, "utf-8")
        packages = build()
        check_sdist(next(package for package in packages if package.name.endswith(".tar.gz")))
        try_out(packages, version)
        if not only_check:
            run("git", "commit", "--quiet", "--message", f"Release {version}", VERSION_FILE, CHANGELOG)
            run("git", "tag", "--annotate", f"v{version}", "--message", f"jqsched {version}")
            done = True
    finally:
        if not done:
            for path, text in before.items():
                path.write_text(text, "utf-8")
    built = ", ".join(package.name for package in packages)
    if only_check:
        return f"{version} can be released; built and tried out: {built}"
    return f"{version} is committed and tagged; in dist/: {built}\nnow: git push origin main v{version}"


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; 2 if it names no version, 1 if something stands in the way."""
    versions = [argument for argument in arguments if argument != "--check"]
    if len(versions) != 1:
        print("dev.py release: name one version: python3 dev.py release VERSION [--check]", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the clone is put back
    try:
        print(release(versions[0], only_check="--check" in arguments))
    except (NotReady, OSError) as problem:
        print(f"dev.py release: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
