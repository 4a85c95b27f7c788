import itertools
import math

import numpy as np
import pytest

from tinynet_core import Base, Experiment, GlyphDataset, Recipe, family, sample_scales
from tinynet_core.study.estimate import makespan, rate_from_records
from tinynet_core.study.record import Record, provenance

BASE = Base(32, 0.35, 4)
DATASET = GlyphDataset(classes=4, resolution=32, train_images=256, val_images=64)


def experiments(n, epochs=3, batch_size=32, dataset=DATASET):
    recipe = Recipe(epochs=epochs, batch_size=batch_size)
    return [
        Experiment(network="efficientnet_b0", scale=s, base=BASE, dataset=dataset, recipe=recipe)
        for s in sample_scales(family("efficientnet_b0", BASE, classes=dataset.classes), n)
    ]


def record(experiment, seconds, device="cpu", **changes):
    known = {"experiment": experiment, "status": "done", "cost": experiment.cost(), "wall_s": seconds}
    return Record(**{**known, "provenance": {"device": provenance(device)["device"]}, **changes})


def truth(experiment, per_block, per_mac):
    """The formula of ``Rate``, from the networks and not from the module under test."""
    spec, steps = experiment.spec(), experiment.recipe.epochs * (experiment.dataset.train_images // 32)
    blocks = sum(stage.repeats for stage in spec.stages) + 4  # stem, head convolution, pooling, classifier
    return steps * (per_block * blocks + per_mac * spec.complexity().macs * 32)


@pytest.mark.parametrize(("per_block", "per_mac"), [(2e-3, 4e-10), (0.0, 1e-9), (1e-3, 0.0)])
def test_known_coefficients_come_back(per_block, per_mac):
    wanted = experiments(8)
    records = [record(e, truth(e, per_block, per_mac)) for e in wanted]
    rate = rate_from_records(records, wanted[0], "cpu")
    assert rate.seconds_per_block == pytest.approx(per_block, rel=1e-6, abs=1e-12)
    assert rate.seconds_per_mac == pytest.approx(per_mac, rel=1e-6, abs=1e-18)
    assert rate.spread == pytest.approx(0, abs=1e-6)
    assert "8 finished records on cpu" in rate.source
    other = experiments(1, epochs=17)[0]
    assert rate.seconds(other) == pytest.approx(truth(other, per_block, per_mac), rel=1e-6)


def test_noise_shows_in_the_spread_and_not_in_the_sum():
    """Times that scatter by 30% must not pull the total down, as weights by the measured times would."""
    wanted = experiments(100)
    noise = np.random.default_rng(0).lognormal(-(0.3**2) / 2, 0.3, len(wanted))
    records = [record(e, truth(e, 2e-3, 4e-10) * x) for e, x in zip(wanted, noise, strict=True)]
    rate = rate_from_records(records, wanted[0], "cpu")
    assert rate.spread == pytest.approx(noise.std(), rel=0.15)
    total = sum(truth(e, 2e-3, 4e-10) for e in wanted)
    assert sum(rate.seconds(e) for e in wanted) == pytest.approx(total, rel=3 * 0.3 / math.sqrt(100))


def test_only_like_records_count():
    wanted = experiments(7)
    records = [record(e, truth(e, 2e-3, 4e-10)) for e in wanted]
    assert rate_from_records(records[:4], wanted[0], "cpu") is None
    assert rate_from_records(records[:5], wanted[0], "cpu").models == 5
    strange = [
        record(experiments(7, batch_size=64)[4], 1.0),
        record(experiments(7, dataset=DATASET.model_copy(update={"seed": 1}))[4], 1.0),
        record(wanted[4], 1.0, provenance={"device": "cuda (Another)"}),
        record(wanted[4], 0.0, status="failed", reason="diverged"),
    ]
    for other in strange:
        assert rate_from_records([*records[:4], other], wanted[0], "cpu") is None
    assert rate_from_records([*records, *strange], wanted[0], "cpu").models == 7


def best_makespan(seconds, workers):
    """By trying every assignment."""
    return min(
        max(sum(s for s, w in zip(seconds, chosen, strict=True) if w == worker) for worker in range(workers))
        for chosen in itertools.product(range(workers), repeat=len(seconds))
    )


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_makespan_against_the_best_schedule(workers, seed):
    seconds = np.random.default_rng(seed).uniform(1, 10, 7).tolist()
    best, found = best_makespan(seconds, workers), makespan(seconds, workers)
    assert best - 1e-9 <= found <= (4 / 3 - 1 / (3 * workers)) * best + 1e-9


def test_makespan_of_the_worst_case_of_its_bound():
    """Graham's example: 5, 5, 4, 4, 3, 3, 3 on three workers take 11 in this order and 9 at best."""
    jobs = [3, 5, 3, 4, 5, 4, 3]
    assert makespan(jobs, 3) == 11
    assert best_makespan(jobs, 3) == 9


@pytest.mark.parametrize(("seconds", "workers"), [([], 1), ([1.0], 0)])
def test_bad_schedules(seconds, workers):
    with pytest.raises(ValueError, match="makespan needs a job and a worker"):
        makespan(seconds, workers)
