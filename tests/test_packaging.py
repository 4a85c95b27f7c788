"""pyproject.toml, requirements.lock and environment.yml say the same, and nothing names a machine or an index."""

import json
import re
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tinynet_core.study.presets import project_root

ROOT = project_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = [Requirement(r) for r in (*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra))]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINNED = {canonicalize_name(n): Version(v) for n, v in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK, re.M)}


@pytest.mark.parametrize("requirement", DECLARED, ids=str)
def test_the_lock_pins_every_dependency_inside_its_range(requirement):
    assert PINNED[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_lock_is_hashed_and_names_no_index():
    assert LOCK.count("--hash=sha256:") > len(PINNED)
    entries = [e for e in re.split(r"\n(?=\S)", LOCK) if "==" in e.split("\n")[0]]
    assert all("--hash=sha256:" in e for e in entries)
    assert "://" not in LOCK
    assert "index-url" not in LOCK


def test_conda_environment_has_the_same_ranges():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (pip,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    listed = {str(Requirement(r)) for r in pip if not r.startswith("-e")}
    assert listed == {str(r) for r in DECLARED}
    assert "-e ." in pip
    python = next(d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python"))
    assert Requirement(python).specifier == Requirement(f"python{PROJECT['requires-python']}").specifier


def test_the_range_of_pillow_starts_where_the_images_are_those_of_the_published_records():
    """Pillow before 13.0 draws other pixels in 169 of 1,800 glyphs, so that every record would be stale."""
    (pillow,) = (r.specifier for r in DECLARED if r.name == "pillow")
    lines = (ROOT / "results" / "reduced" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    versions = {json.loads(line)["provenance"]["packages"]["pillow"] for line in lines}
    assert versions
    assert all(version in pillow for version in versions)
    assert not any(version in pillow for version in ("10.4.0", "11.3.0", "12.0.0", "12.3.0"))


def test_the_makefile_checks_for_the_python_that_the_project_needs():
    assert PROJECT["requires-python"] == ">=3.11,<3.15"
    assert "(3, 11) <= found < (3, 15)" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_citation_has_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]


def test_no_tracked_file_holds_a_path_of_a_machine():
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    pattern = re.compile(r"(?<![\w.])/(home|root|tmp|work|Users)/\w")
    for name in files:
        path = ROOT / name
        if path.suffix in (".png", ".lock") or not path.is_file():
            continue
        assert not pattern.search(path.read_text(errors="replace", encoding="utf-8")), name
