"""Metadata, lock, environment and change log agree, workflows run make targets alone, no file names a machine."""

import json
import re
import subprocess
import tomllib

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tinynet_core.study.pages import PAGES
from tinynet_core.study.presets import preset_names


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


PROJECT = tomllib.loads(read("pyproject.toml"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = [Requirement(r) for r in (*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra))]
LOCK = read("requirements.lock")
PINNED = {canonicalize_name(n): Version(v) for n, v in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK, re.M)}
FILES = sorted((ROOT / ".github" / "workflows").iterdir())
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES}
SCHEMAS = {"vendor.github-workflows": FILES, "custom.github-workflows-require-timeout": FILES}
SCHEMAS |= {"vendor.dependabot": [ROOT / ".github" / "dependabot.yml"]}
WRITING = {("book", "deploy"): {"pages": "write", "id-token": "write"}}
"""The jobs whose token may write, and what; all others only read."""


def test_the_lock_pins_every_dependency_inside_its_range_and_is_hashed_and_names_no_index():
    for requirement in DECLARED:
        assert PINNED[canonicalize_name(requirement.name)] in requirement.specifier, requirement
    entries = [e for e in re.split(r"\n(?=\S)", LOCK) if "==" in e.split("\n")[0]]
    assert all("--hash=sha256:" in e for e in entries)
    assert not re.search("://|index-url", LOCK)


def test_conda_environment_has_the_same_ranges():
    environment = yaml.safe_load(read("environment.yml"))
    (pip,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert {str(Requirement(r)) for r in pip if not r.startswith("-e")} == {str(r) for r in DECLARED}
    assert "-e ." in pip
    python = next(d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python"))
    assert Requirement(python).specifier == Requirement(f"python{PROJECT['requires-python']}").specifier


def test_the_range_of_pillow_starts_where_the_images_are_those_of_the_published_records():
    """Pillow before 13.0 draws other pixels in 169 of 1,800 glyphs, so that every record would be stale."""
    (pillow,) = (r.specifier for r in DECLARED if r.name == "pillow")
    lines = read("results/reduced/records.jsonl").splitlines()
    assert all(json.loads(line)["provenance"]["packages"]["pillow"] in pillow for line in lines)
    assert "12.3.0" not in pillow


def test_the_version_and_the_range_of_python_are_said_once():
    assert yaml.safe_load(read("CITATION.cff"))["version"] == PROJECT["version"]
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", read("CHANGELOG.md"), re.M)
    assert releases == sorted(releases, key=lambda x: (Version(x[0]), x[1]), reverse=True)
    newest = releases[0][0] if releases else re.search(r"This is what (\S+) will be", read("CHANGELOG.md"))[1]
    assert newest == PROJECT["version"]
    assert PROJECT["requires-python"] == ">=3.11,<3.15"
    assert "(3, 11) <= found < (3, 15)" in read("Makefile")


def test_no_tracked_file_holds_a_path_of_a_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    pattern = re.compile(r"(?<![\w.])/(home|root|tmp|work|Users)/\w")
    for path in (ROOT / name for name in listed.split()):
        if path.suffix not in (".png", ".lock") and path.is_file():
            assert not pattern.search(path.read_text(errors="replace", encoding="utf-8")), path


@pytest.mark.parametrize(("schema", "files"), SCHEMAS.items())
def test_the_workflows_fit_the_schema(schema, files):
    done = CliRunner().invoke(check_jsonschema, ["--builtin-schema", schema, *map(str, files)])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", WORKFLOWS)
def test_only_make_targets_are_run_and_no_token_may_more_than_its_job_needs(name):
    found, text = WORKFLOWS[name], read(f".github/workflows/{name}.yml")
    assert found["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    assert "pull_request_target" not in text
    for job, content in found["jobs"].items():
        allowed = content.get("permissions", {})
        assert allowed == WRITING.get((name, job)) or set(allowed.values()) <= {"read"}
    steps = [step for job in found["jobs"].values() for step in job["steps"]]
    for command in (step["run"] for step in steps if "run" in step):
        assert re.fullmatch(r"make( [a-z]+)+( [A-Z]+=[a-z0-9]+)*", command), command
        done = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
    assert not any(step["with"]["persist-credentials"] for step in steps if "checkout" in step.get("uses", ""))
    for action in re.findall(r"uses: *(.*)", text):
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


def test_the_gpu_run_offers_the_presets_and_the_pages_and_hands_its_choices_to_the_sweep():
    inputs = WORKFLOWS["gpu"][True]["workflow_dispatch"]["inputs"]  # "on" is a boolean of YAML 1.1
    assert inputs["preset"]["options"] == sorted(preset_names())
    assert inputs["page"]["options"] == ["all", *sorted(PAGES)]
    for page, asked in (("fig1", " --page fig1"), ("", "")):
        environment = {"PATH": "/usr/bin:/bin", "PRESET": "imagenet100", "PAGE": page}
        said = subprocess.check_output(["make", "--dry-run", "sweep"], cwd=ROOT, env=environment, encoding="utf-8")
        assert said.rstrip().endswith(f".venv/bin/tinynet sweep imagenet100 --store runs/imagenet100{asked}")
