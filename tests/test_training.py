import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F
from torchvision.transforms import v2

from tinynet_core import Recipe
from tinynet_core.data import ImageSet
from tinynet_core.training import augment, checkpoint, engine
from tinynet_core.training.ema import EMA


def random_images(n, side):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("size", "side"), [(96, 14), (96, 40), (40, 40), (33, 64), (17, 96)])
def test_resample_is_antialiased_interpolation(size, side):
    images = random_images(3, size)
    expected = F.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(
        augment.resample(images, augment.centre_boxes(3, size, 1.0), side), expected, atol=1e-5, rtol=0
    )


def test_resample_cuts_and_flips_each_image_its_own_way():
    """Away from the border of the crop it equals cutting first and resizing then."""
    images = random_images(2, 64)
    boxes = torch.tensor([[8.0, 4.0, 40.0, 36.0], [0.0, 16.0, 48.0, 64.0]])
    out = augment.resample(images, boxes, 16, torch.tensor([False, True]))
    first = F.interpolate(images[:1, :, 8:40, 4:36], (16, 16), mode="bilinear", antialias=True)
    second = F.interpolate(images[1:, :, 0:48, 16:64], (16, 16), mode="bilinear", antialias=True).flip(3)
    torch.testing.assert_close(out[:1, :, 2:-2, 2:-2], first[..., 2:-2, 2:-2], atol=1e-5, rtol=0)
    torch.testing.assert_close(out[1:, :, 2:-2, 2:-2], second[..., 2:-2, 2:-2], atol=1e-5, rtol=0)


def test_jitter_is_torchvisions():
    images = random_images(4, 12)
    factors = torch.tensor([[0.7, 1.2, 0.6], [1.3, 0.8, 1.4], [1.0, 1.0, 1.0], [0.6, 0.6, 1.3]])
    ours = augment.jitter(images, factors)
    for image, out, (b, c, s) in zip(images, ours, factors.tolist(), strict=True):
        expected = v2.functional.adjust_saturation(
            v2.functional.adjust_contrast(v2.functional.adjust_brightness(image, b), c), s
        )
        torch.testing.assert_close(out, expected, atol=2e-3, rtol=0)  # torchvision rounds its grey weights


def test_random_boxes_keep_to_the_recipe():
    recipe = Recipe(epochs=2, crop_area=(0.3, 0.8), crop_aspect=(0.5, 2.0))
    boxes = augment.random_boxes(5000, 50, recipe, torch.Generator().manual_seed(0))
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes.max() <= 50 + 1e-4
    area, aspect = height * width / 2500, width / height
    assert area.max() <= 0.8 + 1e-4
    assert area.min() >= 0.3 * 0.7  # cut where a long crop would leave the image
    assert aspect.min() >= 0.5 - 1e-3
    assert aspect.max() <= 2 + 1e-3
    assert (width - height).abs().mean() > 5


def test_batches_are_normalised_and_channels_last():
    images = torch.full((2, 3, 20, 20), 255, dtype=torch.uint8)
    batch = augment.evaluation_batch(images, 10, Recipe(epochs=2, eval_crop=0.875))
    assert batch.is_contiguous(memory_format=torch.channels_last)
    expected = (1 - torch.tensor(augment.MEAN)) / torch.tensor(augment.STD)
    torch.testing.assert_close(batch.mean((0, 2, 3)), expected)


def test_ema_follows_its_equation():
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    plain, warm = EMA(module, 0.9, warmup=False), EMA(module, 0.9, warmup=True)
    shadow = 0.0
    for step in range(30):
        torch.nn.init.constant_(module.weight, step + 1.0)
        plain.update()
        warm.update()
        decay = min(0.9, (1 + step) / (10 + step))
        shadow = decay * shadow + (1 - decay) * (step + 1)
    assert plain.module.weight.item() == pytest.approx(
        sum(0.1 * 0.9 ** (29 - k) * (k + 1) for k in range(30)), rel=1e-5
    )
    assert warm.module.weight.item() == pytest.approx(shadow, rel=1e-5)
    assert not plain.module.weight.requires_grad


def test_ema_averages_batch_norm_statistics_too():
    module = torch.nn.BatchNorm1d(2)
    ema = EMA(module, 0.5, warmup=False)
    module.running_mean.fill_(4.0)
    ema.update()
    assert ema.module.running_mean.tolist() == [2.0, 2.0]


def test_learning_rate_warms_up_and_falls_to_zero():
    recipe = Recipe(epochs=10, lr=0.2, warmup_epochs=2)
    assert [recipe.learning_rate(e) for e in (0, 1, 2, 6, 10)] == pytest.approx([0, 0.1, 0.2, 0.1, 0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"lr": math.nan}, "lr"),
        ({"lr": -1}, "lr"),
        ({"optimizer": "lion"}, "optimizer"),
        ({"warmup_epochs": 2}, "warmup_epochs 2 must be below epochs 2"),
        ({"crop_area": (0.0, 1.0)}, "crop_area"),
        ({"crop_aspect": (2.0, 1.0)}, "crop_aspect"),
        ({"learning_rate": 1}, "learning_rate"),
    ],
)
def test_bad_recipes(bad, message):
    with pytest.raises(ValidationError, match=message):
        Recipe(**{"epochs": 2, **bad})


def two_colours(n, side=16):
    """Red and blue images: any network must tell them apart."""
    labels = np.arange(n) % 2
    images = np.zeros((n, side, side, 3), np.uint8)
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


def test_training_learns_and_reports_every_epoch(colours):
    outcome = engine.train(Small, 8, colours, RECIPE, seed=0, device="cpu")
    assert [row["epoch"] for row in outcome.curve] == [1, 2, 3, 4, 5, 6]
    last = outcome.curve[-1]
    assert last["ema_top1"] == last["raw_top1"] == last["ema_top5"] == 1.0
    assert last["raw_loss"] < 0.2
    assert last["train_loss"] < outcome.curve[0]["train_loss"]
    assert outcome.wall_s > 0


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_same_seed_same_bits_other_seed_other_bits(colours, optimizer):
    recipe = RECIPE.model_copy(update={"optimizer": optimizer})
    curves = [engine.train(Small, 8, colours, recipe, seed, "cpu").curve for seed in (0, 0, 1)]
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_run_cut_off_ends_with_the_same_bits(colours, tmp_path, monkeypatch, stop_after):
    whole, cut = tmp_path / "whole.pt", tmp_path / "cut.pt"
    expected = engine.train(Small, 8, colours, RECIPE, 7, "cpu", whole)

    class Killed(BaseException):
        pass

    real = engine._Run.train_epoch

    def dies(self):
        if self.epoch == stop_after:
            raise Killed
        real(self)

    monkeypatch.setattr(engine._Run, "train_epoch", dies)
    with pytest.raises(Killed):
        engine.train(Small, 8, colours, RECIPE, 7, "cpu", cut)
    monkeypatch.setattr(engine._Run, "train_epoch", real)
    torch.rand(13)  # the global generator is somewhere else by now
    resumed = engine.train(Small, 8, colours, RECIPE, 7, "cpu", cut)
    assert resumed.curve == expected.curve
    a, b = (torch.load(p, weights_only=True) for p in (whole, cut))
    for part in ("model", "ema"):
        assert a[part].keys() == b[part].keys()
        assert all(torch.equal(a[part][k], b[part][k]) for k in a[part])


def test_divergence_is_a_failure_with_a_reason(colours):
    def explode():
        module = Small()
        torch.nn.init.constant_(module.linear.weight, math.inf)
        return module

    with pytest.raises(engine.TrainingFailed, match="diverged: training loss nan in epoch 1"):
        engine.train(explode, 8, colours, RECIPE, 0, "cpu")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_lack_of_memory_is_a_failure_with_a_reason(colours, error):
    def build():
        raise error

    with pytest.raises(engine.TrainingFailed, match="out of memory on cpu at batch 16, 8 px"):
        engine.train(build, 8, colours, RECIPE, 0, "cpu")


def test_other_errors_are_not_hidden(colours):
    with pytest.raises(RuntimeError, match="shape"):
        engine.train(lambda: torch.nn.Linear(5, 2), 8, colours, RECIPE, 0, "cpu")


def test_weight_decay_spares_norms_and_biases():
    groups = engine._optimizer(Small(), RECIPE).param_groups
    assert [p.ndim > 1 for p in groups[0]["params"]] == [True, True]
    assert all(p.ndim == 1 for p in groups[1]["params"])
    assert [g["weight_decay"] for g in groups] == [RECIPE.weight_decay, 0.0]


def test_a_damaged_checkpoint_is_set_aside(tmp_path):
    path = tmp_path / "x.pt"
    assert checkpoint.load(path, 1) is None
    checkpoint.save(path, {"training_version": 1})
    assert checkpoint.load(path, 1) == {"training_version": 1}
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"set aside as .*x\.damaged"):
        assert checkpoint.load(path, 1) is None
    assert (tmp_path / "x.damaged").exists()
    assert not path.exists()


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"epoch": Small()}, path)
    with pytest.warns(UserWarning, match="set aside"):
        assert checkpoint.load(path, 1) is None


def test_a_checkpoint_of_another_training_version_is_set_aside(tmp_path):
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"training_version": 1})
    with pytest.warns(UserWarning, match="not of training version 2"):
        assert checkpoint.load(path, 2) is None


def test_a_failed_save_keeps_the_old_checkpoint(tmp_path):
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"training_version": 1})
    with pytest.raises(Exception, match=r"pickle|lambda"):
        checkpoint.save(path, {"epoch": lambda: 1})
    assert checkpoint.load(path, 1) == {"training_version": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]
