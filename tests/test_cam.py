import pytest
import torch
from torch import nn

from tinynet_book.measure.cam import activation_maps, cell_centres, scores, see, seen_part
from tinynet_core import Scale, network
from tinynet_core.networks.family import base_of
from tinynet_core.training.augment import Source, evaluation_batch
from tinynet_core.training.recipe import Recipe

RECIPE = Recipe(epochs=1, warmup_epochs=0)


def small(name):
    torch.manual_seed(0)
    return network(name, Scale(0.3, 0.5, 0.2), 5, base=base_of(name)).build()


def test_maps_are_those_of_grad_cam():
    """Selvaraju et al. 2017: weights are gradients summed over the places, times the number of places here."""
    module = small("efficientnet_b0").double().eval()
    features = module.forward_features(torch.randn(3, 3, 106, 106, dtype=torch.float64)).detach().requires_grad_()
    logits = module.classifier(features.mean((2, 3)))
    labels = torch.tensor([1, 2, 2])
    logits[torch.arange(3), labels].sum().backward()
    grad_cam = (features.grad.sum((2, 3), keepdim=True) * features).sum(1)
    assert grad_cam.shape == (3, 4, 4)
    assert torch.allclose(activation_maps(features, module.classifier, labels), grad_cam, rtol=0, atol=1e-10)


@pytest.mark.parametrize("side", [256, 224, 193])
def test_cells_look_at_multiples_of_the_stride(side):
    """A cell's derivative by the image is symmetric about its centre where the kernels are and nothing is cut off."""
    module = nn.Sequential(*(nn.Conv2d(1, 1, k, 2, k // 2, bias=False) for k in (3, 3, 5, 3, 5))).double()
    for layer in module:
        nn.init.constant_(layer.weight, 1 / layer.weight.numel())
    x = torch.zeros(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    cells = module(x)[0, 0]
    cells[4, 3].backward()
    pixels = torch.arange(side) + 0.5
    mass = x.grad[0, 0] / x.grad.sum()
    centres = cell_centres(side, len(cells), "centred")
    assert torch.allclose((mass.sum(1) * pixels).sum(), centres[4])
    assert torch.allclose((mass.sum(0) * pixels).sum(), centres[3])


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


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet18"])
def test_what_is_seen_is_what_the_network_says(name):
    """The average of a map and the bias are the logit."""
    module = small(name)
    pixels = torch.randint(0, 256, (130, 40, 40, 3), dtype=torch.uint8)  # more than one batch
    labels = torch.arange(130) % 5
    source = Source(pixels.numpy(), labels.numpy(), None, torch.device("cpu"))
    seen = see(module, source, 67, RECIPE)
    inputs = evaluation_batch(pixels.permute(0, 3, 1, 2), 67, RECIPE)
    with torch.inference_mode():
        logits = module(inputs)
    chosen = logits.gather(1, seen.predictions[:, None])[:, 0]
    assert torch.allclose(chosen, logits.amax(1), atol=1e-5)  # of two that are as good as equal it may be either
    assert torch.allclose(seen.probabilities, logits.softmax(1).amax(1), atol=1e-5)
    own = logits[torch.arange(130), labels] - module.get_classifier().bias[labels]
    assert torch.allclose(seen.maps.mean((1, 2)), own, atol=1e-4)


def test_regions_are_cut_as_the_images_are():
    recipe = RECIPE.model_copy(update={"eval_crop": 0.5})
    region = torch.zeros(1, 1, 40, 40)
    region[..., 10:30, 10:20] = 1  # the left half of the centre
    seen = seen_part(region, 20, recipe)
    assert seen.shape == (1, 1, 20, 20)
    assert torch.equal(seen[0, 0, :, :10], torch.ones(20, 10))
    assert torch.equal(seen[0, 0, :, 10:], torch.zeros(20, 10))
