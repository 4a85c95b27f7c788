"""How long a sweep will take: a rate fitted on records of this machine, and the schedule of the workers.

Small networks are not bound by arithmetic alone: every layer costs time of its own. So a step has a part for each block
and a part for each multiply-add, which on 24 models of the reduced study halves the error of the multiply-adds alone.
"""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tinynet_core.study.classify import Experiment
from tinynet_core.study.record import Record, provenance

MIN_RECORDS = 5
LIBRARY_BLOCKS = 20
"""Blocks of a network that a library builds and that has no specification: as many as EfficientNet-B0 has."""


@dataclass(frozen=True)
class Rate:
    """A step of training takes ``seconds_per_block`` * blocks + ``seconds_per_mac`` * MACs * batch size seconds.

    Blocks are those of the architecture table, stem and head layers included; the evaluation after an epoch is shared
    out among its steps. ``spread`` is the standard deviation of measured over expected time, ``models`` the number of
    models behind it and ``source`` where they were measured, for people.
    """

    seconds_per_block: float
    seconds_per_mac: float
    spread: float
    models: int
    source: str

    def seconds(self, experiment: Experiment) -> float:
        """Expected training time of ``experiment`` on one worker; one standard deviation is ``spread`` times that."""
        blocks, macs = _work(experiment)
        return self.seconds_per_block * blocks + self.seconds_per_mac * macs


@dataclass(frozen=True)
class Estimate:
    """Wall time of a sweep in seconds, and the times if every model were off by one ``spread`` to the same side."""

    seconds: float
    low: float
    high: float
    source: str


def estimate(experiments: Sequence[Experiment], rate: Rate, workers: int) -> Estimate:
    """Wall time of ``experiments`` on ``workers`` at ``rate``; errors of the models are taken not to cancel out."""
    seconds = makespan([rate.seconds(e) for e in experiments], workers)
    return Estimate(seconds, seconds / (1 + rate.spread), seconds * (1 + rate.spread), rate.source)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last of ``workers`` is done if each takes the longest job left as soon as it is free, as a sweep does.

    At most 4/3 - 1/(3 workers) times the best schedule (R. L. Graham, SIAM Journal on Applied Mathematics 17, 1969).
    """
    jobs = [float(x) for x in seconds]
    if not jobs:
        raise ValueError("seconds must hold at least one job")
    if bad := [x for x in jobs if not (math.isfinite(x) and x >= 0)]:
        raise ValueError(f"seconds must be finite and not below 0, got {bad[0]!r}")
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be a whole number above 0, got {workers!r}")
    loads = [0.0] * min(workers, len(jobs))
    for job in sorted(jobs, reverse=True):
        heapq.heapreplace(loads, loads[0] + job)
    return max(loads)


def rate_from_records(records: Iterable[Record], like: Experiment, device: str = "auto") -> Rate | None:
    """Fitted on finished records of this device with the data set and the batch size of ``like``.

    None where there are fewer than five.
    """
    name = provenance(device)["device"]
    fit: list[tuple[Experiment, float]] = []
    for r in records:
        e = r.experiment
        measured = r.done and r.wall_s > 0 and r.provenance.get("device") == name
        if measured and type(e) is Experiment and _kind(e) == _kind(like):
            fit.append((e, r.wall_s))
    if len(fit) < MIN_RECORDS:
        return None
    design = np.array([_work(e) for e, _ in fit], dtype=float)
    per_block, per_mac, spread = _fit(design, np.array([seconds for _, seconds in fit]))
    return Rate(per_block, per_mac, spread, len(fit), f"{len(fit)} finished records on {name}")


def by_kind(experiments: Sequence[Experiment]) -> list[list[Experiment]]:
    """``experiments`` in groups that can be estimated together: of one data set and one batch size."""
    groups: dict[tuple, list[Experiment]] = {}
    for experiment in experiments:
        groups.setdefault(_kind(experiment), []).append(experiment)
    return list(groups.values())


def _kind(experiment: Experiment) -> tuple:
    return experiment.dataset, experiment.recipe.batch_size


def _work(experiment: Experiment) -> tuple[int, int]:
    """Blocks and multiply-adds in all the forward passes of training: blocks once a step, multiply-adds per image."""
    recipe = experiment.recipe
    steps = recipe.epochs * (experiment.dataset.train_images // recipe.batch_size)
    return steps * _blocks(experiment), steps * recipe.batch_size * experiment.cost()["macs"]


def _blocks(experiment: Experiment) -> int:
    return sum(row.row.repeats for row in experiment.spec().rows()) or LIBRARY_BLOCKS


def _fit(design: np.ndarray, seconds: np.ndarray) -> tuple[float, float, float]:
    """Non-negative coefficients of the columns of ``design`` (n, 2), and the relative spread of ``seconds`` around it.

    Errors are taken in proportion to the expected time, found in a few rounds: weights by the measured time would
    lean towards the runs that happened to be fast.
    """
    from scipy.optimize import nnls

    scale = design.max(axis=0)
    expected = seconds
    for _ in range(20):
        coefficients = nnls(design / scale / expected[:, None], seconds / expected)[0] / scale
        expected = design @ coefficients
    spread = np.sqrt(((seconds / expected - 1) ** 2).sum() / max(1, len(seconds) - 2))
    return float(coefficients[0]), float(coefficients[1]), float(spread)
