import pytest
import torch
from torch import nn

from tinynet_book.measure.cam import (
    activation_maps,
    cell_centres,
    scores,
    see,
    seen_part,
    stride,
)
from tinynet_core import Scale, network
from tinynet_core.networks.family import base_of
from tinynet_core.training.augment import Source, evaluation_batch
from tinynet_core.training.recipe import Recipe

RECIPE = Recipe(epochs=1, warmup_epochs=0)


def small(name="efficientnet_b0"):
    """A random network in double precision, with its input."""
    torch.manual_seed(0)
    base = base_of(name)
    spec = network(name, Scale(0.5, 0.5, 0.2), 5, base=base)
    return spec.build().double().eval(), torch.randn(3, 3, 106, 106, dtype=torch.float64)


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet18"])
def test_the_average_of_a_map_and_the_bias_are_the_logit(name):
    module, x = small(name)
    features, labels = module.forward_features(x), torch.tensor([0, 3, 4])
    classifier = module.get_classifier()
    maps = activation_maps(features, classifier, labels)
    logits = module(x)[torch.arange(3), labels]
    assert maps.shape == (3, 4, 4)
    assert torch.allclose(maps.mean((1, 2)) + classifier.bias[labels], logits, rtol=0, atol=1e-10)


def test_maps_are_those_of_grad_cam():
    """Selvaraju et al. 2017: weights are gradients summed over the places, times the number of places here."""
    module, x = small()
    features = module.forward_features(x).detach().requires_grad_()
    logits = module.classifier(features.mean((2, 3)))
    labels = torch.tensor([1, 2, 2])
    logits[torch.arange(3), labels].sum().backward()
    grad_cam = (features.grad.sum((2, 3), keepdim=True) * features).sum(1)
    assert torch.allclose(activation_maps(features, module.classifier, labels), grad_cam, rtol=0, atol=1e-10)


@pytest.mark.parametrize("side", [224, 192, 106, 99, 33, 17])
def test_the_stride_is_that_of_five_halvings(side):
    cells = side
    for _ in range(5):
        cells = -(-cells // 2)
    assert cells == 1 or stride(side, cells) == 32
    assert stride(side, side) == 1


def test_cells_look_at_multiples_of_the_stride():
    """A cell's derivative by the image is symmetric about its centre where the kernels are and nothing is cut off."""
    module = nn.Sequential(*(nn.Conv2d(1, 1, k, 2, k // 2, bias=False) for k in (3, 3, 5, 3, 5))).double()
    for layer in module:
        nn.init.constant_(layer.weight, 1 / layer.weight.numel())
    x = torch.zeros(1, 1, 256, 256, dtype=torch.float64, requires_grad=True)
    module(x)[0, 0, 4, 3].backward()
    pixels = torch.arange(256) + 0.5
    mass = x.grad[0, 0] / x.grad.sum()
    centres = cell_centres(256, 8, "centred")
    assert torch.allclose((mass.sum(1) * pixels).sum(), centres[4])
    assert torch.allclose((mass.sum(0) * pixels).sum(), centres[3])


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet50"])
def test_the_networks_pad_by_half_a_kernel(name):
    """Which is what the centred placement rests on; strides of 2 multiply to 32."""
    module = network(name, Scale(0.5, 1, 0.2), 5, base=base_of(name)).build()
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
    for layer in convolutions:
        kernel, padding = (v if isinstance(v, tuple) else (v, v) for v in (layer.kernel_size, layer.padding))
        assert padding == tuple(k // 2 for k in kernel)
        assert all(k % 2 for k in kernel)


@pytest.mark.parametrize("placement", ["stretched", "centred"])
def test_a_uniform_map_has_a_lift_of_one(placement):
    regions = (torch.rand(5, 106, 106) > 0.9).float()
    found = scores(torch.full((5, 4, 4), 0.7), regions, placement)
    assert torch.allclose(found.lift, torch.ones(5, dtype=torch.float64))
    assert torch.equal(found.area, regions.double().mean((1, 2)))
    assert not found.blind.any()


def test_energy_by_hand():
    """Two cells over four pixels: weights (1, 3/4, 1/4, 0) and their mirror image; the object is the left column."""
    region = torch.zeros(1, 4, 4)
    region[0, :, 0] = 1
    maps = torch.tensor([[[3.0, 1.0], [3.0, -5.0]]])
    found = scores(maps, region)
    column = torch.tensor([1, 0.75, 0.25, 0])
    left, right = torch.tensor([3.0, 3.0]), torch.tensor([1.0, 0.0])  # per row of cells, negatives at 0
    rows = torch.stack([column, column.flip(0)], 1)
    picture = (rows @ left)[:, None] * column + (rows @ right)[:, None] * column.flip(0)
    assert found.energy.item() == pytest.approx((picture[:, 0].sum() / picture.sum()).item())
    assert found.area.item() == 0.25
    assert found.best.item() == pytest.approx(0.5)  # all in the left cells: 1 of 1 + 3/4 + 1/4
    assert found.hit.item() == 1
    assert found.chance.item() == 0.5


def test_what_is_seen_is_what_the_network_says():
    module = network("efficientnet_b0", Scale(0.3, 0.5, 0.2), 5).build()
    pixels = torch.randint(0, 256, (130, 40, 40, 3), dtype=torch.uint8)  # more than one batch
    labels = torch.arange(130) % 5
    source = Source(pixels.numpy(), labels.numpy(), None, torch.device("cpu"))
    seen = see(module, source, 67, RECIPE)
    inputs = evaluation_batch(pixels.permute(0, 3, 1, 2), 67, RECIPE)
    with torch.inference_mode():
        logits = module(inputs)
    assert torch.equal(seen.predictions, logits.argmax(1))
    assert torch.allclose(seen.probabilities, logits.softmax(1).amax(1), atol=1e-5)
    own = logits[torch.arange(130), labels] - module.classifier.bias[labels]
    assert torch.allclose(seen.maps.mean((1, 2)), own, atol=1e-4)
    assert see(module, source, 67, RECIPE, lambda: True) is None


def test_regions_are_cut_as_the_images_are():
    recipe = RECIPE.model_copy(update={"eval_crop": 0.5})
    region = torch.zeros(1, 1, 40, 40)
    region[..., 10:30, 10:20] = 1  # the left half of the centre
    seen = seen_part(region, 20, recipe)
    assert seen.shape == (1, 1, 20, 20)
    assert torch.equal(seen[0, 0, :, :10], torch.ones(20, 10))
    assert torch.equal(seen[0, 0, :, 10:], torch.zeros(20, 10))
