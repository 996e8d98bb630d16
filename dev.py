#!/usr/bin/env python3
"""Every command of a developer's day: `python3 dev.py COMMAND [ARGUMENTS FOR THE TOOL]`.

Needs nothing but Python 3.11 with pip. The tools live in `.venv` (or where JQSCHED_VENV says), made from
requirements.lock at the first command and brought up to date whenever the lock or pyproject.toml changed.

  demo      run the example jobs in a copy of spool/
  test      the tests, on all cores (HYPOTHESIS_PROFILE=dev|ci|nightly)
  lint      ruff: format and rules
  types     mypy
  layers    import-linter: which module may import which
  ci        test, lint, types and layers, all of them, whatever fails
  sweep     the long searches that `test` leaves out
  machine   100,000 histories of the queue beside its naive model: a part of `sweep`
  worlds    seeded stories of the whole scheduler with crashes: 10,000 of them (--seeds N --from SEED)
  night     all long searches with a fresh seed, and one table of what they found: some hours (--scale F --only PART,…)
  bench     the benchmarks; `bench core`, `clients`, `lists` or `followers` for those of the queue, of the Python
            interface, of job lists, and of readers beside a busy scheduler
  mutants   mutmut: change the core in small ways and list the changes that no test notices (some, by pattern, or all in
            half an hour; docs/explanation/mutants.md)
  release   version, dated changelog, packages tried out in fresh environments, commit and tag (VERSION [--check];
            docs/howto/release.md)
  lock      write requirements.lock anew from pyproject.toml, and requirements-mutants.lock, on Python 3.11 (--upgrade:
            with newer pins)
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
MUTANTS_VENV = VENV.with_name(f"{VENV.name}-mutants")
MUTANTS_LOCK = ROOT / "requirements-mutants.lock"
MUTMUT = MUTANTS_VENV / "bin" / "mutmut"

Steps = list[list[str | Path]]
PIP_COMPILE: list[str | Path] = [
    *(BIN / "pip-compile", "--quiet", "--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-emit-index-url"),
    *("--no-emit-find-links", "--no-emit-trusted-host", "--no-emit-options"),
]
SWEEP: list[str | Path] = [PYTHON, "-m", "pytest", "-n", "auto", "-m", "sweep", "--timeout", "7200"]
COMMANDS: dict[str, Steps] = {
    "test": [[PYTHON, "-m", "pytest", "-n", "auto", "--dist", "worksteal"]],
    "lint": [[BIN / "ruff", "format", "--check", "."], [BIN / "ruff", "check", "."]],
    "types": [[PYTHON, "-m", "mypy"]],
    "layers": [[BIN / "lint-imports"]],
    "sweep": [SWEEP],
    "machine": [[*SWEEP, "tests/core/test_queue_machine.py"]],
    "night": [[PYTHON, "-m", "tests.night"]],
    "worlds": [[PYTHON, "-m", "jqsched.testing.world", "--seeds", "10000"]],
    "mutants": [[MUTMUT, "run"]],
    "release": [[PYTHON, "release.py"]],
    "lock": [
        [*PIP_COMPILE, "--extra=dev", "--output-file", LOCK.name, "pyproject.toml"],
        [*PIP_COMPILE, "--constraint", LOCK.name, "--output-file", MUTANTS_LOCK.name, "requirements-mutants.in"],
    ],
}
CI = ["test", "lint", "types", "layers"]
KNOWN = ("demo", "ci", "bench", *COMMANDS)
ENVIRONMENT = {
    "sweep": {"HYPOTHESIS_PROFILE": "nightly"},
    "machine": {"HYPOTHESIS_PROFILE": "nightly"},
    "mutants": {"HYPOTHESIS_PROFILE": "mutants"},
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


def environment_ready(venv: Path = VENV, *locks: Path) -> None:
    """Make an environment what its locks (requirements.lock if none) and pyproject.toml say, unless it is already."""
    locks, python = locks or (LOCK,), venv / "bin" / "python"
    inputs = [str(ROOT).encode(), *(lock.read_bytes() for lock in locks), (ROOT / "pyproject.toml").read_bytes()]
    wanted = hashlib.sha256(b"\0".join(inputs)).hexdigest()
    stamp = venv / "jqsched.stamp"
    venv.mkdir(parents=True, exist_ok=True)
    with (venv / "jqsched.lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if python.exists() and stamp.exists() and stamp.read_text() == wanted:
            return
        stamp.unlink(missing_ok=True)
        names = " and ".join(lock.name for lock in locks)
        say(f"installing {names} into {venv}")
        have_pip = python.exists() and (venv / "pyvenv.cfg").exists() and run(python, "-c", "import pip") == 0
        if not have_pip:
            try:
                import ensurepip  # noqa: F401, PLC0415  # a Debian Python without python3-venv does not have it
            except ImportError:
                sys.exit("dev.py: this Python cannot make environments (no ensurepip): install python3-venv")
            must("making the environment", sys.executable, "-m", "venv", venv)
        pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        from_locks = [argument for lock in locks for argument in ("--requirement", lock)]
        must(f"installing {names}", *pip, "--require-hashes", *from_locks)
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


def bench(arguments: list[str]) -> int:
    """Run one of the benchmarks: the one that is named first, else the main one."""
    name, *rest = arguments if arguments and not arguments[0].startswith("-") else ["run", *arguments]
    if not (ROOT / "benchmarks" / f"{name}.py").exists():
        say(f"no benchmark {name!r}; there are {', '.join(sorted(file.stem for file in ROOT.glob('benchmarks/*.py')))}")
        return 2
    return run(PYTHON, f"benchmarks/{name}.py", *rest)


def mutants(patterns: list[str]) -> int:
    """Test the mutants of the core whose names match, or all of them anew, and list those that no test killed."""
    environment_ready(MUTANTS_VENV, LOCK, MUTANTS_LOCK)
    if not patterns:  # what was found out with other tests is worth nothing
        shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    ran = perform("mutants", patterns)
    listed = subprocess.run([MUTMUT, "results"], cwd=ROOT, capture_output=True, text=True, check=False)
    left = [line.strip() for line in listed.stdout.splitlines() if not line.endswith(": not checked")]
    print("\n".join([*left, f"{len(left)} left; look at one with `{MUTMUT} show NAME`"]))
    return ran or listed.returncode


def main(arguments: list[str]) -> int:
    """Do what the command line says; 2 if it says nothing that is known."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    if name in ("help", "-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    if name not in KNOWN:
        say(f"no command {name!r}; there are {', '.join(KNOWN)}")
        return 2
    if rest and name in ("ci", "demo"):
        say(f"{name} takes no arguments")
        return 2
    if name == "mutants":
        return mutants(rest)
    environment_ready()
    if name == "demo":
        return demo()
    if name == "bench":
        return bench(rest)
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
