"""The configuration: its keys and ranges, what wins over what, and whose file is read."""

import os

import pytest

from jqsched.adapters.config import Config, config_signature, merge, parse_config, read_config
from jqsched.adapters.jobfile import BadFile
from jqsched.ports import PortError


def test_no_file_and_an_empty_one_are_all_default(tmp_path):
    assert read_config(str(tmp_path / "jqsched.toml")) == Config()
    (tmp_path / "jqsched.toml").write_text("\n")
    assert read_config(str(tmp_path / "jqsched.toml")) == Config()


def test_every_key():
    assert parse_config(
        b"""
        max_running = 4
        cores = 8
        grace_s = 0
        scan_s = "500ms"
        interruptions_max = 0
        queue_max = 1000
        keep_finished = 100
        plugins = ["a.py", "b"]
        executor = "slurm"
        run_as_owner = true
        """
    ) == Config(4, 8, 0.0, 0.5, 0, 1000, 100, ("a.py", "b"), "slurm", True)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("max_runing = 1", "max_runing: unknown key; did you mean max_running?"),
        ("max_running = 0", "max_running: must be an integer 1…1000000, not 0"),
        ("max_running = true", "max_running: must be an integer 1…1000000, not true"),
        ("max_running = '4'", "max_running: must be an integer 1…1000000, not '4'"),
        ("scan_s = 11", "scan_s: must be 0.1…10 seconds (a number, or a duration like 500ms or 10s), not 11"),
        ("scan_s = 0", "scan_s: must be 0.1…10 seconds (a number, or a duration like 500ms or 10s), not 0"),
        ("grace_s = -1", "grace_s: must be 0…86400 seconds (a number, or a duration like 500ms or 10s), not -1"),
        ("grace_s = inf", "number not allowed: inf"),
        ("plugins = 'a'", "plugins: must be a list of strings, not 'a'"),
        ("plugins = ['']", "plugins[0]: must not be empty"),
        ("executor = ''", "executor: must not be empty"),
        ("run_as_owner = 1", "run_as_owner: must be true or false, not 1"),
        ("run_as_owner = 2026-01-01", "run_as_owner: dates and times are written as strings here"),
        ("max_running", "not TOML: Expected '=' after a key in a key/value pair (at end of document)"),
    ],
)
def test_an_error_says_what_was_expected(text, error):
    assert parse_config(text.encode()).errors[0] == error


def test_all_errors_are_said_at_once():
    assert len(parse_config(b"a = 1\nb = 2\ncores = 0\nscan_s = 100").errors) == 4


def test_options_win_and_are_checked():
    config = Config(max_running=4, cores=2)
    assert merge(config, {"max_running": 8, "executor": None}) == Config(max_running=8, cores=2)
    assert merge(config, {"plugins": ("x",)}).plugins == ("x",)
    assert merge(config, {"max_running": 0}) == BadFile(("max_running: must be an integer 1…1000000, not 0",))


def test_a_configuration_that_others_may_write_is_not_read(tmp_path):
    """It names plugins, which are code."""
    path = tmp_path / "jqsched.toml"
    path.write_text("cores = 1")
    path.chmod(0o666)
    assert "may be written to by others" in read_config(str(path)).errors[0]
    link = tmp_path / "link.toml"
    os.symlink(path, link)
    assert "symbolic link" in read_config(str(link)).errors[0]


def test_a_folder_that_is_none_is_an_error_of_the_outside(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PortError) as wrong:
        read_config(str(tmp_path / "file" / "jqsched.toml"))
    assert "reading the configuration" in str(wrong.value)


def test_whatever_changes_the_configuration_changes_its_signature(tmp_path):
    """Its content, through another name of the file too; its mode; another file in its place; its removal."""
    path, other = tmp_path / "jqsched.toml", tmp_path / "other"
    seen = [config_signature(str(path))]

    def look() -> None:
        assert config_signature(str(path)) not in seen
        seen.append(config_signature(str(path)))
        assert config_signature(str(path)) == seen[-1]

    path.write_text("max_running = 1")
    look()
    other.hardlink_to(path)
    other.write_text("max_running = 22")
    look()
    (tmp_path / "new").write_text("max_running = 33")
    (tmp_path / "new").rename(path)
    look()
    path.unlink()
    assert config_signature(str(path)) == seen[0]
