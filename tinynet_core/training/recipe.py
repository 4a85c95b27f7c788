"""How a network is trained, as validated data.

The paper's own recipes (section 4.1) are in the presets imagenet1k (``recipe``) and imagenet100 (``resnet_recipe``).
"""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Recipe(BaseModel):
    """Everything about training that can change a result, apart from network, data and seed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(ge=1, strict=True)
    batch_size: int = Field(32, ge=2, strict=True, description="images per step, summed over all devices")
    norm_batch: int | None = Field(
        None, ge=2, strict=True, description="images that share batch-norm statistics; null: all on one device"
    )
    optimizer: Literal["adamw", "sgd", "rmsprop"] = Field("adamw", description="rmsprop: TensorFlow's variant")
    lr: float = Field(4e-3, gt=0, description="peak learning rate; if lr_batch is given, for that batch size")
    lr_batch: int | None = Field(None, ge=1, strict=True, description="the peak is lr * batch_size / lr_batch")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd (Nesterov) and rmsprop")
    rmsprop_decay: float = Field(0.9, ge=0, lt=1, description="decay of the running mean of squared gradients")
    rmsprop_eps: float = Field(1e-3, gt=0, description="added inside the square root")
    nesterov: bool = Field(True, description="Nesterov momentum, for sgd")
    weight_decay: float = Field(0.01, ge=0, description="on weights of convolutions and linear layers only")
    schedule: Literal["cosine", "step"] = Field("cosine", description="schedule after the warm-up from zero")
    warmup_epochs: float = Field(1.0, ge=0)
    decay_epochs: float = Field(2.4, gt=0, description="schedule step: epochs between decays, from the start")
    decay_rate: float = Field(0.97, gt=0, le=1, description="schedule step: factor of a decay of the learning rate")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    dropout: float = Field(0.2, ge=0, lt=1, description="dropout rate before the classifier")
    bn_momentum: float = Field(0.1, gt=0, le=1, description="weight of the new batch; TensorFlow's 0.99 is 0.01 here")
    zero_init_residual: bool = Field(True, description="start the last norm of every residual branch at zero")
    zero_init_classifier: bool = Field(True, description="start the classifier at zero")
    ema_decay: float = Field(0.99, ge=0, lt=1)
    ema_warmup: bool = Field(True, description="use min(decay, (1 + step) / (10 + step)) instead of the bare decay")
    crop_area: tuple[float, float] = Field((0.6, 1.0), description="range of the cropped share of the image area")
    crop_aspect: tuple[float, float] = Field((0.8, 1.25), description="range of the crop's width over height")
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mirror: float = Field(0.0, ge=0, le=1, description="probability of a horizontal flip")
    jitter: float = Field(0.4, ge=0, lt=1, description="brightness, contrast and saturation change by 1 +- this")
    rand_augment: float = Field(0.0, ge=0, le=10, description="RandAugment's magnitude; 0: none")
    rand_augment_std: float = Field(0.5, ge=0, description="standard deviation of the magnitude")
    eval_crop: float = Field(1.0, gt=0, le=1, description="central share of the shorter side that evaluation uses")
    curve_images: int | None = Field(
        None,
        ge=1,
        strict=True,
        exclude_if=lambda value: value is None,
        description="validation images to evaluate a classifier on after every epoch but the last; null: all",
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast of the forward pass")

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
        if self.norm_batch and self.batch_size % self.norm_batch:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of norm_batch {self.norm_batch}")
        if self.nesterov and self.optimizer == "sgd" and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, got momentum 0")
        return self

    @property
    def peak_lr(self) -> float:
        """The learning rate after the warm-up, for this batch size."""
        return self.lr * self.batch_size / self.lr_batch if self.lr_batch else self.lr

    def learning_rate(self, epoch: float) -> float:
        """Return the learning rate of the step that ends after ``epoch`` epochs, a fractional number."""
        if epoch < self.warmup_epochs:
            return self.peak_lr * epoch / self.warmup_epochs
        if self.schedule == "step":
            stairs = max(0, math.ceil(epoch / self.decay_epochs - 1e-9) - 1)
            return self.peak_lr * self.decay_rate**stairs
        progress = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return self.peak_lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def scaled(self, epochs: int | None = None, batch_size: int | None = None, images: float = 1.0) -> "Recipe":
        """Return this recipe for other ``epochs``, another ``batch_size`` and ``images`` times as many training images.

        The learning rate grows with the batch size. Warm-up and decay keep their share of the epochs. The averaging of
        weights keeps its share of the steps: decay ** (old steps / new steps).
        """
        epochs = self.epochs if epochs is None else epochs
        batch_size = self.batch_size if batch_size is None else batch_size
        if not (epochs >= 1 and batch_size >= 2 and images > 0):
            given = f"{epochs}, {batch_size}, {images}"
            raise ValueError(f"epochs must be at least 1, batch_size at least 2, images above 0, got {given}")
        stretch = epochs / self.epochs
        steps = stretch * images * self.batch_size / batch_size
        return self.model_validate(
            self.model_dump()
            | {
                "epochs": epochs,
                "batch_size": batch_size,
                "lr_batch": self.lr_batch or self.batch_size,
                "norm_batch": self.norm_batch and min(self.norm_batch, batch_size),
                "warmup_epochs": self.warmup_epochs * stretch,
                "decay_epochs": self.decay_epochs * stretch,
                "ema_decay": self.ema_decay ** (1 / steps),
            }
        )
