"""What the record of a ``LatencyRun`` says: times, medians, ratios of two networks, and costs to compare them with."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from tinynet_book.measure.clock import Estimate, estimate, mean_ratio, median_ratio
from tinynet_book.measure.latency_run import Backend, LatencyRun, pair
from tinynet_core.networks import network
from tinynet_core.study.record import Record

BACKENDS: dict[Backend, str] = {"onnxruntime": "ONNX Runtime", "torch": "torch eager"}
"""What people call them."""


def backends(record: Record) -> tuple[Backend, ...]:
    """The backends that were timed, ONNX Runtime first."""
    return tuple(x for x in BACKENDS if x in _task(record).backends)


def times(record: Record) -> pd.DataFrame:
    """Every timed run: ``backend``, ``network``, ``round`` from 0 on, and its milliseconds ``ms``."""
    pairs = [(backend, name) for backend in backends(record) for name in _task(record).networks]
    parts = [
        pd.DataFrame({"backend": backend, "network": name, "ms": record.arrays[pair(backend, name)]})
        for backend, name in pairs
    ]
    return pd.concat(parts).rename_axis("round").reset_index()


def medians(record: Record) -> pd.DataFrame:
    """By backend and network, in milliseconds: the median with its 95% bootstrap interval, the mean, and ``n`` runs."""
    rows = []
    for (backend, name), group in times(record).groupby(["backend", "network"], sort=False):
        middle = estimate(np.median, group.ms)
        row = {"backend": backend, "network": name, "median": middle.value, "low": middle.low, "high": middle.high}
        rows.append({**row, "mean": group.ms.mean(), "n": len(group)})
    return pd.DataFrame(rows)


def ratio(record: Record, backend: Backend, top: str, bottom: str, mean: bool = False) -> Estimate:
    """The median (or mean) time of ``top`` over that of ``bottom``, with a 95% interval from whole rounds."""
    columns = (record.arrays[pair(backend, name)] for name in (top, bottom))
    return estimate(mean_ratio if mean else median_ratio, *columns)


def counted(names: tuple[str, ...]) -> pd.DataFrame:
    """Exact costs for one image: ``resolution``, ``macs``, ``activations``, ``params``, and the number of ``layers``.

    Layers are the convolutions and linear layers of the built module.
    """
    rows = []
    for name in names:
        spec = network(name)
        cost = spec.complexity()
        with torch.device("meta"):
            modules = spec.module(0.0).modules()
        layers = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in modules)
        row = {"network": name, "resolution": spec.resolution, "macs": cost.macs, "activations": cost.activations}
        rows.append({**row, "params": cost.params, "layers": layers})
    return pd.DataFrame(rows).set_index("network")


def _task(record: Record) -> LatencyRun:
    task = record.experiment
    if not isinstance(task, LatencyRun):
        raise ValueError(f"the record must be of a latency run, got one of kind {task.kind!r}")
    return task
