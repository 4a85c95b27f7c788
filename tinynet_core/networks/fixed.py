"""Networks of the paper's Tables 3 and 6 with one size each: mobile layouts, and networks of timm and torchvision.

MobileNetV1: Howard et al. 2017, Table 1. MnasNet-A1: Tan et al. 2019, Figure 7. FBNet-B: Wu et al. 2019, as in
facebookresearch/maskrcnn-benchmark. ProxylessNAS (mobile): Cai et al. 2019, as in mit-han-lab/proxylessnas. timm and
torchvision do not define these four at the listed width, so each is built as a stack of EfficientNet's blocks. The
other networks are built by their library, and their cost is traced on the module.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from tinynet_core.networks.efficientnet import EfficientNet, Layout, stack
from tinynet_core.networks.spec import Activation, Complexity, Network, Row, Tally, round_channels

if TYPE_CHECKING:
    from torch import nn

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
    """Return a layout of single blocks (kernel, stride, expansion, channels), as architecture search gives them."""
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

# library, name of the network in the library, resolution in pixels, further arguments
PEERS: dict[str, tuple[Literal["timm", "torchvision"], str, int, dict[str, Any]]] = {
    "mobilenetv2_100": ("timm", "mobilenetv2_100", 224, {}),
    "mobilenetv2_050": ("timm", "mobilenetv2_050", 224, {}),
    "mobilenetv2_035": ("timm", "mobilenetv2_035", 224, {}),
    "mobilenetv2_035_160": ("timm", "mobilenetv2_035", 160, {}),
    "mobilenetv3_large_125": ("torchvision", "mobilenet_v3_large", 224, {"width_mult": 1.25}),
    "mobilenetv3_large_075": ("timm", "tf_mobilenetv3_large_075", 224, {}),
    "mobilenetv3_small_125": ("torchvision", "mobilenet_v3_small", 224, {"width_mult": 1.25}),
    "mobilenetv3_small_100_128": ("timm", "mobilenetv3_small_100", 128, {}),
    "mobilenetv3_small_075": ("timm", "mobilenetv3_small_075", 224, {}),
    "mobilenetv3_small_050": ("timm", "mobilenetv3_small_050", 224, {}),
    "mnasnet_a1_100": ("timm", "semnasnet_100", 224, {}),
    "shufflenetv2_150": ("torchvision", "shufflenet_v2_x1_5", 224, {}),
    "shufflenetv2_050": ("torchvision", "shufflenet_v2_x0_5", 224, {}),
}
NAMES = (*NETWORKS, *PEERS)


def fixed(name: str, num_classes: int) -> Network:
    """Return the specification of the network ``name``. The width does not change the head of a mobile network."""
    if name in PEERS:
        source, _, resolution, _ = PEERS[name]
        return PeerNetwork(name, None, resolution, num_classes, source)
    return stacked(name, *NETWORKS[name], num_classes)


def stacked(
    name: str, layout: Layout, width: float, resolution: int, stem: int, head: int, activation: Activation, classes=1000
) -> EfficientNet:
    """Stack the blocks of ``layout``. Channels, except the head's, are scaled by ``width`` to multiples of eight."""
    stem = round_channels(stem * width)
    return EfficientNet(name, None, resolution, classes, stem, stack(layout, stem, width), head, activation)


@dataclass(frozen=True, slots=True)
class PeerNetwork(Network):
    """A network that the library ``source`` builds. Its layers are not specified here, so ``rows`` is empty."""

    source: Literal["timm", "torchvision"]

    def identity(self) -> dict[str, Any]:
        """Return the library, the network's name there, the arguments, the input size and the number of classes."""
        _, entry, _, options = PEERS[self.name]
        return Network.identity(self) | {"entry": entry, "options": options}

    def walk(self, tally: Tally) -> Iterator[Row]:
        return iter(())

    def complexity(self) -> Complexity:
        return _traced(self)

    def module(self, dropout: float) -> "nn.Module":
        """Return the library's module. If its classifier has a dropout layer, set this to ``dropout``."""
        source, entry, _, options = PEERS[self.name]
        if source == "timm":
            import timm

            return timm.create_model(entry, num_classes=self.num_classes, drop_rate=dropout, **options)
        import torchvision
        from torch import nn

        module = torchvision.models.get_model(entry, weights=None, num_classes=self.num_classes, **options)
        for layer in module.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = dropout
        return module

    def initialise(self, module: "nn.Module", zero_init_residual: bool, zero_init_classifier: bool) -> None:
        """Keep the initial weights of the library. ``Experiment`` refuses both zero initialisations here."""


@cache
def _traced(spec: PeerNetwork) -> Complexity:
    import torch

    from tinynet_core.networks.trace import trace

    with torch.device("meta"):
        module = spec.module(0.0)
    return trace(module, spec.resolution)
