"""Mobile networks of the paper's Table 3 that neither timm nor torchvision defines at the width that is listed.

MobileNetV1: Howard et al. 2017, Table 1. MnasNet-A1: Tan et al. 2019, Figure 7. FBNet-B: Wu et al. 2019, as in
facebookresearch/maskrcnn-benchmark. ProxylessNAS (mobile): Cai et al. 2019, as in mit-han-lab/proxylessnas. Each is a
stack of the blocks of ``blocks.py``; parameter names follow timm's for networks of this kind.
"""

from collections.abc import Sequence
from typing import Literal

from tinynet_core.networks.blocks import Activation, Stage
from tinynet_core.networks.efficientnet import EfficientNet
from tinynet_core.networks.rounding import round_channels

Kind = Literal["ir", "ds", "v1"]
# kind, repeats, kernel, stride, expansion, channels, squeeze-excite
Layout = Sequence[tuple[Kind, int, int, int, int, int, bool]]

MOBILENET_V1: Layout = (
    ("v1", 1, 3, 1, 1, 64, False),
    ("v1", 2, 3, 2, 1, 128, False),
    ("v1", 2, 3, 2, 1, 256, False),
    ("v1", 6, 3, 2, 1, 512, False),
    ("v1", 2, 3, 2, 1, 1024, False),
)
MNASNET_A1: Layout = (
    ("ds", 1, 3, 1, 1, 16, False),
    ("ir", 2, 3, 2, 6, 24, False),
    ("ir", 3, 5, 2, 3, 40, True),
    ("ir", 4, 3, 2, 6, 80, False),
    ("ir", 2, 3, 1, 6, 112, True),
    ("ir", 3, 5, 2, 6, 160, True),
    ("ir", 1, 3, 1, 6, 320, False),
)


def _singles(*blocks: tuple[int, int, int, int]) -> Layout:
    """A layout of single blocks (kernel, stride, expansion, channels), as architecture search gives them."""
    return tuple(("ir", 1, k, s, e, c, False) for k, s, e, c in blocks)


FBNET_B: Layout = _singles(
    *((3, 1, 1, 16),),
    *((3, 2, 6, 24), (5, 1, 1, 24), (3, 1, 1, 24), (3, 1, 1, 24)),
    *((5, 2, 6, 32), (5, 1, 3, 32), (3, 1, 6, 32), (5, 1, 6, 32)),
    *((5, 2, 6, 64), (5, 1, 1, 64), (5, 1, 3, 64)),
    *((5, 1, 6, 112), (3, 1, 1, 112), (5, 1, 1, 112), (5, 1, 3, 112)),
    *((5, 2, 6, 184), (5, 1, 1, 184), (5, 1, 6, 184), (5, 1, 6, 184), (3, 1, 6, 352)),
)
PROXYLESS_MOBILE: Layout = (
    ("ds", 1, 3, 1, 1, 16, False),
    *_singles(
        *((5, 2, 3, 32), (3, 1, 3, 32)),
        *((7, 2, 3, 40), (3, 1, 3, 40), (5, 1, 3, 40), (5, 1, 3, 40)),
        *((7, 2, 6, 80), (5, 1, 3, 80), (5, 1, 3, 80), (5, 1, 3, 80)),
        *((5, 1, 6, 96), (5, 1, 3, 96), (5, 1, 3, 96), (5, 1, 3, 96)),
        *((7, 2, 6, 192), (7, 1, 6, 192), (7, 1, 3, 192), (7, 1, 3, 192), (7, 1, 6, 320)),
    ),
)

# layout, width, resolution, stem, head (0: none), activation
NETWORKS: dict[str, tuple[Layout, float, int, int, int, Activation]] = {
    "mobilenetv1_050_192": (MOBILENET_V1, 0.5, 192, 32, 0, "relu6"),
    "mnasnet_a1_035": (MNASNET_A1, 0.35, 224, 32, 1280, "relu"),
    "mnasnet_a1_035_128": (MNASNET_A1, 0.35, 128, 32, 1280, "relu"),
    "fbnet_b": (FBNET_B, 1.0, 224, 16, 1984, "relu"),
    "proxylessnas_mobile": (PROXYLESS_MOBILE, 1.0, 224, 32, 1280, "relu6"),
}
NAMES = tuple(NETWORKS)


def mobile(name: str, num_classes: int) -> EfficientNet:
    """The specification of the network called ``name``; its head does not move with its width."""
    return stacked(name, *NETWORKS[name], num_classes)


def stacked(
    name: str,
    layout: Layout,
    width: float,
    resolution: int,
    stem: int,
    head: int,
    activation: Activation,
    num_classes: int = 1000,
) -> EfficientNet:
    """A stack of the blocks of ``layout`` with all channels but the head's times ``width``, in multiples of eight."""
    stem = c_in = round_channels(stem * width)
    stages = []
    for kind, repeats, kernel, stride, expansion, channels, squeeze in layout:
        c_out = round_channels(channels * width)
        stages.append(Stage(kind, repeats, kernel, stride, expansion, c_in, c_out, squeeze))
        c_in = c_out
    return EfficientNet(name, None, resolution, num_classes, stem, tuple(stages), head, activation)
