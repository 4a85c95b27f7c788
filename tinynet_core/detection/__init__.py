"""SSDLite detectors on the networks of this package, and the stage that gives their first features."""

from tinynet_core.networks.efficientnet import EfficientNet
from tinynet_core.networks.spec import Network

STRIDE = 32
"""Stride of the classifier's last feature map. A detector's first feature map has half of this stride."""


def tapped_stage(spec: Network) -> int:
    """Return the index of the last strided stage. Raise ``ValueError`` unless it expands features at stride 16."""
    if isinstance(spec, EfficientNet):
        strided = [i for i, stage in enumerate(spec.stages) if stage.stride == 2]
        if strided and spec.stages[strided[-1]].kind == "ir" and 2 ** (1 + len(strided)) == STRIDE:
            return strided[-1]
    raise ValueError(
        f"network must have an inverted residual block from stride 16 to 32, as EfficientNets do, got {spec.name!r}"
    )
