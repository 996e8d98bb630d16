#!/usr/bin/env python3
"""Every command of a developer's day: `python3 dev.py COMMAND [ARGUMENTS FOR THE TOOL]`.

Needs nothing but Python 3.11 with pip. The tools live in `.venv` (or where JQSCHED_VENV says), made from
requirements.lock at the first command and brought up to date whenever the lock or pyproject.toml changed.

  demo      run the example jobs in a copy of spool/
  test      the tests, on all cores (HYPOTHESIS_PROFILE=dev|ci|nightly)
  lint      ruff: format and rules
  types     mypy
  layers    import-linter: who may import whom
  ci        test, lint, types and layers, all of them, whatever fails
  sweep     the long searches that `test` leaves out
  bench     the benchmarks
  lock      write requirements.lock anew from pyproject.toml, on Python 3.11 (--upgrade: with newer pins)
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

if sys.version_info < (3, 11):  # before the first line that an older Python does not understand
    sys.exit("dev.py: needs Python 3.11 or newer, this is " + sys.version.split()[0])

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("JQSCHED_VENV") or ROOT / ".venv").absolute()
BIN = VENV / "bin"
PYTHON = BIN / "python"
LOCK = ROOT / "requirements.lock"

Steps = list[list[str | Path]]
COMMANDS: dict[str, Steps] = {
    "test": [[PYTHON, "-m", "pytest", "-n", "auto"]],
    "lint": [[BIN / "ruff", "format", "--check", "."], [BIN / "ruff", "check", "."]],
    "types": [[PYTHON, "-m", "mypy"]],
    "layers": [[BIN / "lint-imports"]],
    "sweep": [[PYTHON, "-m", "pytest", "-n", "auto", "-m", "sweep", "--timeout", "7200"]],
    "bench": [[PYTHON, "benchmarks/run.py"]],
    "lock": [
        [
            *(BIN / "pip-compile", "--quiet", "--generate-hashes", "--allow-unsafe", "--strip-extras", "--extra=dev"),
            *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-emit-options"),
            *("--output-file", LOCK.name, "pyproject.toml"),
        ]
    ],
}
CI = ["test", "lint", "types", "layers"]
ENVIRONMENT = {
    "sweep": {"HYPOTHESIS_PROFILE": "nightly"},
    "lock": {"CUSTOM_COMPILE_COMMAND": "python3 dev.py lock"},  # the header names this, and no path of this machine
}


def say(text: str) -> None:
    """Tell the developer, in the right order with what the tools print."""
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


def run(*command: str | Path, **environment: str) -> int:
    """Run a command at the top of the repository; its exit status, 128 + N if signal N ended it."""
    status = subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=False).returncode
    return status if status >= 0 else 128 - status


def must(what: str, *command: str | Path) -> None:
    """Run a command without which nothing else makes sense."""
    if run(*command):
        sys.exit(f"dev.py: {what} failed (see above)")


def environment_ready() -> None:
    """Make VENV what requirements.lock and pyproject.toml say, unless it is already."""
    inputs = [str(ROOT).encode(), LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes()]
    wanted = hashlib.sha256(b"\0".join(inputs)).hexdigest()
    stamp = VENV / "jqsched.stamp"
    VENV.mkdir(parents=True, exist_ok=True)
    with (VENV / "jqsched.lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
            return
        stamp.unlink(missing_ok=True)
        say(f"installing requirements.lock into {VENV}")
        have_pip = PYTHON.exists() and (VENV / "pyvenv.cfg").exists() and run(PYTHON, "-c", "import pip") == 0
        if not have_pip:
            try:
                import ensurepip  # noqa: F401, PLC0415  # a Debian Python without python3-venv does not have it
            except ImportError:
                sys.exit("dev.py: this Python cannot make environments (no ensurepip): install python3-venv")
            must("making the environment", sys.executable, "-m", "venv", VENV)
        pip = (PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        must("installing requirements.lock", *pip, "--require-hashes", "--requirement", LOCK)
        must("installing jqsched", *pip, "--no-deps", "--no-build-isolation", "--editable", ROOT)
        stamp.write_text(wanted)


def demo() -> int:
    """Run the example jobs in a private copy of spool/, and list them."""
    os.umask(0o077)
    spool = Path(tempfile.mkdtemp(prefix="jqsched-demo-"))
    for example in sorted((ROOT / "spool").iterdir()):
        if example.is_file():
            shutil.copyfile(example, spool / example.name)
    say(f"jqsched run --spool {spool} --exit-when-idle")
    ran = run(BIN / "jqsched", "run", "--spool", spool, "--exit-when-idle")
    say(f"jqsched jobs -a --spool {spool}")
    listed = run(BIN / "jqsched", "jobs", "-a", "--spool", spool)
    say(f"the spool is {spool}: look at output/, ask `{BIN / 'jqsched'} show 1 --spool {spool}`, delete it when done")
    return ran or listed


def perform(name: str, arguments: list[str]) -> int:
    """Run all steps of a command; the first bad exit status, or 0."""
    statuses = [run(*step, *arguments, **ENVIRONMENT.get(name, {})) for step in COMMANDS[name]]
    return next(filter(None, statuses), 0)


def main(arguments: list[str]) -> int:
    """Do what the command line says; 2 if it says nothing that is known."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    if name in ("help", "-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    if name not in (*COMMANDS, "ci", "demo"):
        say(f"no command {name!r}; there are demo, ci, {', '.join(COMMANDS)}")
        return 2
    if rest and name in ("ci", "demo"):
        say(f"{name} takes no arguments")
        return 2
    environment_ready()
    if name == "demo":
        return demo()
    if name != "ci":
        return perform(name, rest)
    failed = [part for part in CI if perform(part, [])]
    say(f"failed: {', '.join(failed)}" if failed else f"all good: {', '.join(CI)}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
