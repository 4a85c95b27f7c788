"""The interface of all tasks: a key, a cost, a method that performs the task, and files in the store."""

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
"""Fields by which a user asks for a network. In the identity, the resolved network replaces them."""


@dataclass
class Result:
    """The result of a task. ``Record`` describes the fields; ``sources`` becomes part of its provenance."""

    metrics: dict[str, float]
    curve: list[dict[str, float]] = field(default_factory=list)
    arrays: dict[str, list[Any]] = field(default_factory=dict)
    wall_s: float = 0.0
    sources: dict[str, Any] = field(default_factory=dict)


class Task(BaseModel, ABC):
    """Something to compute once and keep a record of. Tasks with the same key are equal and share one record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="of task")

    alone: ClassVar[bool] = False
    """Whether the task must run alone on the machine, after all other tasks."""

    @classmethod
    def planned(cls, study: "Study") -> list["Task"]:
        """Return the tasks of this kind that the pages of ``study`` need."""
        raise NotImplementedError(cls.__name__)

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Everything that determines the result, as JSON data, with resolved networks instead of names and scales."""

    @cached_property
    def key(self) -> str:
        """SHA-256 of the identity as canonical JSON. The record is stored under this key.

        Numbers are rounded to nine significant digits, because processors differ in later digits.
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
        """Return a copy with the fields of ``update``, and its own key."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("key", None)
        return copied

    @property
    @abstractmethod
    def label(self) -> str:
        """A short name of the task for people."""

    @abstractmethod
    def cost(self) -> dict[str, int]:
        """Return the network's resolution in pixels and exact MACs, parameters and activations for one image."""

    @property
    @abstractmethod
    def work(self) -> int:
        """MACs of all forward passes of the task, in proportion to its duration."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """How often the task calls ``should_stop`` if nothing stops it; 0 if this number is unknown."""

    @property
    def data(self) -> tuple[Any, ...]:
        """Data sets to load before the task, for ``tinynet_core.data.prepare``."""
        return ()

    @property
    def needs(self) -> tuple["Task", ...]:
        """Tasks whose weights this task starts with. It trains them itself if the store has no weights."""
        return ()

    @abstractmethod
    def perform(self, device: str, root: Path | None, should_stop: Callable[[], bool] | None, compiled: bool) -> Result:
        """Compute the task in this process. ``root`` is the folder of the store; with None, no file is kept.

        Raises ``Interrupted`` if ``should_stop`` ended the task, after its state is saved. Raises ``TrainingFailed``
        with the reason for a failed record.
        """


def cost_of(spec: "Network") -> dict[str, int]:
    """Return resolution in pixels and exact MACs, parameters and activations of a network for one image."""
    cost = spec.complexity()
    return {"resolution": spec.resolution, "macs": cost.macs, "params": cost.params, "activations": cost.activations}


def weights_source(root: Path | None, training: Task) -> dict[str, str]:
    """Return, for a record, the key of the ``training`` that a task starts from and the SHA-256 of its weights."""
    found = {"training": training.key}
    if root is not None:
        found["weights_sha256"] = hashlib.sha256(weights_file(root, training.key).read_bytes()).hexdigest()
    return found


def checkpoint_file(root: Path, key: str) -> Path:
    """Return the path of the file in which the task with this key keeps its state until it is done."""
    return root / "checkpoints" / f"{key}.pt"


def weights_file(root: Path, key: str) -> Path:
    """Return the path of the file with the averaged (EMA) weights of the training with this key."""
    return root / "weights" / f"{key}.safetensors"
