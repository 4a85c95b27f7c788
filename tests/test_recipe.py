import math

import pytest
import torch
from pydantic import ValidationError
from timm.scheduler import StepLRScheduler

from tinynet_core import Recipe, load_preset

EFFICIENTNET_RECIPE, RESNET_RECIPE = load_preset("imagenet1k").recipe, load_preset("imagenet100").resnet_recipe


def test_learning_rate_warms_up_and_falls_to_zero():
    recipe = Recipe(epochs=10, lr=0.2, warmup_epochs=2)
    assert [recipe.learning_rate(e) for e in (0, 1, 2, 6, 10)] == pytest.approx([0, 0.1, 0.2, 0.1, 0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"lr": math.nan}, "lr"),
        ({"optimizer": "lion"}, "optimizer"),
        ({"warmup_epochs": 2}, "warmup_epochs 2 must be below epochs 2"),
        ({"crop_area": (0.0, 1.0)}, "crop_area"),
        ({"learning_rate": 1}, "learning_rate"),
        ({"batch_size": 16, "norm_batch": 6}, "batch_size 16 must be a multiple of norm_batch 6"),
    ],
)
def test_bad_recipes(bad, message):
    with pytest.raises(ValidationError, match=message):
        Recipe(**{"epochs": 2, **bad})


def test_the_recipe_of_the_paper():
    """Section 4.1: RMSProp, momentum .9, decay .9, weight decay 1e-5, lr .048 x .97 every 2.4 epochs, 3 of warm-up."""
    r = EFFICIENTNET_RECIPE
    assert (r.optimizer, r.momentum, r.rmsprop_decay, r.weight_decay) == ("rmsprop", 0.9, 0.9, 1e-5)
    assert (r.epochs, r.batch_size, r.peak_lr, r.decay_epochs, r.decay_rate) == (450, 1024, 0.048, 2.4, 0.97)
    assert (r.warmup_epochs, r.dropout, r.ema_decay, r.ema_warmup) == (3, 0.2, 0.9999, False)
    assert r.norm_batch == 1024 / 8  # the batch size is 1024 for 8 GPUs with 128 images per chip
    assert r.bn_momentum == pytest.approx(1 - 0.99)  # the paper counts as TensorFlow does
    assert [RESNET_RECIPE.learning_rate(e) for e in (1, 30, 30.01, 60.01, 90)] == pytest.approx(
        [0.4, 0.4, 0.04, 0.004, 0.004]
    )
    assert (RESNET_RECIPE.optimizer, RESNET_RECIPE.weight_decay, RESNET_RECIPE.epochs) == ("sgd", 1e-4, 90)
    assert load_preset("imagenet100").recipe == r.model_copy(update={"epochs": 100, "ema_warmup": True})


def test_steps_of_the_learning_rate_are_timms():
    """timm holds the learning rate for an epoch; both count 2.4 epochs from the first one, warm-up included."""
    recipe = EFFICIENTNET_RECIPE
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.peak_lr)
    peer = StepLRScheduler(optimizer, decay_t=2.4, decay_rate=0.97, warmup_t=3, warmup_prefix=False)
    for epoch in range(3, 450):
        peer.step(epoch)
        assert recipe.learning_rate(epoch + 1e-3) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), epoch


def test_a_scaled_recipe_keeps_its_shape():
    """A quarter of the batch on 50,000 images for 100 epochs: same shares of the training, same averaging window."""
    short = EFFICIENTNET_RECIPE.scaled(epochs=100, batch_size=256, images=50_000 / 1_281_167)
    for share in (0.004, 0.1, 0.37, 0.999):
        ours, theirs = short.learning_rate(share * 100), EFFICIENTNET_RECIPE.learning_rate(share * 450)
        assert ours == pytest.approx(theirs / 4, rel=1e-6)
    steps = {"long": 450 * 1_281_167 / 1024, "short": 100 * 50_000 / 256}
    kept = short.ema_decay ** (steps["short"] / 50), EFFICIENTNET_RECIPE.ema_decay ** (steps["long"] / 50)
    assert kept[0] == pytest.approx(kept[1], rel=1e-6)
    assert EFFICIENTNET_RECIPE.scaled() == EFFICIENTNET_RECIPE
    with pytest.raises(ValueError, match="must be"):
        EFFICIENTNET_RECIPE.scaled(images=0.0)
    assert RESNET_RECIPE.scaled(epochs=9).learning_rate(3.01) == pytest.approx(0.04)
