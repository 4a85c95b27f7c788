import pytest
from pydantic import ValidationError

from tinynet_core import UserError
from tinynet_core.resources import Resources


@pytest.mark.parametrize(
    ("resources", "machine", "devices"),
    [
        ({}, (4, 0), ["cpu"] * 4),
        ({"cpus": 3}, (8, 0), ["cpu"] * 2),
        ({"cpus": 16}, (8, 0), ["cpu"]),
        ({"workers": 3}, (8, 0), ["cpu"] * 3),
        ({"workers": 3, "gpus": 0}, (8, 2), ["cpu"] * 3),
        ({}, (8, 1), ["cuda:0"]),
        ({}, (8, 2), ["cuda:0", "cuda:1"]),
        ({"gpus": 0.3}, (8, 2), ["cuda:0", "cuda:1"] * 3),
        ({"gpus": 0.1}, (8, 1), ["cuda:0"] * 10),
        ({"gpus": 0.5, "workers": 3}, (8, 2), ["cuda:0", "cuda:1", "cuda:0"]),
        ({}, (8, 2, "cpu"), ["cpu"] * 8),
        ({"gpus": 0.25}, (8, 2, "cuda:1"), ["cuda:1"] * 4),
        ({}, (8, 2, "cuda:1"), ["cuda:1"]),
    ],
)
def test_workers_and_their_devices(resources, machine, devices):
    assert Resources(**resources).devices(*machine) == devices


def test_a_share_of_no_gpu_is_refused():
    with pytest.raises(UserError, match=r"resources.gpus is 0.5, but this machine has no GPU"):
        Resources(gpus=0.5).devices(8, 0)


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"cpus": 1.5}, {"gpus": 2}, {"retries": -1}, {"compiled": 1}, {"gpu": 1}]
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Resources(**wrong)
