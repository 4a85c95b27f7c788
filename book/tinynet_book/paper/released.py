"""Which rows of Table 3 somebody released weights for, and whose training those weights are."""

from dataclasses import dataclass
from typing import Literal

from tinynet_book.measure.released import ReleasedEvaluation
from tinynet_book.paper import rows

Library = Literal["timm", "torchvision"]
Training = Literal["the authors'", "same augmentation, timm's", "another"]
"""Whose training the weights come from; "another" is with a recipe that is not that of the paper's row either."""


@dataclass(frozen=True, slots=True)
class Released:
    """Released weights for a row: what to evaluate, whose ``training`` they come from, and a ``note`` on that."""

    task: ReleasedEvaluation
    training: Training
    note: str

    @property
    def checks(self) -> bool:
        """Whether their accuracy checks the number that the paper prints in this row: only that of its own training."""
        return self.training == "the authors'"


_AUTHORS = "the authors' release, as timm converted it"
_OWN = "trained by timm with its own recipe ({}); the printed number is of another training"
_WEIGHTS: dict[str, tuple[Library, Training, str]] = {
    "EfficientNet-B0 + RA": (
        "timm",
        "same augmentation, timm's",
        "same augmentation, another training (timm's ra_in1k): agrees by its published number, rounded",
    ),
    "TinyNet-A + RA": (
        "timm",
        "the authors'",
        f"{_AUTHORS}; its published accuracy is that of this row, so that plain TinyNet-A has no released weights",
    ),
    "TinyNet-B": ("timm", "the authors'", _AUTHORS),
    "TinyNet-C": ("timm", "the authors'", _AUTHORS),
    "TinyNet-D": ("timm", "the authors'", _AUTHORS),
    "TinyNet-E": ("timm", "the authors'", _AUTHORS),
    "MnasNet-A1": ("timm", "another", _OWN.format("rmsp_in1k")),
    "MobileNetV2 1.0x": ("timm", "another", _OWN.format("ra_in1k")),
    "MobileNetV2 0.5x": ("timm", "another", _OWN.format("lamb_in1k")),
    "MobileNetV3 Small 0.75x": ("timm", "another", _OWN.format("lamb_in1k")),
    "MobileNetV3 Small 0.5x": ("timm", "another", _OWN.format("lamb_in1k")),
    "MobileNetV3 Small 1.0x (r=0.57)": (
        "timm",
        "another",
        "trained by timm at 224 pixels (lamb_in1k), where this row is a network for 128",
    ),
    "ShuffleNetV2 1.5x": ("torchvision", "another", "trained by torchvision with its newer recipe"),
    "ShuffleNetV2 0.5x": ("torchvision", "another", "trained by torchvision"),
}


def released() -> dict[str, Released]:
    """The rows of Table 3 with released weights, by the name of the row, in the order of the table."""
    found = {}
    for row in rows("table3"):
        if row["model"] in _WEIGHTS:
            library, training, note = _WEIGHTS[row["model"]]
            task = ReleasedEvaluation(network=row["network"], library=library)
            found[row["model"]] = Released(task, training, note)
    return found
