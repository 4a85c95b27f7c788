"""Timing networks on this machine's CPU: what to time, and timing it."""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from tinynet_book.paper import rows
from tinynet_core.networks import network
from tinynet_core.study.presets import Preset
from tinynet_core.study.task import Result, Task

if TYPE_CHECKING:
    from tinynet_core.latency import Run
    from tinynet_core.study.record import Record
    from tinynet_core.study.study import Study

Backend = Literal["onnxruntime", "torch"]


class LatencyRun(Task):
    """Networks for one image on each backend, run in turn ``runs`` times after ``warmup`` rounds that do not count.

    ``arrays`` of its record are milliseconds by round, rounded to a microsecond, ``metrics`` their medians, both by
    ``pair``. ``cost`` has the MACs of each network. ``seed`` draws the order within each round, never any weights.
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

    @field_validator("networks", "backends")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if twice := [x for i, x in enumerate(value) if x in value[:i]]:
            raise ValueError(f"{twice[0]} is listed twice")
        return value

    @field_validator("networks")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            network(name)
        return value

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
        """Time them on the CPU, whatever ``device``; one that is stopped keeps nothing and starts anew."""
        import time

        from tinynet_book.measure.clock import OtherPrograms, conditions, interleaved, torch_threads
        from tinynet_core.training.loop import Interrupted

        start, stop = time.monotonic(), should_stop or (lambda: False)
        with torch_threads(self.threads):
            pairs = self._pairs()
            with OtherPrograms() as others:
                times = interleaved([*pairs.values()], self.runs, self.warmup, self.seed, stop)
        if times is None:
            raise Interrupted
        columns = {pair: [round(x, 3) for x in column.tolist()] for pair, column in zip(pairs, times.T, strict=True)}
        return Result(
            metrics={pair: round(median(column), 4) for pair, column in columns.items()},
            arrays=columns,
            wall_s=time.monotonic() - start,
            sources=conditions(self.threads, others) | {"torch_layout": "channels_last"},
        )

    def _pairs(self) -> "dict[str, Run]":
        """What is timed, by ``pair``; both backends run one module with the same random weights."""
        from tinynet_book.measure.clock import torch_run
        from tinynet_core.export import build_module
        from tinynet_core.latency import onnx_run

        found = {}
        for name in self.networks:
            module, images = build_module(network(name))
            if "onnxruntime" in self.backends:
                found[pair("onnxruntime", name)] = onnx_run(module, images[:1], name, self.threads)
            if "torch" in self.backends:
                found[pair("torch", name)] = torch_run(module, images[:1])
        return found


def latency_run(preset: Preset) -> LatencyRun:
    """The networks of Table 4, timed as often as the preset says."""
    networks = [row["network"] for row in rows("table4")]
    return LatencyRun(networks=networks, runs=preset.latency.runs, warmup=preset.latency.warmup)


def latency(study: "Study") -> "Record":
    """The timings of Table 4, made now in this process where there is no record of them and the study may."""
    from tinynet_core.study.sweep import run

    task = latency_run(study.preset)
    return run(task, study.store, progress=True) if study.train else study.records([task])[0]


def pair(backend: Backend, name: str) -> str:
    """Under what a record keeps the times of the network called ``name`` on ``backend``."""
    return f"{backend} {name}"
