"""The random weights that a network starts with."""

import math

from torch import nn


def initialise(module: nn.Module, zero_init_residual: bool, zero_init_classifier: bool) -> None:
    """He-normal on fan-out for convolutions, uniform 1/sqrt(classes) for linear layers, as EfficientNet does."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            fan_out = m.kernel_size[0] * m.kernel_size[1] * m.out_channels // m.groups
            nn.init.normal_(m.weight, 0.0, math.sqrt(2.0 / fan_out))
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Linear):
            bound = 1.0 / math.sqrt(m.out_features)
            nn.init.uniform_(m.weight, -bound, bound)
            nn.init.zeros_(m.bias)
        elif zero_init_residual and getattr(m, "residual", False):
            for norm in m.last_norms():  # type: ignore[operator]
                nn.init.zeros_(norm.weight)
    if zero_init_classifier:
        nn.init.zeros_(module.get_classifier().weight)  # type: ignore[operator]
