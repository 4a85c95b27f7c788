"""Training on one CUDA device: images per second and models per hour of TinyNet-A to E and EfficientNet-B0.

Ours keeps uint8 images in the device's memory and runs the engine's steps, with and without torch.compile, and small
networks also several at a time in processes of their own. The peer is timm's loop (frame.py) with its prefetcher on
JPEG files in memory, channels last. Recipe, bfloat16 included, and size of stored images are those of the preset
imagenet100; the pixels are drawn, since only their number matters here. About an hour.

With --quick, in ten minutes: whether bfloat16, torch.compile, several runs on the device and the way from JPEG files
into it work here, images per second, and from these the hours that each preset for a GPU takes.
"""

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import torch
from frame import RESULTS, Recording, in_workers, timed, timm_steps
from PIL import Image
from scipy.optimize import nnls
from torch.utils.data import Dataset

import tinynet_core as tn
from tinynet_core.data import ImageSet, load_imagenet
from tinynet_core.machine import cores
from tinynet_core.study.local import LocalExecutor
from tinynet_core.study.pages import plan
from tinynet_core.training import classifier

NETWORKS = ("efficientnet_b0", "tinynet_a", "tinynet_b", "tinynet_c", "tinynet_d", "tinynet_e")
SMALL = ("tinynet_d", "tinynet_e")
PROCESSES = (1, 2, 4)
BATCHES = (512, 1024)
CLASSES = 100
PRESETS = ("imagenette", "imagenet100", "imagenet1k")
JPEG_SIZE = (500, 375)
"""Width and height of a usual image of ImageNet."""


def recipe_of(batch_size: int, norm_batch: int | None = None) -> tn.Recipe:
    """The preset's recipe, by default with the whole batch in one pass, as a loop of timm has it."""
    update = {"batch_size": batch_size, "norm_batch": norm_batch}
    return tn.load_preset("imagenet100").recipe.model_copy(update=update)


def drawn(count: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """uint8 (height, width, 3): smooth colours and a little noise, which JPEG packs about as well as photographs."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.int16)
        yield np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)


@cache
def stored(count: int, side: int) -> ImageSet:
    """Images as the engine has them."""
    images, labels = np.stack([*drawn(count, (side, side))]), np.arange(count) % CLASSES
    return ImageSet(images, labels, images[:CLASSES], labels[:CLASSES], "")


class Jpegs(Dataset):
    """``length`` images, decoded from some JPEG files in memory at every access."""

    def __init__(self, length: int, distinct: int = 512) -> None:
        self.length, self.transform = length, None
        self.files = [jpeg(pixels) for pixels in drawn(min(distinct, length), JPEG_SIZE)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int):
        image = Image.open(io.BytesIO(self.files[i % len(self.files)]))
        return self.transform(image.convert("RGB")), i % CLASSES


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def our_steps(name: str, images: ImageSet, recipe: tn.Recipe, device: torch.device, compiled: bool) -> Iterator[None]:
    """Steps of the engine without end."""
    torch.compiler.reset()  # torch gives up compiling a function after some networks
    spec = tn.network(name, num_classes=CLASSES)
    run = classifier.Run(lambda: spec.build(recipe.dropout), spec.resolution, images, recipe, 0, device, compiled)
    run.forward.train()
    while True:
        order = torch.randperm(len(run.train_set)).split(recipe.batch_size)
        for batch in run.train_set.batches([part for part in order if len(part) == recipe.batch_size]):
            run.train_step(batch)
            yield


def rate(steps: Iterator[None], batch_size: int, device: torch.device, warm_s: float, seconds: float) -> float:
    """Images per second of ``steps`` for so many seconds, after those in which kernels are chosen and queues empty."""
    _count(steps, device, warm_s)
    done, took = _count(steps, device, seconds)
    return done * batch_size / took


def _count(steps: Iterator[None], device: torch.device, seconds: float) -> tuple[int, float]:
    """Steps in at least so many seconds and one step, and the seconds until the device had finished them."""
    done, start = 0, time.perf_counter()
    while not done or time.perf_counter() - start < seconds:
        next(steps)
        done += 1
        if done % 8 == 0:
            _finish(device)  # or the clock would only see the launches
    _finish(device)
    return done, time.perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate_and_memory(
    start: Callable[[], Iterator[None]], batch_size: int, device: torch.device, seconds: float
) -> tuple[float, float]:
    """Images per second of a training begun by ``start``, and the most GiB of it that torch held; 0 on a CPU."""
    if device.type != "cuda":
        return rate(start(), batch_size, device, seconds, seconds), 0.0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return rate(start(), batch_size, device, seconds, seconds), torch.cuda.max_memory_reserved(device) / 2**30


def in_worker(name: str, batch_size: int, count: int, seconds: float, device: str, _should_stop) -> float:
    target = torch.device(device)
    images = stored(count, tn.load_preset("imagenet100").dataset.side)
    return rate(our_steps(name, images, recipe_of(batch_size), target, False), batch_size, target, seconds, seconds)


def together(name: str, batch_size: int, processes: int, device: torch.device, count: int, seconds: float) -> float:
    """Images per second of so many processes that train at the same time, all together."""
    executor = LocalExecutor([str(device)] * processes, 1)
    try:
        for measured in (0.0, seconds):  # first until all are up
            rates = in_workers(executor, [(in_worker, name, batch_size, count, measured)] * processes)
        return sum(rates)
    finally:
        executor.close()


def contenders(
    name: str, batch_size: int, images: ImageSet, files: Dataset, device: torch.device, loaders: int, compiled: bool
) -> dict[str, Callable[[], Iterator[None]]]:
    """Functions that start training from the beginning."""
    spec, recipe = tn.network(name, num_classes=CLASSES), recipe_of(batch_size)
    part = tn.load_preset("imagenet100").recipe.norm_batch
    ours = partial(our_steps, name, images)
    ways: dict[str, Callable[[], Iterator[None]]] = {"ours": partial(ours, recipe, device, False)}
    if compiled:
        ways["ours, compiled"] = partial(ours, recipe, device, True)
    if part and part < batch_size:
        ways[f"ours, in parts of {part} images"] = partial(ours, recipe_of(batch_size, part), device, False)
    return ways | {"timm": partial(timm_steps, spec, files, recipe, loaders, device, channels_last=True)}


def record_rates(
    recording: Recording,
    name: str,
    batch_size: int,
    ways: dict[str, Callable[[], Iterator[None]]],
    device: torch.device,
    seconds: float,
    rounds: int,
) -> None:
    """Images per second, models of the preset per hour and memory of each contender, and the ratio to timm."""
    preset = tn.load_preset("imagenet100")
    shown = preset.dataset.train_images * preset.recipe.epochs
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, start in ways.items():
            found[way].append(rate_and_memory(start, batch_size, device, seconds))
    case = f"{name} at {tn.network(name).resolution} px, batch {batch_size}"
    timms = np.array([images_s for images_s, _ in found["timm"]])
    for way, results in found.items():
        rates, memory = np.array(results).T
        recording.add(f"{case}, {way}", rates, "images/s")
        recording.add(f"{case}, {way}", rates * 3600 / shown, "models/h")
        recording.add(f"{case}, {way}", memory, "GiB")
        if way != "timm":
            recording.add(f"{case}, {way}", rates / timms, "x", peer="timm, channels last")


def record_together(
    recording: Recording, name: str, batch_size: int, device: torch.device, count: int, seconds: float, rounds: int
) -> None:
    """Images per second of several processes that share the device."""
    for processes in PROCESSES:
        rates = [together(name, batch_size, processes, device, count, seconds) for _ in range(rounds)]
        what = f"{name}, batch {batch_size}, {processes} at once"
        recording.add(what, rates, "images/s")


def works(recording: Recording, what: str, check: Callable[[], float], unit: str) -> None:
    """A row with what ``check`` measures; where it fails, a row with 0 and the reason on the screen."""
    try:
        value = check()
    except Exception as error:  # whatever a driver, a compiler or a library lacks here
        print(f"{what} does not work here: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
        value = 0.0
    recording.add(what, value, unit)


def from_files(count: int) -> float:
    """JPEG files a second that are decoded into the cache, in as many processes as there are cores."""
    with tempfile.TemporaryDirectory() as folder:
        for i, pixels in enumerate(drawn(count, JPEG_SIZE)):
            place = Path(folder, "images", "train" if i % 2 else "val", f"n{i // 2 % 4}")
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{i}.jpg").write_bytes(jpeg(pixels))
        outside = {"TINYNET_IMAGENET": f"{folder}/images", "TINYNET_CACHE": f"{folder}/cache"}
        with patch.dict(os.environ, outside):
            seconds = timed(load_imagenet, tn.ImageNetDataset(classes=4, side=256), cores())
    return count / seconds


def preset_hours(rates: dict[str, float]) -> dict[str, float]:
    """Hours of all classifiers that a preset plans from the start, one at a time, by preset.

    ``rates`` are images per second by network. Seconds an image are fitted as a + b * MACs.
    """
    macs = np.array([tn.network(name).complexity().macs for name in rates], dtype=float)
    design = np.stack([np.ones_like(macs), macs / macs.max()], axis=1)
    fixed, grown = nnls(design, np.array([1 / rate for rate in rates.values()]))[0]
    hours = {}
    for preset in PRESETS:
        tasks = [task for task in plan(tn.Study(preset, train=False))[0] if isinstance(task, tn.Experiment)]
        images = np.array([task.recipe.epochs * task.dataset.train_images for task in tasks], dtype=float)
        costs = np.array([task.cost()["macs"] for task in tasks]) / macs.max()
        hours[preset] = float((images * (fixed + grown * costs)).sum() / 3600)
    return hours


def quick(
    recording: Recording, networks: Sequence[str], batch_size: int, device: torch.device, count: int, seconds: float
) -> None:
    """What works on the device, images per second of the networks, and hours of the presets."""
    small, recipe = networks[-1], recipe_of(batch_size)
    images = stored(count, tn.load_preset("imagenet100").dataset.side)

    def of(name: str, compiled: bool = False) -> float:
        return rate(our_steps(name, images, recipe, device, compiled), batch_size, device, seconds, seconds)

    works(recording, "bfloat16 in hardware", lambda: float(torch.cuda.is_bf16_supported(including_emulation=False)), "")
    works(recording, f"{small}, compiled", lambda: of(small, True), "images/s")
    works(recording, f"{small}, 2 at once", lambda: together(small, batch_size, 2, device, count, seconds), "images/s")
    works(recording, "JPEG files into the cache", lambda: from_files(256), "images/s")
    rates = {name: of(name) for name in networks}
    for name, images_s in rates.items():
        recording.add(f"{name} at {tn.network(name).resolution} px, batch {batch_size}", images_s, "images/s")
    for preset, hours in preset_hours(rates).items():
        recording.add(f"preset {preset}, its classifiers one at a time, estimated", hours, "h")


@click.command()
@click.option("--quick", "quickly", is_flag=True, help="Ten minutes: what works here, and the hours of each preset.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, help="File of results; the book's by default.")
@click.option("--loaders", type=click.IntRange(min=0), default=8, show_default=True, help="Processes of timm's loader.")
@click.option("--images", type=click.IntRange(min=1024), default=4096, show_default=True, help="In device memory.")
@click.option("--seconds", type=click.FloatRange(min=0), default=10.0, show_default=True, help="Of warm-up and timing.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def main(quickly: bool, out: Path, loaders: int, images: int, seconds: float, rounds: int) -> None:
    """Measure and record. Send the file back, and its figures stand on the page on speed."""
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a CUDA device that torch can use, and there is none", file=sys.stderr)
        sys.exit(2)
    device = torch.device("cuda:0")
    if quickly:
        with Recording("gpu", "--quick", out) as recording:
            quick(recording, NETWORKS, BATCHES[0], device, images, min(seconds, 5.0))
        return
    pixels = stored(images, tn.load_preset("imagenet100").dataset.side)
    files = Jpegs(2**22)  # more than are seen
    with Recording("gpu", path=out) as recording:
        for name in NETWORKS:
            for batch_size in BATCHES:
                ways = contenders(name, batch_size, pixels, files, device, loaders, compiled=True)
                record_rates(recording, name, batch_size, ways, device, seconds, rounds)
        for name in SMALL:
            record_together(recording, name, BATCHES[0], device, images, seconds, rounds)


if __name__ == "__main__":
    main()
