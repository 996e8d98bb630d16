"""`--plugin` and `plugin load`: a path is taken from where the user is, and nothing else is changed."""

import os

import pytest

from jqsched.cli.plugins import absolute, wanted

HERE = os.getcwd()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("age.py", f"{HERE}/age.py"),
        ("./age", f"{HERE}/age"),
        ("../age.py", f"{os.path.dirname(HERE)}/age.py"),
        ("/srv/age.py", "/srv/age.py"),
        (".begin-time", ".begin-time"),
        ("my.module", "my.module"),
    ],
)
def test_paths_and_names(given: str, meant: str):
    assert absolute(given) == meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("age.py most=5", f"{HERE}/age.py most=5"),
        ("my.module folder=/srv/a/../b", "my.module folder=/srv/a/../b"),
        ("age.py folder=/srv//x", f"{HERE}/age.py folder=/srv//x"),
        (".limit-duration duration=1h", ".limit-duration duration=1h"),
    ],
)
def test_the_configuration_of_a_plugin_stays_as_it_was_written(given: str, meant: str):
    """Seen to fail: a path in it made the whole entry a path."""
    assert wanted(given) == meant
