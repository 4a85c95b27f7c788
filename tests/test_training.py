import dataclasses
import math

import numpy as np
import pytest
import torch

from tinynet_core import Recipe
from tinynet_core.data import ImageSet
from tinynet_core.training import checkpoint, classifier, loop


@pytest.mark.parametrize(("decay", "warmup"), [(0.9, False), (0.2, True), (0.9999, True)])
def test_an_average_follows_its_equation(decay, warmup):
    """Its start counts as much as ``initial_share`` says."""
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(module.weight)
    ema, kept, followed = loop.EMA(module, decay, warmup), 1.0, 0.0
    share = loop.initial_share(12, decay, warmup)
    for step in range(12):
        torch.nn.init.constant_(module.weight, step)
        ema.update()
        now = min(decay, (1 + step) / (10 + step)) if warmup else decay
        kept, followed = now * kept, now * followed + (1 - now) * step
        assert ema.module.weight.item() == pytest.approx(kept + followed, rel=1e-5)
        assert share[step + 1] == pytest.approx(kept)
    assert not ema.module.weight.requires_grad


def two_colours(n):
    """Red and blue images: any network must tell them apart."""
    labels = np.arange(n) % 2
    images = np.zeros((n, 16, 16, 3), np.uint8)
    images[labels == 0, ..., 0] = 200
    images[labels == 1, ..., 2] = 200
    return images, labels


@pytest.fixture
def colours():
    return ImageSet(*two_colours(64), *two_colours(30), content_hash="")


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.dropout = torch.nn.Dropout(0.3)
        self.linear = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.linear(self.dropout(self.norm(self.conv(x)).relu().mean((2, 3))))


RECIPE = Recipe(epochs=6, warmup_epochs=1, batch_size=16, lr=0.05, ema_decay=0.9, label_smoothing=0.0)


def train(build, images, recipe, seed=0, path=None, should_stop=None, compiled=False):
    return classifier.Run(build, 8, images, recipe, seed, "cpu", compiled).train(path, should_stop).curve


def test_only_the_last_epoch_is_measured_on_all_images_where_a_part_is_named(colours):
    whole = train(Small, colours, RECIPE)
    part = train(Small, colours, RECIPE.model_copy(update={"curve_images": 2}))
    few = ImageSet(colours.train_images, colours.train_labels, *(a[:2] for a in two_colours(30)), content_hash="")
    assert part[:-1] == train(Small, few, RECIPE)[:-1] != whole[:-1]
    assert part[-1] == whole[-1]


@pytest.mark.parametrize(("asked", "optimizer"), [(0, "adamw"), (4, "sgd"), (13, "rmsprop")])
def test_a_run_stopped_at_any_step_ends_with_the_same_bits(colours, tmp_path, asked, optimizer):
    """Four steps an epoch; the run is stopped in the midst of epochs and between them, and goes on each time."""
    recipe = RECIPE.model_copy(update={"optimizer": optimizer, "lr": 0.01, "rand_augment": 5.0})
    whole, cut = tmp_path / "whole.pt", tmp_path / "cut.pt"
    expected = train(Small, colours, recipe, 7, whole)
    countdown = iter(range(asked, -2, -1))
    with pytest.raises(loop.Interrupted):
        train(Small, colours, recipe, 7, cut, lambda: next(countdown) <= 0)
    state = checkpoint.load(cut, loop.TRAINING_VERSION)
    assert (state["epoch"], state["step"]) == divmod(asked, 5)  # four steps and one batch of the evaluation
    torch.rand(13)  # the global generator is somewhere else by now
    assert train(Small, colours, recipe, 7, cut) == expected
    ends = [checkpoint.load(path, loop.TRAINING_VERSION) for path in (whole, cut)]
    for part in ("model", "ema"):
        torch.testing.assert_close(ends[0][part], ends[1][part], atol=0, rtol=0)


def test_rmsprop_is_tensorflows():
    """Epsilon inside the root, squares that start at one, learning rate inside the momentum: two steps by hand."""
    recipe = RECIPE.model_copy(update={"optimizer": "rmsprop", "weight_decay": 0.0})
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, 2.0)
    optimizer = loop._optimizer(module, recipe)
    weight, square, momentum = 2.0, 1.0, 0.0
    for gradient, lr in ((0.5, 0.1), (-2.0, 0.05)):
        optimizer.param_groups[0]["lr"] = lr
        module.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        square += (1 - 0.9) * (gradient**2 - square)
        momentum = 0.9 * momentum + lr * gradient / math.sqrt(square + 1e-3)
        weight -= momentum
        assert module.weight.item() == pytest.approx(weight, rel=1e-6)


def test_weight_decay_is_added_to_the_gradient_of_weights_only():
    recipe = RECIPE.model_copy(update={"optimizer": "sgd", "weight_decay": 0.5, "momentum": 0.0, "nesterov": False})
    module = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(module.weight, 2.0)
    torch.nn.init.constant_(module.bias, 2.0)
    optimizer = loop._optimizer(module, recipe)
    (0 * module(torch.ones(1, 1))).backward()
    optimizer.step()
    assert module.weight.item() == pytest.approx(2.0 - 0.05 * 0.5 * 2.0)
    assert module.bias.item() == 2.0


class WithoutNorm(Small):
    def forward(self, x):
        return self.linear(self.conv(x).relu().mean((2, 3)))


def test_a_step_in_parts_is_the_step_of_the_whole_batch(colours):
    recipes = (RECIPE.model_copy(update={"norm_batch": n}) for n in (None, 4))
    whole, parts = (classifier.Run(WithoutNorm, 8, colours, recipe, 0, "cpu") for recipe in recipes)
    for run in (whole, parts):
        run.train_epoch()
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    assert parts.curve[0] == pytest.approx(whole.curve[0], rel=1e-5)


def test_parts_have_batch_norm_statistics_of_their_own(colours):
    """Two parts, two updates, and together they keep as much of the old values as one update of the whole step."""
    recipe = RECIPE.model_copy(update={"norm_batch": 8, "bn_momentum": 0.19, "jitter": 0.0, "crop_area": (1.0, 1.0)})
    run = classifier.Run(Small, 8, colours, recipe, 0, "cpu")
    seen = []
    run.model.norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    run.train_step(next(run.train_set.batches([torch.arange(16)])))
    assert [len(x) for x in seen] == [8, 8]
    expected = torch.zeros(8)
    for x in seen:
        expected += 0.1 * (x.mean((0, 2, 3)) - expected)  # (1 - .1)^2 = 1 - .19
    torch.testing.assert_close(run.model.norm.running_mean, expected)


def test_the_checkpoint_of_another_run_is_set_aside(colours, tmp_path):
    path, recipe = tmp_path / "x.pt", RECIPE.model_copy(update={"epochs": 2})
    train(Small, colours, recipe, 0, path)
    other = dataclasses.replace(colours, content_hash="other pixels")
    for images, seed in ((colours, 1), (other, 1)):
        with pytest.warns(UserWarning, match="set aside as .*damaged .*of another network, recipe, seed or data set"):
            train(Small, images, recipe, seed, path)


def test_bfloat16_learns_the_same_task(colours):
    seen = set()
    run = classifier.Run(Small, 8, colours, RECIPE.model_copy(update={"precision": "bf16"}), 0, "cpu")
    for model in (run.model, run.ema.module):
        model.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    last = run.train().curve[-1]
    assert last["raw_top1"] == last["ema_top1"] == 1.0
    assert seen == {torch.bfloat16}


def test_compiled_networks_train_alike(colours, monkeypatch):
    """Without a code generator, which needs a compiler on the machine: what is tested is our use of torch.compile."""
    real, used, recipe = torch.compile, [], RECIPE.model_copy(update={"epochs": 2})
    monkeypatch.setattr(torch, "compile", lambda m: used.append(m) or real(m, backend="aot_eager"))
    ours = train(Small, colours, recipe, compiled=True)
    assert used
    plain = train(Small, colours, recipe)
    assert [r["raw_loss"] for r in ours] == pytest.approx([r["raw_loss"] for r in plain], rel=1e-3)
