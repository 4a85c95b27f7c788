"""Time the networks of Table 4 on this machine's CPU: the task, its execution, and the content of its record."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tinynet_book.paper import rows
from tinynet_core.networks import network
from tinynet_core.study.presets import Preset
from tinynet_core.study.task import Result, Task

if TYPE_CHECKING:
    from tinynet_core.export import Run
    from tinynet_core.study.study import Study

Backend = Literal["onnxruntime", "torch"]
BACKENDS: dict[Backend, str] = {"onnxruntime": "ONNX Runtime", "torch": "torch eager"}
"""Display names of the backends."""


class LatencyRun(Task):
    """Time each network for one image on each backend, in turn, for ``runs`` rounds after ``warmup`` uncounted rounds.

    ``seed`` sets the order within each round, not the weights. The record's ``arrays`` are milliseconds by round,
    rounded to a microsecond, and its ``metrics`` their medians, both by ``pair``. ``cost`` has each network's MACs.
    """

    alone = True

    kind: Literal["latency"] = "latency"
    networks: tuple[str, ...] = Field(min_length=1)
    backends: tuple[Backend, ...] = Field(("onnxruntime", "torch"), min_length=1)
    runs: int = Field(1000, ge=2, le=1_000_000, strict=True)
    warmup: int = Field(20, ge=0, le=1_000_000, strict=True)
    threads: int = Field(1, ge=1, le=1024, strict=True)
    seed: int = Field(0, ge=0, strict=True)

    @classmethod
    def planned(cls, study: "Study") -> list[Task]:
        """Return the task of Table 4."""
        return [latency_run(study.preset)]

    @property
    def identity(self) -> dict[str, Any]:
        """Content for the key. It includes the networks' names, because the record stores the times by name."""
        return {**self.model_dump(mode="json"), "networks": [[x, network(x).identity()] for x in self.networks]}

    @property
    def label(self) -> str:
        return f"latency of {len(self.networks)} networks, {self.runs} runs on {' and '.join(self.backends)}"

    def cost(self) -> dict[str, int]:
        """Return the exact MACs of each network."""
        return {f"macs {name}": network(name).complexity().macs for name in self.networks}

    @property
    def work(self) -> int:
        return sum(self.cost().values()) * self.steps * len(self.backends)

    @property
    def steps(self) -> int:
        return self.warmup + self.runs

    def perform(self, device: str, root: Path | None, should_stop: Callable[[], bool] | None, compiled: bool) -> Result:
        """Time the networks on the CPU, whatever ``device`` is. A stopped task keeps nothing and starts anew."""
        from tinynet_book.measure import clock
        from tinynet_core.training.loop import Interrupted

        start = time.monotonic()
        with clock.torch_threads(self.threads):
            timed = self._timed()
            before = clock.other_programs()
            stop = should_stop or (lambda: False)
            times = clock.interleaved(timed, self.runs, self.warmup, self.seed, stop)
            sources = clock.conditions(self.threads, before) | {"torch_layout": "channels_last"}
        if times is None:
            raise Interrupted
        pairs = [pair(backend, name) for name in self.networks for backend in BACKENDS if backend in self.backends]
        arrays = dict(zip(pairs, ([round(x, 3) for x in column] for column in times.T.tolist()), strict=True))
        metrics = {name: round(median(column), 4) for name, column in arrays.items()}
        return Result(metrics=metrics, arrays=arrays, wall_s=time.monotonic() - start, sources=sources)

    def _timed(self) -> "Sequence[Run]":
        """Return the runs of each network. Both backends run the same module with the same random weights."""
        from tinynet_book.measure.clock import torch_run
        from tinynet_core.export import build_module, onnx_run

        found = []
        for name in self.networks:
            module, images = build_module(network(name))
            if "onnxruntime" in self.backends:
                found.append(onnx_run(module, images[:1], name, self.threads))
            if "torch" in self.backends:
                found.append(torch_run(module, images[:1]))
        return found


def latency_run(preset: Preset) -> LatencyRun:
    """Return the task that times the networks of Table 4, with the preset's number of runs."""
    networks = [row["network"] for row in rows("table4")]
    return LatencyRun(networks=networks, runs=preset.latency.runs, warmup=preset.latency.warmup)


def pair(backend: Backend, name: str) -> str:
    """Return the name in a record of the times of the network called ``name`` on ``backend``."""
    return f"{backend} {name}"
