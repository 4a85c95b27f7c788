"""Networks of one's own: costs against closed forms, and what goes wrong in anybody's code."""

import pytest
import timm
import torch
from torch import nn

from tinynet_core import Scale, UnreachableBudget, UserError, family, shrink, traced
from tinynet_core.networks.own import trace

pytestmark = pytest.mark.filterwarnings("ignore::tinynet_core.scaling.shrink.BudgetWarning")


def plain(scale):
    """A stack of 3x3 convolutions that nobody has published."""
    width = max(4, round(32 * scale.w))
    layers = [nn.Conv2d(3, width, 3, 2, 1)]
    for _ in range(max(1, round(4 * scale.d))):
        layers += [nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def closed_form(scale):
    """MACs of ``plain`` at 64 px, from its description."""
    width, blocks, side = max(4, round(32 * scale.w)), max(1, round(4 * scale.d)), (int(64 * scale.r) + 1) // 2
    return 27 * width * side**2 + blocks * 9 * width**2 * side**2 + 10 * width


OWN = traced(plain, resolution=64)


@pytest.mark.parametrize("method", ["formula", "giant", "r", "d", "w"])
def test_a_network_of_your_own_meets_a_budget(method):
    whole = OWN.cost(Scale()).macs
    assert whole == closed_form(Scale())
    answer = shrink(OWN, whole / 2, method)
    assert answer.cost == closed_form(answer.scale) == trace(answer.network.build(), answer.network.resolution).macs
    assert abs(answer.error) < 0.06
    assert answer.network.name == "plain"


def test_the_same_network_traced_and_specified_shrinks_alike():
    by_spec = family("resnet18", classes=10)
    by_trace = shrink(traced(lambda scale: by_spec.at(scale).build(), 224), 900e6, "w")
    by_spec = shrink(by_spec, 900e6, "w")
    assert (by_trace.scale, by_trace.complexity) == (by_spec.scale, by_spec.complexity)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "repvgg_a0"])
def test_what_is_left_out_without_memory_changes_no_shape(name):
    module = timm.create_model(name, num_classes=10)
    with torch.device("meta"):
        shapes = timm.create_model(name, num_classes=10)
    assert trace(shapes, 64) == trace(module, 64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: traced(plain, 0), "resolution must be a whole number above 0, got 0"),
        (lambda: traced("plain"), "builder must be a function of a Scale, got 'plain'"),
        (lambda: traced(plain, channels=1.5), "channels must be a whole number"),
        (lambda: shrink(traced(lambda s: 3, 8, "three"), 1e6), "three must build a torch.nn.Module, got int"),
        (lambda: shrink(traced(lambda s: nn.ReLU(), 8, "relu"), 1e6), "relu .*fails"),
        (
            lambda: shrink(traced(lambda s: nn.Conv2d(5, 2, 3), 8, "five"), 1e6),
            "five at .* fails .* image of 8 px with",
        ),
        (lambda: shrink(traced(lambda s: 1 / 0, 8, "zero"), 1e6), "zero at .* fails .*: ZeroDivisionError"),
        (lambda: shrink(plain, 1e6), "net must be a scalable network's name or a family"),
        (lambda: shrink(OWN, 100, "w"), r"plain shrunk by w: .*smallest reachable cost \d"),
        (lambda: shrink(traced(lambda s: nn.Conv2d(3, round(64 / s.w), 3), 16), 1e5, "w"), "the cost falls from"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((ValueError, UserError, UnreachableBudget), match=message):
        make()


def test_a_builder_that_fails_at_the_extremes_is_searched_inwards():
    def narrow(scale):
        return nn.Sequential(nn.Conv2d(3, int(64 * scale.w), 3), nn.AvgPool2d(20), nn.Conv2d(int(64 * scale.w), 8, 1))

    answer = shrink(traced(narrow, 64), 3e6, "w")
    assert abs(answer.error) < 0.03
    assert 0.4 < shrink(traced(narrow, 64), 3e6, "r").scale.r < 1


def test_weights_that_were_not_counted_are_named():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.MultiheadAttention(8, 2, batch_first=True)
            self.last = nn.Conv2d(3, 8, 1)

        def forward(self, x):
            tokens = self.last(x).flatten(2).transpose(1, 2)
            return self.inner(tokens, tokens, tokens)[0]

    with pytest.warns(UserWarning, match=r"Attention .* such as inner\.in_proj_weight: the real cost"):
        traced(lambda scale: Attention(), 8).cost(Scale())


def test_transposed_convolutions_and_other_channels_are_counted():
    assert traced(lambda scale: nn.Conv2d(1, 8, 3), resolution=28, channels=1).cost(Scale()).macs == 8 * 9 * 26 * 26
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(4, 6, 4, 2, 1))
    assert trace(module, 8).macs == 27 * 4 * 64 + 4 * 6 * 16 * 64  # each input pixel meets every weight once
