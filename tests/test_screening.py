import numpy as np
import pytest

from tinynet_core import Base, Scale, network, screen
from tinynet_core.networks import SCALABLE
from tinynet_core.scaling.screening import CHUNK


@pytest.mark.parametrize("name", SCALABLE)
@pytest.mark.parametrize("head", ["fixed", "scaled"])
def test_the_same_integers_one_by_one(name, head):
    r, d, w = np.exp(np.random.default_rng(1).uniform(np.log(0.1), np.log(4), (3, 300)))
    many = screen(name, r, d, w, 37, head)
    for i in range(300):
        one = network(name, Scale(r[i], d[i], w[i]), 37, head).complexity()
        got = (many.macs[i], many.params[i], many.activations[i], many.peak_activations[i])
        assert got == (one.macs, one.params, one.activations, one.peak_activations), (r[i], d[i], w[i])


def test_a_proxy_base_too():
    base = Base(48, 0.3, 4)
    many = screen("efficientnet_b0", [0.5, 1.0], 1.0, [[0.4], [2.0]], 10, base=base)
    assert many.macs.shape == (2, 2)
    assert many.macs[1, 0] == network("efficientnet_b0", Scale(0.5, 1.0, 2.0), 10, base=base).complexity().macs


def test_chunks_join_where_they_should():
    n = 2 * CHUNK + 3
    w = np.linspace(0.3, 2.0, n)
    many = screen("resnet18", np.ones(n), 1.0, w)
    assert len(many.macs) == n
    assert (np.diff(many.macs) >= 0).all()
    for i in (0, CHUNK - 1, CHUNK, n - 1):
        assert many.macs[i] == network("resnet18", Scale(w=w[i])).complexity().macs


def test_nothing_in_nothing_out():
    assert screen("ghostnet_a", [], [], []).macs.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tinynet_a", 1, 1, 1), "must be a scalable one"),
        (("efficientnet_b0", [1, -2], 1, 1), r"Scales\.r must be finite and above 0, got .*-2"),
        (("efficientnet_b0", 1, np.nan, 1), r"Scales\.d must be finite and above 0"),
        (("efficientnet_b0", [1, 2], [1, 2, 3], 1), "one shape or broadcast to one"),
        (("efficientnet_b0", 1e-9, 1, 1), "leaves no pixel"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        screen(*arguments)


def test_counts_beyond_64_bits_are_refused():
    with pytest.raises(ValueError, match="beyond 64 bits"):
        screen("resnet50", 1.0, 1.0, [1.0, 1e6])
    with pytest.raises(ValueError, match="num_classes must be a whole number above 0, got 0"):
        screen("resnet50", 1.0, 1.0, 1.0, num_classes=0)
    with pytest.raises(ValueError, match="unknown network 'resnt18', nearest: resnet18"):
        screen("resnt18", 1.0, 1.0, 1.0)
