"""What the benchmarks share: measuring on a quiet machine, keeping the results, and peers' training loops.

A loop on all threads waits at every step for the slowest of them: one busy neighbour slows it many times over, and
processes of one thread hardly. A comparison of the two on a busy machine says nothing, so a measurement is repeated
until other programs left the machine alone.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import psutil
import torch
from PIL import Image
from scipy.stats import binom
from timm.data import create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from tinynet_core.data import ImageSet
from tinynet_core.files import UserError
from tinynet_core.machine import processor
from tinynet_core.networks import Network
from tinynet_core.study.local import LocalExecutor
from tinynet_core.study.presets import project_root
from tinynet_core.study.record import provenance
from tinynet_core.training.augment import MEAN, STD
from tinynet_core.training.recipe import Recipe

RESULTS = project_root() / "book" / "benchmarks.json"
PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow")
LIMIT = 0.1
"""Share of the cores that other programs may take during a measurement."""
PATIENCE_S = 3600.0
"""How long a quiet moment is waited for."""
TIMM_OPTIMIZERS = {"adamw": "adamw", "sgd": "nesterov", "rmsprop": "rmsproptf"}
FILTERS = {"bilinear": v2.InterpolationMode.BILINEAR, "bicubic": v2.InterpolationMode.BICUBIC}
T = TypeVar("T")


class Clocks(NamedTuple):
    """Seconds of wall time, of all cores not idle, and of this process with its children, the ended ones included."""

    wall: float
    busy: float
    own: float


def clocks() -> Clocks:
    cpu, own = psutil.cpu_times(), sum(os.times()[:4])
    waiting = sum(getattr(cpu, name, 0.0) for name in ("iowait", "guest", "guest_nice"))
    for child in psutil.Process().children(recursive=True):
        try:
            own += sum(child.cpu_times()[:4])
        except psutil.NoSuchProcess:  # it has ended meanwhile
            continue
    return Clocks(time.monotonic(), sum(cpu) - cpu.idle - waiting, own)


def others(start: Clocks, end: Clocks) -> float:
    """Share of the cores that other programs took between two readings."""
    theirs = (end.busy - start.busy) - (end.own - start.own)
    return min(1.0, max(0.0, theirs / ((end.wall - start.wall) * psutil.cpu_count())))


def timed(work: Callable[..., object], *arguments) -> float:
    """Seconds that ``work`` takes."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def median_interval(times: Sequence[float]) -> tuple[float, float]:
    """The order statistics between which the true median lies with at least 95%, for independent ``times``.

    The number of times below the median is binomial. Fewer than six times reach no 95%: their extremes are given.
    """
    ordered = sorted(times)
    below = max(int(binom.ppf(0.025, len(ordered), 0.5)) - 1, 0)
    return ordered[below], ordered[-1 - below]


class Recording:
    """The rows of one script. A ``with`` block that ends without an error replaces its section of the results.

    ``arguments`` are those that the script was called with, as far as they matter. What other programs took of the
    cores is recorded too: at most during the runs of ``quietly``, else on average over the block.
    """

    def __init__(self, script: str, arguments: str = "", path: Path = RESULTS, limit: float = 1.0) -> None:
        self.script, self.path, self.limit = script, path, limit
        self.command = f"python benchmarks/{script}.py {arguments}".rstrip()
        self.rows: list[dict[str, Any]] = []
        self.worst: float | None = None

    def __enter__(self) -> "Recording":
        self._start = clocks()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        if kind is None:
            self._write()

    def quietly(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, run again until others took at most ``limit``; ``UserError`` after an hour."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            start = clocks()
            result = work()
            end = clocks()
            share = others(start, end)
            if share <= self.limit:
                self.worst = max(share, self.worst or 0.0)
                return result
            if time.monotonic() > deadline:
                raise UserError(
                    f"other programs took {share:.0%} of the cores, allowed are {self.limit:.0%}: "
                    "stop them, or measure with --others 1"
                )
            time.sleep(end.wall - start.wall)  # leaves them half of the time

    def add(
        self,
        what: str,
        values: float | Sequence[float] | np.ndarray,
        unit: str = "",
        *,
        group: str = "",
        interval: tuple[float, float] | None = None,
        **more: float | str | None,
    ) -> None:
        """One row: the median of ``values`` with their range, or with the 95% ``interval`` where one is given.

        Rows of one ``group``, by default those of the script, share a table. ``more`` are ``at_least`` and ``at_most``,
        the ends of the target; ``peer``, what it is compared with; ``x`` and ``x_label``, what a cost is drawn against.
        """
        many = np.atleast_1d(np.asarray(values, dtype=float))
        low, high = interval or (many.min(), many.max())
        row = {"group": group or self.script, "what": what, "value": _digits(np.median(many))}
        row |= {"low": _digits(low), "high": _digits(high), "n": len(many), "unit": unit}
        more |= {"interval": "95%"} if interval else {}
        self.rows.append(row | {key: value for key, value in more.items() if value not in (None, "")})
        print(_line(self.rows[-1]), flush=True)

    def _write(self) -> None:
        sections = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        average = others(self._start, clocks())
        sections[self.script] = {
            "command": self.command,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "others": round(average if self.worst is None else self.worst, 3),
            "others_are": "average" if self.worst is None else "most",
            "history": _history(sections.get(self.script)),
            "rows": self.rows,
        }
        scratch = self.path.with_suffix(".tmp")
        scratch.write_text(json.dumps(dict(sorted(sections.items())), indent=1) + "\n", encoding="utf-8")
        scratch.rename(self.path)


def _history(before: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What the section that is replaced kept of older ones, and its own rows with a target; the oldest first."""
    if before is None:
        return []
    rows = [row for row in before["rows"] if "at_least" in row or "at_most" in row]
    about = {"date": before["date"], "commit": before["machine"]["commit"], "processor": before["machine"]["processor"]}
    return [*before.get("history", []), *([about | {"rows": rows}] if rows else [])]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    made = provenance("auto")
    return {
        "processor": processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": made["python"],
        "packages": {name: version(name) for name in PACKAGES},
        "commit": made["commit"],
        "clean": made["clean"],
    }


def _digits(x: float) -> float:
    return float(f"{x:.5g}")


def _line(row: dict[str, Any]) -> str:
    target = "".join(
        f", target {sign} {row[key]:g}" for key, sign in (("at_least", "≥"), ("at_most", "≤")) if key in row
    )
    against = f" against {row['peer']}" if "peer" in row else ""
    at = f" at {row['x']:,g}" if "x" in row else ""
    return f"{row['what']}{at}{against}: {row['value']:,g} {row['unit']} [{row['low']:,g}, {row['high']:,g}]{target}"


# Training loops as others write them. Both are generators that yield after every step of one epoch, so that whoever
# calls them decides what is timed. What costs a loop time without making it another loop is left out: evaluation,
# logging, checkpoints.


class Pictures(Dataset):
    """PIL images in memory with their labels: what an image folder gives, without the disk and the decoder."""

    def __init__(self, pictures: Sequence[Image.Image], labels: Sequence[int]) -> None:
        self.pictures, self.labels, self.transform = pictures, labels, None

    @classmethod
    def of(cls, images: ImageSet) -> "Pictures":
        """The training images of ``images``."""
        return cls([Image.fromarray(image) for image in images.train_images], images.train_labels.tolist())

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        return self.transform(self.pictures[i]), self.labels[i]


def build(spec: Network, recipe: Recipe, device: torch.device) -> nn.Module:
    """The module of ``spec`` as the engine builds it, in the default layout."""
    return spec.build(recipe.dropout, recipe.zero_init_residual, recipe.zero_init_classifier).to(device).train()


def torchvision_steps(
    spec: Network, data: Dataset, recipe: Recipe, workers: int, device: torch.device
) -> Iterator[None]:
    """As torchvision's references for classification: DataLoader, transforms of PIL images, the default layout."""
    data.transform = v2.Compose(
        [
            v2.RandomResizedCrop(spec.resolution, recipe.crop_area, recipe.crop_aspect, FILTERS[recipe.interpolation]),
            v2.RandomHorizontalFlip(recipe.mirror),
            v2.ColorJitter(recipe.jitter, recipe.jitter, recipe.jitter),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    pin = device.type == "cuda"
    loader = DataLoader(data, recipe.batch_size, shuffle=True, num_workers=workers, pin_memory=pin, drop_last=True)
    model = build(spec, recipe, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.peak_lr, weight_decay=recipe.weight_decay)
    for images, labels in loader:
        images, labels = images.to(device, non_blocking=pin), labels.to(device, non_blocking=pin)
        with autocast(recipe, device):
            loss = F.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield


def timm_steps(
    spec: Network, data: Dataset, recipe: Recipe, workers: int, device: torch.device, channels_last: bool
) -> Iterator[None]:
    """As timm's train.py, from timm's own parts: loader with prefetcher, loss, optimiser and averaged weights.

    ``channels_last`` is what its option --channels-last does.
    """
    loader = create_loader(
        data,
        spec.resolution,
        recipe.batch_size,
        is_training=True,
        scale=recipe.crop_area,
        ratio=recipe.crop_aspect,
        hflip=recipe.mirror,
        color_jitter=recipe.jitter,
        interpolation=recipe.interpolation,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        device=device,
        persistent_workers=False,
    )
    model = build(spec, recipe, device)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(
        model, TIMM_OPTIMIZERS[recipe.optimizer], recipe.peak_lr, recipe.weight_decay, recipe.momentum
    )
    averaged = ModelEmaV3(model, decay=recipe.ema_decay, use_warmup=recipe.ema_warmup)
    loss_of = LabelSmoothingCrossEntropy(recipe.label_smoothing)
    for step, (images, labels) in enumerate(loader, 1):
        if channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast(recipe, device):
            loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        averaged.update(model, step=step)
        yield


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager:
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")


def in_workers(executor: LocalExecutor, jobs: Sequence[tuple]) -> list[Any]:
    """What the jobs, each a function with its arguments, give in the workers, in the order in which they end."""
    found, waiting = [], list(jobs)
    while len(found) < len(jobs):
        while waiting and executor.idle:
            executor.start(*waiting.pop(0))
        found += [executor.result(worker) for worker in executor.ended(1.0)]
    return found
