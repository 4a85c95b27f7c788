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


def noise(n, height=HEIGHT, width=WIDTH, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 3, height, width), generator=generator).float() / 255


def smooth(n, height=HEIGHT, width=WIDTH, seed=0):
    coarse = noise(n, 5, 6, seed)
    return (F.interpolate(coarse, (height, width), mode="bicubic").clamp_(0, 1) * 255).round() / 255


def forced(name, n, magnitude, sign=1.0, bicubic=False):
    """The draw of one layer that sends all of n images through one operation."""
    every = torch.ones(1, n)
    return Draw(
        every.long() * (OPS.index(name) if name else UNTOUCHED),
        every.double() * magnitude,
        every.double() * sign,
        every.bool() & bicubic,
    )


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
    ours = randaugment.apply(images, forced(name, len(images), magnitude, sign, bicubic))
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


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", AFFINE)
def test_geometry_is_timms(name, sign, monkeypatch):
    """Border and fill included. Both cut off to whole levels, so rounding in float32 or float64 can tell by one.

    The bicubic kernels differ (a = -0.75 and -1).
    """
    for images in (noise(3), smooth(3)):
        off = difference(images, name, 9.0, sign, False, monkeypatch)
        assert off.max() <= 1
        assert off.mean() < 0.1
    off = difference(smooth(3), name, 9.0, sign, True, monkeypatch)
    assert off.max() <= 4
    assert off.mean() < 0.5


def test_the_whole_policy_is_timms(monkeypatch):
    """Each image through its own two operations; a level that the first one rounds otherwise, the second may spread."""
    images = torch.cat([noise(60, 32, 32), smooth(60, 32, 32)])
    draws = randaugment.draw(120, 9, 0.5, torch.Generator().manual_seed(0))
    draws = draws._replace(bicubic=torch.zeros_like(draws.bicubic))
    ours = randaugment.apply(images, draws)
    off = []
    for i, image in enumerate(images):
        for ops, magnitudes, signs, _ in zip(*draws, strict=True):
            if ops[i] != UNTOUCHED:
                name, magnitude, sign = OPS[ops[i]], magnitudes[i].item(), signs[i].item()
                image = by_timm(image, name, magnitude, sign, False, monkeypatch)
        off.append(np.abs(levels(ours[i][None]) - levels(image[None])).mean())
    assert np.mean(np.array(off) == 0) > 0.6
    assert max(off) < 0.5


def test_the_draws_have_their_distributions():
    """At 5 no clipping is within reach; at 9 +- 0.5 the part beyond two deviations gathers at 10."""
    ops = randaugment.draw(30_000, 9, 0.5, torch.Generator().manual_seed(0)).ops
    for layer in ops:
        counts = torch.bincount(layer[layer != UNTOUCHED], minlength=len(OPS))
        assert len(counts) == len(OPS)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3
        assert stats.binomtest(int(counts.sum()), len(layer), 0.5).pvalue > 1e-3
    pairs = torch.bincount((ops[0] + 1) * 16 + ops[1] + 1, minlength=256).view(16, 16)
    assert stats.chi2_contingency(pairs.numpy()).pvalue > 1e-3  # the layers know nothing of each other
    middle = randaugment.draw(20_000, 5, 0.5, torch.Generator().manual_seed(2)).magnitudes.flatten().numpy()
    assert stats.kstest(middle, stats.norm(5, 0.5).cdf).pvalue > 1e-3
    signs = randaugment.draw(20_000, 9, 0.5, torch.Generator().manual_seed(6))
    table = torch.bincount(((signs.signs > 0) * 2 + signs.bicubic).flatten(), minlength=4)
    assert stats.chisquare(table.numpy()).pvalue > 1e-3  # fair and independent
    high = randaugment.draw(20_000, 9, 0.5, torch.Generator().manual_seed(3)).magnitudes.flatten()
    assert high.max() == 10
    assert stats.binomtest(int((high == 10).sum()), len(high), stats.norm.sf(2)).pvalue > 1e-3


def test_an_image_depends_on_its_own_draw_only_and_stays_in_levels():
    """In either memory layout; one without an operation keeps its bits."""
    images = torch.cat([noise(30), smooth(30), torch.rand(1, 3, HEIGHT, WIDTH)])
    draws = randaugment.draw(61, 9, 0.5, torch.Generator().manual_seed(1))
    draws.ops[:, -1] = UNTOUCHED
    assert set(OPS) <= {OPS[op] for op in draws.ops.flatten().tolist() if op != UNTOUCHED}
    before = images.clone()
    together = randaugment.apply(images, draws)
    alone = [randaugment.apply(images[i : i + 1], Draw(*(each[:, i : i + 1] for each in draws))) for i in range(61)]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(images, before)
    assert torch.equal(together[-1], images[-1])
    assert 0 <= together.min() <= together.max() <= 1
    torch.testing.assert_close(together[:-1] * 255, (together[:-1] * 255).round(), atol=1e-4, rtol=0)
    last = randaugment.apply(images.contiguous(memory_format=torch.channels_last), draws)
    torch.testing.assert_close(last, together, atol=1.01 / 255, rtol=0)
