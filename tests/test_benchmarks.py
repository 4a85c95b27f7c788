"""The benchmarks share one frame, their peers do the same work, and their pages show what is in the results."""

import importlib
import json
import re
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.special import logit
from scipy.stats import binom, t

import tinynet_core as tn
from tinynet_core.study.presets import load_preset, project_root

FOLDER = project_root() / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("frame", "page"))
sys.path.insert(0, str(FOLDER))  # as Python does for a script
calibrate, frame, page, scaling, training = map(
    importlib.import_module, ("calibrate", "frame", "page", "scaling", "training")
)
CREATURES = load_preset("creatures")


@pytest.mark.parametrize("n", [6, 51])
def test_the_interval_of_a_median_is_the_narrowest_that_covers_95_percent(n):
    low, high = frame.median_interval(range(n)[::-1])
    assert low + high == n - 1
    assert 1 - 2 * binom.cdf(low, n, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(low + 1, n, 0.5) < 0.95
    assert frame.median_interval([5.0, 1.0, 2.0]) == (1.0, 5.0)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_starts(name):
    done = CliRunner().invoke(importlib.import_module(name).main, ["--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


def test_a_recording_replaces_its_own_section_and_one_that_fails_nothing(tmp_path):
    path = tmp_path / "benchmarks.json"
    for script, value in (("solve", 1.0), ("latency", 2.0), ("solve", 3.0)):
        with frame.Recording(script, "--fast", path=path) as recording:
            recording.add("what", [value - 1, value, value + 4], "ms", at_most=50)
    before = path.read_text(encoding="utf-8")
    sections = json.loads(before)
    assert list(sections) == ["latency", "solve"]
    (row,) = sections["solve"]["rows"]
    assert [row[key] for key in ("n", "value", "low", "high", "at_most")] == [3, 3.0, 2.0, 7.0, 50]
    assert [x["value"] for x in sections["solve"]["history"][0]["rows"]] == [1.0]
    with pytest.raises(ZeroDivisionError), frame.Recording("solve", path=path):
        1 / 0  # noqa: B018
    assert [(p.name, p.read_text(encoding="utf-8")) for p in tmp_path.iterdir()] == [("benchmarks.json", before)]


@pytest.mark.parametrize("kind", list(training.PEERS))
def test_the_peers_train_the_same_network_on_the_same_images(kind, monkeypatch):
    """Images of one colour a class, under a recipe in which a picture keeps that colour."""
    greys = (60 * np.arange(70) % 240).astype(np.uint8)
    pictures = np.ascontiguousarray(np.broadcast_to(greys[:, None, None, None], (70, 32, 32, 3)))
    data = frame.Pictures([frame.Image.fromarray(picture) for picture in pictures], (greys // 60).tolist())
    recipe = tn.Recipe(epochs=1, warmup_epochs=0.1, batch_size=32, jitter=0.0, dropout=0.0)
    spec, seen = tn.network("efficientnet_b0", tn.Scale(0.12, 0.5, 0.2), 4), []
    model = frame.build(spec, recipe, training.CPU)
    model.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    before = [p.detach().clone() for p in model.parameters()]
    monkeypatch.setattr(frame, "build", lambda asked, *_: {spec: model}[asked])
    assert sum(1 for _ in training.PEERS[kind](spec, data, recipe, 0, training.CPU)) == 70 // 32
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


def test_the_page_on_performance_is_filled_from_the_results_and_holds_no_figure_of_its_own():
    text = (page.BOOK / "performance.md").read_text(encoding="utf-8")
    sections = json.loads((page.BOOK / "benchmarks.json").read_text(encoding="utf-8"))
    assert page.filled(text, sections) == text, "python benchmarks/page.py"
    prose = re.sub("<!-- results.*?<!-- end -->", "", text, flags=re.S)
    assert not re.search(r"\d[\d.,]*\s*(×|x\b|times|ms|µs|s\b|MiB|GiB|images/s|seconds)", prose)
    for part in sections.values():
        assert part["command"] in text
        assert all(one["what"] in text or one["group"] == "growth" for one in part["rows"])
    targets = sum("at_least" in one or "at_most" in one for part in sections.values() for one in part["rows"])
    assert text.count("met |") + text.count("**missed** |") == targets


def test_no_training_of_the_study_has_a_seed_of_the_calibration():
    planned = [e for part in calibrate.PARTS.values() for runs in part(CREATURES).values() for e in runs]
    assert {e.seed for e in planned} == set(calibrate.SEEDS)
    assert min(calibrate.SEEDS) >= max(CREATURES.compared_seeds, CREATURES.longer.seeds)


def test_the_page_on_calibration_is_filled_with_the_records_of_now_and_has_their_pooled_spread():
    """Pooled another way: the root of the mean variance of the log odds, for groups of one size."""
    store, text = tn.Store(calibrate.STORE), calibrate.PAGE.read_text(encoding="utf-8")
    assert calibrate.filled(text, calibrate.tables(CREATURES, store)) == text, "python benchmarks/calibrate.py show"
    accuracies = [[store.get(e).metrics["top1"] for e in runs] for runs in calibrate.graded(CREATURES).values()]
    pooled = np.sqrt(np.mean(np.var(logit(accuracies), axis=1, ddof=1)))
    assert f"| {pooled:.3f} [" in text
    plan = (project_root() / "book" / "plan.md").read_text(encoding="utf-8")
    assert f"The spread between seeds is {pooled:.3f} in log odds" in plan
    runs = {"The mean difference of two ways": (24, 40), "One budget alone": (6, 10), "a pair with three seeds": (3, 4)}
    for said, (n, freedom) in runs.items():
        half_width = 100 * 0.7 * 0.3 * pooled * np.sqrt(2 / n) * t.ppf(0.975, freedom)
        assert f"{half_width:.1f} points" in plan.partition(said)[2]
