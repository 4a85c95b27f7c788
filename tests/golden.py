"""Very short trainings that set every field of a recipe; their losses are kept in ``golden.json``.

    python tests/golden.py    measure them and write golden.json

If a loss changes although ``TRAINING_VERSION`` is the same, records made before and after cannot be compared.
"""

import json
import os
import tempfile
from pathlib import Path

import torch

from tinynet_core import Base, CreatureDataset, Experiment, Recipe, Scale, load_preset
from tinynet_core.data import CreatureSceneDataset
from tinynet_core.study.detect import Detection
from tinynet_core.study.record import provenance
from tinynet_core.training.loop import TRAINING_VERSION

FILE = Path(__file__).with_name("golden.json")
SPLITS = ("train", "raw", "ema")

BASE = Base(48, 0.2, 4)
CREATURES = CreatureDataset(genera=2, species=2, resolution=64, train_images=50, val_images=24)  # larger than the
# networks' input and no multiple of a batch: images are made smaller, and the last ones are left over
SHORT = {"epochs": 2, "batch_size": 24, "bn_momentum": 0.4, "precision": "fp32"}
AS_PRESETS = Recipe(
    **SHORT, lr=0.01, warmup_epochs=0.3, weight_decay=1.0, ema_decay=0.2, crop_area=(0.9, 1), jitter=0.1
)
AS_EFFICIENTNET = load_preset("imagenet1k").recipe.model_copy(
    update={
        **SHORT, "norm_batch": 12, "lr": 0.004, "lr_batch": 48, "weight_decay": 0.1, "warmup_epochs": 0.5,
        "decay_epochs": 0.5, "ema_decay": 0.6, "mirror": 0.0,
    }
)  # fmt: skip
AS_RESNET = load_preset("imagenet100").resnet_recipe.model_copy(
    update={
        **SHORT, "norm_batch": None, "lr": 0.005, "weight_decay": 0.2, "lr_batch": None, "decay_epochs": 1.0,
        "mirror": 0.0, "rand_augment": 9.0,
    }
)  # fmt: skip
NESTEROV = Recipe(**SHORT, optimizer="sgd", lr=0.2, weight_decay=0.1, warmup_epochs=0.5, ema_decay=0.2, jitter=0.4)
AS_DETECTOR = Recipe(
    epochs=2, batch_size=8, lr=0.005, warmup_epochs=0.5, label_smoothing=0, dropout=0, zero_init_classifier=False,
    ema_decay=0.5, bn_momentum=0.4, crop_area=(0.8, 1), mirror=0.5, jitter=0.1,
)  # fmt: skip
UNRESIZED = CREATURES.model_copy(update={"resolution": 48})
"""For RandAugment, whose thresholds turn the last bit of a resized pixel into another image."""


def _classifier(
    network: str, base: Base, recipe: Recipe, seed: int = 0, data: CreatureDataset = CREATURES
) -> Experiment:
    return Experiment(network=network, scale=Scale(1.0, 0.6, 1.0), base=base, dataset=data, recipe=recipe, seed=seed)


RUNS = {
    "as the presets": _classifier("efficientnet_b0", BASE, AS_PRESETS),
    "as EfficientNet": _classifier("efficientnet_b0", BASE, AS_EFFICIENTNET, seed=1),
    "as ResNet, with RandAugment": _classifier("resnet18", Base(48, 0.125, 2), AS_RESNET, data=UNRESIZED),
    "GhostNet": _classifier("ghostnet_a", Base(48, 0.3, 4), NESTEROV),
    "detector": Detection(
        network="tinynet_e", base=BASE, recipe=AS_DETECTOR, resolution=96, extra_width=0.1,
        dataset=CreatureSceneDataset(classes=2, side=96, train_images=16, val_images=8, most=3),
    ),
}  # fmt: skip

TOLERANCES = {
    "as the presets": 1.5e-4,
    "as EfficientNet": 1e-4,
    "as ResNet, with RandAugment": 3e-4,
    "GhostNet": 5e-5,
    "detector": 3e-4,
}
"""How far a loss may be off, as a share of it: at least 20 times what threads and instruction sets alone change.

The learning rates are small enough that the last bit of a number does not grow from step to step.
"""


def measured(task: Experiment | Detection) -> dict:
    """Its key, its images and its losses; with one thread the same on every run."""
    result = task.perform("cpu", None, None, False)
    losses = {split: [row[f"{split}_loss"] for row in result.curve] for split in SPLITS}
    return {"key": task.key, "dataset_sha256": result.sources["dataset_sha256"], "losses": losses}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="tinynet-golden-") as folder:
        os.environ.setdefault("TINYNET_CACHE", folder)
        torch.set_num_threads(1)
        runs = {name: measured(task) for name, task in RUNS.items()}
    content = {"training_version": TRAINING_VERSION, "packages": provenance("cpu")["packages"], "runs": runs}
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
