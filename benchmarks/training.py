"""Sweep throughput beside two loops as others write them, and a training step beside its compute bound.

Ours is what a sweep does: worker processes that are up already, one for each core with one thread, which train
experiments with augmentation, averaged weights, an evaluation and a checkpoint. The peers (frame.py) train one model
after the other with all threads, and neither evaluate nor write; one of them runs a second time in our workers. All
have the same images in memory, batch size, number of steps and optimiser. Contenders take turns, in a new order every
round, so that what else the machine does meets all of them.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from frame import LIMIT, Pictures, Recording, in_workers, timed, timm_steps, torchvision_steps
from torch.nn import functional as F
from tqdm import tqdm

import tinynet_core as tn
from tinynet_core.data import ImageSet
from tinynet_core.machine import cores
from tinynet_core.study.local import LocalExecutor
from tinynet_core.study.record import execute
from tinynet_core.study.sweep import attempt
from tinynet_core.training import classifier
from tinynet_core.training.augment import draw, training_batch

BASE = tn.Base(48, 0.3, 4)
SCALES = [tn.Scale(1.0, 0.6, 0.8), tn.Scale(0.8, 1.0, 1.0), tn.Scale(1.2, 0.5, 0.7), tn.Scale(0.6, 1.5, 1.0)]
SIZES = {"small": tn.Scale(0.6, 0.6, 0.5), "middle": tn.Scale(0.8, 1.0, 1.0), "large": tn.Scale(1.5, 1.5, 1.5)}
OPTIMIZERS = {"adamw": 4e-3, "sgd": 0.05, "rmsprop": 1e-3}
RECIPE = tn.Recipe(epochs=1, warmup_epochs=0.1, batch_size=32)
CPU = torch.device("cpu")


def dataset(steps: int) -> tn.CreatureDataset:
    return tn.CreatureDataset(genera=10, species=2, train_images=steps * RECIPE.batch_size, val_images=32)


def experiments(steps: int, seed: int) -> list[tn.Experiment]:
    """The four networks, the most expensive first, as a sweep orders them."""
    made = [
        tn.Experiment(
            network="efficientnet_b0", scale=scale, base=BASE, dataset=dataset(steps), recipe=RECIPE, seed=seed
        )
        for scale in SCALES
    ]
    return sorted(made, key=lambda e: -e.spec().complexity().macs)


class Contender(NamedTuple):
    """A way to train several models; ``loaders`` are the processes of its DataLoader, None where it has none."""

    kind: str
    loaders: int | None = None

    def parts(self) -> list[slice]:
        """Models that are timed together: all of them in workers, else one, since short runs find quiet more often."""
        return [slice(None)] if self.loaders is None else [slice(i, i + 1) for i in range(len(SCALES))]

    def __str__(self) -> str:
        return self.kind if self.loaders is None else f"{self.kind}, {self.loaders} loader processes"


OURS, TIMM_IN_WORKERS = Contender("ours"), Contender("timm, channels last, in our workers")
PEERS: dict[str, Callable[..., Iterator[None]]] = {
    "torchvision": torchvision_steps,
    "timm": partial(timm_steps, channels_last=False),
    "timm, channels last": partial(timm_steps, channels_last=True),
}


def train_ours(executor: LocalExecutor, root: Path, models: list[tn.Experiment]) -> None:
    """Every model as the driver of a sweep sends it to its workers."""
    store = tn.Store(root)
    assert all(
        record.done for record in in_workers(executor, [(attempt, execute, one, store, False) for one in models])
    )


def timm_in_worker(model: tn.Experiment, *_) -> None:
    one_by_one("timm, channels last", 0, [model])


def train_timm_in_workers(executor: LocalExecutor, models: list[tn.Experiment]) -> None:
    in_workers(executor, [(timm_in_worker, model) for model in models])


def one_by_one(kind: str, loaders: int, models: list[tn.Experiment]) -> None:
    """Each model for one epoch of a peer's loop in this process, with all its threads."""
    for model in models:
        steps = sum(1 for _ in PEERS[kind](model.spec(), pictures(model.dataset), RECIPE, loaders, CPU))
        assert steps == model.dataset.train_images // RECIPE.batch_size


@cache
def pictures(data: tn.CreatureDataset) -> Pictures:
    return Pictures.of(tn.load_images(data))


def contenders(executor: LocalExecutor, root: Path, loaders: tuple[int, ...]) -> dict[Contender, Callable]:
    """Each contender's function that trains a list of experiments."""
    return {
        OURS: partial(train_ours, executor, root),
        **{Contender(kind, n): partial(one_by_one, kind, n) for kind in PEERS for n in loaders},
        TIMM_IN_WORKERS: partial(train_timm_in_workers, executor),
    }


def throughput(rounds: int, steps: int, loaders: tuple[int, ...], quietly: Callable) -> dict[Contender, np.ndarray]:
    """Images per second of each contender in each round."""
    tn.load_images(dataset(steps), workers=cores())
    rng, seeds = np.random.default_rng(0), count()  # no experiment twice: it would go on from its checkpoint
    executor = LocalExecutor(["cpu"] * cores(), 1)
    try:
        with tempfile.TemporaryDirectory() as root:
            ways = contenders(executor, Path(root), loaders)
            ways[OURS]([experiments(steps, next(seeds))[-1] for _ in range(cores())])  # the workers are up
            seconds: dict[Contender, list[float]] = {one: [] for one in ways}
            order = [list(ways)[i] for _ in range(rounds) for i in rng.permutation(len(ways))]
            for name in tqdm(order, desc="sweeps", disable=None):

                def some(part: slice, train: Callable = ways[name]) -> float:
                    return timed(train, experiments(steps, next(seeds))[part])

                seconds[name].append(sum(quietly(partial(some, part)) for part in name.parts()))
    finally:
        executor.close()
    images = len(SCALES) * steps * RECIPE.batch_size
    return {name: images / np.array(times) for name, times in seconds.items()}


def record_throughput(recording: Recording, rates: dict[Contender, np.ndarray]) -> None:
    """The ratio to each peer, without loader processes and with as many as serve it best; then all the rates."""
    for kind in PEERS:
        own = {one: rate for one, rate in rates.items() if one.kind == kind}
        best = max(own, key=lambda one: np.median(own[one]))
        for peer in dict.fromkeys([next(iter(own)), best]):
            name = f"{peer}{' (its best)' if peer == best else ''}"
            recording.add("sweep", rates[OURS] / own[peer], "x", group="throughput", at_least=3.0, peer=name)
    inside = rates[OURS] / rates[TIMM_IN_WORKERS]
    recording.add("sweep", inside, "x", group="throughput", peer=str(TIMM_IN_WORKERS))
    for name, rate in rates.items():
        recording.add(str(name), rate, "images/s", group="rates")


class StepAndBound:
    """A training step of one network, and forward, backward and optimiser alone on a batch that lies ready."""

    def __init__(self, scale: tn.Scale, optimizer: str, images: ImageSet) -> None:
        recipe = RECIPE.model_copy(update={"optimizer": optimizer, "lr": OPTIMIZERS[optimizer]})
        self.spec = tn.network("efficientnet_b0", scale, 20, None, BASE)
        self.run = classifier.Run(
            lambda: self.spec.build(0.2, True, True), self.spec.resolution, images, recipe, 0, CPU
        )
        self.run.model.train()
        self.order = torch.randperm(len(self.run.train_set), generator=torch.Generator().manual_seed(0))
        first = next(self.run.train_set.batches([self.order[: recipe.batch_size]]))
        draws = draw(recipe.batch_size, recipe, torch.Generator().manual_seed(0))
        self.inputs, self.labels = training_batch(first, self.spec.resolution, recipe, draws), first.labels

    def whole(self) -> None:
        self.order = self.order.roll(self.run.recipe.batch_size)
        (batch,) = self.run.train_set.batches([self.order[: self.run.recipe.batch_size]])
        self.run.train_step(batch)

    def bare(self) -> None:
        loss = F.cross_entropy(self.run.model(self.inputs), self.labels, label_smoothing=RECIPE.label_smoothing)
        self.run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.run.optimizer.step()

    def share(self, pairs: int) -> float:
        """Median time of the bare step over that of the whole one, run in turns."""
        seconds = np.array([[timed(self.bare), timed(self.whole)] for _ in range(pairs)])
        bare, whole = np.median(seconds, axis=0)
        return float(bare / whole)


def record_shares(recording: Recording, rounds: int, pairs: int, steps: int) -> None:
    """The share of a step's time that is its compute bound, on one thread."""
    images = tn.load_images(dataset(steps))
    torch.set_num_threads(1)
    cases = {(size, name): StepAndBound(SIZES[size], name, images) for size in SIZES for name in OPTIMIZERS}
    for case in cases.values():
        case.share(3)  # memory is allocated, kernels are chosen
    shares: dict[tuple[str, str], list[float]] = {key: [] for key in cases}
    for key in tqdm([*cases] * rounds, desc="steps", disable=None):
        shares[key].append(100 * recording.quietly(partial(cases[key].share, pairs)))
    for (size, name), case in cases.items():
        million = case.spec.complexity().macs / 1e6
        what = f"{size} network ({million:.2g}M MACs at {case.spec.resolution} px), {name}"
        recording.add(
            what, shares[size, name], "%", group="step", at_least=85.0, peer="its forward, backward and optimiser alone"
        )


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=40, show_default=True, help="Of each model.")
@click.option("--pairs", type=click.IntRange(min=1), default=10, show_default=True, help="Of timed steps a round.")
@click.option("--others", type=float, default=LIMIT, show_default=True, help="Cores that others may take, a share.")
def main(rounds: int, steps: int, pairs: int, others: float) -> None:
    """Measure and record both. About ten minutes on two cores."""
    with Recording("training", f"--rounds {rounds} --steps {steps} --pairs {pairs}", limit=others) as recording:
        record_throughput(recording, throughput(rounds, steps, tuple(sorted({0, 1, cores()})), recording.quietly))
        record_shares(recording, rounds, pairs, steps)


if __name__ == "__main__":
    main()
