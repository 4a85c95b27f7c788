"""A study of the smoke preset whose records are made up, so that nothing is trained."""

import numpy as np

from tinynet_book.analysis.models import classifiers
from tinynet_core import Record, Study
from tinynet_core.study.classify import METRICS
from tinynet_core.study.record import failed, provenance
from tinynet_core.study.store import FILE

ABOUT = provenance("cpu") | {"commit": "c0ffee", "clean": True, "compiled": False}
CURVE = ("train_loss", "train_top1", "raw_loss", "raw_top1", "raw_top5", "ema_loss", "ema_top1", "ema_top5")


def trained(experiment):
    """Top-1 that grows with the MACs, other numbers that follow from the key."""
    rng = np.random.default_rng(int(experiment.key[:8], 16))
    cost = experiment.cost()
    metrics = dict(zip(METRICS, rng.uniform(0.1, 0.9, len(METRICS)).tolist(), strict=True))
    metrics["top1"] = round(float(0.1 * np.log(cost["macs"]) - 0.9 + rng.normal(0, 0.02)), 4)
    curve = [
        {"epoch": float(epoch), **dict(zip(CURVE, rng.uniform(0, 1, len(CURVE)).tolist(), strict=True))}
        for epoch in (1, 2)
    ]
    return Record(
        experiment=experiment,
        status="done",
        metrics=metrics,
        curve=curve,
        cost=cost,
        wall_s=round(float(rng.uniform(1, 9)), 3),
        provenance=ABOUT | {"dataset_sha256": experiment.dataset.key, "probe_sha256": [experiment.dataset.key]},
    )


def without(study, root, trainings):
    """The same study in a store of its own, without the last so many ``trainings``."""
    lines = (study.store.root / FILE).read_bytes().splitlines(keepends=True)
    root.mkdir(parents=True, exist_ok=True)
    (root / FILE).write_bytes(b"".join(lines[:-trainings]))
    return Study("smoke", root, train=False)


def fake_study(root, preset="smoke"):
    """The study, its third network of Table 3 failed."""
    study = Study(preset, root, train=False)
    for experiment in study.preset.random_experiments():
        study.store.put(trained(experiment))
    everything = list(dict.fromkeys(e for page in classifiers(study).values() for row in page.values() for e in row))
    broken = everything[2]
    for experiment in study.store.missing(everything):
        study.store.put(failed(experiment, "loss is nan") if experiment == broken else trained(experiment))
    return study
