"""The gradient of depthwise convolutions on small maps against PyTorch's own."""

import pytest
import torch
from torch import nn

from tinynet_core import Scale, network
from tinynet_core.training.depthwise import _DepthwiseConv2d, with_fast_gradients


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sides", [(1, 1), (3, 4), (4, 1), (8, 5)])
def test_gradients_are_pytorchs(kernel, stride, sides):
    torch.manual_seed(0)
    bias = kernel == 5
    plain = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=bias).to(memory_format=torch.channels_last)
    fast = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=bias)
    fast.load_state_dict(plain.state_dict())
    with_fast_gradients(fast)
    x = torch.randn(5, 6, *sides)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [module(i) for module, i in zip((plain, fast), inputs, strict=True)]
    torch.testing.assert_close(*outputs)
    g = torch.randn_like(outputs[0])
    for output in outputs:
        output.backward(g)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for (name, ours), (_, theirs) in zip(fast.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


def test_a_whole_network_has_the_gradients_that_it_had():
    torch.manual_seed(0)
    spec = network("efficientnet_b0", Scale(0.25, 0.5, 0.25), 10)
    plain, fast = spec.build(), spec.build()
    fast.load_state_dict(plain.state_dict())
    with_fast_gradients(fast)
    assert sum(isinstance(m, _DepthwiseConv2d) for m in fast.modules()) == sum(
        isinstance(m, nn.Conv2d) and m.groups > 1 for m in plain.modules()
    )
    assert fast.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(8, 3, 56, 56)
    for module in (plain, fast):
        module(x).square().sum().backward()
    for (name, ours), (_, theirs) in zip(fast.named_parameters(), plain.named_parameters(), strict=True):
        scale = theirs.grad.abs().max()
        assert (ours.grad - theirs.grad).abs().max() <= 1e-4 * scale, name
