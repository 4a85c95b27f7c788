import hashlib

import pytest
import timm
import torch
from click.testing import CliRunner
from jpegs import wnid, write_image_folder
from parity import randomise
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from tinynet_book.measure.clock import torch_threads
from tinynet_book.measure.released import ReleasedEvaluation, evaluated, released
from tinynet_book.paper import rows
from tinynet_core import Record, Store, Study, UserError, network, run
from tinynet_core.cli import tinynet
from tinynet_core.networks import weights
from tinynet_core.training.loop import Interrupted

TASK = ReleasedEvaluation(network="tinynet_e", library="timm")


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


def offline(*args, **kwargs):
    raise OSError("no route to the host")


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
        pixels = [transform(Image.open(path).convert("RGB")) for path in paths]
        features = torch.cat(
            [
                model.forward_head(model.forward_features(torch.stack(pixels[i : i + 50])), True)
                for i in range(0, 1000, 50)
            ]
        )
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
    assert made["protocol"]["entry"] == "tinynet_e.in1k"
    assert (made["protocol"]["resolution"], made["protocol"]["resize"]) == (106, 121)
    assert len(made["images_sha256"]) == 64
    assert made["timm"] == timm.__version__
    assert record.cost["macs"] == network("tinynet_e").complexity().macs
    assert Record.from_json(record.to_json()) == store.get(TASK)
    assert store.frame().iloc[0][["kind", "network", "top1"]].tolist() == ["released", "tinynet_e", top1]


def test_a_stop_keeps_nothing(cache, tmp_path):
    save_file(network("tinynet_e").build().state_dict(), cache / "tinynet_e.in1k.safetensors")
    asked = iter([False, True])
    with pytest.raises(Interrupted):
        TASK.perform("cpu", tmp_path / "store", lambda: next(asked), False)
    assert not (tmp_path / "store").exists()


def test_no_folder_is_told_first(monkeypatch):
    monkeypatch.delenv("TINYNET_IMAGENET", raising=False)
    monkeypatch.setattr(weights, "urlopen", None)
    with pytest.raises(UserError, match="TINYNET_IMAGENET is not set"):
        TASK.perform("cpu", None, None, False)


def test_no_weights_and_no_network(cache, monkeypatch):
    monkeypatch.setattr(weights, "urlopen", offline)
    with pytest.raises(UserError, match=r"could not be downloaded \(no route to the host\); save it as .*tinynet_e"):
        TASK.perform("cpu", None, None, False)


def test_a_hundred_classes_are_not_imagenet(cache, tmp_path, monkeypatch):
    save_file(network("tinynet_e").build().state_dict(), cache / "tinynet_e.in1k.safetensors")
    monkeypatch.setenv("TINYNET_IMAGENET", str(write_image_folder(tmp_path / "small", classes=100, train=0, val=1)))
    with pytest.raises(UserError, match=r"holds 100 class folders: .* it must hold exactly 1000"):
        TASK.perform("cpu", None, None, False)


def test_another_input_size_is_refused_before_a_download(cache, monkeypatch):
    monkeypatch.setattr(weights, "urlopen", None)
    task = ReleasedEvaluation(network="mobilenetv3_small_100_128", library="timm")
    with pytest.raises(
        UserError, match="was released for 224 pixels and mobilenetv3_small_100_128 is a network for 128"
    ):
        task.perform("cpu", None, None, False)


@pytest.mark.parametrize(
    ("change", "message"), [({"network": "tinynet_z"}, "unknown network"), ({"library": "keras"}, "'timm' or 'torchv")]
)
def test_bad_evaluations(change, message):
    with pytest.raises(ValidationError, match=message):
        ReleasedEvaluation(**{"network": "tinynet_e", "library": "timm", **change})


def test_size_of_the_task():
    assert TASK.work == 50_000 * 24_356_848
    assert TASK.steps == 782
    assert TASK.key != ReleasedEvaluation(network="tinynet_d", library="timm").key


def test_rows_of_table_3_with_released_weights():
    offered = released()
    names = {row["model"]: row["network"] for row in rows("table3")}
    assert [*offered] == [name for name in names if name in offered]
    for name, row in offered.items():
        assert row.task.network == names[name]
        assert row.task.library in weights.RELEASED[names[name]]
    own = [f"TinyNet-{x}" for x in "BCDE"]
    assert {name for name, row in offered.items() if row.checks} == {"TinyNet-A + RA", *own}
    assert offered["EfficientNet-B0 + RA"].training == "same augmentation, timm's"
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
