import math
import re
import signal
import statistics
import tempfile
from functools import cache
from multiprocessing.util import get_temp_dir

import pytest
import torch
from click.testing import CliRunner
from conftest import ROOT
from scipy.special import expit, logit
from small import experiment

from tinynet_book.measure.latency_run import LatencyRun
from tinynet_core import Store, UserError
from tinynet_core.cli import tinynet
from tinynet_core.study import verify as verification
from tinynet_core.study.record import execute
from tinynet_core.study.spread import seed_spread
from tinynet_core.study.sweep import SweepStopped
from tinynet_core.study.verify import choose, compare, contradiction, held_to, pooled_spread, verify

IMAGES = 64
STEP = 2 / IMAGES
"""Three points, in whole images."""
T_2 = 31.59905
"""Student's t of .9995 with 2 degrees of freedom, from a table."""


pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def trained(task):
    """The record of a tiny training, made once."""
    return execute(task, "cpu")


@cache
def foreign():
    """Three seeds, the first trained with another arithmetic, as on another machine."""
    here, *others = (trained(experiment(seed=seed, epochs=2)) for seed in range(3))
    with torch.backends.mkldnn.flags(enabled=False):
        made = execute(here.experiment, "cpu")
    assert made.curve != here.curve
    elsewhere = {"device": "cpu (a processor of another make)"}
    return [made.model_copy(update={"provenance": made.provenance | elsewhere}), *others]


@pytest.fixture
def records():
    return [trained(experiment(seed=seed, epochs=1)) for seed in range(3)]


@pytest.fixture
def filled(tmp_path):
    """Make a store of these records."""

    def fill(records):
        store = Store(tmp_path / "store")
        for record in records:
            store.put(record)
        return store

    return fill


@pytest.fixture
def in_this_process(monkeypatch):
    """Put ready records in the place of the sweep, which is tested alone; returns what it was asked for."""
    asked = []

    def sweep(experiments, store, executor, workers, device, progress, resources):
        asked.append((experiments, store, device, resources))
        return [trained(e) for e in experiments]

    monkeypatch.setattr(verification, "sweep", sweep)
    return asked


def rewritten(record, curve, provenance=None):
    """The record with another curve, the metrics that belong to it, and more provenance."""
    metrics = {name: curve[-1].get(name, curve[-1].get(f"ema_{name}")) for name in record.metrics}
    made = record.provenance | (provenance or {})
    return record.model_copy(update={"curve": curve, "metrics": metrics, "provenance": made})


def changed(record, provenance=None, **last):
    """The record with other numbers in its last epoch, and in the metrics."""
    return rewritten(record, [*record.curve[:-1], record.curve[-1] | last], provenance)


def command(store, *arguments):
    arguments = ["verify", "smoke", "--store", str(store.root), *arguments]
    return CliRunner().invoke(tinynet, arguments, catch_exceptions=False)


def test_records_are_repeated_by_a_sweep_elsewhere_and_found_the_same(records, filled, monkeypatch, tmp_path):
    get_temp_dir()  # of multiprocessing, which is removed at the end of this process
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    store = filled(records)
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    result = command(store, "--workers", "1", "--seed", "5")
    assert result.exit_code == 0, result.output
    *lines, last = result.stdout.splitlines()
    for line, record in zip(lines, choose(records, 2, 5), strict=True):
        top1, commit = f"{record.metrics['top1']:.2%}", record.provenance["commit"][:7]
        assert line.startswith(f"{record.key[:12]} {record.experiment.label}: ")
        assert re.search(rf"top-1 {top1} at {commit}\*?, {top1} now in [\d.]+ s: same bits$", line)
    assert last.startswith("2 of 2 records agree, chosen by seed 5")
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before
    assert list(tmp_path.glob("scratch/tinynet-verify-*")) == []


def test_one_altered_bit_is_named_and_each_record_is_repeated_in_its_own_way(records, filled, in_this_process):
    loss = records[1].metrics["raw_loss"]
    bad = changed(records[1], {"compiled": True}, raw_loss=math.nextafter(loss, 2))
    made = [changed(records[0], {"threads": 2}), bad, changed(records[2], {"device": "cuda (a GPU)"})]
    checks = {check.record.key: str(check) for check in verify(filled(made), 3, workers=1)}
    difference = f"epoch 1 raw_loss {bad.metrics['raw_loss']!r} recorded, {loss!r} now"
    assert checks == {record.key: "same bits" for record in records} | {bad.key: f"agrees: {difference}"}
    how = {e.seed: (device, x.cpus, x.compiled, x.workers) for es, _, device, x in in_this_process for e in es}
    assert how == {0: ("cpu", 2, False, 1), 1: ("cpu", 1, True, 1), 2: ("auto", 1, False, 1)}


def test_other_versions_and_other_data_are_stale_and_other_epochs_and_costs_differ(records, filled, in_this_process):
    old = changed(records[0], {"training_version": 1})
    moved = changed(records[1], {"probe_sha256": ["0" * 64]})
    result = command(filled([old, moved, records[2]]), "--records", "3")
    assert result.exit_code == 1
    assert re.search(rf"{old.key[:12]} .*stale: training version was 1, is 2\n", result.stdout)
    assert re.search(rf"{moved.key[:12]} .*stale: hash of the probe images was 000000000000", result.stdout)
    assert "1 of 3 records" in result.stdout
    ((asked, *_),) = in_this_process
    assert asked == [records[2].experiment]  # and the others are not trained
    now, lost = records[0], {"status": "failed", "reason": "diverged", "metrics": {}, "curve": []}
    for was, here, what in (
        ({"curve": now.curve * 2}, {}, "epochs 2 recorded, 1 now"),
        ({"cost": now.cost | {"macs": 1}}, {}, "cost macs 1 recorded, "),
        ({}, lost, "training failed now, diverged"),
    ):
        check = compare(now.model_copy(update=was), now.model_copy(update=here), records)
        assert str(check).startswith(f"differs: {what}")


def test_the_choice_is_among_the_cheapest_and_depends_on_the_seed_and_the_keys_alone(records):
    many = [records[0].model_copy(update={"experiment": experiment(seed, epochs=1 + seed // 3)}) for seed in range(30)]
    drawn = [choose(many, 1, seed)[0] for seed in range(30)]
    assert {record.experiment.seed for record in drawn} == {0, 1, 2}
    others = [changed(r, ema_top1=0.1) for r in many[::-1]]
    assert [r.key for r in drawn] == [choose(others, 1, seed)[0].key for seed in range(30)]
    assert len(choose(many, 30, 0)) == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--records", "4"], "records must be at least 1 and at most the 3 finished trainings, got 4"),
        (["--store", "nowhere"], "nowhere is no store: it has no records.jsonl"),
    ],
)
def test_what_cannot_be_verified_is_refused(records, filled, arguments, message):
    """Failed runs, other kinds of tasks, and trainings that start from another's weights do not count."""
    lost = {"status": "failed", "reason": "diverged", "metrics": {}, "curve": []}
    others = (experiment(seed=77), LatencyRun(networks=["tinynet_e"], runs=2))
    store = filled([*records, *(records[0].model_copy(update={"experiment": e, **lost}) for e in others)])
    started = experiment(seed=5).model_copy(update={"pretraining": experiment(seed=5)})
    store.put(records[0].model_copy(update={"experiment": started}))
    with pytest.raises(UserError, match=message):
        command(store, *arguments)


def test_a_signal_leaves_nothing_behind(records, filled, monkeypatch, tmp_path):
    def stopped(_experiments, store, *_):
        (store.root / "checkpoints").mkdir(parents=True)
        raise SweepStopped(signal.SIGINT, 0, 1)

    get_temp_dir()
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.setattr(verification, "sweep", stopped)
    with pytest.raises(UserError, match="stopped by a signal: nothing was verified") as caught:
        verify(filled(records), 1)
    assert caught.value.exit_status == 130
    assert list((tmp_path / "scratch").iterdir()) == []


# What a record with other bits is held to


def higher(row):
    """The row with every top-1 three points higher, or lower where there is no room."""
    step = STEP if max(row["ema_top1"], row["raw_top1"]) + STEP <= 1 else -STEP
    return row | {name: row[name] + step for name in ("ema_top1", "raw_top1")}


def test_what_was_trained_with_another_arithmetic_agrees(filled, in_this_process):
    result = command(filled(foreign()), "--records", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout.count(": agrees: epoch 1 ") == 1
    for what in ("training loss of epoch 2", "top-1 of epoch 2", "top-1"):
        assert re.search(rf"^  {what} is [\d.]+%?, allowed [\d.]+%? to [\d.]+%?: ", result.stdout, re.MULTILINE)
    assert "Other bits: trainings that differ in a last bit drift apart" in result.stdout


@pytest.mark.parametrize(
    "falsified",
    [
        lambda r: rewritten(r, [higher(row) for row in r.curve]),
        lambda r: changed(r, train_loss=0.999 * r.curve[-1]["train_loss"]),
    ],
    ids=["every epoch", "a loss"],
)
def test_a_falsified_record_fails_on_another_machine(filled, in_this_process, falsified):
    first, *others = foreign()
    result = command(filled([falsified(first), *others]), "--records", "3")
    assert result.exit_code == 1
    assert "2 of 3 records agree" in result.stdout
    assert re.search(rf"^{first.key[:12]} .* differs: ", result.stdout, re.MULTILINE)


def test_no_published_record_contradicts_itself():
    records = Store(ROOT / "results" / "reduced").records()
    trainings = [record for record in records if record.done and record.experiment.kind == "training"]
    assert len(trainings) > 100
    assert not any(contradiction(record) for record in trainings)


def test_the_epoch_in_which_trainings_part_is_held_by_its_loss_alone(monkeypatch):
    monkeypatch.setattr(verification, "TOGETHER", 3)  # steps, of which an epoch has two
    now = trained(experiment())
    for off, failing in ((1.049, []), (1.051, ["training loss of epoch 2"])):
        row = now.curve[1] | {"ema_top1": 0.0, "train_loss": now.curve[1]["train_loss"] * off}
        held = held_to(rewritten(now, [now.curve[0], row, now.curve[2]]), now, pooled_spread([]))
        assert [x.what for x in held if not x.holds] == failing


def test_the_spread_pools_groups_that_differ_only_in_seed_and_the_level_is_held_to_it(records):
    """Without seeds any level is allowed, and said to be."""
    other = records[0].model_copy(update={"experiment": experiment(epochs=1, warmup_epochs=0.25)})
    twin = other.model_copy(update={"experiment": other.experiment.model_copy(update={"seed": 9})})
    a = [changed(r, ema_top1=x) for r, x in zip(records, (0.2, 0.4, 0.6), strict=True)]
    b = [changed(other, ema_top1=0.5), changed(twin, ema_top1=0.7)]
    alone = changed(other, {"dataset_sha256": "of other images"}, ema_top1=0.0)
    assert pooled_spread([*a, *b, alone]) == seed_spread({"a": logit([0.2, 0.4, 0.6]), "b": logit([0.5, 0.7])})
    most = T_2 * math.sqrt(2) * statistics.stdev(logit([0.2, 0.4, 0.6]))
    held = held_to(a[0], a[0], pooled_spread(a))[-1]
    assert (held.low, held.high) == pytest.approx((expit(logit(0.2) - most), expit(logit(0.2) + most)))
    unknown = held_to(a[0], a[0], pooled_spread(a[:1]))[-1]
    assert (unknown.low, unknown.high) == (0, 1)
    assert str(unknown).endswith("now, unbounded: no two records differ only in their seed")


@pytest.mark.parametrize(
    ("curve", "metrics", "message"),
    [
        ({}, {"loss": 0.1}, "metric loss 0.1 recorded, .* in its own last epoch"),
        ({"raw_top5": 0.51}, {}, f"epoch 1 raw_top5 0.51 is not a whole number out of {IMAGES} images"),
        ({"epoch": 2.0}, {}, "its curve does not have the epochs 1 to 1"),
    ],
)
def test_numbers_that_contradict_each_other_are_told_without_training(
    records, filled, in_this_process, curve, metrics, message
):
    forged = changed(records[0], **curve)
    forged = forged.model_copy(update={"metrics": forged.metrics | metrics})
    (check,) = verify(filled([forged]), 1)
    assert re.fullmatch(f"differs: {message}", str(check))
    assert in_this_process == []
