import itertools

import numpy as np
import pytest

from tinynet_core import Base, Experiment, GlyphDataset, Recipe, family, sample_scales
from tinynet_core.study.estimate import makespan, rate_from_records
from tinynet_core.study.record import Record, provenance

BASE = Base(32, 0.35, 4)
DATASET = GlyphDataset(classes=4, resolution=32, train_images=256, val_images=64)
TRUE = 2e-3, 4e-10


def experiments(n, epochs=3, batch_size=32, dataset=DATASET):
    recipe = Recipe(epochs=epochs, batch_size=batch_size)
    scales = sample_scales(family("efficientnet_b0", BASE, classes=dataset.classes), n)
    return [Experiment(network="efficientnet_b0", scale=s, base=BASE, dataset=dataset, recipe=recipe) for s in scales]


def record(experiment, seconds, device="cpu", **changes):
    known = {"experiment": experiment, "status": "done", "cost": experiment.cost(), "wall_s": seconds}
    return Record(**{**known, "provenance": {"device": provenance(device)["device"]}, **changes})


def truth(experiment, per_block=TRUE[0], per_mac=TRUE[1]):
    """The formula of ``Rate``, from the networks and not from the module under test."""
    spec, steps = experiment.spec(), experiment.recipe.epochs * (experiment.dataset.train_images // 32)
    blocks = sum(stage.repeats for stage in spec.stages) + 4  # stem, head convolution, pooling, classifier
    return steps * (per_block * blocks + per_mac * spec.complexity().macs * 32)


@pytest.mark.parametrize(("per_block", "per_mac"), [TRUE, (0.0, 1e-9), (1e-3, 0.0)])
def test_known_coefficients_come_back(per_block, per_mac):
    wanted = experiments(8)
    rate = rate_from_records([record(e, truth(e, per_block, per_mac)) for e in wanted], wanted[0], "cpu")
    assert rate.seconds_per_block == pytest.approx(per_block, rel=1e-6, abs=1e-12)
    assert rate.seconds_per_mac == pytest.approx(per_mac, rel=1e-6, abs=1e-18)
    assert rate.spread == pytest.approx(0, abs=1e-6)
    other = experiments(1, epochs=17)[0]
    assert rate.seconds(other) == pytest.approx(truth(other, per_block, per_mac), rel=1e-6)


def test_only_like_records_count():
    wanted = experiments(7)
    records = [record(e, truth(e)) for e in wanted]
    strange = [
        record(experiments(7, batch_size=64)[4], 1.0),
        record(experiments(7, dataset=DATASET.model_copy(update={"seed": 1}))[4], 1.0),
        record(wanted[4], 1.0, provenance={"device": "cuda (Another)"}),
        record(wanted[4], 0.0, status="failed", reason="diverged"),
    ]
    assert rate_from_records([*records[:4], *strange], wanted[0], "cpu") is None
    assert rate_from_records([*records, *strange], wanted[0], "cpu").source.startswith("7 finished records")


def best_makespan(seconds, workers):
    """By trying every assignment."""
    return min(
        max(sum(s for s, w in zip(seconds, chosen, strict=True) if w == worker) for worker in range(workers))
        for chosen in itertools.product(range(workers), repeat=len(seconds))
    )


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_makespan_against_the_best_schedule(workers):
    """Within Graham's bound, whose worst case on three workers takes 11 in this order and 9 at best."""
    drawn = [np.random.default_rng(seed).uniform(1, 10, 7).tolist() for seed in range(3)]
    for seconds in (*drawn, [3, 5, 3, 4, 5, 4, 3]):
        best, found = best_makespan(seconds, workers), makespan(seconds, workers)
        assert best - 1e-9 <= found <= (4 / 3 - 1 / (3 * workers)) * best + 1e-9
    assert workers != 3 or (best, found) == (9, 11)
