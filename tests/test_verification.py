import math
import os
import re
import signal
import statistics
import sys
import tempfile
import threading
import time

import pytest
import torch
import yaml
from click.testing import CliRunner
from scipy.special import logit

from tinynet_core import Store, UserError, run, verification
from tinynet_core.cli import main, tinynet
from tinynet_core.experiments import LatencyRun
from tinynet_core.record import execute
from tinynet_core.verification import choose, compare, first_difference, pooled_spread, reach, verify
from tinynet_core.verify_command import verification_text

ELSEWHERE = "cpu (a processor of another make)"


@pytest.fixture(scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(_one_thread):
    """Records of tiny trainings, each made once; what asks for them again trains nothing."""
    made = {}

    def trained(experiment):
        if experiment.key not in made:
            made[experiment.key] = execute(experiment, "cpu")
        return made[experiment.key]

    return trained


@pytest.fixture
def records(make_experiment, trained):
    return [trained(make_experiment(seed=seed, epochs=1, warmup_epochs=0.5)) for seed in range(3)]


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


def changed(record, provenance=None, **metrics):
    """The record with other metrics, and another provenance."""
    content = {"metrics": record.metrics | metrics, "provenance": record.provenance | (provenance or {})}
    return record.model_copy(update=content)


def command(*arguments):
    return CliRunner().invoke(tinynet, ["verify", "smoke", *arguments], catch_exceptions=False)


def test_records_are_repeated_by_a_sweep_elsewhere_and_found_the_same(records, filled, scratch):
    store = filled(records)
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    result = command("--store", str(store.root), "--workers", "1", "--seed", "5")
    assert result.exit_code == 0, result.output
    assert "trained 2/2 models, 0 failed: 100%" in result.stderr
    _, *lines, judged, last = result.stdout.splitlines()
    assert judged.startswith("within seed spread: |difference of log odds of top-1| <= ")
    for line, record in zip(lines, choose(records, 2, 5), strict=True):
        top1, commit = f"{record.metrics['top1']:.2%}", record.provenance["commit"][:7]
        assert re.match(rf"{record.key[:12]} +efficientnet_b0 +0.120 +0.500 +0.200 +{record.experiment.seed} ", line)
        assert re.search(rf"{top1} +{top1} +[\d.]+ s +{commit}\*? +same bits$", line)
    assert last == f"2 of 2 records chosen by seed 5 agree, in {store.root}"
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before
    assert list(scratch.glob("tinynet-verify-*")) == []


def test_one_altered_metric_fails_and_is_named(records, filled, in_this_process):
    bad = changed(records[1], raw_loss=math.nextafter(records[1].metrics["raw_loss"], 2))
    store = filled([records[0], bad, records[2]])
    result = command("--store", str(store.root), "--records", "3", "--strict")
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith(bad.key[:12])]
    loss = records[1].metrics["raw_loss"]
    difference = f"metric raw_loss {bad.metrics['raw_loss']!r} recorded, {loss!r} now"
    assert line.endswith(f"other bits, within seed spread: {difference}")
    assert result.stdout.count("same bits") == 2
    assert "2 of 3 records chosen by seed 0 agree" in result.stdout
    relaxed = command("--store", str(store.root), "--records", "3")
    assert relaxed.exit_code == 0
    assert "3 of 3 records chosen by seed 0 agree" in relaxed.stdout
    assert str(compare(bad, records[1], pooled_spread([bad]))) == f"differs: {difference}"


def test_other_bits_beyond_the_spread_of_seeds_fail(records):
    close = [changed(r, top1=0.5 + i / 1000) for i, r in enumerate(records)]
    far = changed(records[1], top1=0.95)
    check = compare(far, close[1], pooled_spread(close))
    assert check.verdict == "differs"
    assert check.detail.endswith("now, beyond the seeds' spread")


def test_the_curve_comes_before_the_metrics(records):
    record = records[0]
    row = record.curve[0] | {"raw_loss": 1.25}
    other = changed(record, top1=0.0).model_copy(update={"curve": [row]})
    assert first_difference(record, other) == f"epoch 1 raw_loss {record.curve[0]['raw_loss']!r} recorded, 1.25 now"
    longer = record.model_copy(update={"curve": record.curve * 2})
    assert first_difference(longer, record) == "epochs 2 recorded, 1 now"
    larger = record.model_copy(update={"cost": record.cost | {"macs": 1}})
    assert first_difference(record, larger).startswith(f"cost macs {record.cost['macs']} recorded, 1 now")
    assert first_difference(record, record) == ""


@pytest.mark.parametrize(
    "provenance",
    [{"device": ELSEWHERE}, {"python": "3.99.1"}, {"packages": {"torch": "0.1"}}, {"processes": 2}],
    ids=str,
)
def test_another_kind_of_machine_is_judged_by_the_spread_of_seeds(records, filled, in_this_process, provenance):
    foreign = [changed(r, provenance, raw_loss=1.0 + i) for i, r in enumerate(records)]
    found = verify(filled(foreign), 3)
    sd = statistics.stdev(logit(r.metrics["top1"]) for r in records)
    assert found.spread.sd == pytest.approx(sd)
    assert reach(found.spread) == pytest.approx(9.92484 * math.sqrt(2) * sd, rel=1e-5)  # t of .995 and 2, from a table
    assert [c.verdict for c in found.checks] == ["within seed spread"] * 3
    text = verification_text(found)
    assert f"|difference of log odds of top-1| <= {reach(found.spread):.2f} = t(0.995, 2)" in text
    assert "90% may come out as " in text


def test_elsewhere_a_difference_beyond_the_spread_fails(records, filled, in_this_process):
    """Two pairs of seeds that hardly differ, and one record that is far from what is trained now."""
    foreign = [changed(r, {"device": ELSEWHERE}, top1=0.95 + i / 1e3) for i, r in enumerate(records)]
    found = verify(filled(foreign), 3)
    assert [c.verdict for c in found.checks] == ["differs"] * 3
    first = found.checks[0]
    assert f"top1 {first.record.metrics['top1']!r} recorded" in first.detail
    assert first.detail.endswith("now, beyond the seeds' spread")
    assert found.agreeing() == 0


def test_a_patch_of_pythons_version_is_the_same_kind_of_machine(records, filled, in_this_process):
    minor = ".".join(records[0].provenance["python"].split(".")[:2])
    found = verify(filled([changed(r, {"python": f"{minor}.99"}, raw_loss=1.0) for r in records]), 1)
    assert found.checks[0].verdict == "other bits, within seed spread"


def test_the_spread_pools_groups_that_differ_only_in_seed(records, make_experiment, trained):
    other = trained(make_experiment(epochs=1, warmup_epochs=0.25))
    twin = other.model_copy(update={"experiment": other.experiment.model_copy(update={"seed": 9})})
    a = [changed(r, top1=x) for r, x in zip(records, (0.2, 0.4, 0.6), strict=True)]
    b = [changed(other, top1=0.5), changed(twin, top1=0.7)]
    alone = changed(other, {"dataset_sha256": "of other images"}, top1=0.0)
    found = pooled_spread([*a, *b, alone])
    squares = [statistics.variance(logit(x)) * (len(x) - 1) for x in ((0.2, 0.4, 0.6), (0.5, 0.7))]
    assert (found.sd, found.freedom) == (pytest.approx(math.sqrt(sum(squares) / 3)), 3)


def test_without_seeds_to_compare_nothing_is_trained(records, filled, in_this_process):
    store = filled([changed(records[0], {"device": ELSEWHERE})])
    with pytest.raises(UserError, match=r"no two records in .* differ only in their seed"):
        verify(store, 1)
    assert in_this_process == []


def test_other_versions_and_other_data_are_stale(records, filled, in_this_process):
    old = changed(records[0], {"training_version": 1})
    moved = changed(records[1], {"dataset_sha256": "0" * 64})
    store = filled([old, moved, records[2]])
    result = command("--store", str(store.root), "--records", "3")
    assert result.exit_code == 1
    assert re.search(rf"{old.key[:12]} .* - +- .*stale: training version was 1, is 2\n", result.stdout)
    now = records[1].provenance["dataset_sha256"][:12]
    assert re.search(rf"{moved.key[:12]} .* - +- .*stale: hash of the data was 000000000000, is {now}\n", result.stdout)
    assert "1 of 3 records" in result.stdout
    ((asked, *_),) = in_this_process
    assert old.experiment not in asked


def test_each_record_is_repeated_in_its_own_way(records, filled, in_this_process):
    ways = [{"threads": 2}, {"threads": 1, "compiled": True}, {"device": "cuda (a GPU)"}]
    store = filled([changed(r, way) for r, way in zip(records, ways, strict=True)])
    verify(store, 3, workers=1)
    how = {e.seed: (device, x.cpus, x.compiled, x.workers) for es, _, device, x in in_this_process for e in es}
    assert how == {0: ("cpu", 2, False, 1), 1: ("cpu", 1, True, 1), 2: ("auto", 1, False, 1)}
    assert all(elsewhere.root != store.root for _, elsewhere, *_ in in_this_process)


def test_a_run_that_fails_now_differs(records, filled, in_this_process, monkeypatch):
    lost = records[0].model_copy(update={"status": "failed", "reason": "diverged", "metrics": {}, "curve": []})
    monkeypatch.setattr(verification, "sweep", lambda *_: [lost])
    found = verify(filled(records[:1]), 1)
    assert str(found.checks[0]) == "differs: training failed now, diverged"
    assert "differs" in verification_text(found)


def test_the_choice_depends_on_the_seed_and_the_keys_alone(records):
    keys = [[r.key for r in choose(records, 2, seed)] for seed in range(20)]
    assert keys == [[r.key for r in choose(records[::-1], 2, seed)] for seed in range(20)]
    assert keys == [[r.key for r in choose([changed(r, top1=0.1) for r in records], 2, seed)] for seed in range(20)]
    assert len({tuple(k) for k in keys}) > 3
    assert {key for pair in keys for key in pair} == {r.key for r in records}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--records", "4"], "records must be at least 1 and at most the 3 finished trainings, got 4"),
        (["nonsense"], "nonsense"),
        (["--store", "nowhere"], "nowhere is no store: it has no records.jsonl"),
        (["--records", "0"], "--records"),
    ],
)
def test_what_cannot_be_verified_is_refused_in_one_line(records, filled, monkeypatch, capsys, arguments, message):
    """Failed runs and other kinds of tasks do not count."""
    lost = {"status": "failed", "reason": "diverged", "metrics": {}, "curve": []}
    more = records[0].experiment.model_copy(update={"seed": 77})
    timing = LatencyRun(networks=["tinynet_e"], runs=2)
    store = filled([*records, *(records[0].model_copy(update={"experiment": e, **lost}) for e in (more, timing))])
    preset = [] if arguments == ["nonsense"] else ["smoke"]
    monkeypatch.chdir(store.root)
    monkeypatch.setattr(sys, "argv", ["tinynet", "verify", *preset, "--store", str(store.root), *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_signal_in_the_midst_of_training_leaves_nothing_behind(
    make_experiment, trained, filled, monkeypatch, scratch
):
    long = make_experiment(epochs=12)
    store = filled([changed(trained(make_experiment(epochs=1))).model_copy(update={"experiment": long})])
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}

    def interrupt():
        while not list(scratch.glob("tinynet-verify-*/checkpoints/*.pt")):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(
        verification, "sweep", lambda experiments, elsewhere, *_: [run(e, elsewhere) for e in experiments]
    )
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(UserError, match="stopped by SIGINT: nothing was verified") as caught:
        verify(store, 1)
    thread.join()
    assert caught.value.exit_status == 130
    assert list(scratch.iterdir()) == []
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before


def test_sigterm_outside_of_a_sweep_leaves_nothing_behind_either(records, filled, monkeypatch, scratch):
    monkeypatch.setattr(verification, "sweep", lambda *_: signal.raise_signal(signal.SIGTERM))
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UserError, match="stopped by SIGTERM") as caught:
        verify(filled(records), 1)
    assert caught.value.exit_status == 143
    assert list(scratch.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == handler


def test_an_unknown_preset_is_named(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine"}))
    with pytest.raises(UserError, match="mine"):
        CliRunner().invoke(tinynet, ["verify", str(path)], catch_exceptions=False)
