"""The trainings by which recipe and data of the published study were chosen; the study uses none of them."""

from collections.abc import Mapping
from types import MappingProxyType

from tinynet_core.experiments import Experiment
from tinynet_core.presets import Preset, RandomSample
from tinynet_core.scale import Scale

SEEDS = (100, 101, 102)
"""Of every network that is trained again; the study counts from 0."""
GRADED: Mapping[str, Scale] = MappingProxyType(
    {
        "c = 1": Scale(),
        "c = 1/2": Scale(0.93, 0.9, 0.606),
        "c = 1/4": Scale(0.8, 0.75, 0.47),
        "c = 1/8": Scale(0.66, 0.66, 0.33),
        "c = 1/16": Scale(0.52, 0.57, 0.33),
        "r = 0.43": Scale(0.43, 1.2, 0.745),
        "w = 0.27": Scale(1.2, 1.3, 0.27),
    }
)
"""Five networks from the baseline's cost down, and two of unusual shape, trained with every seed."""
EXTREMES = (
    Scale(0.36, 1.5, 1.3),
    Scale(1.8, 0.8, 0.4),
    Scale(0.9, 0.36, 0.9),
    Scale(0.6, 2.75, 0.6),
    Scale(1.1, 1.2, 0.36),
    Scale(0.5, 0.5, 2.5),
)
"""About the smallest and the largest resolution, depth and width that a random sample has."""
LENGTHS = ((8_000, 6), (6_000, 8), (8_000, 8))
"""Training images and epochs that were compared on the network at a quarter of the cost."""
_RANDOM, _RANDOM_SEED = 14, 1000


def graded(preset: Preset) -> dict[str, list[Experiment]]:
    """The networks of ``GRADED``, once for each seed."""
    return {name: [preset.experiment(scale, seed) for seed in SEEDS] for name, scale in GRADED.items()}


def lengths(preset: Preset) -> dict[tuple[int, int], list[Experiment]]:
    """The network at a quarter of the cost with the training images and epochs of ``LENGTHS``."""
    found = {}
    for images, epochs in LENGTHS:
        dataset = preset.dataset.model_copy(update={"train_images": images})
        recipe = preset.recipe.model_copy(update={"epochs": epochs})
        tried = preset.model_copy(update={"dataset": dataset, "recipe": recipe})
        found[images, epochs] = [tried.experiment(GRADED["c = 1/4"], seed) for seed in SEEDS]
    return found


def scattered(preset: Preset) -> list[Experiment]:
    """Twenty random networks, the extremes among them, once each."""
    sample = RandomSample(models=_RANDOM, seed=_RANDOM_SEED)
    drawn = preset.model_copy(update={"random_sample": sample}).random_experiments()
    seeded = [e.model_copy(update={"seed": SEEDS[0]}) for e in drawn]
    return [*seeded, *(preset.experiment(scale, SEEDS[0]) for scale in EXTREMES)]


def others(preset: Preset) -> dict[str, list[Experiment]]:
    """ResNet-50 and GhostNet-A at the preset's size."""
    return {name: [preset.named(name, seed=seed) for seed in SEEDS[:2]] for name in ("resnet50", "ghostnet_a")}
