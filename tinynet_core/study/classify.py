"""Training a classifier: what to train, and training it."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from tinynet_core.data import Dataset, load_images
from tinynet_core.networks.family import SCALABLE, base_of, network
from tinynet_core.networks.fixed import PeerNetwork
from tinynet_core.networks.spec import Head, Network
from tinynet_core.scaling.scale import Base, Scale
from tinynet_core.study.task import LABELS, Result, Task, checkpoint_file, claim, cost_of, weights_file
from tinynet_core.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

_LOOK_S = 0.5
"""How often weights are looked for that another process is making."""
METRICS = ("top1", "top5", "loss", "raw_top1", "raw_top5", "raw_loss", "train_top1", "train_loss")
"""Metrics of a trained classifier: of the averaged (EMA) weights, ``raw_*`` of the raw ones, as fractions."""


def fill_in(task: Any) -> None:
    """Give a new task the scale and the base that its named network has, where they were left out."""
    if task.scale is None and task.network in SCALABLE:
        object.__setattr__(task, "scale", Scale())
    if task.base is None:
        object.__setattr__(task, "base", base_of(task.network))


def check_recipe(recipe: Recipe, dataset: Any) -> None:
    """Raise ``ValueError`` for a recipe that does not fit the images of ``dataset``."""
    if recipe.mirror and not dataset.mirror_safe:
        raise ValueError("recipe.mirror must be 0: a mirrored image of this data set changes its class")
    if recipe.batch_size > dataset.train_images:
        raise ValueError(f"recipe.batch_size {recipe.batch_size} is above the {dataset.train_images} training images")


class Experiment(Task):
    """One network, one data set, one recipe, one seed.

    ``scale`` and ``base`` left out are filled in with what the named network has.
    """

    kind: Literal["training"] = "training"
    network: str
    scale: Scale | None = None
    head: Head | None = None
    base: Base | None = None
    dataset: Dataset
    recipe: Recipe
    seed: int = Field(0, ge=0, strict=True)

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        fill_in(self)
        check_recipe(self.recipe, self.dataset)
        spec = self.spec()
        if isinstance(spec, PeerNetwork) and (self.recipe.zero_init_residual or self.recipe.zero_init_classifier):
            raise ValueError(
                f"recipe.zero_init_residual and recipe.zero_init_classifier must be false for {self.network}, "
                f"which {spec.source} builds"
            )
        return self

    def spec(self) -> Network:
        """The network's specification, with one output per class of the data set."""
        return network(self.network, self.scale, self.dataset.classes, self.head, self.base)

    @property
    def identity(self) -> dict[str, Any]:
        return {**self.model_dump(mode="json", exclude=LABELS), "network": self.spec().identity()}

    @property
    def label(self) -> str:
        return f"{self.network} {self.spec().scale or ''} seed {self.seed}"

    def cost(self) -> dict[str, int]:
        return cost_of(self.spec())

    @property
    def work(self) -> int:
        return self.spec().complexity().macs * self.dataset.train_images * self.recipe.epochs

    @property
    def steps(self) -> int:
        return self.recipe.epochs * (self.dataset.train_images // self.recipe.batch_size)

    @property
    def data(self) -> tuple[Any, ...]:
        return (self.dataset,)

    def perform(self, device: str, root: Path | None, should_stop: Callable[[], bool] | None, compiled: bool) -> Result:
        """Train it, and leave the averaged weights in the store."""
        from tinynet_core.training import trained_weights
        from tinynet_core.training.classifier import trained
        from tinynet_core.training.team import team

        spec, recipe, images = self.spec(), self.recipe, load_images(self.dataset)
        run = trained(
            lambda: spec.build(recipe.dropout, recipe.zero_init_residual, recipe.zero_init_classifier),
            spec.resolution,
            images,
            recipe,
            self.seed,
            device,
            root and checkpoint_file(root, self.key),
            should_stop,
            compiled,
        )
        if root is not None and team().leads:
            trained_weights.save(weights_file(root, self.key), run.ema.module, self._about(images.content_hash))
        last = run.outcome.curve[-1]
        return Result(
            metrics={name: last[name if name in last else f"ema_{name}"] for name in METRICS},
            curve=run.outcome.curve,
            wall_s=run.outcome.wall_s,
            sources={"dataset_sha256": images.content_hash, "compiled": compiled},
        )

    def module(
        self, device: str, root: Path | None, should_stop: Callable[[], bool] | None = None, compiled: bool = False
    ) -> "nn.Module":
        """The torch module with its averaged weights, on the CPU: from the store, or trained now where it has none.

        Where another process trains it at the moment, that one's weights are waited for. Raises what ``perform``
        raises, and ``WeightsError`` for weights of another training version or of other images.
        """
        from tinynet_core.training import checkpoint, trained_weights
        from tinynet_core.training.loop import Interrupted

        if root is None:
            with TemporaryDirectory() as folder:
                return self.module(device, Path(folder), should_stop, compiled)
        weights, state = weights_file(root, self.key), checkpoint_file(root, self.key)
        while not weights.exists():
            with claim(state) as mine:
                if mine and not weights.exists():
                    self.perform(device, root, should_stop, compiled)
                    checkpoint.remove(state)
            if not mine:
                if should_stop is not None and should_stop():
                    raise Interrupted
                time.sleep(_LOOK_S)
        module = self.spec().build()
        trained_weights.load(weights, module, self._about(load_images(self.dataset).content_hash))
        return module.eval()

    def _about(self, content_hash: str) -> dict[str, str]:
        """What weights must agree in to be those of this training."""
        from tinynet_core.training.loop import TRAINING_VERSION

        return {"key": self.key, "training_version": str(TRAINING_VERSION), "dataset_sha256": content_hash}
