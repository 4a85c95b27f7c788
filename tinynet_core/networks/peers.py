"""Networks of the paper's Tables 3 and 6 as timm or torchvision define them; their cost is traced on the module.

At reduced resolution (``r``) a network of the paper is listed by its own name, because its cost is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from tinynet_core.networks.complexity import Complexity, Row, Tally
from tinynet_core.networks.spec import Network

if TYPE_CHECKING:
    from torch import nn

# library, its name of the network, resolution, further arguments
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
NAMES = tuple(PEERS)


@dataclass(frozen=True, slots=True)
class PeerNetwork(Network):
    """A network that ``source`` builds; there is no specification to walk through, so ``rows`` is empty."""

    source: Literal["timm", "torchvision"]

    def identity(self) -> dict[str, Any]:
        """The library, its name of the network and the arguments, with input and classes."""
        _, entry, _, options = PEERS[self.name]
        return Network.identity(self) | {"entry": entry, "options": options}

    def walk(self, tally: Tally) -> Iterator[Row]:
        """Nothing to yield: the library keeps the architecture to itself."""
        return iter(())

    def complexity(self) -> Complexity:
        """Exact MACs, parameters and activations for one image at ``resolution``, traced without memory."""
        return _traced(self.name, self.num_classes)

    def module(self, dropout: float) -> "nn.Module":
        """The library's module; its classifier's dropout is set to ``dropout`` where it has one."""
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
        """Keep the initial weights of the library.

        Raises ``ValueError`` for the two zero initialisations, which need a network of this package.
        """
        if zero_init_residual or zero_init_classifier:
            raise ValueError(f"{self.name} is built by {self.source}, which cannot start residuals or classifier at 0")


def peer(name: str, num_classes: int) -> PeerNetwork:
    """The specification of the peer called ``name``."""
    source, _, resolution, _ = PEERS[name]
    return PeerNetwork(name, None, resolution, num_classes, source)


@cache
def _traced(name: str, num_classes: int) -> Complexity:
    import torch

    from tinynet_core.networks.tracing import trace

    spec = peer(name, num_classes)
    with torch.device("meta"):
        module = spec.module(0.0)
    return trace(module, spec.resolution)
