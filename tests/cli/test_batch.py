"""`jqsched batch`: what a script becomes, what is said of it, and `check` of scripts."""

import io
import json
import sys
from types import SimpleNamespace

import pytest

from tests.cli.conftest import FakeScheduler, SpoolMaker

SCRIPT = """#!/bin/bash
#SBATCH --job-name=train --time=90
#SBATCH --mail-type=END
#jq: --cores=2 --env A=1
set -e
python train.py "$@"
"""


@pytest.fixture
def script(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.sh").write_text(SCRIPT)
    return "train.sh"


def test_a_script_is_a_job_of_its_directives_its_text_and_its_arguments(
    spool: SpoolMaker, scheduler: FakeScheduler, script: str, tmp_path
):
    """What is ignored is told; an option of the command line wins."""
    scheduler.answers["submit"] = {"id": 7}
    code, out, err = spool.run("batch", "--env-none", "--cores", "3", script, "-v", "x y")
    assert (code, out) == (0, "7\n")
    assert err == "jqsched: batch: train.sh: line 3: --mail-type: no mail is sent: ignored\n"
    assert json.loads(scheduler.asked[0][1]["text"]) == {
        "script": SCRIPT,
        "args": ["-v", "x y"],
        "name": "train",
        "time_limit": 5400.0,
        "cores": 3,
        "env": {"A": "1"},
        "cwd": str(tmp_path),
    }


def test_standard_input_is_a_script(spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch):
    scheduler.answers["submit"] = {"id": 7}
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"#!/bin/sh\n# flux: -t 1\ndate\n")))
    assert spool.run("batch", "--env-none", "-")[:2] == (0, "7\n")
    entries = json.loads(scheduler.asked[0][1]["text"])
    assert (entries["name"], entries["time_limit"], "args" in entries) == ("sh", 60.0, False)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"#!/bin/sh\n#jq: --core=1\n#SBATCH --gres=gpu\n", ["line 2: --core", "line 3: --gres"]),
        (b"#!/bin/sh\n#jq: --cores=1\ndate\n#jq: --hold\n", ["line 4: a directive behind the end"]),
        (b"\xff\xfe", ["not UTF-8 at byte 0"]),
        (None, ["No such file"]),
    ],
)
def test_every_error_has_its_line_and_nothing_is_submitted(
    spool: SpoolMaker, scheduler: FakeScheduler, tmp_path, text: bytes | None, lines: list[str]
):
    if text is not None:
        (tmp_path / "x.sh").write_bytes(text)
    code, out, err = spool.run("batch", str(tmp_path / "x.sh"))
    assert (code, out, err.count("\n")) == (3, "", len(lines))
    assert all(line in said for line, said in zip(lines, err.splitlines(), strict=True))
    assert not scheduler.asked


def test_unknown_directives_may_be_ignored(spool: SpoolMaker, scheduler: FakeScheduler, tmp_path):
    scheduler.answers["submit"] = {"id": 7}
    (tmp_path / "x.sh").write_text("#!/bin/sh\n#SBATCH --gres=gpu\n")
    code, out, err = spool.run("batch", "--ignore-unknown", str(tmp_path / "x.sh"))
    assert (code, out) == (0, "7\n")
    assert "line 2: --gres: is not known here" in err


def test_it_runs_with_its_arguments_though_the_file_is_gone(spool: SpoolMaker, script: str, tmp_path):
    """The text is the job's own; without a scheduler it is accepted all the same."""
    assert spool.run("batch", script, "-v")[:2] == (0, "1\n")
    (tmp_path / script).unlink()
    assert spool.run("jobs", "--format", "{name} {ncores} {duration}")[1] == "train 2 5400.0\n"


def test_check_reads_scripts(spool: SpoolMaker, script: str, tmp_path):
    code, out, err = spool.run("check", script, spool=False)
    assert (code, out) == (0, "train.sh: ok, a job named train\n")
    assert err == "train.sh: line 3: --mail-type: no mail is sent: ignored\n"
    (tmp_path / "bad").write_text("#!/bin/sh\n#jq: --cores=0\n")
    code, out, err = spool.run("check", "bad", spool=False)
    assert (code, out) == (3, "")
    assert err.startswith("bad: line 2: --cores: must be")
