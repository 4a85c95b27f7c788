"""The columns of the released tables: unit, evidence and meaning of each."""

from typing import NamedTuple


class Field(NamedTuple):
    """``evidence`` says what a number is worth; empty for what is no result. ACCURACY stands for that of the preset."""

    unit: str
    evidence: str
    meaning: str


ACCURACY = "accuracy"
"""Evidence of what was trained: ``proxy`` or ``trained``, as the preset says."""

_MODEL = Field("", "", "name of the model: the first twelve digits of `key` of its training with seed 0")
_KEY = Field("", "", "SHA-256 of the training's configuration (network, data, recipe, seed)")
_SEED = Field("", "", "seed of the initial weights, the order of the images and their augmentation")

MODELS = {
    "model": _MODEL,
    "roles": Field("", "", "where it is compared, joined by `; `: a sample, or the page and row of a figure or table"),
    "network": Field("", "", "name of the network or family in `tinynet_core.network`"),
    "head": Field("", "", "`fixed`, `scaled` with the width, or `default`: what the named network has"),
    "r": Field("1", "", "multiplier of the resolution"),
    "d": Field("1", "", "multiplier of the depth"),
    "w": Field("1", "", "multiplier of the width"),
    "base_resolution": Field("px", "", "input side that r = 1 stands for"),
    "base_width": Field("1", "", "channels that w = 1 stands for, over those of the network at the paper's size"),
    "base_divisor": Field("", "", "channels are rounded to multiples of this"),
    "classes": Field("", "", "outputs of the classifier"),
    "data": Field("", "", "name of the data set, listed below"),
    "recipe": Field("", "", "name of the recipe, listed below"),
    "resolution": Field("px", "recomputed", "input side"),
    "macs": Field("1", "recomputed", "multiply-adds of convolutions and linear layers for one image"),
    "params": Field("1", "recomputed", "parameters"),
    "activations": Field("1", "recomputed", "elements that convolutions and linear layers write for one image"),
    "latency_ms": Field("ms", "measured", "median time for one image; empty where it was not timed"),
    "latency_low_ms": Field("ms", "measured", "lower end of the 95% interval of that median"),
    "latency_high_ms": Field("ms", "measured", "upper end"),
    "seeds": Field("", "", "finished trainings"),
    "failed": Field("", "", "failed trainings"),
    "top1_mean": Field("fraction", ACCURACY, "mean of `top1` over finished trainings; empty where all failed"),
    "top1_sd": Field("fraction", ACCURACY, "standard deviation of the same (n - 1); empty for fewer than two"),
    "frontier": Field("", ACCURACY, "whether NSGA-III keeps it of the random sample; false for all other models"),
}

RUNS = {
    "key": _KEY,
    "model": _MODEL,
    "seed": _SEED,
    "status": Field("", "", "`done` or `failed`"),
    "reason": Field("", "", "why it failed"),
    "top1": Field("fraction", ACCURACY, "validation top-1 of the averaged (EMA) weights after the last epoch"),
    "top5": Field("fraction", ACCURACY, "top-5 of the same"),
    "loss": Field("nats", ACCURACY, "cross-entropy of the same"),
    "raw_top1": Field("fraction", ACCURACY, "validation top-1 of the raw weights"),
    "raw_top5": Field("fraction", ACCURACY, "top-5 of the same"),
    "raw_loss": Field("nats", ACCURACY, "cross-entropy of the same"),
    "train_top1": Field("fraction", ACCURACY, "top-1 on the augmented images of the last epoch, while training"),
    "train_loss": Field("nats", ACCURACY, "loss on the same"),
    "wall_s": Field("s", "measured", "wall time of the training, beside whatever else ran"),
    "commit": Field("", "", "commit of the code"),
    "clean": Field("", "", "whether the checkout had no changes"),
    "training_version": Field("", "", "number that is raised when the meaning of training changes"),
    "dataset_sha256": Field("", "", "SHA-256 of the images and labels; empty for a failed training"),
    "device": Field("", "", "what it was trained on"),
    "threads": Field("", "", "threads of torch"),
    "processes": Field("", "", "processes that trained it together"),
    "python": Field("", "", "version of Python"),
    "tinynet_core": Field("", "", "version of this package"),
    "torch": Field("", "", "version of torch"),
    "numpy": Field("", "", "version of numpy"),
    "pillow": Field("", "", "version of Pillow"),
    "matplotlib": Field("", "", "version of matplotlib"),
    "compiled": Field("", "", "whether torch.compile was used"),
}

EPOCHS = {
    "key": _KEY,
    "model": _MODEL,
    "seed": _SEED,
    "epoch": Field("", "", "epochs behind it, from 1 on"),
    "train_loss": Field("nats", ACCURACY, "loss on the augmented images of the epoch, while training"),
    "train_top1": Field("fraction", ACCURACY, "top-1 on the same"),
    "raw_loss": Field("nats", ACCURACY, "validation cross-entropy of the raw weights"),
    "raw_top1": Field("fraction", ACCURACY, "validation top-1 of the raw weights"),
    "raw_top5": Field("fraction", ACCURACY, "top-5 of the same"),
    "ema_loss": Field("nats", ACCURACY, "validation cross-entropy of the averaged weights"),
    "ema_top1": Field("fraction", ACCURACY, "validation top-1 of the averaged weights"),
    "ema_top5": Field("fraction", ACCURACY, "top-5 of the same"),
}
