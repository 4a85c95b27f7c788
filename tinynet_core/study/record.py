"""What came out of a task (``Record``), with where and with what it was made."""

import json
import os
import platform
import subprocess
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tinynet_core.data.probe import probe_hash
from tinynet_core.study.task import Task
from tinynet_core.study.tasks import AnyTask


class Record(BaseModel):
    """What one task gave: ``metrics`` by name, ``curve`` row by row (epochs of a training), nested lists in ``arrays``.

    The class of ``experiment`` says which metrics, rows and arrays there are. A failed run is a record too: ``status``
    "failed", its ``reason``, and no metrics. The names and scales in ``experiment`` are those that it was first asked
    for under. ``migrated`` says what a migration found of a record that it moved, such as its key before.
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
        """The record on one line, in ASCII; raises ``ValueError`` for a number that is not finite."""
        return json.dumps(self.model_dump(mode="json"), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Record":
        """Read a record back; raises ``ValueError`` for one of another format."""
        return cls.model_validate_json(text)


def execute(
    task: Task,
    device: str = "auto",
    root: Path | None = None,
    should_stop: Callable[[], bool] | None = None,
    compiled: bool = False,
) -> Record:
    """Perform ``task`` in this process; divergence and lack of memory give a failed record.

    ``root`` is the folder of the store, where checkpoints and weights are kept. ``should_stop``, asked before every
    step, ends it with ``Interrupted`` after its checkpoint is written.
    """
    from tinynet_core.training.loop import TrainingFailed

    try:
        result = task.perform(device, root, should_stop, compiled)
    except TrainingFailed as failure:
        return failed(task, str(failure), device)
    return Record(
        experiment=task,
        status="done",
        metrics=result.metrics,
        curve=result.curve,
        arrays=result.arrays,
        cost=task.cost(),
        wall_s=round(result.wall_s, 3),
        provenance=provenance(device) | {"probe_sha256": [probe_hash(data) for data in task.data]} | result.sources,
    )


def failed(task: Task, reason: str, device: str = "auto") -> Record:
    """The record of a run that cannot give a result, or ended without a word, as a killed process does."""
    return Record(
        experiment=task, status="failed", reason=reason, cost=task.cost(), wall_s=0.0, provenance=provenance(device)
    )


def provenance(device: str = "auto") -> dict[str, Any]:
    """Where and with what a record was made."""
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


@cache
def processor() -> str:
    """The processor's model where the system tells it, its architecture elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


@cache
def commit() -> dict[str, Any]:
    """Commit of the checkout that holds this package, and whether its sources are those of that commit.

    Both are None unless the package is tracked at the top of its repository. An untracked module is a change.
    """
    package = Path(__file__).resolve().parent
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
    if tracked is None or _git(package, "rev-parse", "--show-cdup") != "../":
        return {"commit": None, "clean": None}
    changes = _git(package, "status", "--porcelain", "--untracked-files=no")
    added = _git(package, "ls-files", "--others", "--", "*.py")
    clean = None if changes is None or added is None else not (changes or added)
    return {"commit": _git(package, "rev-parse", "HEAD"), "clean": clean}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says in ``folder``, whatever repository the environment names; None where the command fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=20, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
