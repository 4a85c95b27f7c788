"""The workflows of GitHub: valid, harmless, and nothing but make targets."""

import re
import subprocess

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

from tinynet_core.study.pages import PAGES
from tinynet_core.study.presets import PRESETS, project_root

ROOT = project_root()
FILES = sorted((ROOT / ".github" / "workflows").iterdir())
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in FILES}
WORKFLOWS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
WRITING = {("book", "deploy"): {"pages": "write", "id-token": "write"}}
"""The jobs whose token may write, and what; all others only read."""


def steps(name, key):
    return [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"] if key in step]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", FILES),
        ("custom.github-workflows-require-timeout", FILES),
        ("vendor.dependabot", [ROOT / ".github" / "dependabot.yml"]),
    ],
)
def test_they_fit_the_schema(schema, files):
    done = CliRunner().invoke(check_jsonschema, ["--builtin-schema", schema, *map(str, files)])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", WORKFLOWS)
def test_only_make_targets_are_run_and_each_exists(name):
    for step in steps(name, "run"):
        assert re.fullmatch(r"make( [a-z]+)+( [A-Z]+=[a-z0-9]+)*", step["run"]), step["run"]
        command = [*step["run"].split(), "--dry-run"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_token_may_more_than_its_job_needs(name):
    found = WORKFLOWS[name]
    assert found["permissions"] == {"contents": "read"}
    for job, content in found["jobs"].items():
        allowed = content.get("permissions", {})
        assert allowed == WRITING.get((name, job)) or set(allowed.values()) <= {"read"}
        assert 0 < content["timeout-minutes"] <= 2 * 24 * 60
    assert "secrets." not in TEXTS[name]
    assert "pull_request_target" not in TEXTS[name]
    assert not [step for step in steps(name, "run") if "${{" in step["run"]]  # an input would be a part of the script
    checkouts = [step["with"] for step in steps(name, "uses") if "checkout" in step["uses"]]
    assert checkouts
    assert not any(with_["persist-credentials"] for with_ in checkouts)


def test_actions_are_githubs_own_pinned_to_one_commit_with_its_version():
    lines = [line for text in TEXTS.values() for line in text.splitlines() if "uses:" in line]
    pinned = [re.fullmatch(r"\s+- uses: (actions/[a-z-]+)@([0-9a-f]{40})  # (v\d+\.\d+\.\d+)", line) for line in lines]
    assert all(pinned), [line for line, found in zip(lines, pinned, strict=True) if not found]
    assert len({found.groups() for found in pinned}) == len({found[1] for found in pinned})


def test_the_gpu_run_offers_the_presets_and_the_pages_and_hands_its_choices_to_the_sweep():
    inputs = WORKFLOWS["gpu"][True]["workflow_dispatch"]["inputs"]  # "on" is a boolean of YAML 1.1
    assert inputs["preset"]["options"] == sorted(path.stem for path in PRESETS.glob("*.yaml"))
    assert inputs["page"]["options"] == ["all", *sorted(PAGES)]
    environment = {"PATH": "/usr/bin:/bin", "PRESET": "imagenet100"}
    for page, asked in (("fig1", ["--page", "fig1"]), ("", [])):
        command = ["make", "--no-print-directory", "--dry-run", "sweep"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment | {"PAGE": page}, capture_output=True, encoding="utf-8", check=True
        )
        expected = [".venv/bin/tinynet", "sweep", "imagenet100", "--store", "runs/imagenet100", *asked]
        assert done.stdout.splitlines()[-1].split() == expected
