"""Timing networks on this machine's CPU: what Table 4 times, timing it, and what its record says."""

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
"""What people call them."""


class LatencyRun(Task):
    """Networks for one image on each backend, in turn ``runs`` times after ``warmup`` rounds that do not count.

    ``seed`` draws the order within each round, never any weights. ``arrays`` of its record are milliseconds by round,
    rounded to a microsecond, ``metrics`` their medians, both by ``pair``. ``cost`` has the MACs of each network.
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
        """That of Table 4."""
        return [latency_run(study.preset)]

    @property
    def identity(self) -> dict[str, Any]:
        """With the names, under which the times are kept."""
        return {**self.model_dump(mode="json"), "networks": [[x, network(x).identity()] for x in self.networks]}

    @property
    def label(self) -> str:
        return f"latency of {len(self.networks)} networks, {self.runs} runs on {' and '.join(self.backends)}"

    def cost(self) -> dict[str, int]:
        """Exact MACs of each network."""
        return {f"macs {name}": network(name).complexity().macs for name in self.networks}

    @property
    def work(self) -> int:
        return sum(self.cost().values()) * self.steps * len(self.backends)

    @property
    def steps(self) -> int:
        return self.warmup + self.runs

    def perform(self, device: str, root: Path | None, should_stop: Callable[[], bool] | None, compiled: bool) -> Result:
        """Time it on the CPU, whatever ``device``; one that is stopped keeps nothing and starts anew."""
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
        """Both backends run one module with the same random weights."""
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
    """The networks of Table 4, timed as often as the preset says."""
    networks = [row["network"] for row in rows("table4")]
    return LatencyRun(networks=networks, runs=preset.latency.runs, warmup=preset.latency.warmup)


def pair(backend: Backend, name: str) -> str:
    """Under what a record keeps the times of the network called ``name`` on ``backend``."""
    return f"{backend} {name}"
