import pytest
import torch
import yaml
from click.testing import CliRunner
from fake_study import trained
from tiny_preset import TINY

from tinynet_core import Store, Study
from tinynet_core.cli import tinynet
from tinynet_core.study.pages import series, stages
from tinynet_core.study.record import Record, failed, provenance


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def preset(tmp_path):
    """Writes the tiny preset with changes, and returns its path."""

    def write(**changed):
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump({**TINY, **changed}), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def made_up(monkeypatch):
    """A sweep that makes its records up; sweeping itself is tested alone."""

    def sweep(tasks, store, *_, **__):
        records = [trained(task) for task in tasks]
        for record in records:
            store.put(record)
        return records

    monkeypatch.setattr("tinynet_core.study.sweep.sweep", sweep)


def run(*arguments):
    return CliRunner().invoke(tinynet, list(map(str, arguments)), catch_exceptions=False)


def test_a_dry_run_lists_and_trains_nothing(preset, tmp_path):
    store = tmp_path / "store"
    output = run("sweep", preset(), "--store", store, "--dry-run", "--page", "fig1").output
    experiments = next(stages(Study(preset(), store), ["fig1"]))
    lines = output.splitlines()[1 : 1 + len(experiments)]
    for line, e in zip(lines, experiments, strict=True):
        assert line.split()[0] == e.key[:12]
        assert str(e.spec().complexity().macs) in line
    macs = sum(e.spec().complexity().macs for e in experiments) * 96 * 2
    assert f"{len(experiments)} models, {macs:.3g} multiply-adds" in output
    assert "No time is estimated: that takes 5 finished records of such trainings on this machine" in output
    assert not store.exists()


def test_a_plan_tells_the_time_from_records(preset, tmp_path):
    store = Store(tmp_path / "store")
    for e in next(stages(Study(preset(), store.root), ["fig1"]))[:5]:
        made = {"device": provenance("auto")["device"]}
        store.put(Record(experiment=e, status="done", cost=e.cost(), wall_s=60, provenance=made))
    plan = run("sweep", preset(), "--store", store.root, "--dry-run", "--workers", "3", "--page", "fig1").output
    assert "Estimated time on this machine, 3 at a time: 0" in plan
    assert "from 5 finished records on" in plan
    later = run("sweep", preset(), "--store", store.root, "--dry-run", "--page", "table4").output
    assert "Then, not in the time: latency of 4 networks" in later


def test_a_limited_sweep_and_what_follows_from_the_formula(preset, made_up, tmp_path):
    study = Study(preset(), tmp_path / "store", train=False)
    command = ["sweep", preset(), "--store", study.store.root, "--page", "fig6"]
    assert "2 models trained, 0 of them failed" in run(*command, "--limit", "2").output
    sample = study.preset.random_experiments()
    assert study.store.missing(sample) == sample[2:]
    rest = run(*command).output
    wanted = {*sample, *series(study, "fig6").all()}
    assert f"{len(wanted) - 2} models trained" in rest
    assert study.store.missing(wanted) == []


def test_failed_runs_are_named_until_they_are_tried_again(preset, made_up, tmp_path):
    store = Store(tmp_path / "store")
    first = next(stages(Study(preset(), store.root)))[0]
    store.put(failed(first, "the worker process ended with SIGKILL"))
    output = run("sweep", preset(), "--store", store.root, "--limit", "1").output
    assert "1 models trained, 0 of them failed" in output
    assert "1 of the records are failed runs; --retry-failed trains them again" in output
    assert f"{first.key[:12]} efficientnet_b0" in output
    output = run("sweep", preset(), "--store", store.root, "--limit", "1", "--retry-failed").output
    assert "failed runs" not in output
    assert Store(store.root).get(first).done
    assert (store.root / "records.damaged.jsonl").exists()


def test_one_network_by_name(preset, tmp_path):
    command = ["train", preset(), "efficientnet_b0", "--w", "0.5", "--seed", "3", "--store", tmp_path / "store"]
    result = run(*command)
    (record,) = Store(tmp_path / "store").records()
    assert (record.experiment.scale.w, record.experiment.seed) == (0.5, 3)
    assert record.provenance["threads"] == 1  # as in a sweep
    assert record.experiment.base == Study(preset()).preset.base
    assert f"top-1 {record.metrics['top1']:.2%} (raw weights {record.metrics['raw_top1']:.2%})" in result.output
    assert "seed 3: 100%" in result.stderr
    assert run(*command).stdout == result.stdout
    assert len(Store(tmp_path / "store").records()) == 1


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        ({}, ["--page", "table9"], "unknown page 'table9', known: fig1, fig2"),
        ({"WORLD_SIZE": "2"}, [], "a launcher started several processes, which a sweep is not for"),
        ({}, ["--address", "auto"], "address 'auto' is of a Ray cluster, but executor is 'local'"),
    ],
)
def test_sweeps_that_are_refused(preset, tmp_path, monkeypatch, environment, arguments, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(tinynet, ["sweep", preset(), "--store", str(tmp_path), *arguments])
    assert message in str(result.exception)
