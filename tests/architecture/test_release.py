"""What `python3 dev.py release` writes, and what it refuses before it writes anything."""

import pytest

import release

CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-01-31\n\n- All.\n"
VERSION_FILE = '"""What it is."""\n\n__version__ = "0.9.1"\n\nx = 1\n'


def test_what_is_unreleased_gets_the_version_and_the_day():
    assert release.with_release(CHANGELOG, "0.2.0", "2026-12-01") == (
        "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- A thing.\n\n"
        "## [0.1.0] - 2026-01-31\n\n- All.\n"
    )


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (CHANGELOG.replace("- A thing.\n", ""), "0.2.0"),
        (CHANGELOG.replace("## [Unreleased]\n", ""), "0.2.0"),
        (CHANGELOG, "0.1.0"),
    ],
    ids=["nothing unreleased", "no heading", "released before"],
)
def test_a_changelog_that_is_not_ready_is_refused(text: str, version: str):
    with pytest.raises(release.NotReady):
        release.with_release(text, version, "2026-12-01")


@pytest.mark.parametrize("version", ["0.9.2", "0.10.0", "1.0.0"])
def test_a_higher_version_is_written(version: str):
    assert release.with_version(VERSION_FILE, version) == VERSION_FILE.replace("0.9.1", version)


@pytest.mark.parametrize("version", ["0.9.1", "0.9.0", "0.8.9", "1.0", "v1.0.0", "1.0.0rc1", ""])
def test_another_version_is_refused(version: str):
    with pytest.raises(release.NotReady):
        release.with_version(VERSION_FILE, version)


def test_version_and_changelog_have_the_form_that_a_release_needs():
    assert release.with_version(release.VERSION_FILE.read_text("utf-8"), "999.0.0")
    assert release.UNRELEASED in release.CHANGELOG.read_text("utf-8")


def test_without_a_version_it_says_how_to_call_it(capsys: pytest.CaptureFixture[str]):
    assert release.main([]) == 2
    assert "VERSION" in capsys.readouterr().err
