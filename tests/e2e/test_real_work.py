"""A real piece of work under fire: 210 jobs, ten times kill -9, and every job ran exactly once."""

import importlib.util
import os
import signal
from collections import Counter
from pathlib import Path
from types import ModuleType

from tests.e2e.conftest import Daemon, until

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "stdlib_checksums.py"
JOBS, KILLS, VICTIMS = 205, 10, 4


def _example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stdlib_checksums", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _expected(results: Path) -> str:
    sums = [tuple(map(int, path.read_text().split())) for path in results.glob("*.sum")]
    return f"{len(sums)} {sum(size for _, size in sums)} {sum(check for check, _ in sums)}\n"


def test_ten_kills_lose_nothing_and_run_nothing_twice(daemon: Daemon, tmp_path: Path) -> None:
    """Some jobs end while the scheduler is down, some are killed by a signal; the sum is right all the same."""
    work = tmp_path / "work"
    names = _example().make_jobs(work, JOBS)
    for number in range(VICTIMS):  # these are to die by a signal while no scheduler runs
        script = f"echo victim-{number} 1 >> {work}/ran; echo $$ > {work}/victim-{number}; exec sleep 60"
        daemon.drop(f"victim-{number}.json", {"name": f"victim-{number}", "script": script, "urgency": 24 - number * 5})
    files = sorted((work / "drop").iterdir())
    for file in files[: len(files) // 2]:
        file.rename(daemon.spool / file.name)
    daemon.start("--max-running", "2")
    for file in files[len(files) // 2 :]:
        file.rename(daemon.spool / file.name)
    for kill in range(1, KILLS + 1):
        goal = kill * JOBS // (KILLS + 3)
        until(lambda goal=goal: _release_victims(daemon, work) or _finished(daemon) >= goal, f"{goal} jobs")
        daemon.kill()
        _kill_victims(work)
        daemon.start("--max-running", "2")
    until(lambda: _release_victims(daemon, work) or _finished(daemon) == JOBS + VICTIMS + 1, "the end")
    ran = Counter(line.split()[0] for line in (work / "ran").read_text().splitlines())
    assert ran == dict.fromkeys([*names, "sum", *(f"victim-{number}" for number in range(VICTIMS))], 1)
    jobs = daemon.jobs()
    assert {jobs[name].status for name in [*names, "sum"]} == {0}
    assert {jobs[f"victim-{number}"].status for number in range(VICTIMS)} == {(128 + signal.SIGKILL) << 8}
    output = daemon.spool / "output" / f"{jobs['sum'].id}.log"
    assert output.read_text() == _expected(work / "results")
    assert daemon.command("check-spool").returncode == 0


def _finished(daemon: Daemon) -> int:
    return sum(job.t_inactive_us > 0 for job in daemon.jobs().values())


def _release_victims(daemon: Daemon, work: Path) -> bool:
    """Where only victims run, and hold both slots or are the last: kill them (under the scheduler's eyes then)."""
    live = [job for job in daemon.jobs().values() if not job.t_inactive_us]
    running = [job for job in live if job.started]
    stuck = len(running) == min(2, len(live)) > 0
    if stuck and all(job.spec.name.startswith("victim") for job in running):
        _kill_victims(work)
    return False


def _kill_victims(work: Path) -> None:
    for file in work.glob("victim-*"):
        text = file.read_text().strip()
        if text:
            os.kill(int(text), signal.SIGKILL)
            file.unlink()
