"""The benchmarks at a tiny size: they time what they say, their rows are sane, and the page shows those rows."""

import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import tinynet_core as tn
from tinynet_book.site.performance import fill_performance, growth_figure, performance_table
from tinynet_core.study.presets import project_root

CPU = torch.device("cpu")
ROOT = project_root()
SCRIPTS = ROOT / "benchmarks"
sys.path.insert(0, str(SCRIPTS))  # as Python does for a script
gpu, memory, peers, quiet, record, scaling, training = map(
    importlib.import_module, ("gpu", "memory", "peers", "quiet", "record", "scaling", "training")
)
complexity, latency, randaugment, solve, store = map(
    importlib.import_module, ("complexity", "latency", "randaugment", "solve", "store")
)


@pytest.fixture
def recording(tmp_path):
    return record.Recording("training", path=tmp_path / "benchmarks.json")


def values(recording, group):
    return {row["what"]: row["value"] for row in recording.rows if row["group"] == group}


def test_a_recording_replaces_its_own_section_and_no_other(tmp_path):
    path = tmp_path / "benchmarks.json"
    for script, value in (("solve", 1.0), ("latency", 2.0), ("solve", 3.0)):
        with record.Recording(script, "--fast", path=path) as recording:
            recording.add("what", [value - 1, value, value + 4], "ms", at_most=50)
    sections = json.loads(path.read_text(encoding="utf-8"))
    assert list(sections) == ["latency", "solve"]
    (row,) = sections["solve"]["rows"]
    assert row == {
        "group": "solve",
        "what": "what",
        "value": 3.0,
        "low": 2.0,
        "high": 7.0,
        "n": 3,
        "unit": "ms",
        "at_most": 50,
    }
    (before,) = sections["solve"]["history"]
    assert [x["value"] for x in before["rows"]] == [1.0]
    assert before["date"] == sections["solve"]["date"]
    assert sections["latency"]["history"] == []
    history = performance_table(sections, "history").splitlines()[2:]
    assert [line.split(" | ")[5] for line in history] == ["2 ms", "1 ms", "3 ms"]
    assert sections["solve"]["command"] == "python benchmarks/solve.py --fast"
    machine = sections["solve"]["machine"]
    assert machine["packages"]["torch"] == torch.__version__.split("+")[0]
    assert machine["cores"] >= 1
    assert 0 <= sections["solve"]["others"] <= 1


def test_a_script_that_fails_leaves_the_results_as_they_were(tmp_path):
    path = tmp_path / "benchmarks.json"
    with record.Recording("solve", path=path) as recording:
        recording.add("what", 1.0)
    before = path.read_text(encoding="utf-8")
    with pytest.raises(ZeroDivisionError), record.Recording("solve", path=path) as recording:
        recording.add("what", 1 / 0)
    assert path.read_text(encoding="utf-8") == before
    assert [p.name for p in tmp_path.iterdir()] == ["benchmarks.json"]


def test_what_other_programs_take_is_what_is_busy_and_not_ours():
    start, end = quiet.Clocks(0.0, 10.0, 5.0), quiet.Clocks(10.0, 25.0, 12.0)
    cores = quiet.psutil.cpu_count()
    assert quiet.others(start, end) == pytest.approx((15 - 7) / (10 * cores))
    assert quiet.others(start, end._replace(own=99.0)) == 0


@pytest.fixture
def shares(monkeypatch):
    """What other programs take during the runs to come; nothing is slept."""
    found = []
    monkeypatch.setattr(quiet, "others", lambda *_: found.pop(0))
    monkeypatch.setattr(quiet.time, "sleep", lambda _: None)
    return found


def test_a_disturbed_measurement_is_repeated(shares):
    shares += [0.5, 0.4, 0.05, 0.02]
    done, quietly = [], quiet.Quietly(0.1)
    assert quietly.worst is None
    assert quietly(lambda: done.append(1) or len(done)) == 3
    assert quietly(lambda: done.append(1) or len(done)) == 4
    assert quietly.worst == 0.05


def test_a_machine_that_is_never_quiet_is_reported(shares, monkeypatch):
    shares += [0.7] * 3
    monkeypatch.setattr(quiet, "PATIENCE_S", -1.0)
    with pytest.raises(tn.UserError, match=r"took 70% of the cores, allowed are 10%: .* --others 1"):
        quiet.Quietly(0.1)(lambda: None)
    assert quiet.Quietly(1.0)(lambda: 3) == 3


def test_the_load_that_is_recorded_is_that_of_the_runs_that_count(shares, tmp_path):
    path = tmp_path / "benchmarks.json"
    shares += [0.5, 0.05, 0.02]
    with record.Recording("scaling", path=path, limit=0.1) as recording:
        recording.add("what", [recording.quietly(lambda: 1.0), recording.quietly(lambda: 2.0)])
    section = json.loads(path.read_text(encoding="utf-8"))["scaling"]
    assert (section["others"], section["others_are"]) == (0.05, "most")


@pytest.fixture
def flat():
    """A network, images of one colour per class, and a recipe under which a picture keeps that colour."""
    dataset = tn.GlyphDataset(classes=4, resolution=32, train_images=70, val_images=4)
    images = tn.load_glyphs(dataset)
    grey = np.broadcast_to((60 * images.train_labels).astype(np.uint8)[:, None, None, None], (70, 32, 32, 3))
    recipe = tn.Recipe(epochs=1, warmup_epochs=0.1, batch_size=32, jitter=0.0, dropout=0.0)
    spec = tn.network("efficientnet_b0", tn.Scale(0.12, 0.5, 0.2), 4)
    return spec, replace(images, train_images=np.ascontiguousarray(grey)), recipe


@pytest.mark.parametrize("kind", list(training.PEERS))
@pytest.mark.parametrize("loaders", [0, 1])
def test_the_peers_train_the_same_network_on_the_same_images(kind, loaders, flat, monkeypatch):
    spec, images, recipe = flat
    seen = []

    def spy(module, inputs, _output):
        seen.append(inputs[0])

    def built(*arguments):
        model = original(*arguments)
        model.register_forward_hook(spy)
        models.append((model, [p.detach().clone() for p in model.parameters()]))
        return model

    original, models = peers.build, []
    monkeypatch.setattr(peers, "build", built)
    data = peers.Pictures.of(images)
    assert sum(1 for _ in training.PEERS[kind](spec, data, recipe, loaders, CPU)) == 70 // 32
    ((model, before),) = models
    assert sum(p.numel() for p in model.parameters()) == spec.complexity().params
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert {tuple(x.shape) for x in seen} == {(32, 3, spec.resolution, spec.resolution)}
    last = kind.endswith("channels last")
    assert all(x.is_contiguous(memory_format=torch.channels_last) == last for x in seen)
    mean, std = (torch.tensor(x)[:, None, None] for x in (peers.MEAN, peers.STD))
    grey = (torch.cat(seen) * std + mean) * 255
    torch.testing.assert_close(grey, grey[:, :1, :1, :1].round().expand_as(grey), atol=0.6, rtol=0)
    assert set(grey[:, 0, 0, 0].round().int().tolist()) == {0, 60, 120, 180}


def test_throughput_counts_images_and_compares_with_the_best_of_each_peer(recording, monkeypatch):
    monkeypatch.setattr(training, "SCALES", [tn.Scale(0.5, 0.5, 0.3)])
    monkeypatch.setattr(training, "cores", lambda: 1)
    rates = training.throughput(1, 2, (0,), quiet.Quietly(1.0))
    assert list(map(str, rates)) == [
        "ours",
        "torchvision, 0 loader processes",
        "timm, 0 loader processes",
        "timm, channels last, 0 loader processes",
        "timm, channels last, in our workers",
    ]
    assert all(float(rate) > 0 for (rate,) in rates.values())


def test_the_ratio_is_to_the_peer_with_the_loader_that_serves_it_best(recording):
    rates = {training.OURS: np.array([600.0, 900.0, 600.0]), training.TIMM_IN_WORKERS: np.array([300.0, 300.0, 300.0])}
    for kind in training.PEERS:
        rates |= {training.Contender(kind, n): np.full(3, 100.0 * (1 + n)) for n in (0, 2, 1)}
    training.record_throughput(recording, rates)
    rows = [row for row in recording.rows if row["group"] == "throughput"]
    of = {row["peer"]: (row["low"], row["value"], row["high"]) for row in rows}
    assert of["torchvision, 0 loader processes"] == (6, 6, 9)
    assert of["torchvision, 2 loader processes (its best)"] == (2, 2, 3)
    assert of["timm, channels last, in our workers"] == (2, 2, 3)
    assert sum("best" in peer for peer in of) == 3
    assert all(row.get("at_least") == 3 for row in rows if "loader" in row["peer"])
    assert values(recording, "rates")["ours"] == 600


def test_the_bound_is_part_of_the_step(recording, monkeypatch):
    monkeypatch.setattr(training, "SIZES", {"small": tn.Scale(0.5, 0.5, 0.3)})
    threads = torch.get_num_threads()
    training.record_shares(recording, rounds=1, pairs=5, steps=2)
    torch.set_num_threads(threads)
    shares = values(recording, "step")
    assert [name.rpartition(", ")[2] for name in shares] == ["adamw", "sgd", "rmsprop"]
    assert all(share > 0 for share in shares.values())


def test_a_bare_step_changes_the_same_weights_on_a_fixed_batch():
    images = tn.load_glyphs(training.dataset(2))
    case = training.StepAndBound(tn.Scale(0.5, 0.5, 0.3), "adamw", images)
    inputs, weight = case.inputs.clone(), next(case.run.model.parameters())
    for step in (case.bare, case.whole):
        before = weight.detach().clone()
        step()
        assert not torch.equal(before, weight)
    assert torch.equal(inputs, case.inputs)
    assert case.inputs.is_contiguous(memory_format=torch.channels_last)


def test_the_memory_of_a_worker_grows_from_stage_to_stage(make_experiment):
    found = memory.stages(make_experiment(), 0.1)
    assert list(found) == ["import", "images", "training"]
    assert all(0 < stage.private < stage.resident for stage in found.values())
    assert found["import"].resident < found["images"].resident < found["training"].resident
    assert found["images"].private < found["training"].private
    assert memory.torch_alone().resident < found["import"].resident


def test_the_memory_of_several_workers_is_added_up_and_shared_out(recording, make_experiment, monkeypatch):
    one, driver = memory.Reading(900.0, 300.0, 500.0), 100.0
    monkeypatch.setattr(memory, "stages", lambda *_: dict.fromkeys(("import", "images", "training"), one))
    monkeypatch.setattr(memory, "torch_alone", lambda: one)
    several = lambda n, *_: (memory.Reading(*(n * x for x in one)), n * 500.0 + driver)  # noqa: E731
    monkeypatch.setattr(memory, "together", several)
    memory.measure(recording, [make_experiment(), make_experiment(tn.Scale(0.5, 0.5, 0.5))], rounds=2, seconds=0.1)
    assert list(values(recording, "workers").values()) == [300, 600, 300, 1100, 300, 2100]
    assert list(values(recording, "memory").values()) == [300, 900] * 5
    assert any("with 1 MiB of images" in what for what in values(recording, "memory"))


def test_the_power_of_a_power_law_and_its_interval():
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    b, (low, high) = scaling.exponent(x, 3 * x**0.7)
    assert b == pytest.approx(0.7)
    assert low == pytest.approx(high)
    noise = np.exp([0.1, -0.1, 0.0, 0.1, -0.1])
    b, (low, high) = scaling.exponent(x, 3 * x**0.7 * noise)
    _, covariance = np.polyfit(np.log(x), np.log(3 * x**0.7 * noise), 1, cov=True)
    assert (high - low) / 2 == pytest.approx(3.182446 * np.sqrt(covariance[0, 0]), rel=1e-5)  # Student's t, 3 degrees
    assert low < 0.7 < high


def test_growth_has_a_point_for_each_x_and_an_exponent_for_each_series(recording, monkeypatch):
    for name, few in (("WIDTHS", (0.35, 0.5, 0.8)), ("RESOLUTIONS", (0.5, 0.6, 0.75)), ("BATCHES", (2, 4, 8))):
        monkeypatch.setattr(scaling, name, few)
    monkeypatch.setattr(scaling, "RECIPE", scaling.RECIPE.model_copy(update={"batch_size": 4}))
    dataset = tn.GlyphDataset(classes=20, resolution=32, train_images=80, val_images=8)
    timers = scaling.series(dataset, 2, images=(8, 16, 24), models=(1, 2, 3))
    sweeps = timers.pop(("sweep", "s", "models"))
    assert sweeps[1]() > 0
    scaling.measure(recording, timers, rounds=1)
    growth = [row for row in recording.rows if row["group"] == "growth"]
    assert {row["x_label"]: 3 for row in growth} == {against: len(at) for (_, _, against), at in timers.items()}
    assert all(row["value"] > 0 for row in growth)
    assert [row["x"] for row in growth if row["x_label"] == "resolution (pixels)"] == [24, 28, 36]
    exponents = [row for row in recording.rows if row["group"] == "exponents"]
    assert len(exponents) == 4
    assert all(row["low"] < row["value"] < row["high"] for row in exponents)


def test_without_a_gpu_its_script_says_so_in_a_line():
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPTS / "gpu.py")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, **hidden}, check=False)
    assert done.returncode == 2
    assert done.stderr == "benchmarks/gpu.py needs a CUDA device that torch can use, and there is none\n"
    assert not done.stdout


def test_the_functions_of_the_gpu_script_on_a_cpu(recording, monkeypatch):
    monkeypatch.setattr(gpu, "PROCESSES", (1,))
    images, files = gpu.stored(8, 256), gpu.Jpegs(64, distinct=4)
    ways = gpu.contenders("tinynet_e", 2, images, files, CPU, loaders=0, compiled=False)
    gpu.record_rates(recording, "tinynet_e", 2, ways, CPU, seconds=0.0, rounds=1)
    gpu.record_together(recording, "tinynet_e", 2, CPU, 8, seconds=0.0, rounds=1)
    ours, ratio, timm = (
        {row["unit"]: row["value"] for row in recording.rows[part]} for part in (slice(3), slice(3, 4), slice(4, 7))
    )
    assert [one["what"].rpartition(", ")[2] for one in recording.rows[:7]] == ["ours"] * 4 + ["timm"] * 3
    assert ratio["x"] == pytest.approx(ours["images/s"] / timm["images/s"], rel=1e-3)
    per_model = 100 * 500 * 100  # classes, images of each, epochs
    assert ours["models/h"] == pytest.approx(ours["images/s"] * 3600 / per_model, rel=1e-3)
    assert [one["what"] for one in recording.rows[7:]] == ["tinynet_e, batch 2, 1 at once"]


def test_a_rate_is_images_over_the_time_until_the_last_step(monkeypatch):
    now = iter([0.0, 1.0, 1.0, 10.0, 12.0, 14.0, 16.0])  # start, one step to warm up, end; start, steps, end

    def steps():
        while True:
            yield

    monkeypatch.setattr(gpu.time, "perf_counter", lambda: next(now))
    assert gpu.rate(steps(), 32, CPU, 0.5, 4.0) == 2 * 32 / 6


def test_drawn_jpegs_are_of_the_size_of_photographs():
    files = gpu.Jpegs(8, distinct=4).files
    assert len(files) == 4
    bits = 8 * np.mean([len(file) for file in files]) / (500 * 375)
    assert 2 < bits < 8  # ImageNet's have about 4.8 a pixel: 110 kB


def test_a_candidate_is_compared_with_counters_that_need_a_module(recording, monkeypatch):
    monkeypatch.setattr(complexity, "MILLION", 5001)
    monkeypatch.setattr(complexity, "specification", lambda *_: 50.0)
    monkeypatch.setattr(complexity, "on_module", lambda name, scales, count, at: 100.0 if at == "meta" else 400.0)
    complexity.record_candidates(recording, "ghostnet_a", count=3)
    complexity.record_screening(recording, "ghostnet_a")
    assert [one["value"] for one in recording.rows[:5]] == [50, 100, 2, 400, 8]
    assert [one.get("at_most") for one in recording.rows] == [130, None, None, None, None, 10]


def test_budgets_are_solved_and_timed(recording, monkeypatch):
    monkeypatch.setattr(solve, "BUDGETS", {"resnet50": 1.8e9})
    solve.measure(recording, repeats=1)
    assert [one.get("at_most") for one in recording.rows] == [None, 50, 50, 50, None]
    assert all(one["value"] > 0 for one in recording.rows)


def test_latencies_have_intervals_and_the_ratio_is_of_the_medians(recording, monkeypatch):
    monkeypatch.setattr(latency, "interleaved", lambda rounds: np.outer(np.arange(1.0, rounds + 1), range(1, 7)))
    latency.measure(recording, rounds=99)
    b0, a, *_, ratio = recording.rows
    assert (b0["value"], a["value"], ratio["value"]) == (50, 100, 2)
    assert b0["low"] < 50 < b0["high"]
    assert ratio["peer"].endswith("0.814")


def test_every_store_keeps_and_loads_the_same_records(recording, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PUTS", 8)
    monkeypatch.setattr(store, "SHARE", 5)
    store.compare(recording, tmp_path, 20)
    found = {one["what"]: one for one in recording.rows}
    loads = [what for what in found if what.startswith("load 20: ")]
    assert len(loads) == 5
    assert loads[-1].endswith("pandas, from 5 of them")
    assert [what for what, one in found.items() if "at_most" in one] == [
        "put one into an empty store: one line a record (ours)",
        "load 20: one line a record (ours)",
        "put one into a store of 20: one line a record (ours)",
    ]
    assert len(tn.Store(tmp_path / "Ours").frame()) == 20 + 8


def test_randaugment_is_compared_on_the_same_number_of_images(recording, monkeypatch):
    monkeypatch.setattr(randaugment, "ROUNDS", 2)
    monkeypatch.setattr(randaugment, "BATCH", 8)
    randaugment.compare(recording, 32)
    assert [one["unit"] for one in recording.rows] == ["images/s", "x", "x"]
    assert all(one["value"] > 0 for one in recording.rows)


def section(rows, **about):
    machine = {"processor": "Abacus 9", "cores": 3, "memory_gib": 7.5, "gpu": None, "python": "3.11.2"}
    machine |= {"packages": {"torch": "2.12.1"}, "commit": "0123456789abcdef", "clean": True}
    command = "python benchmarks/training.py"
    return {
        "command": command,
        "date": "2026-01-02",
        "machine": machine,
        "others": 0.034,
        "others_are": "most",
        "rows": rows,
        **about,
    }


def row(what="sweep", value=3.14159, **more):
    return {"group": "throughput", "what": what, "value": value, "low": 3.0, "high": 3.5, "n": 3, "unit": "x", **more}


@pytest.mark.parametrize(
    ("target", "shown", "verdict"),
    [
        ({"at_least": 3.0}, "≥ 3×", "met"),
        ({"at_least": 3.2}, "≥ 3.2×", "**missed**"),
        ({"at_most": 3.0}, "≤ 3×", "**missed**"),
        ({"at_most": 1234.0}, "≤ 1,234×", "met"),
    ],
)
def test_the_page_says_which_targets_are_met(target, shown, verdict):
    sections = {"training": section([row(**target, peer="timm"), row("free", 1.0)])}
    head, _, *lines = performance_table(sections, "targets").splitlines()
    assert head == "| what | against | target | measured | spread | verdict |"
    assert lines == [f"| sweep | timm | {shown} | 3.14× | 3 to 3.5, range of 3 | {verdict} |"]


def test_a_table_names_command_machine_and_load():
    table = performance_table({"training": section([row(n=1, low=3.1, high=3.1)])}, "throughput")
    assert table.splitlines()[0] == "| what | measured | spread |"
    assert "| sweep | 3.14× | one run |" in table
    assert "`python benchmarks/training.py` on 2026-01-02: Abacus 9, 3 cores, 7.5 GiB; Python 3.11.2, torch" in table
    assert "commit `0123456789`. Other programs took at most 3% of the cores" in table


def test_a_group_without_rows_was_not_measured():
    assert performance_table({}, "gpu") == "*Not measured: `book/benchmarks.json` holds no rows of gpu.*"


def test_the_page_is_filled_from_the_results_and_holds_no_figure_of_its_own(tmp_path):
    page, results = tmp_path / "performance.md", ROOT / "book" / "benchmarks.json"
    prose = (ROOT / "book" / "performance.md").read_text(encoding="utf-8")
    assert not re.search(r"\d[\d.,]*\s*(×|x\b|times|ms|µs|s\b|MiB|GiB|images/s|seconds)", prose)
    page.write_text(prose, encoding="utf-8")
    fill_performance(page, results)
    text = page.read_text(encoding="utf-8")
    assert "<!-- results" not in text
    groups = re.findall("<!-- results: (.+?) -->", prose)
    for name, part in json.loads(results.read_text(encoding="utf-8")).items():
        assert part["command"] in text
        assert {one["group"] for one in part["rows"]} <= {*groups, "growth"}, name
        for one in part["rows"]:
            assert one["what"] in text or one["group"] == "growth"
    assert text.count("met |") + text.count("**missed** |") == sum(
        "at_least" in one or "at_most" in one
        for part in json.loads(results.read_text(encoding="utf-8")).values()
        for one in part["rows"]
    )
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_the_figure_draws_every_point_and_the_fitted_power():
    x = [1.0, 10.0, 100.0]
    points = [row("step", 2 * at**0.5, group="growth", x=at, x_label="MACs", low=at**0.5, high=3 * at**0.5) for at in x]
    power = row("step against MACs", 0.5, group="exponents", low=0.4, high=0.6)
    (axes,) = growth_figure(points, [power]).axes
    dots, line = axes.lines[0], axes.lines[-1]
    np.testing.assert_allclose(dots.get_xydata(), [(at, 2 * at**0.5) for at in x])
    np.testing.assert_allclose(line.get_xydata(), [(at, 2 * at**0.5) for at in x])
    assert axes.get_title() == "exponent 0.50\n[0.40, 0.60]"


def test_results_that_are_no_json_are_named(tmp_path):
    path = tmp_path / "benchmarks.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(tn.UserError, match=r"benchmarks\.json: cannot be read: "):
        fill_performance(tmp_path / "performance.md", path)
