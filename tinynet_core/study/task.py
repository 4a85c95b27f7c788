"""What all tasks have in common: a key, a cost, a way to be performed, and files in the store while they run."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from tinynet_core.networks.spec import Network
    from tinynet_core.study.study import Study

LABELS = {"network", "scale", "head", "base"}
"""Fields that say how a network was asked for; the resolved network stands for them in the identity."""


@dataclass
class Result:
    """What came out of a task, for its record, which describes the parts; ``sources`` is for its provenance."""

    metrics: dict[str, float]
    curve: list[dict[str, float]] = field(default_factory=list)
    arrays: dict[str, list[Any]] = field(default_factory=dict)
    wall_s: float = 0.0
    sources: dict[str, Any] = field(default_factory=dict)


class Task(BaseModel, ABC):
    """Something to compute once and keep a record of. Tasks are equal when their keys are: they have one record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="of task")

    alone: ClassVar[bool] = False
    """Whether it needs the machine to itself, after everything else."""

    @classmethod
    def planned(cls, study: "Study") -> list["Task"]:
        """The tasks of this kind that the pages which need it rest on."""
        raise NotImplementedError(cls.__name__)

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What is computed, as JSON data, with resolved networks instead of the names and scales that ask for them."""

    @cached_property
    def key(self) -> str:
        """SHA-256 over canonical JSON of the identity, the name under which the record is stored.

        Numbers have nine significant digits: processors differ beyond those.
        """
        exact = json.dumps(self.identity, allow_nan=False)
        rounded = json.loads(exact, parse_float=lambda digits: float(f"{float(digits):.9g}"))
        canonical = json.dumps(rounded, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Task) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with the fields of ``update``, and its own key."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("key", None)
        return copied

    @property
    @abstractmethod
    def label(self) -> str:
        """What people call it, in a few words."""

    @abstractmethod
    def cost(self) -> dict[str, int]:
        """Resolution in pixels and exact MACs, parameters and activations of its network for one image."""

    @property
    @abstractmethod
    def work(self) -> int:
        """Multiply-adds of its forward passes, in proportion to the time that it takes."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """How often it asks whether it should stop, where nothing stops it; 0 where that is not known."""

    @property
    def data(self) -> tuple[Any, ...]:
        """Data sets to load before it is performed, for ``tinynet_core.data.prepare``."""
        return ()

    @property
    def needs(self) -> tuple["Task", ...]:
        """Tasks whose weights it starts with; it trains them itself where the store has none."""
        return ()

    @abstractmethod
    def perform(self, device: str, root: Path | None, should_stop: Callable[[], bool] | None, compiled: bool) -> Result:
        """Compute it in this process; ``root`` is the folder of the store, without which no file is kept.

        Raises ``Interrupted`` when ``should_stop`` ended it, with its state kept, and ``TrainingFailed`` for what
        belongs into a failed record.
        """


def cost_of(spec: "Network") -> dict[str, int]:
    """Resolution in pixels and exact MACs, parameters and activations of a network for one image."""
    cost = spec.complexity()
    return {"resolution": spec.resolution, "macs": cost.macs, "params": cost.params, "activations": cost.activations}


def weights_source(root: Path | None, training: Task) -> dict[str, str]:
    """For a record: the key of the ``training`` that a task started with, and the SHA-256 of its weights."""
    found = {"training": training.key}
    if root is not None:
        found["weights_sha256"] = hashlib.sha256(weights_file(root, training.key).read_bytes()).hexdigest()
    return found


def checkpoint_file(root: Path, key: str) -> Path:
    """Where the task with this key keeps its state until it is done."""
    return root / "checkpoints" / f"{key}.pt"


def weights_file(root: Path, key: str) -> Path:
    """Where the training with this key leaves its averaged weights."""
    return root / "weights" / f"{key}.safetensors"
