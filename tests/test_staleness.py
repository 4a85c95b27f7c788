import json

import pytest
import small
from click.testing import CliRunner
from fake_study import trained

from tinynet_book.measure.latency_run import latency_run
from tinynet_book.measure.maps import maps
from tinynet_book.site.build import stale_pages
from tinynet_core import Store, Study
from tinynet_core.cli import tinynet
from tinynet_core.data.drawn import probe_hash
from tinynet_core.study.pages import stages, stale
from tinynet_core.study.record import Record, execute, failed, outdated
from tinynet_core.training.loop import TRAINING_VERSION


def done(task, **about):
    """A record as a training leaves it, without the training."""
    about = {"training_version": TRAINING_VERSION, "probe_sha256": [probe_hash(task.dataset)]} | about
    made = trained(task)
    return made.model_copy(update={"provenance": made.provenance | about})


@pytest.fixture
def filled(tiny, tmp_path):
    """A store with a record of everything that Figure 1 needs, made by ``done`` with what the caller adds."""

    def fill(**about):
        study = Study(tiny, tmp_path / "store")
        for task in next(stages(study, ["fig1"])):
            study.store.put(done(task, **about))
        return study

    return fill


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"training_version": 1}, f"training version was 1, is {TRAINING_VERSION}"),
        ({"probe_sha256": ["ab" * 32]}, "hash of the probe images was abababababab, is "),
    ],
)
def test_another_training_or_other_images_are_stale_on_every_page_that_has_them(filled, about, reason):
    study = filled(**about)
    n = len(study.store.records())
    (line,) = stale(study, "fig1")
    pages = stale_pages(study)
    assert line.startswith(f"{n} records: {reason}")
    assert pages[""] == [line]
    assert pages["fig3"][0].startswith(f"5 records: {reason}")
    assert "table4" not in pages


def test_reading_renders_no_data_set(monkeypatch):
    """Checking the published records draws a few probes of each data set, and a page the images that it shows."""

    def render(*_):
        raise AssertionError("a whole data set is rendered")

    monkeypatch.setattr("tinynet_core.data.drawn.cached", render)
    study = Study("reduced", train=False)
    assert stale(study, "table3", "fig5", "table5") == []
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


def test_stale_records_are_trained_again_on_demand(tiny, filled, made_up_sweep):
    store = filled(training_version=1).store
    n = len(store.records())
    arguments = ["sweep", tiny, "--store", str(store.root), "--page", "fig1"]
    kept = CliRunner().invoke(tinynet, arguments, catch_exceptions=False)
    assert "0 models trained" in kept.output
    again = CliRunner().invoke(tinynet, [*arguments, "--retry-stale", "--limit", "1"], catch_exceptions=False)
    assert "1 models trained, 0 of them failed" in again.output
    assert len((store.root / "records.damaged.jsonl").read_bytes().splitlines()) == 1
    versions = [record.provenance["training_version"] for record in Store(store.root).records()]
    assert sorted(versions) == [1] * (n - 1) + [TRAINING_VERSION]


def test_the_command_that_lists_the_claims_says_what_is_stale(tiny, filled):
    store = filled(training_version=TRAINING_VERSION - 1).store
    keys = [record.key for record in store.records()][:2]
    (store.root / "claims").mkdir()
    found = {"fig1-beats-b0": {"value": True, "evidence": "proxy", "records": keys}}
    (store.root / "claims" / "01_fig1_random_sampling.json").write_text(json.dumps(found), encoding="utf-8")
    result = CliRunner().invoke(tinynet, ["claims", "--preset", tiny, "--store", str(store.root)])
    assert result.exit_code == 0
    reason = f"training version was {TRAINING_VERSION - 1}, is {TRAINING_VERSION}"
    assert result.stderr == f"warning: 2 of the records behind these findings are stale: {reason}\n"
