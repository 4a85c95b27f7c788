"""Networks of one's own: costs against closed forms, and what goes wrong in anybody's code."""

import contextlib

import numpy as np
import pytest
import torch
from torch import nn

from tinynet_core import Scale, UnreachableBudget, UserError, shrink, traced
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
    width, blocks, side = max(4, round(32 * scale.w)), max(1, round(4 * scale.d)), (int(64 * scale.r) + 1) // 2
    return 27 * width * side**2 + blocks * 9 * width**2 * side**2 + 10 * width


OWN = traced(plain, resolution=64)


def logged(builder, resolution=32):
    """The family of a builder, and the scales at which it was built."""
    seen = []
    return traced(lambda scale: (seen.append(scale), builder(scale))[1], resolution, "logged"), seen


@pytest.mark.parametrize("method", ["formula", "giant", "r", "d", "w"])
def test_a_network_of_your_own_meets_a_budget(method):
    whole = OWN.cost(Scale()).macs
    assert whole == closed_form(Scale())
    answer = shrink(OWN, whole / 2, method)
    assert answer.cost == closed_form(answer.scale) == trace(answer.network.build(), answer.network.resolution).macs
    assert abs(answer.error) < 0.06
    assert answer.network.name == "plain"


def only_whole(scale):
    if scale != Scale():
        raise ValueError("only whole")
    return nn.Conv2d(3, 8, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: traced(plain, 0), "resolution must be a whole number above 0, got 0"),
        (lambda: traced(plain, channels=1.5), "channels must be a whole number"),
        (lambda: shrink(traced(lambda s: nn.ReLU(), 8, "relu"), 1e6), "relu .*fails|no convolution"),
        (lambda: shrink(plain, 1e6), "net must be a scalable network's name or a family"),
        (lambda: shrink(OWN, 100, "w"), r"plain shrunk by w: .*smallest reachable cost \d"),
        (lambda: shrink(traced(only_whole, 8, "mine"), 1e3, "w"), "shrunk by w: every network that was tried cost"),
        (lambda: shrink(traced(lambda s: nn.Conv2d(3, round(64 / s.w), 3), 16), 1e5, "w"), "the cost falls from"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((ValueError, UserError, UnreachableBudget), match=message):
        make()


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
        (lambda scale: nn.Conv2d(3, 8, 3 * int(torch.ones(1).item())), "after it was built on the CPU"),
        (lambda scale: Branches(), "while it runs on the CPU"),
    ],
)
def test_what_needs_a_real_device_is_counted_on_the_cpu_and_that_is_said_once(builder, way):
    own = traced(builder, 32, "mine")
    message = f"mine at .* is counted {way}, which is slower: without memory it .*: "
    with pytest.warns(TraceWarning, match=message) as said:
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


@pytest.mark.parametrize(
    ("builder", "pixels", "method", "scales"),
    [
        (in_groups, 64, "w", [Scale(w=k / 64) for k in range(1, 65)]),
        (lambda scale: UNet(max(4, int(32 * scale.w))), 64, "r", [Scale(r=px / 64) for px in range(8, 65)]),
    ],
)
def test_scales_without_a_network_are_gaps_and_the_nearest_network_is_found(builder, pixels, method, scales):
    """And nothing larger than the whole network is built."""
    tried, exist = traced(builder, pixels), []
    for scale in scales:
        with contextlib.suppress(UserError):
            exist.append(tried.cost(scale).macs)
    for share in (0.2, 0.5, 0.9):
        own, seen = logged(builder, pixels)
        wanted = share * tried.cost(Scale()).macs
        assert abs(shrink(own, wanted, method).cost - wanted) == min(abs(cost - wanted) for cost in exist)
        assert max(getattr(scale, method) for scale in seen) == 1
    if method == "w":
        with pytest.raises(UnreachableBudget, match=f"below the smallest reachable cost {min(exist):,}"):
            shrink(traced(builder, pixels), 1e3, "w")


def test_the_giant_rule_finds_widths_that_exist_only_between_two_sizes_of_the_input():
    def grouped(scale):
        width = int(512 * scale.w)
        return nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, width, 3, groups=128))

    own = traced(grouped, 224)
    there = own.cost(Scale(0.6568, 0.5779, 0.7507)).macs  # widths below 0.752 have none
    assert abs(shrink(own, there, "giant").error) < 0.01


@pytest.mark.parametrize("budget", [{"params": 0.5}, {"macs": 0.5, "fix": {"d": 0.5}}])
def test_no_network_is_built_that_is_much_larger_than_the_whole(budget):
    own, seen = logged(lambda s: nn.Sequential(nn.Conv2d(3, max(1, round(64 * s.w)), 3), nn.ReLU()))
    whole = own.cost(Scale())
    shrink(own, **{k: v if k == "fix" else v * getattr(whole, k) for k, v in budget.items()})
    assert max(own.cost(s).macs for s in seen) <= 1.5 * whole.macs


def test_a_fixed_input_that_cannot_be_built_is_refused_with_the_reason():
    own, _ = logged(lambda s: nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, max(1, round(32 * s.w)), 3)))
    half = 0.5 * own.cost(Scale()).macs
    assert shrink(own, half, fix={"r": 1}).scale.r == 1
    with pytest.raises(UserError, match=r"logged at \(r 0.92.* fails on an image of 29 px"):
        shrink(own, half, fix={"r": 0.92})


def test_the_formula_takes_an_input_that_can_be_built():
    own = traced(lambda scale: UNet(max(4, int(32 * scale.w))), 64)
    for share in (0.2, 0.5):
        answer = shrink(own, share * own.cost(Scale()).macs)
        assert answer.network.resolution % 2 == 0
        assert abs(answer.error) < 0.08
