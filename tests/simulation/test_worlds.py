"""The laws (docs/reference/laws.md) hold in seeded worlds with crashes, failed writes and lost executors."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jqsched.core import decide
from jqsched.testing.offline import tell_offline
from jqsched.testing.world import Tally, Violation, World
from jqsched.testing.worlds import main, tell, tell_all

ROOT = Path(__file__).resolve().parents[2]
SEEDS = range(100)
BACKOFF = 20_000  # 20 us are 0.4 s


@pytest.mark.parametrize("first", range(0, len(SEEDS), 25))
def test_the_laws_hold_in_every_story(first: int):
    """Also at the end, when nothing goes wrong any more: a job that is left waits for something."""
    breaches = [breach for _, breach in tell_all(SEEDS[first : first + 25]) if breach]
    assert not breaches, breaches[0]


def test_the_laws_hold_when_commands_act_without_a_scheduler():
    """Between the lives of schedulers, through the same code; some are killed on their way."""
    tallies, breaches = zip(*tell_offline(range(40)), strict=True)
    assert not any(breaches), next(filter(None, breaches))
    total = sum(tallies, Tally())
    assert total.crashes > 100
    assert total.answers > 50


def test_no_crash_ends_a_backoff_early_or_loses_it():
    """Delays of retries are longer than a step here, so that schedulers die and start in the middle of them."""
    boots = 0
    for seed in range(40):
        world = World(seed, backoff=BACKOFF).run().settle()
        boots += world.laws.backoffs_at_boot
    assert boots > 5, "a search that meets no backoff at a start proves nothing"


@pytest.mark.sweep
def test_the_laws_hold_in_very_many_stories():
    """Longer ones, and other ones than `python3 dev.py worlds` tells."""
    breaches = [breach for _, breach in tell_all(range(1_000_000, 1_020_000), 150, jobs=os.cpu_count() or 1) if breach]
    assert not breaches, breaches[0]


def test_the_stories_have_everything_in_them():
    """A search that meets no crash proves nothing about crashes."""
    total = sum((tally for tally, _ in tell_all(SEEDS)), Tally())
    assert total.seeds == len(SEEDS)
    assert total.crashes > 100
    assert total.power_cuts > 20
    assert total.failed_writes > 10
    assert total.executor_losses > 50
    assert total.interruptions > 50
    assert total.answers > 200
    assert total.finished > 500
    assert total.accepted > total.finished  # held, or waiting for what does not come
    assert total.attempts > 300


TELL = """
import sys
from jqsched.testing.world import World
for seed in range(8):
    sys.stdout.write(World(seed).run(80).settle().journal())
"""


def told_with(hash_seed: str) -> bytes:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", TELL], env=environment, capture_output=True, check=True, cwd=ROOT)
    return done.stdout


def test_a_seed_gives_the_same_journal_to_the_byte():
    """In this process and in others, whatever the hash seed; another seed gives another."""
    here = "".join(World(seed).run(80).settle().journal() for seed in range(8)).encode()
    assert here.count(b"\n") > 200
    digests = {hashlib.sha256(told).hexdigest() for told in (here, told_with("0"), told_with("4242"))}
    assert len(digests) == 1
    assert World(1).run(80).journal() != World(2).run(80).journal()


def test_a_story_may_be_told_in_parts():
    """Eighty steps are eighty steps."""
    assert World(3).run(30).run(50).journal() == World(3).run(80).journal()


def test_a_breach_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch):
    """Seed and step are in the first line, and lead there again; below it, a line for each thing that happened."""
    monkeypatch.setattr(decide, "_back_to_queue", lambda fold, job: None)
    breaches = [breach for _, breach in tell_all(range(40)) if breach]
    assert breaches
    first, _, *story = breaches[0].splitlines()
    call, _, what = first.partition(": ")
    assert what
    assert len(story) > 5
    with pytest.raises(Violation, match="step") as again:
        eval(call)
    assert str(again.value) == breaches[0]


def test_the_command_tells_a_range_and_fails_when_a_law_is_broken(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """One table of figures; the status is 1 for one breach in many."""
    assert main(["--seeds", "3", "--from", "5", "--steps", "20", "--jobs", "1"]) == 0
    table = dict(line.rsplit(None, 1) for line in capsys.readouterr().out.splitlines())
    assert (table["seeds"], table["steps"], table["violations"]) == ("3", "60", "0")
    monkeypatch.setattr(decide, "_back_to_queue", lambda fold, job: None)
    assert main(["--seeds", "40", "--jobs", "1", "--show", "1"]) == 1
    assert "The story so far:" in capsys.readouterr().out


def test_stories_do_not_depend_on_one_another():
    """The same figures, alone or after another."""
    tell(7)
    assert tell(8) == list(tell_all([7, 8]))[1]


# ---- plugins ------------------------------------------------------------------------------------------------------

BUSY = str(Path(__file__).resolve().parents[1] / "data" / "plugins" / "busy.py")


def test_the_laws_hold_while_a_plugin_has_something_to_say_to_everything():
    """Late priorities, dependencies, prologs, epilogs, exceptions, faults of its own, and every crash beside them."""
    total = Tally()
    for seed in range(60):
        total += World(seed, (BUSY,)).run().settle().result()
    assert total.finished > 300
    assert total.crashes > 50


def test_the_laws_hold_while_a_plugin_only_looks_on(tmp_path: Path):
    """Deciding in stages is deciding."""
    path = tmp_path / "looks.py"
    path.write_text("def plugin_init(p):\n    p.add_handler('job.*', lambda *_: None)\n")
    path.chmod(0o600)
    for seed in range(60):
        World(seed, (str(path),)).run().settle()


@pytest.mark.sweep
def test_the_laws_hold_in_many_stories_with_a_busy_plugin():
    """Longer, and other ones."""
    for seed in range(1_000, 3_000):
        World(seed, (BUSY,)).run(150).settle()
