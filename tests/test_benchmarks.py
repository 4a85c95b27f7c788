"""The benchmarks start, share one frame, and their peers do the same work."""

import importlib
import json
import sys
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import binom

import tinynet_core as tn
from tinynet_core.study.presets import project_root

FOLDER = project_root() / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("frame", "page"))
sys.path.insert(0, str(FOLDER))  # as Python does for a script
frame, scaling, training = map(importlib.import_module, ("frame", "scaling", "training"))


@pytest.mark.parametrize("n", range(6, 60, 9))
def test_the_interval_of_a_median_is_the_narrowest_that_covers_95_percent(n):
    low, high = frame.median_interval(range(n)[::-1])
    assert low + high == n - 1
    assert 1 - 2 * binom.cdf(low, n, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(low + 1, n, 0.5) < 0.95
    assert frame.median_interval([5.0, 1.0, 2.0]) == (1.0, 5.0)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_starts_and_records_into_the_common_frame(name):
    script = importlib.import_module(name)
    done = CliRunner().invoke(script.main, ["--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output
    if name != "calibrate":  # it trains, and keeps records
        assert script.Recording is frame.Recording
        assert f'Recording("{name}"' in (FOLDER / f"{name}.py").read_text(encoding="utf-8")


def test_without_a_gpu_its_script_says_so_in_a_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(importlib.import_module("gpu").main)
    assert done.exit_code == 2
    assert done.stderr == "benchmarks/gpu.py needs a CUDA device that torch can use, and there is none\n"


def test_the_quick_look_at_a_device_measures_everything_and_tells_the_hours(tmp_path, monkeypatch, capsys):
    gpu = importlib.import_module("gpu")
    monkeypatch.setattr(gpu, "our_steps", lambda *rest: iter(lambda: time.sleep(0.01), 1))
    monkeypatch.setattr(gpu, "together", lambda *rest: 1 / 0)
    monkeypatch.setattr(gpu, "stored", lambda *rest: None)
    monkeypatch.setattr(gpu, "preset_hours", lambda rates: {"p": rates["tinynet_e"]})
    recording = frame.Recording("gpu", path=tmp_path / "x.json")
    gpu.quick(recording, ("tinynet_d", "tinynet_e"), 8, torch.device("cpu"), 16, 0.05)
    rows = {row["what"]: row["value"] for row in recording.rows}
    assert rows["tinynet_e, 2 at once"] == 0
    assert "tinynet_e, 2 at once does not work here: ZeroDivisionError" in capsys.readouterr().out
    assert rows["JPEG files into the cache"] > 0
    assert 0 < rows["tinynet_e, compiled"] < 8 / 0.01
    assert rows["preset p, its classifiers one at a time, estimated"] > 0


def test_hours_of_a_preset_from_images_a_second():
    """At one rate for all networks, hours are images over rate."""
    gpu = importlib.import_module("gpu")
    rates = dict.fromkeys(gpu.NETWORKS, 1000.0)
    hours = gpu.preset_hours(rates)
    tasks = [task for task in gpu.plan(tn.Study("imagenette", train=False))[0] if isinstance(task, tn.Experiment)]
    images = sum(task.recipe.epochs * task.dataset.train_images for task in tasks)
    assert hours["imagenette"] == pytest.approx(images / 1000 / 3600)
    assert hours.keys() == {"imagenette", "imagenet100", "imagenet1k"}


def test_a_recording_replaces_its_own_section_and_keeps_what_had_a_target(tmp_path):
    path = tmp_path / "benchmarks.json"
    for script, value in (("solve", 1.0), ("latency", 2.0), ("solve", 3.0)):
        with frame.Recording(script, "--fast", path=path) as recording:
            recording.add("what", [value - 1, value, value + 4], "ms", at_most=50)
    sections = json.loads(path.read_text(encoding="utf-8"))
    assert list(sections) == ["latency", "solve"]
    (row,) = sections["solve"]["rows"]
    about = {"group": "solve", "what": "what", "unit": "ms", "n": 3, "at_most": 50}
    assert row == about | {"value": 3.0, "low": 2.0, "high": 7.0}
    assert [x["value"] for x in sections["solve"]["history"][0]["rows"]] == [1.0]
    assert sections["solve"]["command"] == "python benchmarks/solve.py --fast"
    assert 0 <= sections["solve"]["others"] <= 1


def test_a_script_that_fails_leaves_the_results_as_they_were(tmp_path):
    path = tmp_path / "benchmarks.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), frame.Recording("solve", path=path):
        1 / 0  # noqa: B018
    assert [(p.name, p.read_text(encoding="utf-8")) for p in tmp_path.iterdir()] == [("benchmarks.json", "{}")]


def test_what_other_programs_take_is_what_is_busy_and_not_ours():
    start, end = frame.Clocks(0.0, 10.0, 5.0), frame.Clocks(10.0, 25.0, 12.0)
    assert frame.others(start, end) == pytest.approx((15 - 7) / (10 * frame.psutil.cpu_count()))


def test_a_disturbed_measurement_is_repeated_until_patience_ends(monkeypatch):
    shares = [0.5, 0.4, 0.05, 0.02, 0.7]
    monkeypatch.setattr(frame, "others", lambda *_: shares.pop(0))
    monkeypatch.setattr(frame.time, "sleep", lambda _: None)
    done, recording = [], frame.Recording("solve", limit=0.1)
    assert recording.quietly(lambda: done.append(1) or len(done)) == 3
    assert recording.quietly(lambda: done.append(1) or len(done)) == 4
    assert recording.worst == 0.05
    monkeypatch.setattr(frame, "PATIENCE_S", -1.0)
    with pytest.raises(tn.UserError, match=r"took 70% of the cores, allowed are 10%: .* --others 1"):
        recording.quietly(lambda: None)


@pytest.mark.parametrize("kind", list(training.PEERS))
def test_the_peers_train_the_same_network_on_the_same_images(kind, monkeypatch):
    """Images of one colour a class, under a recipe in which a picture keeps that colour."""
    greys = (60 * np.arange(70) % 240).astype(np.uint8)
    pictures = np.ascontiguousarray(np.broadcast_to(greys[:, None, None, None], (70, 32, 32, 3)))
    data = frame.Pictures([frame.Image.fromarray(picture) for picture in pictures], (greys // 60).tolist())
    recipe = tn.Recipe(epochs=1, warmup_epochs=0.1, batch_size=32, jitter=0.0, dropout=0.0)
    spec, seen, models = tn.network("efficientnet_b0", tn.Scale(0.12, 0.5, 0.2), 4), [], []

    def built(*arguments):
        model = original(*arguments)
        model.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
        models.append((model, [p.detach().clone() for p in model.parameters()]))
        return model

    original = frame.build
    monkeypatch.setattr(frame, "build", built)
    assert sum(1 for _ in training.PEERS[kind](spec, data, recipe, 0, training.CPU)) == 70 // 32
    ((model, before),) = models
    assert sum(p.numel() for p in model.parameters()) == spec.complexity().params
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert {tuple(x.shape) for x in seen} == {(32, 3, spec.resolution, spec.resolution)}
    last = kind.endswith("channels last")
    assert all(x.is_contiguous(memory_format=torch.channels_last) == last for x in seen)
    mean, std = (torch.tensor(x)[:, None, None] for x in (frame.MEAN, frame.STD))
    grey = (torch.cat(seen) * std + mean) * 255
    torch.testing.assert_close(grey, grey[:, :1, :1, :1].round().expand_as(grey), atol=0.6, rtol=0)
    assert set(grey[:, 0, 0, 0].round().int().tolist()) == {0, 60, 120, 180}


def test_the_power_of_a_power_law_and_its_interval():
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    y = 3 * x**0.7 * np.exp([0.1, -0.1, 0.0, 0.1, -0.1])
    b, (low, high) = scaling.exponent(x, y)
    _, covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
    assert (high - low) / 2 == pytest.approx(3.182446 * np.sqrt(covariance[0, 0]), rel=1e-5)  # Student's t, 3 degrees
    assert low < b < high
