import numpy as np
import pytest
import timm
import torch
import torchvision
from jpegs import picture
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from tinynet_book.measure.evaluation import ValidationImages, accuracy, check_resolution, protocol, validation_images
from tinynet_core import UserError, network
from tinynet_core.networks.weights import RELEASED

PAIRS = [(name, library) for name, known in RELEASED.items() for library in known]


def photo(width, height):
    return picture(3, width, height, np.random.default_rng(5))


def theirs(name, library):
    """The library's preprocessing for its own model, and not by way of this package."""
    entry = RELEASED[name][library].removeprefix("timm/")
    if library == "torchvision":
        return torchvision.models.get_model_weights(entry).IMAGENET1K_V1.transforms()
    with torch.device("meta"):
        model = timm.create_model(entry)
    return create_transform(**resolve_model_data_config(model), is_training=False)


def by_hand(image, used):
    """What the data of a protocol say, with Pillow and numpy alone."""
    (width, height), side = image.size, used.resolution
    scale = used.resize / min(width, height)
    size = [used.resize if x == min(width, height) else int(x * scale) for x in (width, height)]
    resized = np.asarray(image.resize(size, getattr(Image.Resampling, used.interpolation.upper())))
    top, left = (round((x - side) / 2) for x in resized.shape[:2])
    square = resized[top : top + side, left : left + side].astype(np.float64) / 255
    return ((square - used.mean) / used.std).transpose(2, 0, 1)


@pytest.mark.parametrize(("name", "library"), PAIRS)
def test_preprocessing_is_the_librarys_and_what_the_protocol_says(name, library):
    used = protocol(name, library)
    for image in (photo(300, 220), photo(130, 190)):
        ours = used.transform()(image)
        assert ours.shape == (3, used.resolution, used.resolution)
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs(name, library)(image), rtol=0, atol=0)
        np.testing.assert_allclose(ours.numpy(), by_hand(image, used), atol=1e-5)


def test_weights_for_another_size_are_those_of_another_network():
    for name, library in PAIRS:
        used = protocol(name, library)
        if name in ("efficientnet_b1", "mobilenetv3_small_100_128"):
            with pytest.raises(UserError, match=f"{name} is a network for {network(name).resolution}: its accuracy"):
                check_resolution(name, used)
        else:
            check_resolution(name, used)


@pytest.mark.parametrize(
    ("name", "library", "allowed"),
    [("tinynet_a", "torchvision", "'timm'"), ("fbnet_b", "timm", "none"), ("resnet18", "x", "'timm', 'torchvision'")],
)
def test_weights_that_nobody_released(name, library, allowed):
    with pytest.raises(UserError, match=f"'{library}': it released no weights for {name}; allowed: {allowed}$"):
        protocol(name, library)


class Readout(torch.nn.Module):
    """Seven logits for each of three colours: the row of the strongest channel."""

    logits = torch.tensor([[9, 8, 7, 6, 5, 1, 0], [8, 9, 7, 1, 0, 6, 5], [1, 0, 9, 8, 7, 6, 5]])

    def forward(self, pixels):
        return self.logits[pixels.mean((2, 3)).argmax(1)]


def plain(image):
    return torch.from_numpy(np.asarray(image.resize((4, 4)), dtype=np.float32)).permute(2, 0, 1) / 255


@pytest.fixture
def colours(tmp_path):
    """150 images, more than two batches, that are red, green and blue in turn."""
    paths = []
    for i in range(150):
        colour = [0, 0, 0]
        colour[i % 3] = 200
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (8, 8), tuple(colour)).save(paths[-1])
    return paths


@pytest.mark.parametrize("workers", [1, 3])
def test_counting_by_hand(colours, workers):
    """Sixty are right. Of thirty with label 3 it is among the best five for red and blue. Of sixty with label 0 red
    ones are right, for green it is among the best five, for blue not."""
    labels = [i % 3 for i in range(60)] + [3] * 30 + [0] * 60
    images = ValidationImages(colours, labels, "")
    found = accuracy(Readout(), plain, images, torch.device("cpu"), workers)
    assert found == {"top1": (60 + 20) / 150, "top5": (60 + 20 + 40) / 150, "images": 150}


def test_a_stop_is_asked_for_before_each_batch(colours):
    images, asked = ValidationImages(colours, [0] * 150, ""), []
    accuracy(Readout(), plain, images, torch.device("cpu"), 1, lambda: asked.append(1) is not None)
    assert len(asked) == 3
    assert accuracy(Readout(), plain, images, torch.device("cpu"), 1, lambda: True) is None


def test_a_broken_image_is_named(colours):
    colours[70].write_bytes(b"GIF89a nothing")
    with pytest.raises(UserError, match=r"validation image .*70\.png cannot be read: cannot identify"):
        accuracy(Readout(), plain, ValidationImages(colours, [0] * 150, ""), torch.device("cpu"))


def test_missing_and_empty_classes_are_refused(tmp_path):
    for i in range(1000):
        (tmp_path / "val" / f"n{i:08d}").mkdir(parents=True)
        if i == 11:
            with pytest.raises(UserError, match=r"val holds 12 class folders: .* exactly 1000"):
                validation_images(tmp_path)
    with pytest.raises(UserError, match=r"n00000000 holds no \.jpeg, \.jpg or \.png files"):
        validation_images(tmp_path)
