"""What every spool must do, written once; each clause is a function of a rig, which plays the owner of the files.

Rule: a clause knows no path, no clock and no test runner; time that a spool gives to its files is the rig's to let
pass. The author of a spool writes a `Rig` for it and runs `CLAUSES`, each on a fresh one. `MemoryRig` is the fake's.
"""

import json
from typing import Protocol

from jqsched.core.job import Dependency, Draft, OnInterrupt, Spec
from jqsched.ports import Edit, Spool
from jqsched.testing.fake_spool import MemorySpool

BROKEN = '{"command": 7}'


def text(name: str = "job", urgency: int = 16) -> str:
    """A job file that every spool reads."""
    return json.dumps({"command": ["true"], "name": name, "urgency": urgency})


class Rig(Protocol):
    """A spool with its files."""

    @property
    def spool(self) -> Spool: ...
    def drop(self, name: str, content: str) -> None: ...
    def change(self, id_: int, content: str | None) -> None: ...
    def accept(self, id_: int, content: str) -> None: ...
    def look(self, *ids: int) -> list[Edit]: ...
    def reopen(self) -> None: ...
    def dropped(self) -> list[str]: ...
    def file(self, id_: int) -> str | None: ...
    def reason(self, id_: int) -> str | None: ...
    def rejected(self) -> dict[str, str]: ...


def take(rig: Rig, *contents: str) -> None:
    """Drop these, take them with ids from 1, and accept them."""
    for at, content in enumerate(contents, 1):
        rig.drop(f"{at}-dropped.json", content)
    for taken in rig.spool.intake(1, 100).taken:
        rig.accept(taken.id, taken.text)


# ---- the drop zone ------------------------------------------------------------------------------------------------


def files_are_taken_in_the_order_of_their_names(rig: Rig) -> None:
    """Ids count up from the one given; the text is the file's, and the file is where the job's belongs."""
    rig.drop("b.json", text("second"))
    rig.drop("a.json", text("first"))
    harvest = rig.spool.intake(7, 100)
    assert [(taken.id, taken.name) for taken in harvest.taken] == [(7, "a.json"), (8, "b.json")]
    assert [taken.draft.spec.name for taken in harvest.taken] == ["first", "second"]
    assert [rig.file(7), rig.file(8), rig.dropped()] == [text("first"), text("second"), []]
    assert (harvest.refused, harvest.more) == ((), False)


def no_more_are_taken_than_asked_for(rig: Rig) -> None:
    """And it says that there are more."""
    for name in "abc":
        rig.drop(f"{name}.json", text(name))
    first = rig.spool.intake(1, 2)
    assert ([taken.id for taken in first.taken], first.more) == ([1, 2], True)
    second = rig.spool.intake(3, 2)
    assert ([taken.id for taken in second.taken], second.more) == ([3], False)


def a_broken_file_is_set_aside_and_costs_no_id(rig: Rig) -> None:
    """With all that is wrong with it; the others are taken."""
    rig.drop("a.json", BROKEN)
    rig.drop("b.json", text())
    harvest = rig.spool.intake(1, 100)
    assert [(taken.id, taken.name) for taken in harvest.taken] == [(1, "b.json")]
    ((name, errors),) = harvest.refused
    assert (name, "command" in errors) == ("a.json", True)
    assert list(rig.rejected()) == ["a.json"]
    assert rig.dropped() == []


def an_id_whose_file_is_there_is_not_given_again(rig: Rig) -> None:
    """Whatever id is asked for: nothing in `jobs/` is replaced."""
    rig.drop("a.json", text("first"))
    rig.spool.intake(1, 100)
    rig.drop("b.json", text("second"))
    assert [taken.id for taken in rig.spool.intake(1, 100).taken] == [2]
    assert rig.file(1) == text("first")


def what_is_refused_after_all_is_set_aside_under_its_name(rig: Rig) -> None:
    """The second of a name beside the first."""
    for id_ in (1, 2):
        rig.drop("a.json", text(f"job{id_}"))
        rig.spool.intake(id_, 100)
        rig.spool.refuse(id_, "a.json", f"reason {id_}")
    assert rig.rejected() == {"a.json": "reason 1", "a.json.2": "reason 2"}
    assert [rig.file(1), rig.file(2)] == [None, None]


def a_file_that_is_gone_cannot_be_set_aside(rig: Rig) -> None:
    """Its owner was quicker; nothing happens."""
    rig.drop("a.json", text())
    rig.spool.intake(1, 100)
    rig.change(1, None)
    rig.spool.refuse(1, "a.json", "too late")
    assert rig.rejected() == {}


def a_start_takes_what_a_crash_left(rig: Rig) -> None:
    """Files that no job is known for are taken under their ids; those of finished jobs go; those of live jobs stay."""
    take(rig, text("live"), text("finished"), text("left"))
    rig.change(3, text("left", urgency=3))
    rig.reopen()
    harvest = rig.spool.leftovers(lambda id_: id_ == 1, lambda id_: id_ == 2, 2)
    assert [(taken.id, taken.draft.urgency) for taken in harvest.taken] == [(3, 3)]
    assert [rig.file(1), rig.file(2), rig.file(3)] == [text("live"), None, text("left", urgency=3)]
    rig.drop("new.json", text("new"))
    assert [taken.id for taken in rig.spool.intake(2, 100).taken] == [4]


def what_a_crash_left_may_be_broken(rig: Rig) -> None:
    take(rig, text())
    rig.change(1, BROKEN)
    rig.reopen()
    harvest = rig.spool.leftovers(lambda _: False, lambda _: False, 1)
    assert harvest.taken == ()
    assert len(harvest.refused) == 1
    assert rig.file(1) is None
    assert len(rig.rejected()) == 1


# ---- texts --------------------------------------------------------------------------------------------------------


def a_text_is_read_or_all_is_said_that_is_wrong(rig: Rig) -> None:
    """`name` is for a file that says none."""
    draft = rig.spool.parse(text("named", urgency=3), "other")
    assert isinstance(draft, Draft)
    assert (draft.spec.name, draft.urgency) == ("named", 3)
    unnamed = rig.spool.parse('{"command": ["true"]}', "other")
    assert isinstance(unnamed, Draft)
    assert unnamed.spec.name == "other"
    errors = rig.spool.parse(BROKEN)
    assert isinstance(errors, str)
    assert "command" in errors


def what_is_written_out_reads_back(rig: Rig) -> None:
    """But for `requeue_of`, which no file says."""
    spec = Spec(
        command=("echo", "ünï", "a b"),
        name="x",
        cwd="/srv",
        env=(("A", "1"),),
        cores=2,
        time_limit_us=1_500_000,
        on_interrupt=OnInterrupt.FAIL,
        dependencies=(Dependency("afterok", 3), Dependency("singleton")),
    )
    assert rig.spool.parse(rig.spool.write_out(Draft(spec, 20, 7, requeue_of=3))) == Draft(spec, 20, 7)


# ---- job files ----------------------------------------------------------------------------------------------------


def a_written_file_is_there_and_no_edit(rig: Rig) -> None:
    rig.spool.write(5, text())
    rig.accept(5, text())
    assert rig.file(5) == text()
    assert rig.look(5) == []


def what_is_in_the_way_of_a_written_file_is_set_aside(rig: Rig) -> None:
    """No file is written over."""
    rig.drop("a.json", text("in_the_way"))
    rig.spool.intake(1, 100)
    rig.spool.write(1, text("new"))
    assert rig.file(1) == text("new")
    assert list(rig.rejected()) == ["1.json"]


def an_edit_is_told_once(rig: Rig) -> None:
    """Good or broken; and an unchanged file is none."""
    take(rig, text(), text())
    assert rig.look(1, 2) == []
    rig.change(1, text(urgency=3))
    rig.change(2, BROKEN)
    good, broken = rig.look(1, 2)
    assert good.draft is not None
    assert (good.id, good.draft.urgency, good.text, good.errors) == (1, 3, text(urgency=3), "")
    assert (broken.id, broken.draft, "command" in broken.errors) == (2, None, True)
    assert rig.look(1, 2) == []


def a_deletion_is_told_once(rig: Rig) -> None:
    take(rig, text())
    rig.change(1, None)
    assert rig.look(1) == [Edit(1)]
    assert rig.look(1) == []


def a_file_that_is_as_accepted_again_is_no_edit(rig: Rig) -> None:
    """Broken and mended: the reason beside it goes."""
    take(rig, text())
    rig.change(1, BROKEN)
    rig.look(1)
    rig.spool.complain(1, "broken")
    rig.change(1, text())
    assert rig.look(1) == []
    assert rig.reason(1) is None


def what_was_changed_while_nobody_looked_is_told_at_the_start(rig: Rig) -> None:
    """Compared with the file as last accepted; what is missing was deleted."""
    take(rig, text(), text(), text())
    rig.change(1, text(urgency=3))
    rig.change(2, None)
    rig.reopen()
    edits = rig.spool.edits([1, 2, 3], at_start=True)
    assert [(edit.id, edit.draft is not None, edit.errors) for edit in edits] == [(1, True, ""), (2, False, "")]


def a_reason_lies_beside_the_file_until_it_is_accepted(rig: Rig) -> None:
    take(rig, text())
    rig.spool.complain(1, "no such key")
    assert rig.reason(1) == "no such key"
    rig.spool.accepted(1, text())
    assert rig.reason(1) is None


def a_file_of_no_job_becomes_none(rig: Rig) -> None:
    """A file of a job that is over was edited: it is set aside, and that is said once."""
    take(rig, text())
    rig.spool.remove([1])
    rig.change(1, text(urgency=3))
    assert [name for name, _ in rig.spool.strays([1, 2])] == ["1.json"]
    assert (rig.file(1), list(rig.rejected())) == (None, ["1.json"])
    assert rig.spool.strays([1, 2]) == []


def what_is_over_leaves_nothing(rig: Rig) -> None:
    """File and reason go; a file that is gone already is no trouble."""
    take(rig, text(), text())
    rig.spool.complain(1, "x")
    rig.change(2, None)
    rig.spool.remove([1, 2, 3])
    assert [rig.file(1), rig.reason(1), rig.file(2)] == [None, None, None]


CLAUSES = [
    files_are_taken_in_the_order_of_their_names,
    no_more_are_taken_than_asked_for,
    a_broken_file_is_set_aside_and_costs_no_id,
    an_id_whose_file_is_there_is_not_given_again,
    what_is_refused_after_all_is_set_aside_under_its_name,
    a_file_that_is_gone_cannot_be_set_aside,
    a_start_takes_what_a_crash_left,
    what_a_crash_left_may_be_broken,
    a_text_is_read_or_all_is_said_that_is_wrong,
    what_is_written_out_reads_back,
    a_written_file_is_there_and_no_edit,
    what_is_in_the_way_of_a_written_file_is_set_aside,
    an_edit_is_told_once,
    a_deletion_is_told_once,
    a_file_that_is_as_accepted_again_is_no_edit,
    what_was_changed_while_nobody_looked_is_told_at_the_start,
    a_reason_lies_beside_the_file_until_it_is_accepted,
    a_file_of_no_job_becomes_none,
    what_is_over_leaves_nothing,
]


# ---- the fake's rig -----------------------------------------------------------------------------------------------


def read_plainly(content: str, name: str) -> Draft | str:
    """Read as much of a job file as the clauses write."""
    keys = json.loads(content)
    if not isinstance(keys["command"], list):
        return "command: must be a list of strings"
    spec = Spec(command=tuple(keys["command"]), name=keys.get("name", name), cwd="/")
    return Draft(spec, keys.get("urgency", 16))


class MemoryRig:
    """The fake, whose files are values."""

    def __init__(self) -> None:
        self._accepted: dict[int, str] = {}
        self.spool = MemorySpool(read_plainly, self._accepted.get)

    def drop(self, name: str, content: str) -> None:
        self.spool.files.drops[name] = content

    def change(self, id_: int, content: str | None) -> None:
        if content is None:
            del self.spool.files.jobs[id_]
        else:
            self.spool.files.jobs[id_] = content

    def accept(self, id_: int, content: str) -> None:
        self._accepted[id_] = content
        self.spool.accepted(id_, content)

    def look(self, *ids: int) -> list[Edit]:
        return self.spool.edits(ids)

    def reopen(self) -> None:
        self.spool = self.spool.reopen(self._accepted.get)

    def dropped(self) -> list[str]:
        return sorted(self.spool.files.drops)

    def file(self, id_: int) -> str | None:
        return self.spool.files.jobs.get(id_)

    def reason(self, id_: int) -> str | None:
        return self.spool.files.reasons.get(id_)

    def rejected(self) -> dict[str, str]:
        return {name: errors for name, (_, errors) in self.spool.files.rejected.items()}
