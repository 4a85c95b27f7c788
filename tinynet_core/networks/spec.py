"""What every network specification can do: tell its cost without a tensor, and become a torch module."""

from abc import abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet_core.networks.complexity import Walkable
from tinynet_core.scaling.scale import Scale

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Network(Walkable):
    """A network as pure data: nothing is allocated until ``build``. ``resolution`` is the input's side in pixels."""

    name: str
    scale: Scale | None
    resolution: Any
    num_classes: int

    def identity(self) -> dict[str, Any]:
        """What decides how the network computes, as JSON data; its name and its scale are labels and left out."""
        content = {key: value for key, value in asdict(self).items() if key not in ("name", "scale")}
        return {"family": type(self).__name__.lower(), **content}

    @abstractmethod
    def module(self, dropout: float) -> "nn.Module":
        """The torch module with torch's own initial weights, and ``dropout`` before the classifier."""

    def build(
        self,
        dropout: float = 0.0,
        zero_init_residual: bool = False,
        zero_init_classifier: bool = False,
        weights: str | Path | None = None,
    ) -> "nn.Module":
        """A torch module: (N, 3, R, R) float images to (N, num_classes) logits.

        ``dropout`` is applied before the classifier. ``zero_init_residual`` starts the last batch-norm scale of every
        residual branch at zero, without which deep thin members do not start to learn in a short schedule;
        ``zero_init_classifier`` starts the classifier at zero, so that the first loss is log(num_classes).

        Weights are random unless ``weights`` names a library that released some (``"timm"``, ``"torchvision"``) or a
        file (safetensors, or a state dict saved by torch). Raises ``UserError`` when the file is not this network's.
        """
        module = self.module(dropout)
        self.initialise(module, zero_init_residual, zero_init_classifier)
        if weights is not None:
            from tinynet_core.networks.weights import load_weights

            load_weights(module, self.name, weights)
        return module

    def initialise(self, module: "nn.Module", zero_init_residual: bool, zero_init_classifier: bool) -> None:
        """He-normal on fan-out for convolutions, uniform 1/sqrt(classes) for linear layers, as EfficientNet does."""
        from tinynet_core.networks.modules.initial import initialise

        initialise(module, zero_init_residual, zero_init_classifier)
