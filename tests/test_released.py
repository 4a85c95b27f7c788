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
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from tinynet_book.measure.evaluation import protocol
from tinynet_book.measure.released import ReleasedEvaluation, evaluated, released
from tinynet_book.paper import rows
from tinynet_core import Record, Store, Study, UserError, network, run
from tinynet_core.cli import tinynet
from tinynet_core.networks import weights
from tinynet_core.training.loop import Interrupted

TASK = ReleasedEvaluation(network="tinynet_e", library="timm")
SMALLER = ("efficientnet_b1", "mobilenetv3_small_100_128")  # networks with another input than that of the weights
SOME = 150  # classes of the images, one of each; as many are more than two batches
PAIRS = [(name, library) for name, known in weights.RELEASED.items() for library in known if name not in SMALLER]


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Fewer classes than ImageNet has, of one validation image each."""
    return write_image_folder(tmp_path_factory.mktemp("imagenet"), classes=SOME, train=0, val=1)


@pytest.fixture
def cache(tmp_path, monkeypatch, imagenet):
    """An empty cache for weights, and $TINYNET_IMAGENET."""
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYNET_IMAGENET", str(imagenet))
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    return tmp_path / "cache" / "weights"


@pytest.mark.parametrize(("name", "library"), PAIRS)
def test_preprocessing_is_that_of_the_librarys_own_model(name, library):
    entry, used = weights.RELEASED[name][library], protocol(name, library)
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


@pytest.mark.parametrize(
    ("name", "library", "message"),
    [
        ("tinynet_a", "torchvision", "'torchvision': it released no weights for tinynet_a; allowed: 'timm'$"),
        ("fbnet_b", "timm", "allowed: none$"),
        *((name, "timm", f"of {network(name).resolution}: the accuracy would be that of another") for name in SMALLER),
    ],
)
def test_weights_that_nobody_released_or_for_another_size(name, library, message):
    with pytest.raises(UserError, match=message):
        protocol(name, library)


def timms_answer(imagenet):
    """Weights of TinyNet-E that know most of these images, and how often timm's own pipeline finds them right.

    Row i of the classifier is the features of the image of class i with noise, and the bias makes the largest logit the
    nearest row; classes without an image are out of reach.
    """
    torch.manual_seed(0)
    model = randomise(timm.create_model("tinynet_e.in1k"))
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    paths = sorted((imagenet / "val").glob("*/*.JPEG"))
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
        features = model.forward_head(model.forward_features(pixels), True)
        rows = features + 0.6 * features.std(0) * torch.randn_like(features)
        model.classifier.weight[:SOME] = rows
        model.classifier.bias.fill_(-1e9)
        model.classifier.bias[:SOME] = -rows.square().sum(1) / 2
        hits = model(pixels).topk(5).indices == torch.arange(SOME).unsqueeze(1)
    return model.state_dict(), hits[:, 0].double().mean().item(), hits.any(1).double().mean().item()


def test_accuracy_is_that_of_timms_own_pipeline(cache, imagenet, tmp_path, monkeypatch):
    monkeypatch.setattr("tinynet_book.measure.evaluation.CLASSES", SOME)
    state, top1, top5 = timms_answer(imagenet)
    assert 0.05 < top1 < top5 < 0.95
    file = cache / "tinynet_e.in1k.safetensors"
    save_file(state, file)
    store = Store(tmp_path / "store")
    record = run(TASK, store, device="cpu")
    assert record.metrics == pytest.approx({"top1": top1, "top5": top5, "images": SOME})
    made = record.provenance
    assert made["weights"] == {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert "Resize(size=121, interpolation=bicubic" in made["protocol"]["transform"]
    assert Record.from_json(record.to_json()) == store.get(TASK)
    assert store.frame().iloc[0][["kind", "network", "top1"]].tolist() == ["released", "tinynet_e", top1]
    asked = iter([False, True])
    with pytest.raises(Interrupted):
        TASK.perform("cpu", tmp_path / "other", lambda: next(asked), False)
    assert not (tmp_path / "other").exists()


def test_what_is_lacking_or_broken_is_told(cache, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to the host")

    monkeypatch.setattr(weights, "urlopen", offline)
    with pytest.raises(UserError, match=r"could not be downloaded \(no route to the host\); save it as .*tinynet_e"):
        TASK.perform("cpu", None, None, False)
    save_file(network("tinynet_e").build().state_dict(), cache / "tinynet_e.in1k.safetensors")
    with pytest.raises(UserError, match=r"holds 150 class folders: .* it must hold exactly 1000"):
        TASK.perform("cpu", None, None, False)
    monkeypatch.setattr("tinynet_book.measure.evaluation.CLASSES", 3)
    small = write_image_folder(cache, classes=3, train=0, val=1)
    monkeypatch.setenv("TINYNET_IMAGENET", str(small))
    next((small / "val" / wnid(1)).iterdir()).write_bytes(b"GIF89a nothing")
    with pytest.raises(UserError, match=rf"validation image .*{wnid(1)}.*\.JPEG cannot be read: cannot identify"):
        TASK.perform("cpu", None, None, False)


def test_rows_of_table_3_with_released_weights():
    offered = released()
    assert all(row.task.library in weights.RELEASED[row.task.network] for row in offered.values())
    checks = {name for name, row in offered.items() if row.checks}
    assert checks == {"TinyNet-A + RA", "TinyNet-B", "TinyNet-C", "TinyNet-D", "TinyNet-E"}
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
