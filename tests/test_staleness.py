import json
from pathlib import Path

import pytest
import small
import yaml
from click.testing import CliRunner
from tiny_preset import TINY

from tinynet_book.measure.latency_run import latency_run
from tinynet_book.measure.maps import maps
from tinynet_book.site.build import stale_pages
from tinynet_core import Store, Study
from tinynet_core.cli import tinynet
from tinynet_core.data.drawn import probe_hash
from tinynet_core.study.pages import stages, summary
from tinynet_core.study.pages import stale as stale_of
from tinynet_core.study.presets import load_preset
from tinynet_core.study.record import Record, execute, failed, outdated
from tinynet_core.study.study import default_store
from tinynet_core.training.loop import TRAINING_VERSION


def done(task, top1=0.5, **about):
    """A record as a training leaves it, without the training."""
    known = {"training_version": TRAINING_VERSION, "probe_sha256": [probe_hash(task.dataset)]}
    return Record(
        experiment=task,
        status="done",
        metrics={"top1": top1},
        cost=task.cost(),
        wall_s=1.0,
        provenance=known | {"commit": "0" * 40, "clean": True, "device": "cpu"} | about,
    )


@pytest.fixture
def preset(tmp_path):
    """Writes the tiny preset with another base, and returns its path."""

    def write(**base):
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump({**TINY, "base": {**TINY["base"], **base}}), encoding="utf-8")
        load_preset.cache_clear()
        return str(path)

    return write


@pytest.fixture
def filled(preset, tmp_path):
    """A store with a record of everything that Figure 1 needs, made by ``done`` with what the caller adds."""

    def fill(**about):
        study = Study(preset(), tmp_path / "store")
        for i, task in enumerate(next(stages(study, ["fig1"]))):
            study.store.put(done(task, 0.3 + 0.01 * i, **about))
        return study.store

    return fill


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({}, None),
        ({"training_version": 1}, f"training version was 1, is {TRAINING_VERSION}"),
        ({"probe_sha256": ["ab" * 32]}, "hash of the probe images was abababababab, is "),
    ],
)
def test_another_training_or_other_images_are_stale(preset, filled, about, reason):
    study = Study(preset(), filled(**about).root, train=False)
    found = stale_of(study, ["fig1"])
    assert len(found) == (len(study.store.records()) if reason else 0)
    assert all(x.startswith(reason) for x in found)
    assert len(summary(found)) == bool(reason)
    assert not reason or summary(found)[0].startswith(f"{len(found)} records: {reason}")


def test_reading_renders_no_data_set(monkeypatch):
    """Checking the published records draws a few probes of each data set, and a page the images that it shows."""

    def render(*_):
        raise AssertionError("a whole data set is rendered")

    monkeypatch.setattr("tinynet_core.data.drawn.cached", render)
    study = Study("reduced", train=False)
    assert stale_of(study) == []
    mapped = next(iter(maps(study.preset).values()))
    assert len(study.records(mapped)[0].arrays["map"]) == 8


def test_the_hash_of_the_images_is_that_of_a_real_record():
    record = execute(small.experiment(epochs=1), "cpu")
    assert record.provenance["probe_sha256"] == [probe_hash(small.DATASET)]
    assert outdated(record) == ""
    task = latency_run(Study("smoke").preset)
    timed = Record(experiment=task, status="done", cost=task.cost(), wall_s=1.0, provenance={"training_version": 1})
    assert outdated(timed) == ""
    lost = failed(small.experiment(), "diverged")  # which is held to its training version alone
    assert outdated(lost) == ""
    old = lost.model_copy(update={"provenance": {**lost.provenance, "training_version": 1}})
    assert outdated(old) == f"training version was 1, is {TRAINING_VERSION}"
    unknown = record.model_copy(update={"provenance": {**record.provenance, "probe_sha256": []}})
    assert "probe images was not recorded, is " in outdated(unknown)


def test_stale_records_are_trained_again_on_demand(preset, filled, monkeypatch):
    monkeypatch.setattr(
        "tinynet_core.study.sweep.sweep",
        lambda tasks, store, *_, **__: [store.put(done(task)) or store.get(task) for task in tasks],
    )
    store = filled(training_version=1)
    path, n = preset(), len(store.records())
    arguments = ["sweep", path, "--store", str(store.root), "--page", "fig1"]
    kept = CliRunner().invoke(tinynet, arguments, catch_exceptions=False)
    assert "0 models trained" in kept.output
    again = CliRunner().invoke(tinynet, [*arguments, "--retry-stale", "--limit", "1"], catch_exceptions=False)
    assert "1 models trained, 0 of them failed" in again.output
    assert len((store.root / "records.damaged.jsonl").read_bytes().splitlines()) == 1
    versions = [record.provenance["training_version"] for record in Store(store.root).records()]
    assert sorted(versions) == [1] * (n - 1) + [TRAINING_VERSION]
    both = CliRunner().invoke(tinynet, [*arguments, "--retry-stale", "--dry-run"])
    assert "--dry-run changes nothing" in both.output


def test_stale_records_by_page(preset, filled):
    study = Study(preset(), filled(training_version=1).root, train=False)
    pages = stale_pages(study)
    n = len(study.store.records())
    line = f"training version was 1, is {TRAINING_VERSION}"
    assert pages[""] == [f"{n} records: {line}"]
    assert pages["fig3"] == [f"5 records: {line}"]
    assert "table4" not in pages


def test_the_command_that_lists_the_claims_says_what_is_stale(preset, filled):
    store = filled(training_version=TRAINING_VERSION - 1)
    keys = [record.key for record in store.records()][:2]
    (store.root / "claims").mkdir()
    found = {"fig1-beats-b0": {"value": True, "evidence": "proxy", "records": keys}}
    (store.root / "claims" / "01_fig1_random_sampling.json").write_text(json.dumps(found), encoding="utf-8")
    result = CliRunner().invoke(tinynet, ["claims", "--preset", preset(), "--store", str(store.root)])
    assert result.exit_code == 0
    reason = f"training version was {TRAINING_VERSION - 1}, is {TRAINING_VERSION}"
    assert result.stderr == f"warning: 2 of the records behind these findings are stale: {reason}\n"


def test_published_records_are_the_default_store(tmp_path, monkeypatch):
    preset = Study("smoke").preset
    monkeypatch.setattr("tinynet_core.study.study.project_root", lambda: tmp_path)
    assert default_store(preset) == tmp_path / "runs" / "smoke"
    published = tmp_path / "results" / "smoke"
    published.mkdir(parents=True)
    Path(published / "records.jsonl").touch()
    assert default_store(preset) == published
