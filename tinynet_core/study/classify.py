"""The task of training a classifier."""

from abc import abstractmethod
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
from tinynet_core.study.task import LABELS, Result, Task, checkpoint_file, cost_of, weights_file, weights_source
from tinynet_core.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

METRICS = ("top1", "top5", "loss", "raw_top1", "raw_top5", "raw_loss", "train_top1", "train_loss")
"""Metrics of a trained classifier with averaged (EMA) weights, ``raw_*`` with raw weights. Accuracies are fractions."""


def check_recipe(recipe: Recipe, dataset: Any) -> None:
    """Raise ``ValueError`` if the recipe does not fit the images of ``dataset``."""
    if recipe.mirror and not dataset.mirror_safe:
        raise ValueError("recipe.mirror must be 0: a mirrored image of this data set changes its class")
    if recipe.batch_size > dataset.train_images:
        raise ValueError(f"recipe.batch_size {recipe.batch_size} is above the {dataset.train_images} training images")


class Training(Task):
    """The fields of all trainings: a network by its name and scale, a data set, a recipe and a seed."""

    network: str
    scale: Scale | None = None
    head: Head | None = None
    base: Base | None = None
    dataset: Any
    recipe: Recipe
    seed: int = Field(0, ge=0, strict=True)
    pretraining: Any = None

    @model_validator(mode="after")
    def _filled_in(self):
        if self.scale is None and self.network in SCALABLE:
            object.__setattr__(self, "scale", Scale())
        if self.base is None:
            object.__setattr__(self, "base", base_of(self.network))
        return self

    @abstractmethod
    def spec(self) -> Network:
        """Return the network's specification."""

    @property
    def identity(self) -> dict[str, Any]:
        return {**self.model_dump(mode="json", exclude=LABELS), "network": self.spec().identity()}

    @property
    def label(self) -> str:
        return f"{self.network} {self.spec().scale or ''} seed {self.seed}"

    @property
    def work(self) -> int:
        return self.cost()["macs"] * self.dataset.train_images * self.recipe.epochs

    @property
    def steps(self) -> int:
        return self.recipe.epochs * (self.dataset.train_images // self.recipe.batch_size)

    @property
    def data(self) -> tuple[Any, ...]:
        return (self.dataset,)

    @property
    def needs(self) -> tuple[Task, ...]:
        return (self.pretraining,) if self.pretraining else ()


class Experiment(Training):
    """One network, one data set, one recipe, one seed.

    ``pretraining`` is the training of a larger network. This training starts from its averaged weights (see
    ``networks.weights.inherited``), or from random weights without it. The defaults of ``scale`` and ``base`` are those
    of the named network.
    """

    kind: Literal["training"] = "training"
    dataset: Dataset
    pretraining: "Experiment | None" = Field(None, exclude_if=lambda training: training is None)

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        check_recipe(self.recipe, self.dataset)
        if self.pretraining and self.pretraining.dataset != self.dataset:
            raise ValueError("pretraining.dataset must be the same as dataset")
        spec = self.spec()
        if isinstance(spec, PeerNetwork) and (self.recipe.zero_init_residual or self.recipe.zero_init_classifier):
            keys, why = "recipe.zero_init_residual and recipe.zero_init_classifier", f"because {spec.source} builds it"
            raise ValueError(f"{keys} must be false for {self.network}, {why}")
        return self

    def spec(self) -> Network:
        """Return the network's specification, with one output per class of the data set."""
        return network(self.network, self.scale, self.dataset.classes, self.head, self.base)

    @property
    def identity(self) -> dict[str, Any]:
        before = self.pretraining
        return super().identity | ({"pretraining": before.identity} if before else {})

    @property
    def label(self) -> str:
        before = self.pretraining
        return super().label + (f" from {before.network} {before.spec().scale or ''}" if before else "")

    def cost(self) -> dict[str, int]:
        return cost_of(self.spec())

    def perform(self, device: str, root: Path | None, should_stop: Callable[[], bool] | None, compiled: bool) -> Result:
        """Train the network, and save the averaged weights in the store."""
        from tinynet_core.training.checkpoint import save_weights
        from tinynet_core.training.classifier import Run
        from tinynet_core.training.team import team

        spec, recipe, images, before = self.spec(), self.recipe, load_images(self.dataset), self.pretraining
        larger = before and before.module(device, root, should_stop, compiled).state_dict()

        def build() -> "nn.Module":
            module = spec.build(recipe.dropout, recipe.zero_init_residual, recipe.zero_init_classifier)
            if before and larger:
                from tinynet_core.networks.weights import inherited

                module.load_state_dict(module.state_dict() | inherited(spec, before.spec(), larger)[0])
            return module

        run = Run(build, spec.resolution, images, recipe, self.seed, device, compiled)
        run.train(root and checkpoint_file(root, self.key), should_stop)
        if root is not None and team().leads:
            save_weights(weights_file(root, self.key), run.ema.module, self._about(images.content_hash))
        last = run.curve[-1]
        return Result(
            metrics={name: last[name if name in last else f"ema_{name}"] for name in METRICS},
            curve=run.curve,
            wall_s=run.wall_s,
            sources={"dataset_sha256": images.content_hash, "compiled": compiled}
            | (weights_source(root, before) if before else {}),
        )

    def module(
        self, device: str, root: Path | None, should_stop: Callable[[], bool] | None = None, compiled: bool = False
    ) -> "nn.Module":
        """Return the torch module with its averaged weights, on the CPU. Train it now if the store has no weights.

        Raises what ``perform`` raises, and ``CheckpointError`` for weights of another training version or other images.
        """
        from tinynet_core.training.checkpoint import load_weights, remove

        if root is None:
            with TemporaryDirectory() as folder:
                return self.module(device, Path(folder), should_stop, compiled)
        weights = weights_file(root, self.key)
        if not weights.exists():  # a sweep training it meanwhile writes the same bits
            self.perform(device, root, should_stop, compiled)
            remove(checkpoint_file(root, self.key))
        module = self.spec().build()
        load_weights(weights, module, self._about(load_images(self.dataset).content_hash))
        return module.eval()

    def _about(self, content_hash: str) -> dict[str, str]:
        """Return the facts by which saved weights are recognised as those of this training."""
        from tinynet_core.training.loop import TRAINING_VERSION

        return {"key": self.key, "training_version": str(TRAINING_VERSION), "dataset_sha256": content_hash}
