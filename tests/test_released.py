"""Released weights on ImageNet's validation images, beside the libraries' own pipelines."""

import hashlib

import numpy as np
import pytest
import timm
import torch
import torchvision
from click.testing import CliRunner
from jpegs import picture, wnid, write_image_folder
from parity import randomise
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from tinynet_book.measure.clock import torch_threads
from tinynet_book.measure.evaluation import accuracy, protocol, validation_images
from tinynet_book.measure.released import ReleasedEvaluation, evaluated, released
from tinynet_book.paper import rows
from tinynet_core import Record, Store, Study, UserError, network, run
from tinynet_core.cli import tinynet
from tinynet_core.networks import weights
from tinynet_core.training.loop import Interrupted

TASK = ReleasedEvaluation(network="tinynet_e", library="timm")
SMALLER = ("efficientnet_b1", "mobilenetv3_small_100_128")
"""Networks with another input than that of the weights."""
PAIRS = [(name, library) for name, known in weights.RELEASED.items() for library in known if name not in SMALLER]


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """A thousand classes of one validation image each."""
    return write_image_folder(tmp_path_factory.mktemp("imagenet"), classes=1000, train=0, val=1)


@pytest.fixture
def cache(tmp_path, monkeypatch, imagenet):
    """An empty cache for weights, and $TINYNET_IMAGENET."""
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYNET_IMAGENET", str(imagenet))
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    return tmp_path / "cache" / "weights"


@pytest.mark.parametrize(("name", "library"), PAIRS)
def test_preprocessing_is_that_of_the_librarys_own_model(name, library):
    entry, used = weights.RELEASED[name][library].removeprefix("timm/"), protocol(name, library)
    if library == "torchvision":
        theirs = torchvision.models.get_model_weights(entry).IMAGENET1K_V1.transforms()
    else:
        with torch.device("meta"):
            model = timm.create_model(entry)
        theirs = create_transform(**resolve_model_data_config(model), is_training=False)
    image = picture(3, 300, 220, np.random.default_rng(5))
    ours = used.transform(image)
    assert ours.shape == (3, used.resolution, used.resolution)
    torch.testing.assert_close(ours, theirs(image), rtol=0, atol=0)


def test_preprocessing_by_hand():
    """TinyNet-E: 106 pixels cut from 121, bicubic, and the usual means and deviations; with Pillow and numpy alone."""
    image, side = picture(3, 130, 190, np.random.default_rng(5)), 106
    resized = np.asarray(image.resize((121, int(190 * 121 / 130)), Image.Resampling.BICUBIC))
    top, left = (round((x - side) / 2) for x in resized.shape[:2])
    square = resized[top : top + side, left : left + side] / 255
    expected = (square - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    found = protocol("tinynet_e", "timm").transform(image).numpy()
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "library", "message"),
    [
        ("tinynet_a", "torchvision", "'torchvision': it released no weights for tinynet_a; allowed: 'timm'$"),
        ("fbnet_b", "timm", "allowed: none$"),
        *((name, "timm", f"{name} is a network for {network(name).resolution}: its accuracy") for name in SMALLER),
    ],
)
def test_weights_that_nobody_released_or_for_another_size(name, library, message):
    with pytest.raises(UserError, match=message):
        protocol(name, library)


class Readout(torch.nn.Module):
    """Seven logits for each of three colours: the row of the strongest channel."""

    logits = torch.tensor([[9, 8, 7, 6, 5, 1, 0], [8, 9, 7, 1, 0, 6, 5], [1, 0, 9, 8, 7, 6, 5]])

    def forward(self, pixels):
        return self.logits[pixels.mean((2, 3)).argmax(1)]


@pytest.fixture
def colours(tmp_path, monkeypatch):
    """150 images, more than two batches, that are red, green and blue in turn.

    Sixty are right. Of thirty with label 3 it is among the best five for red and blue. Of sixty with label 0 red
    ones are right, for green it is among the best five, for blue not.
    """
    for i, label in enumerate([*(i % 3 for i in range(60)), *[3] * 30, *[0] * 60]):
        colour = [0, 0, 0]
        colour[i % 3] = 200
        file = tmp_path / "val" / str(label) / f"{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), tuple(colour)).save(file)
    monkeypatch.setattr("tinynet_book.measure.evaluation.CLASSES", 4)
    return validation_images(tmp_path, lambda x: torch.from_numpy(np.array(x, dtype=np.float32)).permute(2, 0, 1))


def test_counting_by_hand_with_stops(colours):
    for workers in (1, 3):
        found = accuracy(Readout(), colours, torch.device("cpu"), workers)
        assert found == {"top1": (60 + 20) / 150, "top5": (60 + 20 + 40) / 150, "images": 150}
    asked = []
    accuracy(Readout(), colours, torch.device("cpu"), 1, lambda: asked.append(1) is not None)
    assert len(asked) == 3
    assert accuracy(Readout(), colours, torch.device("cpu"), 1, lambda: True) is None


def test_a_broken_image_is_named(colours, tmp_path):
    (tmp_path / "val" / "3" / "070.png").write_bytes(b"GIF89a nothing")
    with pytest.raises(UserError, match=r"validation image .*070\.png cannot be read: cannot identify"):
        accuracy(Readout(), colours, torch.device("cpu"))


def timms_answer(imagenet):
    """timm's TinyNet-E whose classifier knows most of these images, and how often it is right by timm's own pipeline.

    Row i of the classifier is the features of the image of class i with noise, and the bias makes the largest logit the
    nearest row.
    """
    torch.manual_seed(0)
    model = randomise(timm.create_model("tinynet_e.in1k"))
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    paths = sorted((imagenet / "val").glob("*/*.JPEG"))
    assert [path.parent.name for path in paths] == [wnid(i) for i in range(1000)]
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
        features = torch.cat([model.forward_head(model.forward_features(x), True) for x in pixels.split(50)])
        rows = features + 0.6 * features.std(0) * torch.randn_like(features)
        model.classifier.weight.copy_(rows)
        model.classifier.bias.copy_(-rows.square().sum(1) / 2)
        order = (features.double() @ rows.double().T - rows.double().square().sum(1) / 2).argsort(1, descending=True)
    ranks = (order == torch.arange(1000).unsqueeze(1)).int().argmax(1)
    return model.state_dict(), (ranks < 1).double().mean().item(), (ranks < 5).double().mean().item()


def test_accuracy_is_that_of_timms_own_pipeline(cache, imagenet, tmp_path):
    with torch_threads(1):
        state, top1, top5 = timms_answer(imagenet)
    assert 0.05 < top1 < top5 < 0.95
    file = cache / "tinynet_e.in1k.safetensors"
    save_file(state, file)
    store = Store(tmp_path / "store")
    with torch_threads(1):
        record = run(TASK, store, device="cpu")
    assert record.metrics == pytest.approx({"top1": top1, "top5": top5, "images": 1000})
    made = record.provenance
    assert made["weights"] == {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert (made["protocol"]["entry"], made["protocol"]["resolution"]) == ("tinynet_e.in1k", 106)
    assert "Resize(size=121, interpolation=bicubic" in made["protocol"]["transform"]
    assert len(made["images_sha256"]) == 64
    assert record.cost["macs"] == network("tinynet_e").complexity().macs
    assert Record.from_json(record.to_json()) == store.get(TASK)
    assert store.frame().iloc[0][["kind", "network", "top1"]].tolist() == ["released", "tinynet_e", top1]
    asked = iter([False, True])
    with pytest.raises(Interrupted):
        TASK.perform("cpu", tmp_path / "other", lambda: next(asked), False)
    assert not (tmp_path / "other").exists()


def test_what_is_lacking_is_told_before_any_image_is_read(cache, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to the host")

    monkeypatch.setattr(weights, "urlopen", offline)
    with pytest.raises(UserError, match=r"could not be downloaded \(no route to the host\); save it as .*tinynet_e"):
        TASK.perform("cpu", None, None, False)
    save_file(network("tinynet_e").build().state_dict(), cache / "tinynet_e.in1k.safetensors")
    monkeypatch.setenv("TINYNET_IMAGENET", str(write_image_folder(tmp_path / "small", classes=100, train=0, val=1)))
    with pytest.raises(UserError, match=r"holds 100 class folders: .* it must hold exactly 1000"):
        TASK.perform("cpu", None, None, False)
    monkeypatch.delenv("TINYNET_IMAGENET")
    with pytest.raises(UserError, match="TINYNET_IMAGENET is not set"):
        TASK.perform("cpu", None, None, False)


def test_tasks_have_a_size_and_bad_ones_are_refused():
    assert TASK.work == 50_000 * 24_356_848
    assert TASK.steps == 782
    assert TASK.key != ReleasedEvaluation(network="tinynet_d", library="timm").key
    with pytest.raises(ValidationError, match="'timm' or 'torchv"):
        ReleasedEvaluation(network="tinynet_e", library="keras")


def test_rows_of_table_3_with_released_weights():
    offered = released()
    names = {row["model"]: row["network"] for row in rows("table3")}
    assert [*offered] == [name for name in names if name in offered]
    for name, row in offered.items():
        assert row.task.network == names[name]
        assert row.task.library in weights.RELEASED[names[name]]
    own = [f"TinyNet-{x}" for x in "BCDE"]
    assert {name for name, row in offered.items() if row.checks} == {"TinyNet-A + RA", *own}
    without = {row["network"] for row in rows("table3")} - {row.task.network for row in offered.values()}
    assert not without & set(weights.RELEASED)


def test_evaluating_all_gives_a_reason_for_each_that_cannot_be(monkeypatch, tmp_path):
    monkeypatch.delenv("TINYNET_IMAGENET", raising=False)
    study = Study("smoke", tmp_path)
    records, reasons = evaluated(study)
    assert records == {}
    assert [*reasons] == [row["model"] for row in rows("table3")]
    assert reasons["TinyNet-E"] == "not evaluated on ImageNet"
    assert reasons["TinyNet-A"] == "no released weights are known to be of this row"
    _, reasons = evaluated(study, evaluate=True)
    assert all("TINYNET_IMAGENET is not set" in reasons[row] for row in released())
    result = CliRunner().invoke(tinynet, ["released", "smoke", "--store", str(tmp_path / "new")])
    assert "TINYNET_IMAGENET is not set" in str(result.exception)
    assert not (tmp_path / "new").exists()
