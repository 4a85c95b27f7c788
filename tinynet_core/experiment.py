"""What to train (``Experiment``), what came out (``Record``), and training one experiment."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tinynet_core.data import Dataset
from tinynet_core.networks import SCALABLE, Head, Network, base_of, network
from tinynet_core.networks.peers import PeerNetwork
from tinynet_core.scale import Base, Scale
from tinynet_core.training.recipe import Recipe

METRICS = ("top1", "top5", "loss", "raw_top1", "raw_top5", "raw_loss", "train_top1", "train_loss")


class Experiment(BaseModel):
    """One network, one data set, one recipe, one seed. Device and executor are not part of it.

    ``scale`` and ``base`` left out are filled in with what the named network has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str
    scale: Scale | None = None
    head: Head | None = None
    base: Base | None = None
    dataset: Dataset
    recipe: Recipe
    seed: int = Field(0, ge=0, strict=True)

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if self.scale is None and self.network in SCALABLE:
            object.__setattr__(self, "scale", Scale())
        if self.base is None:
            object.__setattr__(self, "base", base_of(self.network))
        spec = self.spec()
        if isinstance(spec, PeerNetwork) and (self.recipe.zero_init_residual or self.recipe.zero_init_classifier):
            raise ValueError(
                f"recipe.zero_init_residual and recipe.zero_init_classifier must be false for {self.network}, "
                f"which {spec.source} builds"
            )
        if self.recipe.mirror and not self.dataset.mirror_safe:
            raise ValueError("recipe.mirror must be 0: a mirrored image of this data set changes its class")
        if self.recipe.batch_size > self.dataset.train_images:
            raise ValueError(
                f"recipe.batch_size {self.recipe.batch_size} is above the {self.dataset.train_images} training images"
            )
        return self

    def spec(self) -> Network:
        """The network's specification, with one output per class of the data set."""
        return network(self.network, self.scale, self.dataset.classes, self.head, self.base)

    @property
    def key(self) -> str:
        """SHA-256 over canonical JSON: the name under which the record is stored."""
        return _digest(self.model_dump(mode="json"))


class Record(BaseModel):
    """What one experiment gave. ``metrics`` are of the averaged (EMA) weights, ``raw_*`` of the raw ones, as fractions.

    A failed run is a record too: ``status`` "failed", its ``reason``, and no metrics.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    experiment: Experiment
    status: Literal["done", "failed"]
    reason: str | None = None
    metrics: dict[str, float] = {}
    curve: list[dict[str, float]] = []
    cost: dict[str, int]
    wall_s: float
    provenance: dict[str, Any]

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


def _digest(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def execute(
    experiment: Experiment,
    device: str = "auto",
    checkpoint_path: Path | None = None,
    should_stop: Callable[[], bool] | None = None,
    compiled: bool = False,
) -> Record:
    """Train ``experiment`` in this process; divergence and lack of memory give a failed record.

    ``should_stop``, asked before every step, ends it with ``Interrupted`` after its checkpoint is written.
    """
    from tinynet_core.data import load_images
    from tinynet_core.training.engine import Outcome, TrainingFailed, train

    spec, recipe = experiment.spec(), experiment.recipe
    images = load_images(experiment.dataset)
    reason, outcome = None, Outcome()
    try:
        outcome = train(
            lambda: spec.build(recipe.dropout, recipe.zero_init_residual, recipe.zero_init_classifier),
            spec.resolution,
            images,
            recipe,
            experiment.seed,
            device,
            checkpoint_path,
            should_stop,
            compiled,
        )
    except TrainingFailed as failure:
        reason = str(failure)
    last = {} if reason else outcome.curve[-1]
    metrics = {name: last[name if name in last else f"ema_{name}"] for name in METRICS} if last else {}
    return Record(
        experiment=experiment,
        status="failed" if reason else "done",
        reason=reason,
        metrics=metrics,
        curve=outcome.curve,
        cost=cost_of(experiment),
        wall_s=round(outcome.wall_s, 3),
        provenance=provenance(device) | {"dataset_sha256": images.content_hash, "compiled": compiled},
    )


def failed(experiment: Experiment, reason: str) -> Record:
    """The record of a run that ended without a word, such as a worker process that was killed."""
    return Record(
        experiment=experiment,
        status="failed",
        reason=reason,
        cost=cost_of(experiment),
        wall_s=0.0,
        provenance=provenance(),
    )


def cost_of(experiment: Experiment) -> dict[str, int]:
    """Resolution in pixels and exact MACs, parameters and activations of the experiment's network."""
    spec = experiment.spec()
    cost = spec.complexity()
    return {
        "resolution": spec.resolution,
        "macs": cost.macs,
        "params": cost.params,
        "activations": cost.activations,
    }


def provenance(device: str = "auto") -> dict[str, Any]:
    """Where and with what a record was made."""
    import torch

    from tinynet_core.training.engine import TRAINING_VERSION, pick_device
    from tinynet_core.training.team import team

    target = pick_device(device)
    name = torch.cuda.get_device_name(target) if target.type == "cuda" else _cpu_name()
    packages = ("tinynet-core", "torch", "numpy", "pillow", "matplotlib")
    return {
        **_commit(),
        "training_version": TRAINING_VERSION,
        "device": f"{target.type} ({name})",
        "threads": torch.get_num_threads(),
        "processes": team().size,
        "python": platform.python_version(),
        "packages": {p: version(p) for p in packages},
    }


@cache
def _cpu_name() -> str:
    """The processor's model where the system tells it, its architecture elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


@cache
def _commit() -> dict[str, Any]:
    """Commit of the checkout the package runs from and whether its tree was clean; None outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(here), *arguments], check=False, capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "clean": None if status is None else status == ""}
