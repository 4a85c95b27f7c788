"""Weights of a smaller network from a larger one: with what is dropped silenced, the two give the same logits."""

import re

import pytest
import torch
from click.testing import CliRunner
from parity import randomise
from safetensors.torch import load_file

from tinynet_book.analysis.models import model_id
from tinynet_core import Base, Experiment, Scale, Store, Study, UserError, network, shrink
from tinynet_core.cli import tinynet
from tinynet_core.networks.weights import inherited
from tinynet_core.study.pages import stages
from tinynet_core.study.sweep import run

BASE = Base(32, 1.0)  # so wide that no layer of the smaller network gets a shortcut that the larger one has not


def silenced(module, keep):
    """Zero the scale and shift of all but the first ``keep`` of the channels of each norm, and the rows of gates."""
    with torch.no_grad():
        for name, part in module.named_modules():
            if isinstance(part, torch.nn.BatchNorm2d) or name.endswith("conv_reduce"):
                n = keep(name, len(part.weight))
                part.weight[n:] = 0
                part.bias[n:] = 0


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet50", "resnet18"])
@pytest.mark.parametrize("head", ["fixed", "scaled"])
def test_without_what_was_silent_the_logits_are_the_same(name, head):
    large = network(name, Scale(), 7, head, BASE)
    small = network(name, Scale(w=0.5), 7, head, BASE)
    theirs, ours = randomise(large.build().double()).eval(), small.build().double().eval()
    own = ours.state_dict()
    silenced(theirs, lambda part, n: len(own[f"{part}.weight"]) if f"{part}.weight" in own else n)
    found, left = inherited(small, large, theirs.state_dict())
    ours.load_state_dict(own | found)
    image = torch.randn(2, 3, 32, 32).double()
    with torch.no_grad():
        expected, got = theirs(image), ours(image)
    if name == "resnet18" and head == "fixed":  # its first stage shares the stem's channels, and not in the small one
        assert {key.split(".")[0] for key in left} == {"layer1"}
        return
    assert left == []
    assert expected.std() > 1e-3
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_blocks_by_position_and_channels_by_the_size_of_their_scale():
    large, small = (network("efficientnet_b0", Scale(d=d, w=w), 7, base=BASE) for d, w in ((2.0, 1.0), (1.0, 0.6)))
    weights = randomise(large.build()).state_dict()
    found, left = inherited(small, large, weights)
    assert left == []
    assert (small.stages[5].repeats, large.stages[5].repeats) == (4, 8)
    for j, k in ((0, 0), (1, 1), (2, 3), (3, 5)):
        scale = weights[f"blocks.5.{k}.bn1.weight"]
        ours = found[f"blocks.5.{j}.bn1.weight"]
        kept = (weights[f"blocks.5.{k}.bn1.weight"].abs() + weights[f"blocks.5.{k}.bn2.weight"].abs()).topk(len(ours))
        torch.testing.assert_close(ours, scale[kept.indices.sort().values])


def test_a_stage_that_loses_its_shortcut_is_taken_over_without_it():
    large, small = (network("resnet50", Scale(w=w), 7, base=BASE) for w in (1.0, 0.25))
    assert small.stages[0].c_in == small.stages[0].c_out
    found, left = inherited(small, large, randomise(large.build()).state_dict())
    assert left == []
    assert not any(key.startswith("layer1.0.downsample") for key in found)


@pytest.mark.parametrize(
    ("small", "message"),
    [
        (network("ghostnet_a", Scale(w=0.2)), "between two EfficientNets or two ResNets, not by ghostnet_a"),
        (network("resnet18"), "channels, but only .* in the larger network"),
    ],
)
def test_what_cannot_be_taken_over(small, message):
    large = network("resnet18", Scale(w=0.2))
    with pytest.raises(UserError, match=message):
        inherited(small, large, large.build().state_dict())


def test_a_deeper_network_takes_a_block_twice():
    large, deeper = (network("resnet18", Scale(d=d), 7, base=Base(32, 0.2)) for d in (1.0, 1.5))
    found, _ = inherited(deeper, large, randomise(large.build()).state_dict())
    assert found["layer1.2.conv1.weight"].equal(found["layer1.1.conv1.weight"])


def test_the_command_writes_the_weights_of_what_it_prints(tmp_path):
    large = network("resnet18", num_classes=11)
    torch.save({"model": randomise(large.build()).state_dict()}, tmp_path / "large.pth")
    arguments = ["shrink", "resnet18", "--macs", "200M", "--classes", "5", "--init", f"{tmp_path}/large.pth"]
    done = CliRunner().invoke(tinynet, [*arguments, "--out", str(tmp_path / "small.safetensors")])
    assert done.exit_code == 0, done.exception
    said = rf"weights taken from {tmp_path}/large.pth are in {tmp_path}/small.safetensors; newly initialised: .*, fc\n"
    assert re.search(said, done.output)
    spec = network("resnet18", shrink("resnet18", 200e6).scale, 5)
    spec.build(weights=tmp_path / "small.safetensors")
    assert load_file(tmp_path / "small.safetensors").keys() == spec.build().state_dict().keys()


def test_a_training_starts_with_the_weights_of_the_larger_network_and_is_another_one(make_experiment, tmp_path):
    large, plain = make_experiment(Scale(0.12, 0.5, 0.4), epochs=1), make_experiment(epochs=1, lr=1e-12)
    small, store = plain.model_copy(update={"pretraining": large}), Store(tmp_path)
    assert len({large.key, plain.key, small.key}) == 3
    record = run(small, store)
    assert record.provenance["training"] == large.key
    assert Store(tmp_path).records() == [record]
    found, left = inherited(small.spec(), large.spec(), load_file(store.weights(large)))
    kept = load_file(store.weights(small))
    assert left == []
    for name in (name for name in found if name.endswith(("weight", "bias"))):
        torch.testing.assert_close(kept[name], found[name], atol=1e-8, rtol=0)


def test_a_training_takes_over_no_weights_of_other_data(make_experiment):
    large = make_experiment()
    other = large.dataset.model_copy(update={"seed": 5})
    with pytest.raises(ValueError, match=r"pretraining\.dataset must be the same as dataset"):
        Experiment(**dict(make_experiment()) | {"dataset": other, "pretraining": large})


def test_trainings_that_need_another_come_after_it(tmp_path):
    first, second, *rest = stages(Study("creatures", tmp_path), ["inherited"])
    assert not any(task.needs for task in first)
    assert {needed for task in second for needed in task.needs} < set(first)
    assert (len(first), len(second)) == (15, 12)  # four giants and the baseline, and four from its weights
    assert all(task.seed == task.pretraining.seed for task in second)
    assert len({model_id(task) for task in second}) == 4  # one name for all seeds of a giant
    assert not any(rest)
