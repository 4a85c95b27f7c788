"""Trains the small network of ``test_team.py`` in one of several processes that start together.

    python tests/ddp.py FOLDER

writes the last checkpoints to FOLDER: of ``whole``, and of ``cut``, which is stopped after 36 steps, when its
checkpoint is copied to ``half``, and goes on; and a record of the preset FOLDER/tiny.yaml to FOLDER/store.
"""

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import torch

from tinynet_core import Base, CreatureDataset, Recipe, Scale, load_images, network
from tinynet_core.cli import tinynet
from tinynet_core.training import classifier, loop

DATASET = CreatureDataset(genera=2, species=2, resolution=32, train_images=320, val_images=51)
RECIPE = Recipe(
    epochs=2, batch_size=16, norm_batch=8, warmup_epochs=0.5, optimizer="sgd", lr=0.02, dropout=0.0, ema_decay=0.9,
    rand_augment=3.0,
)  # fmt: skip
SPEC = network("efficientnet_b0", Scale(1, 0.5, 1), 4, None, Base(24, 0.25, 4))


def train(out: Path, steps: int = 10**6) -> None:
    asked = iter(range(10**7))
    stop = lambda: next(asked) * (16 if loop.team().size > 1 else 1) >= steps  # noqa: E731
    classifier.Run(lambda: SPEC.build(0.0), 24, load_images(DATASET), RECIPE, 0, "cpu").train(out, stop)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    train(folder / "whole.pt")
    with suppress(loop.Interrupted):
        train(folder / "cut.pt", 36)
    loop.team().wait()
    if loop.team().leads:
        shutil.copy(folder / "cut.pt", folder / "half.pt")
    loop.team().wait()
    train(folder / "cut.pt")
    tinynet(["train", str(folder / "tiny.yaml"), "efficientnet_b0", "--store", str(folder / "store")])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
