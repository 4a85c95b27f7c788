"""A preset whose trainings take a second."""

TINY = {
    "name": "tiny",
    "about": "for tests",
    "base": {"resolution": 32, "width": 0.35, "divisor": 4},
    "dataset": {"classes": 4, "resolution": 32, "train_images": 96, "val_images": 32, "difficulty": 0.0},
    "recipe": {"epochs": 2, "batch_size": 32, "warmup_epochs": 0.5},
    "random_sample": {"models": 5, "frontier": 0.8},
}
