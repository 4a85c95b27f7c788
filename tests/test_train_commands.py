from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
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
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return str(path)


def run(*arguments):
    return CliRunner().invoke(tinynet, list(arguments), catch_exceptions=False)


def test_a_dry_run_lists_and_trains_nothing(preset, tmp_path):
    result = run("sweep", preset, "--store", str(tmp_path / "store"), "--dry-run", "--workers", "3", "--page", "fig1")
    assert result.exit_code == 0
    study = Study(preset, tmp_path / "store")
    lines = result.output.splitlines()
    experiments = next(stages(study, ["fig1"]))
    assert [line.split()[0] for line in lines[1 : 1 + len(experiments)]] == [e.key[:12] for e in experiments]
    for line, e in zip(lines[1:], experiments, strict=False):
        assert f"{e.spec().complexity().macs / 1e6:.2f}M" in line
    macs = sum(e.spec().complexity().macs for e in experiments) * 96 * 2
    assert f"{len(experiments)} models, {macs:.3g} multiply-adds" in result.output
    assert "No time is estimated: that takes 5 finished records of such trainings on this machine" in result.output
    assert not (tmp_path / "store").exists()


def test_a_limited_sweep_and_the_rest_of_it(preset, tmp_path):
    store = str(tmp_path / "store")
    first = run("sweep", preset, "--store", store, "--limit", "2", "--page", "fig1")
    assert "2 models trained, 0 of them failed" in first.output
    everything = next(stages(Study(preset, store), ["fig1"]))
    assert len(Store(store).missing(everything)) == len(everything) - 2
    plan = run("sweep", preset, "--store", store, "--dry-run", "--page", "fig1").output
    assert f"{len(everything) - 2} models," in plan


def test_a_plan_tells_the_time_from_records(preset, tmp_path):
    store = Store(tmp_path / "store")
    for e in next(stages(Study(preset, store.root), ["fig1"]))[:5]:
        made = {"device": provenance("auto")["device"]}
        store.put(Record(experiment=e, status="done", cost=e.cost(), wall_s=60, provenance=made))
    plan = run("sweep", preset, "--store", str(store.root), "--dry-run", "--workers", "3", "--page", "fig1").output
    assert "Estimated time on this machine, 3 at a time: 0" in plan
    assert "from 5 finished records on" in plan


def test_a_plan_lists_trainings_on_every_data_set(preset, tmp_path):
    content = yaml.safe_load(Path(preset).read_text(encoding="utf-8"))
    content["closeup"] = {"base": content["base"], "dataset": {**content["dataset"], "seed": 1}}
    Path(preset).write_text(yaml.safe_dump(content), encoding="utf-8")
    pages = ["--page", "fig4", "--page", "ema"]
    plan = run("sweep", preset, "--store", str(tmp_path / "store"), "--dry-run", *pages).output
    assert "5 models," in plan
    assert "Not listed: what follows from the formula" in plan
    later = run("sweep", preset, "--store", str(tmp_path / "store"), "--dry-run", "--page", "table4").output
    assert "Then, not in the time: latency of 4 networks" in later


def test_pages_are_known_by_name(preset, tmp_path):
    result = CliRunner().invoke(tinynet, ["sweep", preset, "--store", str(tmp_path), "--page", "table9"])
    assert "unknown page 'table9', known: fig1, fig2" in str(result.exception)


def test_a_sweep_trains_what_follows_from_the_formula(preset, tmp_path):
    store = str(tmp_path / "store")
    result = run("sweep", preset, "--store", store, "--page", "fig6")
    study = Study(preset, store, train=False)
    wanted = [*study.preset.random_experiments(), *series(study, "fig6").all()]
    assert f"{len(set(wanted))} models trained" in result.output
    assert study.store.missing(wanted) == []


def test_one_network_by_name(preset, tmp_path):
    store = str(tmp_path / "store")
    result = run("train", preset, "efficientnet_b0", "--w", "0.5", "--seed", "3", "--store", store)
    assert result.exit_code == 0
    assert "top-1" in result.output
    (record,) = Store(store).records()
    assert (record.experiment.scale.w, record.experiment.seed) == (0.5, 3)
    assert record.provenance["threads"] == 1  # as in a sweep
    assert record.experiment.base == Study(preset).preset.base
    assert f"top-1 {record.metrics['top1']:.2%} (raw weights {record.metrics['raw_top1']:.2%})" in result.output
    assert "seed 3: 100%" in result.stderr
    again = run("train", preset, "efficientnet_b0", "--w", "0.5", "--seed", "3", "--store", store)
    assert again.stdout == result.stdout
    assert len(Store(store).records()) == 1


def test_a_failed_run_ends_with_status_1(preset, tmp_path):
    content = {**TINY, "recipe": {**TINY["recipe"], "lr": 1e30}}
    path = tmp_path / "diverges.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    result = CliRunner().invoke(tinynet, ["train", str(path), "efficientnet_b0", "--store", str(tmp_path / "s")])
    assert result.exit_code == 1
    assert "failed: diverged: training loss nan in epoch 1" in result.output


def test_failed_runs_are_named_until_they_are_tried_again(preset, tmp_path):
    store = Store(tmp_path / "store")
    first = next(stages(Study(preset, store.root)))[0]
    store.put(failed(first, "the worker process ended with SIGKILL"))
    result = run("sweep", preset, "--store", str(store.root), "--limit", "1")
    assert "1 models trained, 0 of them failed" in result.output
    assert "1 of the 2 records are failed runs; --retry-failed trains them again" in result.output
    assert f"{first.key[:12]} efficientnet_b0" in result.output
    result = run("sweep", preset, "--store", str(store.root), "--limit", "1", "--retry-failed")
    assert "failed runs" not in result.output
    assert Store(store.root).get(first).done
    assert Store(store.root).check().set_aside == 1


def test_a_plan_for_gpus_on_a_machine_without(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    path = tmp_path / "gpu.yaml"
    path.write_text(yaml.safe_dump({**TINY, "resources": {"gpus": 0.5, "cpus": 1}}), encoding="utf-8")
    result = run("sweep", str(path), "--store", str(tmp_path / "store"), "--dry-run", "--page", "fig1")
    assert (
        "resources.gpus is 0.5, but this machine has no GPU that torch can use: this preset is not for this machine."
        in result.output
    )


def test_a_sweep_is_not_for_a_launcher(preset, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = CliRunner().invoke(tinynet, ["sweep", preset, "--store", str(tmp_path)])
    assert "a launcher started several processes, which a sweep is not for" in str(result.exception)


def test_an_address_is_for_ray(preset, tmp_path):
    result = CliRunner().invoke(tinynet, ["sweep", preset, "--store", str(tmp_path), "--address", "auto"])
    assert "address 'auto' is of a Ray cluster, but executor is 'local'" in str(result.exception)
