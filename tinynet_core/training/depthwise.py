"""Faster weight gradients of depthwise convolutions on small feature maps, for training on a CPU.

Where the kernel is larger than the map, PyTorch is several times slower than a plain sum of products. Small inputs make
the last maps of a network this small.
"""

import torch
from torch import nn
from torch.nn import functional as F

_SMALL = 4
"""Largest side of the output, in pixels, for which the sum over taps is faster."""


def with_fast_gradients(model: nn.Module) -> None:
    """Make the depthwise convolutions of ``model``, in place, compute weight gradients tap by tap on small maps."""
    for module in model.modules():
        if type(module) is nn.Conv2d and 1 < module.groups == module.in_channels == module.out_channels:
            module.__class__ = _DepthwiseConv2d


class _DepthwiseConv2d(nn.Conv2d):
    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        plain = self.padding_mode == "zeros" and not isinstance(self.padding, str) and self.dilation == (1, 1)
        exact = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if not (plain and exact and torch.is_grad_enabled() and max(self._side(x, 0), self._side(x, 1)) <= _SMALL):
            return super()._conv_forward(x, weight, bias)
        found = _Depthwise.apply(x, weight, self.stride, self.padding)
        return found if bias is None else found + bias[:, None, None]

    def _side(self, x: torch.Tensor, dim: int) -> int:
        return (x.shape[2 + dim] + 2 * int(self.padding[dim]) - self.kernel_size[dim]) // self.stride[dim] + 1


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution without bias. The caller adds the bias."""

    @staticmethod
    def forward(ctx, x, weight, stride, padding):
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        mask = [True, False, False]  # only the input's gradient
        of_x, _, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), len(weight), mask
        )
        return of_x, _weight_gradient(x, grad, weight.shape[2:], ctx.stride, ctx.padding), None, None


def _weight_gradient(
    x: torch.Tensor, grad: torch.Tensor, kernel: torch.Size, stride: tuple[int, int], padding: tuple[int, int]
) -> torch.Tensor:
    """Sum input times output gradient over images and places, for each tap of the kernel."""
    x, grad = x.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1)
    found = x.new_zeros(*kernel, x.shape[3])
    for i in range(kernel[0]):
        seen_rows, rows = _places(i, x.shape[1], grad.shape[1], stride[0], padding[0])
        for j in range(kernel[1]):
            seen_columns, columns = _places(j, x.shape[2], grad.shape[2], stride[1], padding[1])
            if rows.stop and columns.stop:
                found[i, j] = (x[:, seen_rows, seen_columns] * grad[:, rows, columns]).sum((0, 1, 2))
    return found.permute(2, 0, 1)[:, None]


def _places(tap: int, size: int, outputs: int, stride: int, padding: int) -> tuple[slice, slice]:
    """Return the inputs inside the map that a tap sees, and the outputs that they belong to. Both may be empty."""
    first = max(0, -((tap - padding) // stride))
    end = min(outputs, (size - 1 + padding - tap) // stride + 1)
    if end <= first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + tap - padding
    return slice(start, start + (end - first - 1) * stride + 1, stride), slice(first, end)
