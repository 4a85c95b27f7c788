import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from timm.data import auto_augment, create_transform
from torch.nn import functional as F

from tinynet_core.training import randaugment
from tinynet_core.training.randaugment import OPS, UNTOUCHED, Draw

AFFINE = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
ON_LEVELS = tuple(name for name in OPS if name not in AFFINE)
HEIGHT, WIDTH = 40, 56


def noise(n, height=HEIGHT, width=WIDTH):
    return torch.randint(256, (n, 3, height, width), generator=torch.Generator().manual_seed(0)).float() / 255


def smooth(n):
    coarse = F.interpolate(noise(n, 5, 6), (HEIGHT, WIDTH), mode="bicubic")
    return (coarse.clamp_(0, 1) * 255).round() / 255


def levels(images):
    return (images * 255).round().byte().permute(0, 2, 3, 1).numpy().astype(int)


def by_timm(image, name, magnitude, sign, bicubic, monkeypatch):
    """timm's operation on the 8-bit PIL image of ``image`` (3, H, W)."""
    kernel = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    operation = auto_augment.AugmentOp(
        name, 1.0, magnitude, {"img_mean": randaugment.FILL, "interpolation": kernel, "magnitude_std": 0}
    )
    monkeypatch.setattr(auto_augment, "_randomly_negate", lambda value: sign * value)
    picture = operation(Image.fromarray(levels(image[None])[0].astype(np.uint8)))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255


def difference(images, name, magnitude, sign, bicubic, monkeypatch):
    """Levels by which the images differ after one operation, which all of them go through."""
    every = torch.ones(1, len(images))
    draws = Draw(every.long() * OPS.index(name), every.double() * magnitude, every.double() * sign, every > 1 - bicubic)
    ours = randaugment.apply(images, draws)
    timms = torch.stack([by_timm(image, name, magnitude, sign, bicubic, monkeypatch) for image in images])
    return np.abs(levels(ours) - levels(timms))


def test_the_policy_is_the_one_timm_builds():
    transform = create_transform(
        64, is_training=True, auto_augment="rand-m9-mstd0.5", mean=(0.485, 0.456, 0.406), interpolation="random"
    )
    (policy,) = (step for step in transform.transforms if isinstance(step, auto_augment.RandAugment))
    assert policy.num_layers == 2
    assert {op.name for op in policy.ops} == set(OPS)
    assert len(policy.ops) == len(OPS) == 15
    for op in policy.ops:
        assert (op.prob, op.magnitude, op.magnitude_std) == (0.5, 9, 0.5)
        assert op.kwargs["fillcolor"] == randaugment.FILL
        assert set(op.kwargs["resample"]) == {Image.Resampling.BILINEAR, Image.Resampling.BICUBIC}


@pytest.mark.parametrize("magnitude", [2.5, 7.6, 10.0])
@pytest.mark.parametrize("name", ON_LEVELS)
def test_operations_on_levels_are_timms(name, magnitude, monkeypatch):
    """PIL stretches contrast in floating point and now and then falls a level short; all else is equal."""
    for images in (noise(2), smooth(2)):
        off = difference(images, name, magnitude, 1, False, monkeypatch)
        assert off.max() <= (name == "AutoContrast")
        assert off.mean() < 0.01


@pytest.mark.parametrize(("sign", "magnitude"), [(1, 9.0), (-1, 8.3)])
@pytest.mark.parametrize("name", AFFINE)
def test_geometry_is_timms(name, sign, magnitude, monkeypatch):
    """Border and fill included. Both cut off to whole levels, so rounding in float32 or float64 can tell by one.

    The bicubic kernels differ (a = -0.75 and -1).
    """
    for images in (noise(3), smooth(3)):
        off = difference(images, name, magnitude, sign, False, monkeypatch)
        assert off.max() <= 1
        assert off.mean() < 0.1
    off = difference(smooth(3), name, magnitude, sign, True, monkeypatch)
    assert off.max() <= 4
    assert off.mean() < 0.5


def test_the_draws_have_their_distributions():
    """At 9 +- 0.5 the part beyond two deviations gathers at 10."""
    draws = randaugment.draw(30_000, 9, 0.5, torch.Generator().manual_seed(0))
    for layer in draws.ops:
        counts = torch.bincount(layer[layer != UNTOUCHED], minlength=len(OPS))
        assert len(counts) == len(OPS)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3
        assert stats.binomtest(int(counts.sum()), len(layer), 0.5).pvalue > 1e-3
    table = torch.bincount(((draws.signs > 0) * 2 + draws.bicubic).flatten(), minlength=4)
    assert stats.chisquare(table.numpy()).pvalue > 1e-3  # fair and independent
    magnitudes = draws.magnitudes.flatten().numpy()
    assert magnitudes.max() == 10
    assert stats.binomtest(int((magnitudes == 10).sum()), len(magnitudes), stats.norm.sf(2)).pvalue > 1e-3
    assert stats.kstest(magnitudes[magnitudes < 10], stats.truncnorm(-18, 2, 9, 0.5).cdf).pvalue > 1e-3


def test_an_image_depends_on_its_own_draw_only_and_stays_in_levels():
    """One without an operation keeps its bits."""
    images = torch.cat([smooth(60), torch.rand(1, 3, HEIGHT, WIDTH)])
    draws = randaugment.draw(61, 9, 0.5, torch.Generator().manual_seed(1))
    draws.ops[:, -1] = UNTOUCHED
    assert {*range(len(OPS))} <= {*draws.ops.flatten().tolist()}
    before = images.clone()
    together = randaugment.apply(images, draws)
    alone = [randaugment.apply(images[i : i + 1], Draw(*(each[:, i : i + 1] for each in draws))) for i in range(61)]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(images, before)
    assert torch.equal(together[-1], images[-1])
    assert 0 <= together.min() <= together.max() <= 1
    torch.testing.assert_close(together[:-1] * 255, (together[:-1] * 255).round(), atol=1e-4, rtol=0)
