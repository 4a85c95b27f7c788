import torch

from tinynet_core import Scale, network, traced
from tinynet_core.latency import measure_latency, timed_run


def test_ten_times_the_macs_take_longer():
    small, large = (network("efficientnet_b0", Scale(r, 0.2, 0.2), num_classes=10) for r in (0.15, 0.6))
    assert large.complexity().macs > 10 * small.complexity().macs
    assert 0 < measure_latency(small) < measure_latency(large)


def test_a_network_of_ones_own():
    spec = traced(lambda scale: torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten()), 16).at(Scale())
    assert timed_run(spec)() > 0
