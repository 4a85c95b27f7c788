"""A study of the smoke preset whose records are made up, so that nothing is trained."""

import numpy as np

from tinynet_book.analysis.models import classifiers, latencies_run
from tinynet_core import Record, Study
from tinynet_core.study.record import failed, provenance
from tinynet_core.study.store import FILE

ABOUT = provenance("cpu") | {"commit": "c0ffee", "clean": True, "compiled": False}
CURVE = ("train_loss", "train_top1", "raw_loss", "raw_top1", "raw_top5", "ema_loss", "ema_top1", "ema_top5")
METRICS = ("top1", "top5", "loss", "raw_top1", "raw_top5", "raw_loss", "train_top1", "train_loss")


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


def timed(task):
    """Times in proportion to the resolution, so that none is like another cost."""
    median = [timed.spec().resolution / 10 for timed in task.networks]
    return Record(
        experiment=task,
        status="done",
        metrics={"round_ms": sum(median)},
        arrays={"median_ms": median, "low_ms": [x - 0.1 for x in median], "high_ms": [x + 0.2 for x in median]},
        cost=task.cost(),
        wall_s=1.0,
        provenance=ABOUT | {"processors": 2, "onnxruntime": "1.0", "others_busy": 0.25},
    )


def without(study, root, trainings):
    """The same study in a store of its own, without the timings and the last so many ``trainings``."""
    lines = (study.store.root / FILE).read_bytes().splitlines(keepends=True)
    root.mkdir(parents=True, exist_ok=True)
    (root / FILE).write_bytes(b"".join(lines[: -1 - trainings]))
    return Study("smoke", root, train=False)


def fake_study(root, preset="smoke"):
    """The study, its third network of Table 3 failed."""
    study = Study(preset, root, train=False)
    for experiment in study.preset.random_experiments():
        study.store.put(trained(experiment))
    everything = list(dict.fromkeys(e for series in classifiers(study).values() for e in series.all()))
    broken = everything[2]
    for experiment in study.store.missing(everything):
        study.store.put(failed(experiment, "loss is nan") if experiment == broken else trained(experiment))
    study.store.put(timed(latencies_run(study)))
    return study
