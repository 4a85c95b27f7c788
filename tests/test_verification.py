import itertools
import math
import re
import signal
import statistics
import sys
import tempfile
from collections import defaultdict

import pytest
import torch
from click.testing import CliRunner
from conftest import ROOT
from scipy.special import expit, logit
from small import experiment

from tinynet_book.measure.latency_run import LatencyRun
from tinynet_core import Store, UserError
from tinynet_core.cli import main, tinynet
from tinynet_core.study import verify as verification
from tinynet_core.study.record import execute
from tinynet_core.study.sweep import SweepStopped
from tinynet_core.study.verify import (
    choose,
    compare,
    contradiction,
    held_to,
    pooled_spread,
    verify,
)

ELSEWHERE = "cpu (a processor of another make)"
IMAGES = 64
STEP = 2 / IMAGES
"""Three points, in whole images."""
T_2 = 31.59905
"""Student's t of .9995 with 2 degrees of freedom, from a table."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained():
    """Records of tiny trainings, each made once; what asks for them again trains nothing."""
    made = {}

    def trained(experiment):
        if experiment.key not in made:
            made[experiment.key] = execute(experiment, "cpu")
        return made[experiment.key]

    return trained


@pytest.fixture
def records(trained):
    return [trained(experiment(seed=seed, epochs=1)) for seed in range(3)]


@pytest.fixture(scope="module")
def foreign(trained):
    """Three seeds trained with another arithmetic, as on another machine."""
    made = []
    for seed in range(3):
        with torch.backends.mkldnn.flags(enabled=False):
            record = execute(experiment(seed=seed), "cpu")
        assert record.curve != trained(record.experiment).curve
        made.append(record.model_copy(update={"provenance": record.provenance | {"device": ELSEWHERE}}))
    return made


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
def scratch(monkeypatch, tmp_path):
    """Where temporary folders are made."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture
def in_this_process(monkeypatch, trained):
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


def files(store):
    return {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def test_records_are_repeated_by_a_sweep_elsewhere_and_found_the_same(records, filled, scratch):
    store = filled(records)
    before = files(store)
    result = command(store, "--workers", "1", "--seed", "5")
    assert result.exit_code == 0, result.output
    *lines, last = result.stdout.splitlines()
    for line, record in zip(lines, choose(records, 2, 5), strict=True):
        top1, commit = f"{record.metrics['top1']:.2%}", record.provenance["commit"][:7]
        assert line.startswith(f"{record.key[:12]} {record.experiment.label}: ")
        assert re.search(rf"top-1 {top1} at {commit}\*?, {top1} now in [\d.]+ s: same bits$", line)
    assert last.startswith("2 of 2 records agree, chosen by seed 5")
    assert files(store) == before
    assert list(scratch.glob("tinynet-verify-*")) == []


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
    now = records[0]
    for change, what in (
        ({"curve": now.curve * 2}, "epochs 2 recorded, 1 now"),
        ({"cost": now.cost | {"macs": 1}}, "cost macs 1 recorded, "),
    ):
        assert str(compare(now.model_copy(update=change), now, records)).startswith(f"differs: {what}")
    lost = now.model_copy(update={"status": "failed", "reason": "diverged", "metrics": {}, "curve": []})
    assert str(compare(now, lost, records)) == "differs: training failed now, diverged"


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
        (["smoke", "--records", "4"], "records must be at least 1 and at most the 3 finished trainings, got 4"),
        (["smoke", "--store", "nowhere"], "nowhere is no store: it has no records.jsonl"),
    ],
)
def test_what_cannot_be_verified_is_refused_in_one_line(records, filled, monkeypatch, capsys, arguments, message):
    """Failed runs and other kinds of tasks do not count."""
    lost = {"status": "failed", "reason": "diverged", "metrics": {}, "curve": []}
    others = (experiment(seed=77), LatencyRun(networks=["tinynet_e"], runs=2))
    store = filled([*records, *(records[0].model_copy(update={"experiment": e, **lost}) for e in others)])
    monkeypatch.chdir(store.root)
    monkeypatch.setattr(sys, "argv", ["tinynet", "verify", "--store", str(store.root), *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_signal_leaves_nothing_behind(records, filled, monkeypatch, scratch):
    def stopped(_experiments, store, *_):
        (store.root / "checkpoints").mkdir(parents=True)
        raise SweepStopped(signal.SIGINT, 0, 1)

    monkeypatch.setattr(verification, "sweep", stopped)
    with pytest.raises(UserError, match="stopped by a signal: nothing was verified") as caught:
        verify(filled(records), 1)
    assert caught.value.exit_status == 130
    assert list(scratch.iterdir()) == []


# What a record with other bits is held to


def more(row, step=STEP, loss=1.0):
    """The row with every accuracy so much higher (lower where there is no room), and every loss times ``loss``."""
    step = step if row["ema_top1"] + step <= 1 and row["raw_top1"] + step <= 1 else -step
    tops = {name: row[name] + step for name in ("ema_top1", "raw_top1")}
    return row | tops | {name: value * loss for name, value in row.items() if name.endswith("_loss")}


FALSIFIED = {
    "metrics alone": lambda r: r.model_copy(update={"metrics": r.metrics | {"top1": r.metrics["top1"] + STEP}}),
    "no whole number of images": lambda r: rewritten(r, [*r.curve[:-1], more(r.curve[-1], 0.03)]),
    "metrics and last epoch": lambda r: rewritten(r, [*r.curve[:-1], more(r.curve[-1])]),
    "averaged weights alone": lambda r: changed(r, ema_top1=more(r.curve[-1])["ema_top1"]),
    "every epoch": lambda r: rewritten(r, [more(row) for row in r.curve]),
    "every epoch with its losses": lambda r: rewritten(r, [more(row, loss=0.99) for row in r.curve]),
    "losses alone": lambda r: rewritten(r, [more(row, 0.0, 0.999) for row in r.curve]),
}


def test_what_was_trained_with_another_arithmetic_agrees(foreign, filled, in_this_process):
    result = command(filled(foreign), "--records", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout.count(": agrees: epoch 1 ") == 3
    for what in ("training loss of epoch 3", "top-1 of epoch 3", "top-1 of the last epoch", "top-1"):
        assert re.search(rf"^  {what} is [\d.]+%?, allowed [\d.]+%? to [\d.]+%?: ", result.stdout, re.MULTILINE)
    assert "Other bits: trainings that differ in a last bit part" in result.stdout


@pytest.mark.parametrize("how", FALSIFIED)
def test_a_record_falsified_by_three_points_fails_on_another_machine(foreign, filled, in_this_process, how):
    result = command(filled([FALSIFIED[how](foreign[0]), *foreign[1:]]), "--records", "3")
    assert result.exit_code == 1
    assert "2 of 3 records agree" in result.stdout
    assert re.search(rf"^{foreign[0].key[:12]} .* differs: ", result.stdout, re.MULTILINE)


@pytest.fixture(scope="module")
def alike():
    """The published records, by recipe and data set, which an end is held to."""
    groups = defaultdict(list)
    for record in Store(ROOT / "results" / "reduced").records():
        if record.done and record.experiment.kind == "training":
            groups[verification._recipe(record)].append(record)
    return [*groups.values()]


def end(record, finished):
    return all(held.holds for held in verification._end(record, record, finished))


def test_three_points_at_the_end_of_a_published_record_fail_wherever_trainings_part(alike):
    """Whether the raw weights were given the points too or not; of records at 90% and more, on 1,500 images.

    Unforged, nearly all are as the others of their recipe, whose spread they are held to. Where at least twenty
    trainings have the recipe: three of the page on averaged weights tell too little.
    """
    published = [(record, group) for group in alike for record in group]
    assert not any(contradiction(record) for record, _ in published)
    assert sum(not end(*pair) for pair in published) <= 0.02 * len(published)
    high = [(r, group) for r, group in published if len(group) >= 20 and r.metrics["top1"] >= 0.9]
    assert len(high) > 80
    for record, group in high:
        for sign, names in itertools.product((1, -1), (("ema_top1", "raw_top1"), ("ema_top1",))):
            if max(record.metrics["raw_top1"], record.metrics["top1"]) + 0.03 * sign <= 1:
                forged = changed(record, **{name: record.curve[-1][name] + 0.03 * sign for name in names})
                assert not contradiction(forged)
                assert not end(forged, group), record.key


def test_the_epoch_in_which_trainings_part_is_held_by_its_loss_alone(trained, monkeypatch):
    monkeypatch.setattr(verification, "TOGETHER", 3)  # steps, of which an epoch has two
    now = trained(experiment())
    for off, holds in ((1.0, True), (1.049, True), (1.051, False)):
        row = more(now.curve[1], 0.5) | {"train_loss": now.curve[1]["train_loss"] * off}
        found = verification._start(rewritten(now, [now.curve[0], row, now.curve[2]]), now)
        assert [x.what for x in found] == [f"{x} of epoch 1" for x in ("training loss", "top-1")] + [
            "training loss of epoch 2"
        ]
        assert [x.holds for x in found] == [True, True, holds]


def test_the_spread_pools_groups_that_differ_only_in_seed_and_the_level_is_held_to_it(records):
    """By hand; without seeds any level is allowed, and said to be."""
    other = records[0].model_copy(update={"experiment": experiment(epochs=1, warmup_epochs=0.25)})
    twin = other.model_copy(update={"experiment": other.experiment.model_copy(update={"seed": 9})})
    a = [changed(r, ema_top1=x) for r, x in zip(records, (0.2, 0.4, 0.6), strict=True)]
    b = [changed(other, ema_top1=0.5), changed(twin, ema_top1=0.7)]
    alone = changed(other, {"dataset_sha256": "of other images"}, ema_top1=0.0)
    found = pooled_spread([*a, *b, alone])
    squares = [statistics.variance(logit(x)) * (len(x) - 1) for x in ((0.2, 0.4, 0.6), (0.5, 0.7))]
    assert (found.sd, found.freedom) == (pytest.approx(math.sqrt(sum(squares) / 3)), 3)
    most = T_2 * math.sqrt(2) * statistics.stdev(logit([0.2, 0.4, 0.6]))
    held = held_to(a[0], a[0], a)[-1]
    assert (held.low, held.high) == pytest.approx((expit(logit(0.2) - most), expit(logit(0.2) + most)))
    unknown = held_to(a[0], a[0], a[:1])[-1]
    assert (unknown.low, unknown.high) == (0, 1)
    assert str(unknown).endswith("now, but no two records differ only in their seed")


@pytest.mark.parametrize(
    ("curve", "metrics", "message"),
    [
        ({}, {"loss": 0.1}, "metric loss 0.1 recorded, .* in its own last epoch"),
        ({"ema_top1": 1 + 1 / IMAGES}, {}, f"epoch 1 ema_top1 1.015625 is no share of {IMAGES} images"),
        ({"raw_top5": 0.51}, {}, f"epoch 1 raw_top5 0.51 is no share of {IMAGES} images"),
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
