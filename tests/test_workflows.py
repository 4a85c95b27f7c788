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
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.iterdir())
ALLOWED = {
    ("test", "test"): {"contents": "read"},
    ("book", "build"): {"contents": "read", "pages": "read"},
    ("book", "deploy"): {"pages": "write", "id-token": "write"},
    ("weekly", "smoke"): {"contents": "read"},
    ("weekly", "newest"): {"contents": "read"},
    ("test", "book"): {"contents": "read"},
    ("gpu", "sweep"): {"contents": "read"},
}
"""What the token of each job may do, and no more."""


def workflow(name):
    return yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))


def triggers(name):
    return workflow(name)[True]  # "on" is a boolean of YAML 1.1


def steps(name, key):
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"] if key in step]


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


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_only_make_targets_are_run_and_each_exists(name):
    for step in steps(name, "run"):
        assert re.fullmatch(r"make( [a-z]+)+( [A-Z]+=[a-z0-9]+)*", step["run"]), step["run"]
        command = [*step["run"].split(), "--dry-run"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr


def test_every_workflow_runs_what_it_is_for():
    run = {path.stem: [step["run"] for step in steps(path.stem, "run")] for path in FILES}
    assert run == {
        "book": ["make archive PRESET=reduced"],
        "gpu": ["make sweep"],
        "test": ["make test", "make book"],
        "weekly": ["make smoke", "make newest test NOTEBOOKS=notebooks"],
    }
    assert triggers("book")["push"] == triggers("test")["push"] == {"branches": ["main"]}
    assert set(triggers("test")) == {"push", "pull_request", "workflow_dispatch"}
    assert set(triggers("weekly")) == {"schedule", "workflow_dispatch"}
    assert set(triggers("gpu")) == {"workflow_dispatch"}


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_no_token_may_more_than_its_job_needs(name):
    text = (FOLDER / f"{name}.yml").read_text(encoding="utf-8")
    found = workflow(name)
    assert found["permissions"] == {"contents": "read"}
    for job, content in found["jobs"].items():
        assert content.get("permissions", found["permissions"]) == ALLOWED[name, job]
        assert 0 < content["timeout-minutes"] <= 2 * 24 * 60
    assert "secrets." not in text
    assert "pull_request_target" not in text
    assert not [step for step in steps(name, "run") if "${{" in step["run"]]  # an input would be a part of the script
    checkouts = [step["with"] for step in steps(name, "uses") if "checkout" in step["uses"]]
    assert checkouts
    assert not any(with_["persist-credentials"] for with_ in checkouts)


def test_actions_are_githubs_own_pinned_to_one_commit_with_its_version():
    lines = [line for path in FILES for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    pinned = [re.fullmatch(r"\s+- uses: (actions/[a-z-]+)@([0-9a-f]{40})  # (v\d+\.\d+\.\d+)", line) for line in lines]
    assert len(lines) >= 14
    assert all(pinned), [line for line, found in zip(lines, pinned, strict=True) if not found]
    assert len({found.groups() for found in pinned}) == len({found[1] for found in pinned})


def test_the_site_is_built_for_the_address_it_gets_and_deployed_from_there():
    (build,) = steps("book", "run")
    assert build["env"] == {
        "TINYNET_SITE_URL": "${{ steps.pages.outputs.base_url }}",
        "TINYNET_REPOSITORY_URL": "${{ github.server_url }}/${{ github.repository }}",
    }
    uses = [step["uses"].split("@")[0] for step in steps("book", "uses")]
    assert uses[-2:] == ["actions/upload-pages-artifact", "actions/deploy-pages"]
    assert workflow("book")["jobs"]["deploy"]["needs"] == "build"


def test_the_choices_of_the_gpu_run_are_the_presets_and_the_pages():
    inputs = triggers("gpu")["workflow_dispatch"]["inputs"]
    assert inputs["preset"]["options"] == sorted(path.stem for path in PRESETS.glob("*.yaml"))
    assert inputs["page"]["options"] == ["all", *sorted(PAGES)]
    records = [step["with"]["path"] for step in steps("gpu", "uses") if "upload-artifact" in step["uses"]]
    assert records == ["runs/${{ inputs.preset }}/records.jsonl"]


@pytest.mark.parametrize(("page", "asked"), [("fig1", ["--page", "fig1"]), ("", [])])
def test_the_gpu_run_hands_its_choices_to_the_sweep(page, asked):
    command = ["make", "--no-print-directory", "--dry-run", "sweep"]
    environment = {"PATH": "/usr/bin:/bin", "PRESET": "imagenet100", "PAGE": page}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=True)
    expected = [".venv/bin/tinynet", "sweep", "imagenet100", "--store", "runs/imagenet100", *asked]
    assert done.stdout.splitlines()[-1].split() == expected
