"""SSDLite on networks of the EfficientNet family (Sandler et al. 2018, section 6.2), from torchvision's SSD parts.

The first feature map, at stride 16, is the expansion in the first block of the last stage with a stride. The second,
at stride 32, comes from the classifier's last convolution. The others come from extra blocks that halve the side.
"""

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import box_iou
from torchvision.ops.misc import Conv2dNormActivation

from tinynet_core.detection import STRIDE, tapped_stage
from tinynet_core.networks.efficientnet import EfficientNet
from tinynet_core.networks.modules import EfficientNetModule
from tinynet_core.networks.spec import Complexity
from tinynet_core.networks.trace import trace

EXTRA_CHANNELS = (512, 256, 256, 128)
"""Channels of the extra blocks at full width, as in torchvision's SSDLite. Blocks after a 1 x 1 map are left out."""
_ASPECTS = [2, 3]
_LEAST_CHANNELS = 16


class Targets(NamedTuple):
    """Objects of one image: boxes, float32 (n, 4) as left, top, right, bottom in pixels, and labels, from 1 on."""

    boxes: torch.Tensor
    labels: torch.Tensor


class Features(nn.Module):
    """A classifier without its last layer. It returns feature maps at several strides, the finest first."""

    def __init__(self, backbone: EfficientNetModule, spec: EfficientNet, resolution: int, width: float) -> None:
        super().__init__()
        self.split = tapped_stage(spec)
        backbone.classifier = nn.Identity()  # type: ignore[assignment]
        self.backbone = backbone
        self.channels = [self.last_strided()[0].conv_pw.out_channels, spec.head or spec.stages[-1].c_out]
        self.sides = [-(-resolution // (STRIDE // 2)), -(-resolution // STRIDE)]
        self.extra = nn.ModuleList()
        for full in EXTRA_CHANNELS:
            if self.sides[-1] == 1:
                break
            wide = max(_LEAST_CHANNELS, int(full * width))
            self.extra.append(_extra_block(self.channels[-1], wide))
            self.channels.append(wide)
            self.sides.append(-(-self.sides[-1] // 2))

    def last_strided(self) -> list[Any]:
        """Return the blocks (inverted residuals) of the last stage with a stride."""
        return list(self.backbone.blocks[self.split].children())

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        b = self.backbone
        x = b.blocks[: self.split](b.act1(b.bn1(b.conv_stem(x))))
        first, *others = self.last_strided()
        expanded = first.act1(first.bn1(first.conv_pw(x)))
        x = first.se(first.act2(first.bn2(first.conv_dw(expanded))))
        x = first.bn3(first.conv_pwl(x))
        for block in (*others, *list(b.blocks)[self.split + 1 :]):
            x = block(x)
        maps = [expanded, b.act2(b.bn2(b.conv_head(x)))]
        for block in self.extra:
            maps.append(block(maps[-1]))
        return maps


class Detector(SSD):
    """Features with torchvision's SSDLite head, default boxes, loss and post-processing.

    Takes normalised images (n, 3, R, R). Returns the raw output for each of its ``anchors``: box codes (n, anchors, 4)
    and logits (n, anchors, 1 + classes), the background first.
    """

    def __init__(self, features: Features, classes: int, resolution: int, scales: tuple[float, float]) -> None:
        levels = len(features.channels)
        generator = DefaultBoxGenerator([_ASPECTS] * levels, min_ratio=scales[0], max_ratio=scales[1])
        boxes_per_place = generator.num_anchors_per_location()
        norm = partial(nn.BatchNorm2d, eps=1e-3)
        super().__init__(
            features,
            generator,
            (resolution, resolution),
            classes + 1,
            head=SSDLiteHead(features.channels, boxes_per_place, classes + 1, norm),
            score_thresh=0.001,
            nms_thresh=0.55,
            detections_per_img=100,  # COCO evaluates no more
            topk_candidates=300,
        )
        self.side = resolution
        self.anchors = torch.empty(0)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: value.float() for name, value in self.head(self.backbone(images)).items()}

    def place_anchors(self) -> torch.Tensor:
        """Return default boxes (anchors, 4) as left, top, right, bottom in pixels of the detector's resolution."""
        parameter = next(self.parameters())
        if self.anchors.device != parameter.device or not len(self.anchors):
            maps = [torch.empty(1, 1, side, side, device=parameter.device) for side in self.backbone.sides]
            images = torch.empty(1, 3, self.side, self.side, device=parameter.device)
            self.anchors = self.anchor_generator(ImageList(images, [(self.side, self.side)]), maps)[0]
        return self.anchors

    def losses(self, outputs: dict[str, torch.Tensor], targets: list[Targets]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return smooth L1 loss of box codes, and cross-entropy with 3 hard negatives per positive (Liu et al. 2016).

        Both are sums over the batch, divided by its number of matched anchors.
        """
        anchors = self.place_anchors()
        none = torch.full((len(anchors),), -1, device=anchors.device)
        matched = [self.proposal_matcher(box_iou(t.boxes, anchors)) if len(t.boxes) else none for t in targets]
        found = self.compute_loss([t._asdict() for t in targets], outputs, [anchors] * len(targets), matched)
        return found["bbox_regression"], found["classification"]

    def detections(self, outputs: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """Return at most 100 per image, the best first: ``boxes`` in pixels of the input, ``scores`` and ``labels``."""
        n = len(outputs["cls_logits"])
        return self.postprocess_detections(outputs, [self.place_anchors()] * n, [(self.side, self.side)] * n)


def build(
    spec: EfficientNet,
    classes: int,
    resolution: int,
    width: float,
    scales: tuple[float, float],
    zero_init_residual: bool = False,
    pretrained: nn.Module | None = None,
) -> Detector:
    """Build the detector of ``classes`` on the network ``spec``, with the weights of ``pretrained`` if given.

    ``width`` multiplies the channels of the extra blocks. ``scales`` are the least and largest default box sizes.
    """
    backbone = spec.build(zero_init_residual=zero_init_residual)
    assert isinstance(backbone, EfficientNetModule)
    if pretrained is not None:
        backbone.load_state_dict(pretrained.state_dict())
    features = Features(backbone, spec, resolution, width)
    for layer in features.extra.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.03)
    return Detector(features, classes, resolution, scales)


@lru_cache(maxsize=64)
def cost(spec: EfficientNet, classes: int, resolution: int, width: float) -> Complexity:
    """Return the exact cost of the detector for one image. The trace on the meta device needs no memory."""
    with torch.device("meta"):
        detector = build(spec, classes, resolution, width, (0.2, 0.95))
    return trace(detector, resolution)


def backbone_macs(spec: EfficientNet, resolution: int) -> int:
    """Return MACs of the backbone, without the classifier's last layer, for an image of ``resolution`` pixels."""
    whole = dataclasses.replace(spec, resolution=resolution).complexity().macs
    return whole - (spec.head or spec.stages[-1].c_out) * spec.num_classes


def _extra_block(c_in: int, c_out: int) -> nn.Sequential:
    """Convolve to half of ``c_out``, depthwise with stride 2, then to ``c_out``, as in torchvision's SSDLite."""
    layer: Callable[..., nn.Module] = partial(
        Conv2dNormActivation, norm_layer=nn.BatchNorm2d, activation_layer=nn.ReLU6
    )
    half = c_out // 2
    return nn.Sequential(
        layer(c_in, half, kernel_size=1),
        layer(half, half, kernel_size=3, stride=2, groups=half),
        layer(half, c_out, kernel_size=1),
    )
