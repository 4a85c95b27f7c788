"""Networks of one's own: costs against closed forms, and what goes wrong in anybody's code."""

import contextlib
import re

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torchvision.models.regnet import BlockParams, RegNet

from tinynet_core import Scale, UnreachableBudget, UserError, family, shrink, traced
from tinynet_core.networks.trace import TraceWarning, trace

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
    assert by_trace.complexity == by_spec.complexity


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
        (lambda: traced("plain"), "builder must be a function of a Scale that returns a module, got a str"),
        (lambda: traced(plain, channels=1.5), "channels must be a whole number"),
        (lambda: shrink(traced(lambda s: 3, 8, "three"), 1e6), "three must build a torch.nn.Module, got int"),
        (lambda: shrink(traced(lambda s: nn.ReLU(), 8, "relu"), 1e6), "relu .*fails|no convolution"),
        (lambda: shrink(traced(lambda s: nn.Conv2d(5, 2, 3), 8, "five"), 1e6), "five at .* fails on an image of 8 px"),
        (lambda: shrink(traced(lambda s: 1 / 0, 8, "zero"), 1e6), "zero at .* cannot be built: ZeroDivisionError"),
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


def test_other_channels_are_counted():
    assert traced(lambda scale: nn.Conv2d(1, 8, 3), resolution=28, channels=1).cost(Scale()).macs == 8 * 9 * 26 * 26


def regnet(scale):
    parameters = BlockParams.from_init_params(depth=16, w_0=48, w_a=27.89, w_m=2.09, group_width=8)
    return RegNet(parameters)


def drop_path_rates(scale):
    """The idiom of ConvNeXt, Swin and many others."""
    rates = [x.item() for x in torch.linspace(0, 0.1, 2)]
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(rates[1]))


def to_the_cpu(scale):
    return nn.Conv2d(3, 8, 3).to("cpu")


class Branches(nn.Module):
    """Forward passes that ask for values: a branch, and an array of NumPy that is no buffer."""

    def __init__(self):
        super().__init__()
        self.conv, self.mean = nn.Conv2d(3, 8, 3), torch.from_numpy(np.full((3, 1, 1), 0.5, np.float32))

    def forward(self, x):
        return self.conv(x - self.mean) if x.sum() < 1 else x


@pytest.mark.parametrize(
    ("builder", "way"),
    [
        (regnet, "after it was built on the CPU"),
        (drop_path_rates, "after it was built on the CPU"),
        (to_the_cpu, "after it was built on the CPU"),
        (lambda scale: Branches(), "while it runs on the CPU"),
    ],
)
def test_what_needs_a_real_device_is_counted_on_the_cpu_and_that_is_said_once(builder, way):
    own = traced(builder, 32, "mine")
    with pytest.warns(
        TraceWarning, match=f"mine at .* is counted {way}, which is slower: without memory it .*: "
    ) as said:
        costs = [own.cost(Scale(w=w)) for w in (1.0, 2.0)]
    assert len(said) == 1
    assert costs[0] == costs[1] == trace(builder(Scale()), 32)


def in_groups(scale):
    """Widths that 16 divides are fine, others raise."""
    width = int(64 * scale.w)
    layers = [nn.Conv2d(width, width, 3, 2, 1, groups=16) for _ in range(3)]
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2, 1), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 9)
    )


class UNet(nn.Module):
    """Inputs that 2 divides are fine, others raise."""

    def __init__(self, width):
        super().__init__()
        self.down, self.deep = nn.Conv2d(3, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        self.up, self.out = nn.ConvTranspose2d(width, width, 2, 2), nn.Conv2d(2 * width, 2, 1)

    def forward(self, x):
        wide = self.down(x)
        return self.out(torch.cat([self.up(self.deep(nn.functional.max_pool2d(wide, 2))), wide], 1))


def patches(scale):
    return timm.create_model("vit_tiny_patch16_224", img_size=int(224 * scale.r + 1e-6), depth=1, embed_dim=48)


def costs(family, scales):
    """MACs of the networks that exist among ``scales``."""
    found = {}
    for scale in scales:
        with contextlib.suppress(UserError):
            found[scale] = family.cost(scale).macs
    return found


@pytest.mark.parametrize(
    ("builder", "method", "scales"),
    [
        (in_groups, "w", [Scale(w=k / 64) for k in range(1, 65)]),
        (lambda scale: UNet(max(4, int(32 * scale.w))), "r", [Scale(r=px / 224) for px in range(8, 225)]),
        (patches, "r", [Scale(r=px / 224) for px in range(16, 225, 16)]),
    ],
)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_scales_without_a_network_are_gaps_and_the_nearest_network_is_found(builder, method, scales, share):
    own, tried = traced(builder), traced(builder)
    wanted = share * own.cost(Scale()).macs
    answer = shrink(own, wanted, method)
    assert abs(answer.cost - wanted) == min(abs(cost - wanted) for cost in costs(tried, scales).values())
    assert max(getattr(scale, method) for scale in own._costs) == 1  # nothing larger than the whole network was built


def test_the_formula_takes_an_input_that_can_be_built():
    own = traced(lambda scale: UNet(max(4, int(32 * scale.w))))
    for share in (0.2, 0.5):
        answer = shrink(own, share * own.cost(Scale()).macs)
        assert answer.network.resolution % 2 == 0
        assert abs(answer.error) < 0.08


def test_bounds_are_those_of_networks_that_exist():
    with pytest.raises(UnreachableBudget, match=r"below the smallest reachable cost ([\d,]+)") as refused:
        shrink(traced(in_groups), 1e5, "w")
    least = int(re.search("cost ([\\d,]+)", str(refused.value))[1].replace(",", ""))
    assert least == traced(in_groups).cost(Scale(w=0.25)).macs


def test_a_builder_of_one_network_alone():
    def builder(scale):
        if scale != Scale():
            raise ValueError("only whole")
        return nn.Conv2d(3, 8, 3)

    with pytest.raises(UnreachableBudget, match=r"mine shrunk by w: every network that was tried costs"):
        shrink(traced(builder, 8, "mine"), 1e3, "w")


def logged(make, resolution=32):
    """The family and the scales at which it was built."""
    seen = []
    return traced(lambda scale: (seen.append(scale), make(scale))[1], resolution, "logged"), seen


@pytest.mark.parametrize("budget", [{"macs": 0.95}, {"params": 0.5}, {"macs": 0.5, "fix": {"d": 0.5}}])
def test_no_network_is_built_that_is_much_larger_than_the_whole(budget):
    family, seen = logged(lambda s: nn.Sequential(nn.Conv2d(3, max(1, round(64 * s.w)), 3), nn.ReLU()))
    whole = family.cost(Scale())
    wanted = {k: v if k == "fix" else v * getattr(whole, k) for k, v in budget.items()}
    shrink(family, **wanted)
    assert max(family.cost(s).macs for s in seen) <= 1.5 * whole.macs


def test_a_fixed_input_that_cannot_be_built_is_refused_with_the_reason():
    def even(scale):
        return nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, max(1, round(32 * scale.w)), 3))

    family, _ = logged(even)
    half = 0.5 * family.cost(Scale()).macs
    assert shrink(family, half, fix={"r": 1}).scale.r == 1
    with pytest.raises(UserError, match=r"logged at \(r 0.92.* fails on an image of 29 px"):
        shrink(family, half, fix={"r": 0.92})
