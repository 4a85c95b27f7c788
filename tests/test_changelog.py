"""CHANGELOG.md in the form of Keep a Changelog, with the version of the project."""

import re
import tomllib
from datetime import date

from packaging.version import Version

from tinynet_core.study.presets import project_root

ROOT = project_root()
TEXT = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
RELEASES = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", TEXT, re.M)


def test_every_section_is_one_of_the_form():
    sections = re.findall(r"^## (.*)$", TEXT, re.M)
    assert sections[0] == "[Unreleased]"
    assert len(sections) == 1 + len(RELEASES)
    kinds = set(re.findall(r"^### (.*)$", TEXT, re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_releases_go_back_in_version_and_time():
    versions, days = [Version(v) for v, _ in RELEASES], [date.fromisoformat(day) for _, day in RELEASES]
    assert versions == sorted(set(versions), reverse=True)
    assert days == sorted(days, reverse=True)


def test_the_projects_version_is_the_newest_release_or_the_first_to_come():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if RELEASES:
        assert version == RELEASES[0][0]
    else:
        assert f"This is what {version} will be." in TEXT


def test_commands_that_are_named_exist():
    from tinynet_core.cli import tinynet

    named = set(re.findall(r"`tinynet (\w+)", TEXT + (ROOT / "RELEASING.md").read_text(encoding="utf-8")))
    assert len(named) > 5
    assert named <= set(tinynet.commands)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert (
        set(re.findall(r"\bmake ([a-z]+)\b[` ,]", (ROOT / "RELEASING.md").read_text(encoding="utf-8"))) - {"to"}
        <= targets
    )
