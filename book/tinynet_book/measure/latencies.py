"""Timing many small networks on this machine's CPU: what to time, and timing it."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tinynet_core.networks import Head, Network, network
from tinynet_core.scaling.scale import Base, Scale
from tinynet_core.study.classify import Experiment
from tinynet_core.study.task import Result, Task

if TYPE_CHECKING:
    from tinynet_core.latency import Run
    from tinynet_core.study.study import Study


class TimedNetwork(BaseModel):
    """A network to time: what an ``Experiment`` says of its network, and nothing of its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str
    scale: Scale | None = None
    head: Head | None = None
    base: Base | None = None
    classes: int = Field(1000, ge=1, strict=True)

    @model_validator(mode="after")
    def _known(self) -> "TimedNetwork":
        self.spec()
        return self

    @classmethod
    def of(cls, experiment: Experiment) -> "TimedNetwork":
        """The network that ``experiment`` trains."""
        e = experiment
        return cls(network=e.network, scale=e.scale, head=e.head, base=e.base, classes=e.dataset.classes)

    def spec(self) -> Network:
        """Its specification."""
        return network(self.network, self.scale, self.classes, self.head, self.base)


class ModelLatencies(Task):
    """Many networks for one image with ONNX Runtime, run in turn ``runs`` times after ``warmup`` rounds.

    ``arrays`` of its record hold milliseconds in the order of ``networks``: ``median_ms``, and ``low_ms`` and
    ``high_ms``, the ends of its 95% interval (``latency.median_interval``); single runs are not kept. ``metrics`` has
    ``round_ms``, the sum of the medians. ``seed`` draws the order within each round, never any weights. All networks
    are in memory at once.
    """

    alone = True
    fitted = True

    kind: Literal["latencies"] = "latencies"
    networks: tuple[TimedNetwork, ...] = Field(min_length=1)
    runs: int = Field(200, ge=2, le=1_000_000, strict=True)
    warmup: int = Field(20, ge=0, le=1_000_000, strict=True)
    threads: int = Field(1, ge=1, le=1024, strict=True)
    seed: int = Field(0, ge=0, strict=True)

    @classmethod
    def planned(cls, study: "Study") -> list[Task]:
        """Every classifier of the pages."""
        from tinynet_book.measure.classifiers import latencies_run

        return [latencies_run(study)]

    @field_validator("networks")
    @classmethod
    def _each_once(cls, value: tuple[TimedNetwork, ...]) -> tuple[TimedNetwork, ...]:
        seen: set[Network] = set()
        for timed in value:
            spec = timed.spec()
            if spec in seen:
                raise ValueError(f"{spec.name} {spec.scale or ''} is listed twice")
            seen.add(spec)
        return value

    @property
    def identity(self) -> dict[str, Any]:
        return {**self.model_dump(mode="json"), "networks": [timed.spec().identity() for timed in self.networks]}

    @property
    def label(self) -> str:
        return f"latencies of {len(self.networks)} networks, {self.runs} runs of each with onnxruntime"

    def cost(self) -> dict[str, int]:
        """How many networks there are, and their exact MACs together."""
        return {"networks": len(self.networks), "total_macs": self._macs}

    @property
    def _macs(self) -> int:
        return sum(timed.spec().complexity().macs for timed in self.networks)

    @property
    def work(self) -> int:
        return self._macs * (self.warmup + self.runs)

    @property
    def steps(self) -> int:
        return len(self.networks) + self.warmup + self.runs

    def perform(self, device: str, root: Path | None, should_stop: Callable[[], bool] | None, compiled: bool) -> Result:
        """Time them on the CPU, whatever ``device``; one that is stopped keeps nothing and starts anew."""
        from tinynet_book.measure.clock import OtherPrograms, conditions, interleaved, median_interval, torch_threads
        from tinynet_core.training.loop import Interrupted

        start, stop = time.monotonic(), should_stop or (lambda: False)
        with torch_threads(self.threads):
            runs = self._runs(stop)
            with OtherPrograms() as others:
                times = interleaved(runs, self.runs, self.warmup, self.seed, stop)
        if times is None:
            raise Interrupted
        rows = [(median(column), *median_interval(column)) for column in times.T.tolist()]
        middle, low, high = ([round(x, 4) for x in column] for column in zip(*rows, strict=True))
        return Result(
            metrics={"round_ms": round(sum(middle), 4)},
            arrays={"median_ms": middle, "low_ms": low, "high_ms": high},
            wall_s=time.monotonic() - start,
            sources=conditions(self.threads, others),
        )

    def _runs(self, stop: Callable[[], bool]) -> "list[Run]":
        """The networks with random weights, exported one after the other."""
        from tinynet_core.export import build_module
        from tinynet_core.latency import onnx_run
        from tinynet_core.training.loop import Interrupted

        found = []
        for timed in self.networks:
            if stop():
                raise Interrupted
            spec = timed.spec()
            module, images = build_module(spec)
            found.append(onnx_run(module, images[:1], spec.name, self.threads))
        return found


def distinct(experiments: Iterable[Experiment], most: int | None = None) -> tuple[TimedNetwork, ...]:
    """The networks of ``experiments`` in their order, ``most`` at most: each once, for all data, recipes and seeds."""
    found: dict[Network, TimedNetwork] = {}
    for experiment in experiments:
        if len(found) == most:
            break
        found.setdefault(experiment.spec(), TimedNetwork.of(experiment))
    return tuple(found.values())
