"""Timing many small networks on this machine's CPU: what to time, and timing it."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tinynet_book.measure.latency_run import Timing
from tinynet_core.networks import Head, Network, network
from tinynet_core.scaling.scale import Base, Scale
from tinynet_core.study.classify import Experiment
from tinynet_core.study.task import Task

if TYPE_CHECKING:
    from tinynet_core.export import Run
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

    def spec(self) -> Network:
        """Its specification."""
        return network(self.network, self.scale, self.classes, self.head, self.base)


class ModelLatencies(Timing):
    """Many networks for one image with ONNX Runtime; all are in memory at once.

    ``arrays`` of its record hold milliseconds in the order of ``networks``: ``median_ms``, and ``low_ms`` and
    ``high_ms``, the ends of its 95% interval (``latency.median_interval``); single runs are not kept. ``metrics`` has
    ``round_ms``, the sum of the medians.
    """

    fitted = True

    kind: Literal["latencies"] = "latencies"
    networks: tuple[TimedNetwork, ...] = Field(min_length=1)
    runs: int = Field(200, ge=2, le=1_000_000, strict=True)

    @classmethod
    def planned(cls, study: "Study") -> list[Task]:
        """Every classifier of the pages."""
        from tinynet_book.analysis.models import latencies_run

        return [latencies_run(study)]

    @field_validator("networks")
    @classmethod
    def _each_once(cls, value: tuple[TimedNetwork, ...]) -> tuple[TimedNetwork, ...]:
        ((spec, times),) = Counter(timed.spec() for timed in value).most_common(1)
        if times > 1:
            raise ValueError(f"{spec.name} {spec.scale or ''} is listed twice")
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

    def _timed(self, should_stop: Callable[[], bool]) -> "Sequence[Run]":
        """The networks with random weights, exported one after the other."""
        from tinynet_core.export import build_module, onnx_run
        from tinynet_core.training.loop import Interrupted

        found = []
        for timed in self.networks:
            if should_stop():
                raise Interrupted
            spec = timed.spec()
            module, images = build_module(spec)
            found.append(onnx_run(module, images[:1], spec.name, self.threads))
        return found

    def _kept(self, times: np.ndarray) -> tuple[dict[str, float], dict[str, list[Any]]]:
        from tinynet_book.measure.clock import median_interval

        rows = [(median(column), *median_interval(column)) for column in times.T.tolist()]
        middle, low, high = ([round(x, 4) for x in column] for column in zip(*rows, strict=True))
        return {"round_ms": round(sum(middle), 4)}, {"median_ms": middle, "low_ms": low, "high_ms": high}


def distinct(experiments: Iterable[Experiment], most: int | None = None) -> tuple[TimedNetwork, ...]:
    """The networks of ``experiments`` in their order, ``most`` at most: each once, for all data, recipes and seeds."""
    found: dict[Network, TimedNetwork] = {}
    for experiment in experiments:
        if len(found) == most:
            break
        asked = {name: getattr(experiment, name) for name in ("network", "scale", "head", "base")}
        found.setdefault(experiment.spec(), TimedNetwork(**asked, classes=experiment.dataset.classes))
    return tuple(found.values())
