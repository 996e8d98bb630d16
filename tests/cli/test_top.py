"""`top`: what a moment is made of, what the screen shows of it, and what each key does."""

import contextlib
import json
import re
import sqlite3

import pytest
from rich.cells import cell_len

from jqsched.cli import top as looking
from jqsched.cli.target import Place, reading
from jqsched.cli.terminal import keys_of
from jqsched.cli.top_screen import Board
from tests.cli.conftest import COMPLETED, QUEUED, STARTED, FakeScheduler, SpoolMaker

NOW_US = 2_000_000_000_000_000


def taken(spool: SpoolMaker):
    where = Place(str(spool.root), str(spool.root))
    with reading(where) as reader:
        return looking.take(where, reader)


class Screen:
    """A board on a spool, what it asked for, and its lines."""

    def __init__(self, spool: SpoolMaker, width: int = 100, height: int = 24) -> None:
        self.spool, self.width, self.height = spool, width, height
        self.asked: list[tuple[str, int]] = []
        self.board = Board(taken(spool), self._act, lambda job: [f"about {job.id}", *(f"line {n}" for n in range(40))])

    def _act(self, topic: str, job) -> str:
        self.asked.append((topic, job.id))
        return f"{topic} is done"

    def press(self, *keys: str) -> "Screen":
        for key in keys:
            self.board.press(key)
        return self

    def look(self) -> "Screen":
        self.board.show(taken(self.spool))
        return self

    @property
    def text(self):
        return self.board.text(self.width, self.height, NOW_US)

    @property
    def lines(self) -> list[str]:
        return self.text.plain.split("\n")

    @property
    def listed(self) -> list[int]:
        """The ids in the list."""
        return [int(found[1]) for line in self.lines if (found := re.match(r" *(\d+)  ", line))]

    @property
    def selected(self) -> int:
        """The id in the line that stands out."""
        text = self.text
        (span,) = [span for span in text.spans if span.style == "reverse"]
        return int(text.plain[span.start : span.end].split()[0])


# --- one moment ----------------------------------------------------------------------------------------------------


def test_once_it_is_lines_on_no_terminal(spool: SpoolMaker, scheduler: FakeScheduler):
    spool.add(*COMPLETED)
    spool.add(*STARTED, name="run", cores=3, time_limit_us=10**15)
    spool.add(*QUEUED, name="queued", cores=2)
    spool.add(*QUEUED[:2], ("dependency-add", {"description": "after-success=2"}), name="after")
    code, out, err = spool.run("top")
    assert (code, err) == (0, "")
    served, taken_, header, *rows = out.splitlines()
    assert served == f"scheduler pid 4711  {spool.root}"
    assert taken_ == "slots 1/2  cores 3/4  1 running, 2 pending, 1 finished"
    assert header.split() == ["ID", "NAME", "STATE", "URG", "PRIORITY", "TIME", "LEFT", "CORES", "REMARK"]
    assert [row.split()[:5] for row in rows] == [
        ["2", "run", "RUN", "16", "16"],
        ["3", "queued", "SCHED", "16", "16"],
        ["4", "after", "DEPEND", "16", "-"],
    ]
    assert rows[0].split()[6:] == [rows[0].split()[6], "3"]
    assert "cores" in rows[1]
    assert "after-success=2" in rows[2]
    assert spool.run("top", "--once")[1].splitlines()[2:3] == [header]


def test_as_json_it_is_one_document(spool: SpoolMaker, scheduler: FakeScheduler):
    spool.add(*STARTED, name="run", cores=3, time_limit_us=10**15)
    spool.add(*QUEUED)
    spool.add(*COMPLETED)
    told = json.loads(spool.run("top", "--json")[1])
    assert told["schema"] == "jqsched.top/1"
    assert told["scheduler"]["pid"] == 4711
    assert (told["slots"], told["cores"]) == ({"used": 1, "limit": 2}, {"used": 3, "limit": 4})
    assert told["counts"] == {"running": 1, "pending": 1, "finished": 1}
    run, queued = told["jobs"]
    assert (run["id"], run["state"], run["ncores"], queued["id"]) == (1, "RUN", 3, 2)
    assert run["t_remaining"] > 0
    assert (queued["t_remaining"], queued["runtime"], queued["priority"]) == (None, 0.0, 16)
    assert json.loads(spool.run("top", "--json", "--once")[1])["jobs"][0]["id"] == 1


def test_without_a_scheduler_it_says_so(spool: SpoolMaker):
    assert spool.run("top")[1].startswith("no scheduler: nothing is started  ")
    assert spool.run("submit", "true")[0] == 0
    assert spool.run("drain")[0] == 0
    told = json.loads(spool.run("top", "--json")[1])
    assert (told["scheduler"], told["drained"], told["slots"]) == (None, True, {"used": 0, "limit": None})
    assert told["jobs"][0]["remark"] == ""
    assert "drained: nothing is started" in spool.run("top")[1].splitlines()[0]


def test_warnings_are_shown(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["status"]["warnings"] = ["jqsched.toml: \x1b bad"]
    assert "warning: jqsched.toml: \\x1b bad\n" in spool.run("top")[1]


def test_of_many_that_wait_the_first_are_listed(spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch):
    monkeypatch.setattr(looking, "LISTED_MAX", 2)
    for _ in range(2):
        spool.add(*STARTED)
    for _ in range(3):
        spool.add(*QUEUED)
    told = json.loads(spool.run("top", "--json")[1])
    assert [job["id"] for job in told["jobs"]] == [2, 1, 3, 4]
    assert (told["unlisted"], told["counts"]["pending"]) == (1, 3)
    assert spool.run("top")[1].endswith("\n… and 1 more\n")
    assert Screen(spool).lines[7] == "… and 1 more"


# --- the list ------------------------------------------------------------------------------------------------------


def test_keys_move_and_stop_at_the_ends(spool: SpoolMaker):
    for _ in range(15):
        spool.add(*QUEUED)
    screen = Screen(spool)
    assert screen.selected == 1
    for keys, wanted in [("jj", 3), ("k", 2), (["down"], 3), (["up", "up", "up"], 1), (["page down"], 11)]:
        assert screen.press(*keys).selected == wanted
    for key, wanted in [("end", 15), ("j", 15), ("page up", 5), ("home", 1), ("k", 1)]:
        assert screen.press(key).selected == wanted


@pytest.mark.parametrize("height", [24, 10, 6, 5])
def test_who_is_selected_is_on_the_screen(spool: SpoolMaker, height: int):
    for _ in range(30):
        spool.add(*QUEUED)
    screen = Screen(spool, height=height)
    for wanted, key in [*((n, "j") for n in range(1, 30)), *((n, "k") for n in range(30, 0, -1))]:
        assert screen.selected == wanted
        assert wanted in screen.listed
        assert len(screen.lines) == height
        screen.press(key)


@pytest.mark.parametrize("height", [1, 2, 3, 4])
def test_a_screen_too_small_is_cut(spool: SpoolMaker, height: int):
    spool.add(*QUEUED)
    assert len(Screen(spool, height=height).lines) == height
    assert len(Screen(spool, height=height).press("enter").lines) == height


def test_an_empty_spool_has_no_job_to_act_on(spool: SpoolMaker):
    screen = Screen(spool).press("j", "k", "c", "h", "enter", "end", "?")
    assert (screen.listed, screen.asked, screen.board.is_over) == ([], [], False)
    assert screen.press("q").board.is_over


def test_the_selection_goes_with_its_job(spool: SpoolMaker):
    for _ in range(3):
        spool.add(*QUEUED)
    screen = Screen(spool).press("j")
    spool.add(("urgency", {"urgency": 31, "userid": 0}), ("priority", {"priority": 2**32 - 1}), id_=3)
    assert screen.look().listed == [3, 1, 2]
    assert screen.selected == 2
    spool.add(*COMPLETED[3:], id_=2)
    assert screen.look().listed == [3, 1]
    assert screen.selected == 1, "he is gone: whoever is in his place, or the last"


def test_a_wide_name_keeps_the_columns(spool: SpoolMaker):
    spool.add(*QUEUED, name="漢字")
    spool.add(*QUEUED, name="x" * 100)
    _, _, header, first, second, *_ = Screen(spool, width=200).lines
    columns = [cell_len(line.partition(word)[0]) for line, word in [(header, "STATE"), (first, "SC"), (second, "SC")]]
    assert len(set(columns)) == 1


# --- keys that do something ----------------------------------------------------------------------------------------


def test_cancel_asks_and_only_y_cancels(spool: SpoolMaker):
    spool.add(*QUEUED, name="one")
    spool.add(*QUEUED)
    screen = Screen(spool)
    for key in ("n", "q", "enter", "c", "escape"):
        assert screen.press("c").lines[-1].startswith("cancel job 1 one?")
        assert screen.press(key).lines[-1] == "not canceled"
        assert (screen.asked, screen.board.is_over) == ([], False)
    assert screen.press("c", "y").lines[-1] == "cancel is done"
    assert screen.asked == [("cancel", 1)]


def test_who_was_asked_about_is_canceled_though_the_list_moved(spool: SpoolMaker):
    spool.add(*QUEUED)
    spool.add(*QUEUED)
    screen = Screen(spool).press("c")
    spool.add(*COMPLETED[3:], id_=1)
    assert screen.look().selected == 2
    screen.press("y")
    assert screen.asked == [("cancel", 1)]


def test_h_holds_or_releases(spool: SpoolMaker):
    spool.add(*QUEUED)
    screen = Screen(spool).press("h")
    spool.add(("urgency", {"urgency": 0, "userid": 0}), ("priority", {"priority": 0}), id_=1)
    screen.look().press("h")
    assert screen.asked == [("hold", 1), ("release", 1)]
    assert screen.press("k").lines[-1].startswith("q quit")


def test_enter_shows_all_about_it_until_q(spool: SpoolMaker):
    spool.add(*QUEUED)
    spool.add(*QUEUED)
    screen = Screen(spool, height=10).press("j", "enter")
    assert screen.lines[:2] == ["about 2", "line 0"]
    assert screen.press("j").lines[0] == "line 0"
    assert screen.press("end").lines[-2] == "line 39"
    assert screen.press("k").lines[-2] == "line 38"
    assert screen.look().press("c", "h").asked == []
    assert not screen.press("q").board.is_over
    assert screen.selected == 2


def test_a_long_line_of_details_is_folded(spool: SpoolMaker):
    spool.add(*QUEUED)
    board = Board(taken(spool), lambda *_: "", lambda _: ["x" * 25, "", "end"])
    board.press("enter")
    assert board.text(10, 8, NOW_US).plain.split("\n")[:5] == ["x" * 10, "x" * 10, "x" * 5, "", "end"]


def test_what_acts_on_a_terminal_is_escaped(spool: SpoolMaker):
    spool.add(*QUEUED[:2], ("dependency-add", {"description": "\x1b[2J"}), name="\x1bx")
    assert "\x1b" not in Screen(spool).text.plain
    assert "\x1b" not in spool.run("top")[1]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"jq", ["j", "q"]),
        (b"\x1b[A\x1b[B\x1bOA\x1bOB", ["up", "down", "up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[F", ["page up", "page down", "home", "end"]),
        (b"\r\n", ["enter", "enter"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[1;5C\x1b[15~y", ["?", "?", "y"]),
        ("ƒ".encode(), ["Æ", "\x92"]),
        (b"", []),
    ],
)
def test_keys_as_terminals_send_them(data: bytes, keys: list[str]):
    assert keys_of(data) == keys


# --- what is asked of the scheduler --------------------------------------------------------------------------------


def watching(spool: SpoolMaker):
    from jqsched.client.reactor import Reactor

    return looking.Watch(Place(str(spool.root), str(spool.root)), Reactor())


@pytest.mark.parametrize(
    ("topic", "answer", "said"),
    [
        ("cancel", {"outcome": "dequeued"}, "job 1: canceled before it started"),
        ("hold", {"outcome": "changed"}, "job 1: is held"),
        ("release", {"outcome": "changed"}, "job 1: is released"),
        ("hold", OSError(16, "already started"), "job 1: already started"),
        ("cancel", OSError(5, "the disk \x1b"), "job 1: the disk \\x1b"),
    ],
)
def test_what_came_of_it_is_said(spool: SpoolMaker, scheduler: FakeScheduler, topic: str, answer, said: str):
    job = spool.add(*QUEUED)
    scheduler.answers[topic] = answer
    watch = watching(spool)
    assert watch._act(topic, job) == said
    assert scheduler.asked[0][1] == {"id": 1}
    watch.close()


def test_without_a_scheduler_it_is_done_all_the_same(spool: SpoolMaker):
    assert spool.run("submit", "true")[0] == 0
    watch = watching(spool)
    assert watch._act("cancel", watch._view.jobs[0]) == "job 1: canceled before it started"
    watch._look()
    assert (watch._view.finished, list(watch._view.jobs)) == (1, [])
    watch.close()


def test_the_details_are_those_of_show_and_a_purged_job_is_said(spool: SpoolMaker, scheduler: FakeScheduler):
    job = spool.add(*QUEUED, name="it")
    watch = watching(spool)
    assert list(watch._details(job)) == spool.run("show", "1")[1].splitlines()
    with contextlib.closing(sqlite3.connect(spool.root / "jqsched.db")) as database, database:
        database.execute("DELETE FROM jobs")
    assert list(watch._details(job)) == ["job 1: unknown (never given out, or purged)"]
    watch.close()
