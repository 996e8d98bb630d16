"""What counts as a copy of a spool: by machine, path, inode, device and boot."""

from pathlib import Path

import pytest
from attrs import evolve

from jqsched.adapters.spool import SpoolRefused
from jqsched.core.queue import EMPTY
from jqsched.ports import Attempt, Stored
from jqsched.runtime.spool_identity import ANOTHER_BOOT, HOME, Home, at_home, home_of, is_copy, read_home

WAS = Home("m1", "/spool", 7, device=3, boot="b1")


@pytest.mark.parametrize(
    ("change", "copy"),
    [
        ({}, False),
        ({"boot": "b2", "device": 4}, False),  # started again
        ({"path": "/moved"}, False),
        ({"inode": 8}, False),  # put back from a backup
        ({"inode": 8, "path": "/copy"}, True),
        ({"machine": "m2"}, True),  # the disk was cloned: all numbers are equal
        ({"machine": "m2", "boot": "b2", "device": 4}, True),
        ({"machine": "m2", "path": "/moved"}, True),
        ({"machine": "m2", "inode": 8}, True),
        ({"machine": ""}, False),
        ({"machine": "", "inode": 8}, True),
        ({"path": "/clone", "device": 4}, True),  # a clone of the disk, mounted beside it
    ],
    ids=str,
)
def test_what_is_a_copy(change: dict[str, str | int], copy: bool) -> None:
    assert is_copy(evolve(WAS, **change), WAS, original_is_there=False) is copy


def test_after_a_boot_a_disk_that_is_mounted_elsewhere_is_a_copy_while_its_original_is_there() -> None:
    here = evolve(WAS, path="/elsewhere", boot="b2", device=4)
    assert is_copy(here, WAS, original_is_there=True)
    assert not is_copy(here, WAS, original_is_there=False)


def test_what_an_older_version_noted_is_read(tmp_path: Path) -> None:
    here = home_of(str(tmp_path))
    assert read_home(here.text) == here
    assert read_home(f'["{here.machine}", "{here.path}", {here.inode}]') == Home(here.machine, here.path, here.inode)


def test_a_clone_is_refused_until_it_is_adopted(tmp_path: Path) -> None:
    """Adopted, what ran in the original is not looked for here."""
    was = evolve(home_of(str(tmp_path)), machine="another")
    stored = Stored(EMPTY, (Attempt(1, 1, 4711, 1, "b1"),), {}, {HOME: was.text})
    with pytest.raises(SpoolRefused, match=r"on machine another.*--adopt"):
        at_home(stored, str(tmp_path), adopt=False)
    adopted, home = at_home(stored, str(tmp_path), adopt=True)
    assert [attempt.boot_id for attempt in adopted.attempts] == [ANOTHER_BOOT]
    assert home == home_of(str(tmp_path)).text
