"""The smallest trainings that the tests of sweeps and records share: two steps an epoch."""

from tinynet_core import CreatureDataset, Experiment, Recipe, Scale

DATASET = CreatureDataset(genera=2, species=2, resolution=32, train_images=64, val_images=64)


def experiment(seed=0, **recipe):
    """Three epochs; keyword arguments go to the recipe."""
    recipe = Recipe(**{"epochs": 3, "warmup_epochs": 0.5, "batch_size": 32, **recipe})
    scale = Scale(0.12, 0.5, 0.2)
    return Experiment(network="efficientnet_b0", scale=scale, dataset=DATASET, recipe=recipe, seed=seed)


def results(records):
    """Everything about records but how long they took and where."""
    return [r.model_dump(exclude={"wall_s", "provenance"}) for r in records]
