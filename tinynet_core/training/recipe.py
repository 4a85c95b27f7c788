"""How a network is trained, as validated data."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Recipe(BaseModel):
    """Everything about training that can change a result, apart from network, data and seed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(ge=1, strict=True)
    batch_size: int = Field(32, ge=2, strict=True)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(4e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.01, ge=0, description="on weights of convolutions and linear layers only")
    warmup_epochs: float = Field(1.0, ge=0, description="linear from zero to the peak, then a half cosine to zero")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    dropout: float = Field(0.2, ge=0, lt=1, description="before the classifier")
    zero_init_residual: bool = Field(True, description="start the last norm of every residual branch at zero")
    zero_init_classifier: bool = Field(True, description="start the classifier at zero")
    ema_decay: float = Field(0.99, ge=0, lt=1)
    ema_warmup: bool = Field(True, description="use min(decay, (1 + step) / (10 + step)) instead of the bare decay")
    crop_area: tuple[float, float] = Field((0.6, 1.0), description="range of the cropped share of the image area")
    crop_aspect: tuple[float, float] = Field((0.8, 1.25), description="range of the crop's width over height")
    mirror: float = Field(0.0, ge=0, le=1, description="probability of a horizontal flip")
    jitter: float = Field(0.4, ge=0, lt=1, description="brightness, contrast, saturation by 1 +- this")
    eval_crop: float = Field(1.0, gt=0, le=1, description="central share of the side seen in evaluation")

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs:g} must be below epochs {self.epochs}")
        low, high = self.crop_area
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_area must satisfy 0 < low <= high <= 1, got {low:g}, {high:g}")
        low, high = self.crop_aspect
        if not 0 < low <= high:
            raise ValueError(f"crop_aspect must satisfy 0 < low <= high, got {low:g}, {high:g}")
        return self

    def learning_rate(self, epoch: float) -> float:
        """Learning rate after ``epoch`` epochs, a fraction counted step by step."""
        if epoch < self.warmup_epochs:
            return self.lr * epoch / self.warmup_epochs
        progress = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return self.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
