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
    blocks = [nn.Conv2d(width, width, 3, 1, 1) for _ in range(max(1, round(4 * scale.d)))]
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)
    )


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
    message = f"mine at .* is counted {way}, which is slower: on the meta device it .*: "
    with pytest.warns(TraceWarning, match=message) as said:
        costs = [own.cost(Scale(w=w)) for w in (1.0, 2.0)]
    assert len(said) == 1
    assert costs[0] == costs[1] == trace(builder(Scale()), 32)


def in_groups(scale, channels=64, groups=16):
    """Widths that ``groups`` divides are fine, others raise."""
    width = int(channels * scale.w)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.Conv2d(width, width, 3, groups=groups))


def in_patches(scale, side=2):
    """Inputs that ``side`` divides are fine, others raise."""
    width = max(4, int(32 * scale.w))
    return nn.Sequential(nn.PixelUnshuffle(side), nn.Conv2d(3 * side**2, width, 1), nn.Conv2d(width, width, 3))


@pytest.mark.parametrize(("builder", "method"), [(in_groups, "w"), (in_patches, "r")])
def test_scales_without_a_network_are_gaps_and_the_nearest_network_is_found(builder, method):
    """And nothing larger than the whole network is built."""
    tried, exist = traced(builder, 64), []
    for i in range(8, 65):
        with contextlib.suppress(UserError):
            exist.append(tried.cost(Scale(**{method: i / 64})).macs)
    for share in (0.2, 0.5, 0.9):
        own, seen = logged(builder, 64)
        wanted = share * tried.cost(Scale()).macs
        assert abs(shrink(own, wanted, method).cost - wanted) == min(abs(cost - wanted) for cost in exist)
        assert max(getattr(scale, method) for scale in seen) == 1
    if method == "w":
        with pytest.raises(UnreachableBudget, match=f"below the smallest reachable cost {min(exist):,}"):
            shrink(traced(builder, 64), 1e3, "w")


def test_the_giant_rule_finds_widths_that_exist_only_between_two_sizes_of_the_input():
    own = traced(lambda scale: in_groups(scale, 512, 128))
    there = own.cost(Scale(0.6568, 0.5779, 0.7507)).macs  # widths below 0.752 have none
    assert abs(shrink(own, there, "giant").error) < 0.01


def test_no_network_is_built_that_is_much_larger_than_the_whole():
    own, seen = logged(lambda s: nn.Sequential(nn.Conv2d(3, max(1, round(64 * s.w)), 3), nn.ReLU()))
    whole = own.cost(Scale())
    shrink(own, params=whole.params / 2)
    shrink(own, whole.macs / 2, fix={"d": 0.5})
    assert max(own.cost(s).macs for s in seen) <= 1.5 * whole.macs


def test_a_fixed_input_that_cannot_be_built_is_refused_with_the_reason():
    own = traced(lambda scale: in_patches(scale, 4), 32, "mine")
    half = 0.5 * own.cost(Scale()).macs
    assert shrink(own, half, fix={"r": 1}).scale.r == 1
    with pytest.raises(UserError, match=r"mine at \(r 0.92.* fails on an image of 29 px"):
        shrink(own, half, fix={"r": 0.92})


def test_the_formula_takes_an_input_that_can_be_built():
    own = traced(in_patches, 64)
    for share in (0.2, 0.5):
        answer = shrink(own, share * own.cost(Scale()).macs)
        assert answer.network.resolution % 2 == 0
        assert abs(answer.error) < 0.08
