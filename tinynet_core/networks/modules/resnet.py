"""The ResNet family as torch modules. Parameter names follow torchvision's, which timm shares."""

import torch
from torch import nn

from tinynet_core.networks.modules.blocks import conv
from tinynet_core.networks.resnet import EXPANSION, ResNet, ResNetStage


def _shortcut(c_in: int, c_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    residual = True

    def __init__(self, c_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(c_in, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(c_in, channels, stride)

    def last_norms(self) -> tuple[nn.Module, ...]:
        """Batch norm at the end of the residual branch."""
        return (self.bn2,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut."""

    residual = True

    def __init__(self, c_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(c_in, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv(channels, channels * EXPANSION, 1)
        self.bn3 = nn.BatchNorm2d(channels * EXPANSION)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(c_in, channels * EXPANSION, stride)

    def last_norms(self) -> tuple[nn.Module, ...]:
        """Batch norm at the end of the residual branch."""
        return (self.bn3,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _blocks(stage: ResNetStage) -> nn.Sequential:
    block = Bottleneck if stage.bottleneck else BasicBlock
    first = block(stage.c_in, stage.channels, stage.stride)
    return nn.Sequential(first, *(block(stage.c_out, stage.channels, 1) for _ in range(stage.repeats - 1)))


class ResNetModule(nn.Module):
    """The torch module of a ``ResNet`` specification."""

    def __init__(self, spec: ResNet, dropout: float) -> None:
        super().__init__()
        self.conv1 = conv(3, spec.stem, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(spec.stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = (_blocks(stage) for stage in spec.stages)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(spec.stages[-1].c_out, spec.num_classes)

    def get_classifier(self) -> nn.Linear:
        """The last layer."""
        return self.fc

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Last feature map, (N, C, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.forward_features(x).mean((2, 3))))
