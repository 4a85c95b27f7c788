"""Sweep throughput beside a plain loop, and a training step beside its compute bound. About two minutes on two cores.

The plain loop is how the references of torchvision train: a DataLoader over PIL images with random resized crop and
colour jitter, the default memory layout, one model at a time with all threads. Ours: one process per core, one thread
each, images in memory, batches augmented at once, channels last. Same images, batch size, steps and optimiser.
"""

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import tinynet_core as tn
from tinynet_core.data import ImageSet
from tinynet_core.training import engine

BASE = tn.Base(48, 0.3, 4)
SCALES = [tn.Scale(1.0, 0.6, 0.8), tn.Scale(0.8, 1.0, 1.0), tn.Scale(1.2, 0.5, 0.7), tn.Scale(0.6, 1.5, 1.0)]
RECIPE = tn.Recipe(epochs=1, warmup_epochs=0.1, batch_size=32)
STEPS = 40


def images() -> ImageSet:
    dataset = tn.GlyphDataset(classes=20, train_images=STEPS * RECIPE.batch_size, val_images=32)
    return tn.load_glyphs(dataset, workers=2)


def spec(i: int):
    return tn.network("efficientnet_b0", SCALES[i], 20, None, BASE)


def train_ours(i: int) -> None:
    torch.set_num_threads(1)
    run = engine._Run(lambda: spec(i).build(0.2, True), spec(i).resolution, images(), RECIPE, 0, torch.device("cpu"))
    run._evaluate = lambda model: (0.0, 0.0, 0.0)  # type: ignore[method-assign]  # the peer does not evaluate either
    run.train_epoch()


class PILGlyphs(Dataset):
    def __init__(self, side: int) -> None:
        self.set = images()
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(side, (0.6, 1.0)),
                v2.ColorJitter(0.4, 0.4, 0.4),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.set.train_labels)

    def __getitem__(self, i: int):
        return self.transform(Image.fromarray(np.array(self.set.train_images[i]))), int(self.set.train_labels[i])


def train_plain(i: int) -> None:
    model = spec(i).build(0.2, True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for batch, labels in DataLoader(PILGlyphs(spec(i).resolution), RECIPE.batch_size, shuffle=True, drop_last=True):
        loss = F.cross_entropy(model(batch), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def share_of_compute() -> float:
    """Speed of a whole training step over that of forward, backward and optimiser on one cached batch."""
    torch.set_num_threads(1)
    run = engine._Run(lambda: spec(1).build(0.2, True), spec(1).resolution, images(), RECIPE, 0, torch.device("cpu"))
    index, generator = torch.arange(RECIPE.batch_size), torch.Generator().manual_seed(0)
    batch = engine.training_batch(run.train_set[0][index], run.resolution, RECIPE, generator)

    def bare() -> None:
        loss = F.cross_entropy(run.model(batch), run.train_set[1][index])
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        run.optimizer.step()

    times: dict[str, list[float]] = {"bare": [], "whole": []}
    for step in range(40):
        for name, function in (("bare", bare), ("whole", lambda: run._step(index, 0.5, generator))):
            start = time.perf_counter()
            function()
            if step >= 5:
                times[name].append(time.perf_counter() - start)
    return float(np.median(times["bare"]) / np.median(times["whole"]))


def main() -> None:
    images()
    seen = len(SCALES) * STEPS * RECIPE.batch_size
    start = time.perf_counter()
    for i in range(len(SCALES)):
        train_plain(i)
    plain = seen / (time.perf_counter() - start)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(abs, range(8)))  # the processes are up, as they are for all but the first model of a sweep
        list(pool.map(train_ours, [3, 3]))
        start = time.perf_counter()
        list(pool.map(train_ours, range(len(SCALES))))
        ours = seen / (time.perf_counter() - start)
    print(f"sweep {ours:,.0f} img/s, plain loop {plain:,.0f} img/s, ratio {ours / plain:.2f}, target >= 3")
    print(f"a training step runs at {share_of_compute():.0%} of its compute bound, target >= 85%")


if __name__ == "__main__":
    main()
