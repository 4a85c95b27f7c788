"""Trains the small networks of ``test_team.py`` in one of several processes that start together.

    python tests/ddp.py FOLDER

writes the last checkpoints to FOLDER: of ``frozen``, where batch-norm uses running statistics in training too; of
``whole``; and of ``cut``, which is stopped after 48 steps, when its checkpoint is copied to ``half``, and goes on.
"""

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import torch

from tinynet_core import Base, GlyphDataset, Recipe, Scale, load_glyphs, network
from tinynet_core.training import engine, loop

DATASET = GlyphDataset(classes=4, resolution=32, train_images=768, val_images=300, difficulty=0.0)
COMMON = {"batch_size": 32, "warmup_epochs": 0.5, "dropout": 0.0, "ema_decay": 0.9}
FROZEN_RECIPE = Recipe(epochs=2, optimizer="sgd", lr=0.003, weight_decay=1e-4, rand_augment=3.0, **COMMON)
LEARNING_RECIPE = Recipe(epochs=6, lr=0.01, crop_area=(0.9, 1.0), jitter=0.1, label_smoothing=0.0, **COMMON)


class Frozen(torch.nn.BatchNorm2d):
    """Normalises by its running statistics in training too."""

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)


def build(frozen: bool) -> torch.nn.Module:
    module = network("efficientnet_b0", Scale(1, 0.5, 1), 4, None, Base(24, 0.25, 4)).build(0.0, not frozen, not frozen)
    if frozen:
        module.train()
        for _ in range(30):  # statistics that let the gradients through
            module(torch.randn(32, 3, 24, 24))
        for norm in module.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.__class__ = Frozen
    return module


def train(out: Path | None, frozen: bool, seed: int, steps: int = 10**6) -> loop.Outcome:
    recipe = FROZEN_RECIPE if frozen else LEARNING_RECIPE
    asked = iter(range(10**7))
    stop = lambda: next(asked) * (16 if loop.team().size > 1 else 1) >= steps  # noqa: E731
    return engine.train(lambda: build(frozen), 24, load_glyphs(DATASET), recipe, seed, "cpu", out, stop)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    train(folder / "frozen.pt", True, 0)
    train(folder / "whole.pt", False, 0)
    with suppress(loop.Interrupted):
        train(folder / "cut.pt", False, 0, 48)
    loop.team().wait()
    if loop.team().leads:
        shutil.copy(folder / "cut.pt", folder / "half.pt")
    loop.team().wait()
    train(folder / "cut.pt", False, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
