"""Memory of worker processes: after the import, with the images, in training, and how it grows with the workers.

Private memory is what no other process shares, and what each further worker adds. The resident set holds besides it the
pages of libraries and of the image files, which are mapped into memory and are there once for all workers. The
proportional set divides shared pages among their sharers and may be added up; Linux alone tells it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import click
import psutil
from record import Recording

import tinynet_core as tn
from tinynet_core import cli
from tinynet_core.machine import cores
from tinynet_core.study.local import LocalExecutor
from tinynet_core.training import engine, loop

WORKERS = (1, 2, 4)
WARM_STEPS = 5
TORCH_ALONE = (
    "import torch, psutil; m = psutil.Process().memory_full_info(); print(m.rss, m.uss, getattr(m, 'pss', m.uss))"
)


class Reading(NamedTuple):
    """MiB of some processes together."""

    resident: float
    private: float
    proportional: float


def reading(processes: list[psutil.Process]) -> Reading:
    full = [process.memory_full_info() for process in processes]
    columns = [(memory.rss, memory.uss, getattr(memory, "pss", memory.uss)) for memory in full]
    return Reading(*(sum(column) / 2**20 for column in zip(*columns, strict=True)))


def torch_alone() -> Reading:
    """A process that imports torch and nothing else."""
    done = subprocess.run([sys.executable, "-c", TORCH_ALONE], check=True, capture_output=True, encoding="utf-8")
    return Reading(*(int(x) / 2**20 for x in done.stdout.split()))


def imported(*_) -> int:
    """In a worker: everything that `tinynet sweep` and training import is there."""
    assert cli.main
    assert engine.Run
    return os.getpid()


def loaded(dataset: tn.GlyphDataset, *_) -> int:
    """In a worker: the images are mapped and were read once, to check their hash."""
    tn.load_glyphs(dataset)
    return os.getpid()


def trained(experiment: tn.Experiment, device: str, should_stop: Callable[[], bool]) -> None:
    """In a worker: train until asked to stop."""
    spec, recipe, images = experiment.spec(), experiment.recipe, tn.load_glyphs(experiment.dataset)
    run = engine.Run(lambda: spec.build(recipe.dropout), spec.resolution, images, recipe, 0, loop.pick_device(device))
    while not run.train_epoch(should_stop):
        pass


class Workers:
    """So many workers of a sweep, each with a run under way or idle."""

    def __init__(self, count: int) -> None:
        self.executor = LocalExecutor(["cpu"] * count, 1)
        self.count = count
        self.processes: list[psutil.Process] = []

    def each(self, function: Callable, *arguments) -> Reading:
        """Memory of all workers together after each has returned from ``function``."""
        futures = [self.executor.submit(function, *arguments) for _ in range(self.count)]
        self.processes = [psutil.Process(future.result()) for future in futures]
        return reading(self.processes)

    def peak(self, experiment: tn.Experiment, seconds: float) -> tuple[Reading, float]:
        """While each worker trains ``experiment``: the most memory of all of them, and the proportional set with this
        process as well.
        """
        futures = [self.executor.submit(trained, experiment) for _ in range(self.count)]
        readings, driver = self._watch(futures, seconds)
        self.executor.stop()
        for future in futures:
            future.result()
        peak = Reading(*(max(column) for column in zip(*readings, strict=True)))
        return peak, peak.proportional + driver.proportional

    def _watch(self, futures: list[Future], seconds: float) -> tuple[list[Reading], Reading]:
        """Many readings until every run has made some steps and then for so many seconds, and one of this process."""
        readings, deadline = [], None
        while deadline is None or time.monotonic() < deadline:
            for future in futures:
                if future.done():
                    future.result()
            if deadline is None and min(self.executor.steps(future) for future in futures) >= WARM_STEPS:
                deadline = time.monotonic() + seconds
            readings.append(reading(self.processes))
            time.sleep(0.005)
        return readings, reading([psutil.Process()])


def stages(experiment: tn.Experiment, seconds: float) -> dict[str, Reading]:
    """One worker from its start to the peak of training."""
    workers = Workers(1)
    try:
        found = {"import": workers.each(imported), "images": workers.each(loaded, experiment.dataset)}
        return found | {"training": workers.peak(experiment, seconds)[0]}
    finally:
        workers.executor.close()


def together(count: int, experiment: tn.Experiment, seconds: float) -> tuple[Reading, float]:
    """``Workers.peak`` of ``count`` workers that train at the same time."""
    workers = Workers(count)
    try:
        workers.each(loaded, experiment.dataset)
        return workers.peak(experiment, seconds)
    finally:
        workers.executor.close()


def measure(recording: Recording, experiments: list[tn.Experiment], rounds: int, seconds: float) -> None:
    """Record the stages for the smallest and the largest of ``experiments``, and the growth with the smallest."""
    by_cost = sorted(experiments, key=lambda e: e.spec().complexity().macs)
    ends = {"smallest": by_cost[0], "largest": by_cost[-1]}
    dataset = by_cost[0].dataset
    tn.load_glyphs(dataset, workers=cores())  # the driver of a sweep maps the images too
    mib = dataset.resolution**2 * 3 * (dataset.train_images + dataset.val_images) / 2**20
    _add(recording, "a process that imports torch alone", [torch_alone() for _ in range(rounds)])
    found = {name: [stages(e, seconds) for _ in range(rounds)] for name, e in ends.items()}
    labels = {"import": "a worker after the import", "images": f"with {mib:,.0f} MiB of images mapped and read"}
    for stage, label in labels.items():
        _add(recording, label, [one[stage] for one in found["smallest"]])
    for name, experiment in ends.items():
        million = experiment.spec().complexity().macs / 1e6
        what = f"training the {name} model ({million:.2g}M MACs at {experiment.spec().resolution} px), peak"
        _add(recording, what, [one["training"] for one in found[name]])
    totals = {count: [together(count, ends["smallest"], seconds) for _ in range(rounds)] for count in WORKERS}
    for count, peaks in totals.items():
        workers = f"{count} worker{'s' if count > 1 else ''} training the smallest model"
        private = [peak.private / count for peak, _ in peaks]
        recording.add(f"{workers}: private memory of each", private, "MiB", group="workers")
        recording.add(f"{workers}: all of it and the driver", [x for _, x in peaks], "MiB", group="workers")


def _add(recording: Recording, what: str, readings: list[Reading]) -> None:
    recording.add(f"{what}: private", [one.private for one in readings], "MiB", group="memory")
    recording.add(f"{what}: resident", [one.resident for one in readings], "MiB", group="memory")


@click.command()
@click.option("--preset", default="reduced", show_default=True, help="Whose random models and images to take.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0), default=4.0, show_default=True, help="Of training a reading.")
def main(preset: str, rounds: int, seconds: float) -> None:
    """Measure and record. About two minutes on two cores."""
    experiments = tn.Study(preset).preset.random_experiments()
    with Recording("memory") as recording:
        measure(recording, experiments, rounds, seconds)


if __name__ == "__main__":
    main()
