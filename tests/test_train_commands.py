import pytest
from click.testing import CliRunner

from tinynet_core import Store, Study
from tinynet_core.cli import tinynet
from tinynet_core.study.pages import series, stages
from tinynet_core.study.record import failed

pytestmark = pytest.mark.usefixtures("one_thread")


def run(*arguments):
    return CliRunner().invoke(tinynet, list(map(str, arguments)), catch_exceptions=False)


def test_a_dry_run_lists_and_trains_nothing(tiny, tmp_path):
    store = tmp_path / "store"
    output = run("sweep", tiny, "--store", store, "--dry-run", "--page", "fig1").output
    experiments = next(stages(Study(tiny, store), ["fig1"]))
    lines = output.splitlines()[1 : 1 + len(experiments)]
    for line, e in zip(lines, experiments, strict=True):
        assert line.split()[0] == e.key[:12]
        assert str(e.spec().complexity().macs) in line
    macs = sum(e.spec().complexity().macs for e in experiments) * 96 * 2
    assert f"{len(experiments)} models, {macs:.3g} multiply-adds" in output
    assert "No time is estimated" in output
    assert not store.exists()


def test_a_limited_sweep_and_what_follows_from_the_formula(tiny, made_up_sweep, tmp_path):
    study = Study(tiny, tmp_path / "store", train=False)
    command = ["sweep", tiny, "--store", study.store.root, "--page", "fig6"]
    assert "2 models trained, 0 of them failed" in run(*command, "--limit", "2").output
    sample = study.preset.random_experiments()
    assert study.store.missing(sample) == sample[2:]
    rest = run(*command).output
    wanted = {*sample, *series(study, "fig6").all()}
    assert f"{len(wanted) - 2} models trained" in rest
    assert study.store.missing(wanted) == []


def test_failed_runs_are_named_until_they_are_tried_again(tiny, made_up_sweep, tmp_path):
    store = Store(tmp_path / "store")
    first = next(stages(Study(tiny, store.root)))[0]
    store.put(failed(first, "the worker process ended with SIGKILL"))
    command = ["sweep", tiny, "--store", store.root, "--limit", "1"]
    output = run(*command).output
    assert "1 of the records are failed runs; --retry-failed trains them again" in output
    assert f"{first.key[:12]} efficientnet_b0" in output
    assert "failed runs" not in run(*command, "--retry-failed").output
    assert Store(store.root).get(first).done


def test_one_network_by_name(tiny, tmp_path):
    command = ["train", tiny, "efficientnet_b0", "--w", "0.5", "--seed", "3", "--store", tmp_path / "store"]
    result = run(*command)
    (record,) = Store(tmp_path / "store").records()
    assert (record.experiment.scale.w, record.experiment.seed) == (0.5, 3)
    assert record.provenance["threads"] == 1  # as in a sweep
    assert record.experiment.base == Study(tiny).preset.base
    assert f"top-1 {record.metrics['top1']:.2%} (raw weights {record.metrics['raw_top1']:.2%})" in result.output
    assert run(*command).stdout == result.stdout
    assert len(Store(tmp_path / "store").records()) == 1


def test_a_sweep_says_where_its_records_go(tiny, made_up_sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("tinynet_core.study.study.in_checkout", lambda: False)
    done = run("sweep", tiny, "--page", "fig1", "--limit", "1")
    assert done.stderr == f"records go to {tmp_path / 'data' / 'tinynet' / 'runs' / 'tiny'}\n"


def test_a_sweep_is_not_for_a_launcher(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = CliRunner().invoke(tinynet, ["sweep", tiny, "--store", str(tmp_path)])
    assert "a launcher started several processes" in str(refused.exception)
