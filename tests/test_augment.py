import copy

import pytest
import torch
from scipy.stats import ks_2samp
from torch import nn
from torch.nn import functional as F
from torchvision import transforms
from torchvision.transforms import v2

from tinynet_core import Recipe
from tinynet_core.training import augment
from tinynet_core.training.depthwise import with_fast_gradients


def random_images(n, side):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "side"), [(96, 40), (33, 64)])
def test_resample_is_antialiased_interpolation(size, side, interpolation):
    images = random_images(3, size)
    expected = F.interpolate(images, (side, side), mode=interpolation, antialias=True, align_corners=False)
    ours = augment.resample(images, augment.centre_boxes(3, size, 1.0), side, None, interpolation)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


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


@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.6])
def test_random_crops_of_a_squeezed_image_are_torchvisions_of_the_original(aspect):
    """Top, left, height, width, area and aspect have one distribution, on the original of 400 x 400 / aspect pixels."""
    w, h, n = 400, round(400 / aspect), 3000
    recipe = Recipe(epochs=2, crop_area=(0.08, 1.0), crop_aspect=(3 / 4, 4 / 3))
    draws = augment.draw(n, recipe, torch.Generator().manual_seed(0))
    boxes = augment.crop_boxes(draws, 100, recipe, torch.full((n,), w / h))
    top, left, bottom, right = (boxes / 100 * torch.tensor([h, w, h, w])).T
    torch.manual_seed(1)
    peer, image = transforms.RandomResizedCrop.get_params, torch.empty(1, h, w)
    theirs = torch.tensor([peer(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(n)]).float().T

    def measures(top, left, height, width):
        return top, left, height, width, height * width, width / height

    for ours, expected in zip(measures(top, left, bottom - top, right - left), measures(*theirs), strict=True):
        rounded = ours + (torch.rand(n) - 0.5) * 1e-3, expected + (torch.rand(n) - 0.5) * 1e-3
        assert ks_2samp(*rounded).pvalue > 1e-3


@pytest.mark.parametrize(
    ("aspect", "box"), [(4.0, (0, 1 / 3, 1, 2 / 3)), (0.25, (1 / 3, 0, 2 / 3, 1)), (1.2, (0, 0, 1, 1))]
)
def test_a_crop_that_never_fits_is_the_largest_centred_one(aspect, box):
    """As torchvision: on an image of 4:1 a centred crop of 4:3, the whole height and a third of the width."""
    recipe = Recipe(epochs=2, crop_area=(0.08, 1.0), crop_aspect=(3 / 4, 4 / 3))
    draws = augment.draw(1, recipe, torch.Generator().manual_seed(0))
    draws.tries[:] = torch.tensor([1.0, 0.5])  # the whole area as a square
    ours = augment.crop_boxes(draws, 90, recipe, torch.tensor([aspect]))
    assert ours[0].tolist() == pytest.approx([90 * b for b in box], abs=1e-4)


def test_the_draws_of_a_part_are_those_of_the_whole():
    """Each of several devices augments its images as one device would."""
    recipe = Recipe(epochs=2, batch_size=8, mirror=0.5, rand_augment=9.0, crop_area=(0.2, 1.0))
    images = (random_images(8, 20) * 255).to(torch.uint8)
    batch = augment.Batch(images, torch.arange(8), torch.linspace(0.5, 2.0, 8))
    draws, part = augment.draw(8, recipe, torch.Generator().manual_seed(3)), slice(3, 6)
    whole = augment.training_batch(batch, 12, recipe, draws)
    alone = augment.training_batch(batch.take(part), 12, recipe, draws.take(part))
    torch.testing.assert_close(alone, whole[part], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sides", [(1, 1), (4, 3), (8, 5)])
@pytest.mark.parametrize("groups", [6, 2])
def test_gradients_are_pytorchs(kernel, stride, sides, groups):
    """Also those of a grouped convolution, which is not depthwise and left as it is."""
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=groups, bias=kernel == 5)
    fast = copy.deepcopy(plain)
    with_fast_gradients(nn.Sequential(fast))
    assert (type(fast) is nn.Conv2d) == (groups == 2)
    x = torch.randn(5, 6, *sides)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [module(i) for module, i in zip((plain, fast), inputs, strict=True)]
    torch.testing.assert_close(*outputs)
    g = torch.randn_like(outputs[0])
    for output in outputs:
        output.backward(g)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for (name, ours), (_, theirs) in zip(fast.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
