"""How the cost of training grows with the model, the input, the batch, the images and the number of models.

Each series changes one thing and is fitted by a power law: an exponent of 1 is growth in proportion, one below 1 says
that a fixed cost is spread over more work. One worker with one thread; the last series is whole sweeps on all cores,
the start of their processes included.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from frame import LIMIT, Recording
from scipy.stats import linregress, t
from tqdm import tqdm

import tinynet_core as tn
from tinynet_core.data import ImageSet
from tinynet_core.machine import cores
from tinynet_core.training import classifier

BASE = tn.Base(48, 0.3, 4)
RECIPE = tn.Recipe(epochs=1, warmup_epochs=0.1, batch_size=32)
SMALL = tn.Scale(0.6, 0.6, 0.5)
WIDTHS = (0.35, 0.5, 0.8, 1.2, 1.8, 2.8)
RESOLUTIONS = (0.5, 0.75, 1.0, 1.5, 2.0)
BATCHES = (8, 16, 32, 64, 128)
IMAGES = (320, 640, 1280, 2560, 5120)
MODELS = (2, 4, 8, 16)
Timed = Callable[[], float]


def network(scale: tn.Scale) -> tn.networks.Network:
    return tn.network("efficientnet_b0", scale, 20, None, BASE)


def run_of(spec: tn.networks.Network, images: ImageSet, batch_size: int) -> classifier.Run:
    recipe = RECIPE.model_copy(update={"batch_size": batch_size})
    return classifier.Run(lambda: spec.build(0.2, True, True), spec.resolution, images, recipe, 0, torch.device("cpu"))


def step_time(spec: tn.networks.Network, images: ImageSet, steps: int, batch_size: int) -> Timed:
    """A function that returns the milliseconds of a training step, the median of some."""
    run = run_of(spec, images, batch_size)
    run.model.train()
    indices = torch.arange(len(run.train_set)).split(batch_size)[:1] * steps

    def measure() -> float:
        seconds = []
        for batch in run.train_set.batches(indices):
            start = time.perf_counter()
            run.train_step(batch)
            seconds.append(time.perf_counter() - start)
        return float(np.median(seconds)) * 1e3

    return measure


def epoch_time(images: ImageSet, count: int) -> Timed:
    """A function that returns the seconds of an epoch of the first ``count`` images, evaluation included."""
    part = replace(images, train_images=images.train_images[:count], train_labels=images.train_labels[:count])
    run = run_of(network(SMALL), part, RECIPE.batch_size)

    def measure() -> float:
        before = run.wall_s
        run.train_epoch()
        return run.wall_s - before

    return measure


def sweep_time(dataset: tn.CreatureDataset, count: int) -> Timed:
    """A function that returns the seconds of a sweep of ``count`` small models."""
    models = [
        tn.Experiment(network="efficientnet_b0", scale=SMALL, base=BASE, dataset=dataset, recipe=RECIPE, seed=seed)
        for seed in range(count)
    ]

    def measure() -> float:
        with tempfile.TemporaryDirectory() as root:
            start = time.perf_counter()
            tn.sweep(models, tn.Store(Path(root) / "store"), workers=cores(), device="cpu", progress=False)
            return time.perf_counter() - start

    return measure


def series(
    dataset: tn.CreatureDataset, steps: int, images: tuple[int, ...] = IMAGES, models: tuple[int, ...] = MODELS
) -> dict[tuple[str, str, str], dict[float, Timed]]:
    """What is timed, its unit and what it is drawn against, to the timers at each x. Models of a sweep see a tenth."""
    data = tn.load_images(dataset, workers=cores())
    wide = {w: network(tn.Scale(1.0, 0.6, w)) for w in WIDTHS}
    sharp = {r: network(tn.Scale(r, 0.6, 0.8)) for r in RESOLUTIONS}
    tenth = dataset.model_copy(update={"train_images": dataset.train_images // 10})
    tn.load_images(tenth, workers=cores())
    return {
        ("step", "ms", "MACs of the model (millions)"): {
            spec.complexity().macs / 1e6: step_time(spec, data, steps, RECIPE.batch_size) for spec in wide.values()
        },
        ("step", "ms", "resolution (pixels)"): {
            spec.resolution: step_time(spec, data, steps, RECIPE.batch_size) for spec in sharp.values()
        },
        ("step", "ms", "images in a batch"): {
            n: step_time(network(tn.Scale(1.0, 0.6, 0.8)), data, steps, n) for n in BATCHES
        },
        ("epoch", "s", "training images"): {n: epoch_time(data, n) for n in images},
        ("sweep", "s", "models"): {n: sweep_time(tenth, n) for n in models},
    }


def exponent(x: np.ndarray, y: np.ndarray) -> tuple[float, tuple[float, float]]:
    """b of y = a * x ** b by least squares of the logarithms, and its 95% interval."""
    fit = linregress(np.log(x), np.log(y))
    half = t.ppf(0.975, len(x) - 2) * fit.stderr
    return float(fit.slope), (float(fit.slope - half), float(fit.slope + half))


def measure(recording: Recording, timers: dict[tuple[str, str, str], dict[float, Timed]], rounds: int) -> None:
    """Every point once a round, in an order of its own; the first round of each is not counted."""
    points = [(key, x) for key, at in timers.items() for x in at]
    rng, found = np.random.default_rng(0), {point: [] for point in points}
    order = [points[i] for _ in range(1 + rounds) for i in rng.permutation(len(points))]
    for key, x in tqdm(order, desc="points", disable=None):
        found[key, x].append(recording.quietly(timers[key][x]))
    for key, at in timers.items():
        what, unit, against = key
        for x in at:
            recording.add(what, found[key, x][1:], unit, group="growth", x=x, x_label=against)
        x = np.array(list(at))
        b, interval = exponent(x, np.array([np.median(found[key, k][1:]) for k in at]))
        what = f"time of one {what} against {against.partition(' (')[0]}, {min(x):,.3g} to {max(x):,.3g}"
        recording.add(what, b, group="exponents", interval=interval)


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=10, show_default=True, help="Of a timed model.")
@click.option("--others", type=float, default=LIMIT, show_default=True, help="Cores that others may take, a share.")
def main(rounds: int, steps: int, others: float) -> None:
    """Measure and record. About five minutes on two cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    dataset = tn.CreatureDataset(genera=10, species=2, train_images=max(IMAGES), val_images=32)
    with Recording("scaling", f"--rounds {rounds} --steps {steps}", limit=others) as recording:
        measure(recording, series(dataset, steps), rounds)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
