"""A network under any scale: many scales at once have the costs that ``network`` gives one by one."""

from dataclasses import astuple

import numpy as np
import pytest

from tinynet_core import Base, Scale, family, network, screen, traced
from tinynet_core.networks import SCALABLE
from tinynet_core.networks.family import CHUNK

NAMES = [name for name in SCALABLE if not name.endswith("_hswish")]  # another activation costs the same


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", ["fixed", "scaled"])
def test_the_same_integers_one_by_one(name, head):
    r, d, w = np.exp(np.random.default_rng(1).uniform(np.log(0.1), np.log(4), (3, 60)))
    net = family(name, head=head, classes=37)
    many = np.array(astuple(net.screen(r, d, w)))
    for i in range(60):
        assert astuple(network(name, Scale(r[i], d[i], w[i]), 37, head).complexity()) == tuple(many[:, i])


def test_shapes_broadcast_and_a_proxy_base_counts():
    base = Base(48, 0.3, 4)
    net = family("efficientnet_b0", base, classes=10)
    many = net.screen([0.5, 1.0], 1.0, [[0.4], [2.0]])
    assert many.macs.shape == (2, 2)
    assert many.macs[1, 0] == network("efficientnet_b0", Scale(0.5, 1.0, 2.0), 10, base=base).complexity().macs
    assert (net.name, net.resolution, net.at().resolution) == ("efficientnet_b0", 48, 48)
    assert screen("ghostnet_a", [], [], []).macs.shape == (0,)


def test_chunks_join_where_they_should():
    n = 2 * CHUNK + 3
    w = np.linspace(0.3, 2.0, n)
    many = screen("resnet18", np.ones(n), 1.0, w)
    assert (np.diff(many.macs) >= 0).all()
    for i in (0, CHUNK - 1, CHUNK, n - 1):
        assert many.macs[i] == network("resnet18", Scale(w=w[i])).complexity().macs


def test_a_network_of_ones_own_has_the_same_protocol():
    ours = family("resnet18", Base(32), classes=5)
    own = traced(lambda scale: ours.at(scale).build(), 32, "mine")
    scales = ([0.5, 1.0], 1.0, [[0.4], [1.2]])
    for a, b in ((own.screen(*scales), ours.screen(*scales)), (own.cost(Scale()), ours.cost(Scale()))):
        assert np.array_equal(astuple(a), astuple(b))
    assert (own.name, own.resolution, own.at(Scale()).resolution) == ("mine", 32, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tinynet_a", 1, 1, 1), "must be a scalable one"),
        (("efficientnet_b0", [1, -2], 1, 1), r"Scales\.r must be finite and above 0, got .*-2"),
        (("efficientnet_b0", 1, np.nan, 1), r"Scales\.d must be finite and above 0"),
        (("efficientnet_b0", [1, 2], [1, 2, 3], 1), "cannot be broadcast to a single shape"),
        (("efficientnet_b0", 1e-9, 1, 1), "leaves no pixel"),
        (("resnet50", 1.0, 1.0, [1.0, 1e6]), "beyond 64 bits"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        screen(*arguments)
