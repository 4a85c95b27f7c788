"""How long a sweep will take: a rate fitted on records of this machine, and the schedule of the workers.

Small networks are not bound by arithmetic alone: every layer costs time of its own. So a step has a part for each block
and a part for each multiply-add, which on 24 models of the reduced study halves the error of the multiply-adds alone.
"""

import heapq
from collections.abc import Iterable
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

    ``spread`` is the standard deviation of measured over expected time, ``source`` says where they were measured.
    """

    seconds_per_block: float
    seconds_per_mac: float
    spread: float
    source: str

    def seconds(self, experiment: Experiment) -> float:
        """Expected training time of ``experiment`` on one worker."""
        blocks, macs = _work(experiment)
        return self.seconds_per_block * blocks + self.seconds_per_mac * macs


def rate_from_records(records: Iterable[Record], like: Experiment, device: str = "auto") -> Rate | None:
    """Fitted on finished records of this device with the data set and batch size of ``like``; None for fewer than 5."""
    name = provenance(device)["device"]
    work, seconds = [], []
    for r in records:
        measured = r.done and r.wall_s > 0 and r.provenance.get("device") == name
        if measured and type(r.experiment) is Experiment and kind_of(r.experiment) == kind_of(like):
            work.append(_work(r.experiment))
            seconds.append(r.wall_s)
    if len(work) < MIN_RECORDS:
        return None
    per_block, per_mac, spread = _fit(np.array(work, dtype=float), np.array(seconds))
    return Rate(per_block, per_mac, spread, f"{len(work)} finished records on {name}")


def kind_of(experiment: Experiment) -> tuple:
    """What trainings share whose times can be compared: data set and batch size."""
    return experiment.dataset, experiment.recipe.batch_size


def makespan(seconds: Iterable[float], workers: int) -> float:
    """When the last of ``workers`` is done if each takes the longest job left as soon as it is free, as a sweep does.

    At most 4/3 - 1/(3 workers) times the best schedule (R. L. Graham, SIAM Journal on Applied Mathematics 17, 1969).
    """
    loads = [0.0] * workers
    for job in sorted((float(x) for x in seconds), reverse=True):
        heapq.heapreplace(loads, loads[0] + job)
    return max(loads)


def _work(experiment: Experiment) -> tuple[int, int]:
    """Blocks and multiply-adds in all the forward passes of training: blocks once a step, multiply-adds per image."""
    blocks = sum(row.row.repeats for row in experiment.spec().rows()) or LIBRARY_BLOCKS
    macs = experiment.steps * experiment.recipe.batch_size * experiment.cost()["macs"]
    return experiment.steps * blocks, macs


def _fit(design: np.ndarray, seconds: np.ndarray) -> tuple[float, float, float]:
    """Non-negative coefficients of the columns of ``design`` (n, 2), and the relative spread of ``seconds`` around it.

    Errors are taken in proportion to the expected time, found in a few rounds: weights by the measured time would
    lean towards the runs that happened to be fast.
    """
    from scipy.optimize import nnls

    scale, expected = design.max(axis=0), seconds
    for _ in range(20):
        coefficients = nnls(design / scale / expected[:, None], seconds / expected)[0] / scale
        expected = design @ coefficients
    spread = np.sqrt(((seconds / expected - 1) ** 2).sum() / max(1, len(seconds) - 2))
    return float(coefficients[0]), float(coefficients[1]), float(spread)
