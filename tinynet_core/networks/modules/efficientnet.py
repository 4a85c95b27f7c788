"""The EfficientNet family as torch modules. Parameter names follow timm's, so that its weights load by name."""

import torch
from torch import nn

from tinynet_core.networks.efficientnet import EfficientNet
from tinynet_core.networks.modules.blocks import ACTIVATIONS, blocks, conv


class EfficientNetModule(nn.Module):
    """The torch module of an ``EfficientNet`` specification."""

    def __init__(self, spec: EfficientNet, dropout: float) -> None:
        super().__init__()
        act = ACTIVATIONS[spec.activation]
        self.conv_stem = conv(3, spec.stem, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(spec.stem)
        self.act1 = act(inplace=True)
        self.blocks = nn.Sequential(*(blocks(stage, spec.activation) for stage in spec.stages))
        last = spec.stages[-1].c_out
        self.conv_head = conv(last, spec.head, 1) if spec.head else nn.Identity()
        self.bn2 = nn.BatchNorm2d(spec.head) if spec.head else nn.Identity()
        self.act2 = act(inplace=True) if spec.head else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(spec.head or last, spec.num_classes)

    def get_classifier(self) -> nn.Linear:
        """The last layer."""
        return self.classifier

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Last feature map, (N, head, H, W)."""
        x = self.act1(self.bn1(self.conv_stem(x)))
        return self.act2(self.bn2(self.conv_head(self.blocks(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(self.forward_features(x).mean((2, 3))))
