"""The record of a task (``Record``): its result, and the machine and software that computed it."""

import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cache
from importlib.metadata import entry_points, version
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from tinynet_core.data.drawn import probe_hash
from tinynet_core.machine import commit, processor
from tinynet_core.networks.family import NAMES, network
from tinynet_core.study.classify import METRICS, Experiment, Training
from tinynet_core.study.detect import Detection
from tinynet_core.study.task import Task

KINDS: dict[str, type[Task]] = {"training": Experiment, "detection": Detection}
"""Every kind of task that has records. Other packages register theirs under ``tinynet_core.tasks``."""
KINDS |= {entry.name: entry.load() for entry in entry_points(group="tinynet_core.tasks")}

COST = ("resolution", "macs", "params", "activations")
PROVENANCE = ("commit", "clean", "device", "training_version", "dataset_sha256")
COLUMNS = (
    *("key", "kind", "network", "r", "d", "w", "head", "base_resolution", "base_width", "base_divisor"),
    *("seed", "precision", "status", "reason"),
    *(*COST, *METRICS, "wall_s", *PROVENANCE),
)
"""Columns of every table of records. A table of records with further costs or metrics has further columns."""


if TYPE_CHECKING:
    AnyTask = Any  # the fields depend on the kind of task
else:
    AnyTask = Annotated[Union[tuple(KINDS.values())], Field(discriminator="kind")]  # noqa: UP007


class Record(BaseModel):
    """The result of one task: ``metrics`` by name, rows of a ``curve`` (epochs of a training), nested lists ``arrays``.

    The class of ``experiment`` says which metrics, rows and arrays there are. A failed run also has a record, with
    ``status`` "failed", a ``reason`` and no metrics. ``experiment`` has the names and scales of the first request for
    it. ``migrated`` holds what a format migration noted about the old record, such as its old key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = 2
    experiment: AnyTask
    status: Literal["done", "failed"]
    reason: str | None = None
    metrics: dict[str, float] = {}
    curve: list[dict[str, float]] = []
    arrays: dict[str, list[Any]] = {}
    cost: dict[str, int]
    wall_s: float
    provenance: dict[str, Any]
    migrated: dict[str, Any] = {}

    @property
    def key(self) -> str:
        return self.experiment.key

    @property
    def done(self) -> bool:
        return self.status == "done"

    def to_json(self) -> str:
        """Return the record as one line of ASCII. Raise ``ValueError`` for a number that is not finite."""
        return json.dumps(self.model_dump(mode="json"), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Record":
        """Read a record from its JSON. Raise ``ValueError`` if it has another format."""
        return cls.model_validate_json(text)


def execute(
    task: Task,
    device: str = "auto",
    root: Path | None = None,
    should_stop: Callable[[], bool] | None = None,
    compiled: bool = False,
) -> Record:
    """Perform ``task`` in this process. If it diverges or runs out of memory, return a failed record.

    ``root`` is the folder of the store, for checkpoints and weights. ``should_stop`` is called before every step. If it
    returns true, the task writes its checkpoint and raises ``Interrupted``.
    """
    import torch

    from tinynet_core.training.loop import TrainingFailed, pick_device

    try:
        result = task.perform(device, root, should_stop, compiled)
    except TrainingFailed as failure:
        return failed(task, str(failure), device)
    except (MemoryError, RuntimeError) as error:
        on_cpu = "can't allocate memory" in str(error)  # the message of the CPU allocator
        if on_cpu or isinstance(error, MemoryError | torch.OutOfMemoryError):
            return failed(task, f"out of memory on {pick_device(device)}", device)
        raise
    made = provenance(device) | {"probe_sha256": [probe_hash(data) for data in task.data]} | result.sources
    given = {"metrics": result.metrics, "curve": result.curve, "arrays": result.arrays}
    wall_s = round(result.wall_s, 3)
    return Record(experiment=task, status="done", **given, cost=task.cost(), wall_s=wall_s, provenance=made)


def failed(task: Task, reason: str, device: str = "auto") -> Record:
    """Return the record of a run that cannot give a result, or whose process was killed."""
    made = provenance(device)
    return Record(experiment=task, status="failed", reason=reason, cost=task.cost(), wall_s=0.0, provenance=made)


def provenance(device: str = "auto") -> dict[str, Any]:
    """Return the machine and the software of this process, for a record."""
    import torch

    from tinynet_core.training.loop import TRAINING_VERSION, pick_device
    from tinynet_core.training.team import team

    target = pick_device(device)
    name = torch.cuda.get_device_name(target) if target.type == "cuda" else processor()
    packages = ("tinynet-core", "torch", "numpy", "pillow", "matplotlib")
    return {
        **commit(),
        "training_version": TRAINING_VERSION,
        "device": f"{target.type} ({name})",
        "threads": torch.get_num_threads(),
        "processes": team().size,
        "python": platform.python_version(),
        "packages": {p: version(p) for p in packages},
    }


def outdated(record: Record) -> str:
    """Return why ``record`` is out of date for its own task. Return "" if it is up to date.

    Its training version must be the current version. For images that the package draws, the hash of the probe images
    must also be the current hash. Photographs belong to the reader and are not checked.
    """
    from tinynet_core.training.loop import TRAINING_VERSION

    task, about = record.experiment, record.provenance
    if not isinstance(task, Training):
        return ""  # nothing was trained for it
    if (version := about.get("training_version")) != TRAINING_VERSION:
        return f"training version was {version}, is {TRAINING_VERSION}"
    if not record.done:
        return ""  # a failed run does not name its data
    here = [probe_hash(dataset) for dataset in task.data]
    recorded = about.get("probe_sha256") or record.migrated.get("probe_sha256") or [""] * len(here)
    was, now = (", ".join(x[:12] or "not recorded" for x in hashes) for hashes in (recorded, here))
    return f"hash of the probe images was {was}, is {now}" if recorded != here else ""


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return records as a table with the columns ``COLUMNS``: key, network, scale, seed, status, cost, metrics, ..."""
    return table([columns(record.key, record.model_dump()) for record in records])


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(COLUMNS))


def columns(key: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return one row of a table from the ``content`` of a record."""
    experiment, provenance = content["experiment"], content["provenance"]
    return {
        "key": key,
        "kind": experiment["kind"],
        **labels(experiment),
        "seed": experiment.get("seed"),
        "precision": experiment.get("recipe", {}).get("precision", ""),
        "status": content["status"],
        "reason": content["reason"],
        **dict.fromkeys(COST, nan),
        **content["cost"],
        **dict.fromkeys(METRICS, nan),
        **content["metrics"],
        "wall_s": content["wall_s"],
        **{name: provenance.get(name) for name in PROVENANCE},
    }


def labels(experiment: dict[str, Any]) -> dict[str, Any]:
    """Return name, scale, head and base by which a user asked for the network. ``experiment`` is a task's content."""
    name, base = experiment.get("network", ""), experiment.get("base") or {}
    scale = experiment.get("scale") or _own_scale(name)
    sizes = {f"base_{x}": base.get(x, nan) for x in ("resolution", "width", "divisor")}
    return {"network": name, **{x: scale[x] for x in "rdw"}, "head": experiment.get("head"), **sizes}


@cache
def _own_scale(name: str) -> dict[str, float]:
    """Return r, d and w of a network that takes no scale; NaN for several networks."""
    scale = network(name).scale if name in NAMES else None
    return asdict(scale) if scale else dict.fromkeys("rdw", nan)
