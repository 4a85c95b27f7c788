"""A network as an ONNX file that ONNX Runtime is known to run to the same logits as torch, and the time it takes."""

import copy
import io
import json
import tempfile
import time
import warnings
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from tinynet_core.files import UserError, check_target, exported
from tinynet_core.networks.spec import Network, Specification
from tinynet_core.networks.trace import counted

TOLERANCE = 1e-4  # largest difference of two logits that is allowed, as a share of the largest logit
OPSET = 17  # the version of ONNX's operators


class ExportError(UserError):
    """The network has no faithful ONNX form: torch cannot export it, or ONNX Runtime computes something else."""


def export_onnx(spec: Specification, path: Path, weights: str | Path | None = None) -> tuple[float, float]:
    """Write ``spec`` to ``path`` as one ONNX file: ``image`` (batch, 3, R, R) to ``logits`` (batch, classes), float32.

    ``weights`` are those of ``Network.build``, random ones where left out (see ``build_module``). Batch norms may be
    folded into convolutions. The file appears only after ONNX Runtime agreed with torch on two random images, to
    ``TOLERANCE``; ``ExportError`` says that it did not, or that torch cannot export the network. Returns the largest
    difference of their logits, and its share of the largest logit.
    """
    check_target(path, (".onnx",))
    module, images = build_module(spec, weights)
    with exported(path) as file:
        onnx = write_onnx(module, images[:3], spec.name, any_batch=True)
        differences = _differences(module, onnx, images[:2], spec.name)
        file.write(onnx)
    return differences


def build_module(spec: Specification, weights: str | Path | None = None) -> tuple[nn.Module, Tensor]:
    """The module of ``spec``, ready for inference, and four random images for it. Torch's global state stays as it was.

    An untrained network of this package gets the batch-norm statistics of these images. With those it starts with,
    the signal of a deep one vanishes or grows without bound: logits that say nothing, and arithmetic on denormals.
    """
    if weights is not None and not isinstance(spec, Network):
        raise UserError(f"weights are for the networks of this package, {spec.name} is another one")
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, getattr(spec, "channels", 3), spec.resolution, spec.resolution, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = spec.build(weights=weights) if isinstance(spec, Network) else spec.build()
        if isinstance(spec, Network) and weights is None:
            update_bn([images], module)
    return module.eval(), images


def write_onnx(module: nn.Module, images: Tensor, name: str, any_batch: bool = False) -> bytes:
    """``module``, called ``name``, as the bytes of an ONNX file for the size of ``images``, or for any batch.

    Takes torch's TorchScript exporter: it needs a tenth of the time of the one on ``torch.export``, for the same
    speed of the exported network.
    """
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
    names["dynamic_axes"] = {"image": {0: "batch"}, "logits": {0: "batch"}} if any_batch else None
    content = io.BytesIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # where torch prints what it cannot export
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (images,), content, dynamo=False, opset_version=OPSET, **names)  # type: ignore[arg-type]
    except Exception as error:  # a module of any author, and torch's own types
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{name} cannot be exported to ONNX: {reason}") from error
    return content.getvalue()


def open_session(onnx: bytes, threads: int = 0, profile: str = "") -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU, one operator after the other, each on ``threads`` threads, 0: on all.

    ``profile`` begins the name of a file that the times of operators are written to.
    """
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = bool(profile), profile
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads, options.intra_op_num_threads = 1, threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def _differences(module: nn.Module, onnx: bytes, images: Tensor, name: str) -> tuple[float, float]:
    """The largest difference between the logits of ``module`` and of its ONNX form, and its share of the largest.

    Allowed is ``TOLERANCE`` times the largest logit, or twice torch's own error in single precision where that is more.
    """
    with torch.no_grad():
        logits = module(images)
    if not isinstance(logits, Tensor):
        raise ExportError(f"{name} must give a tensor of logits, got a {type(logits).__name__}")
    expected = logits.numpy()
    (found,) = open_session(onnx).run(None, {"image": images.numpy()})
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        raise ExportError(f"{name}: logits are not finite")
    difference, largest = float(np.abs(found - expected).max()), float(np.abs(expected).max())
    if difference > TOLERANCE * largest:
        with torch.no_grad():
            exact = copy.deepcopy(module).double()(images.double()).numpy()
        allowed = max(TOLERANCE * largest, 2 * np.abs(expected - exact).max())
        if np.abs(found - exact).max() > allowed:
            said = f"differ by {difference:.3g}, allowed is {allowed:.3g}"
            raise ExportError(f"{name}: logits of ONNX Runtime and torch {said}")
    return difference, difference / largest if largest else 0.0


Run = Callable[[], float]  # runs a network once for one image and returns the milliseconds that it took
WARMUP, REPEATS = 5, 30


def measure_latency(spec: Specification) -> float:
    """Milliseconds of ``spec`` for one random image on one thread: the median of 30 runs after 5 to warm up."""
    module, images = build_module(spec)
    run = onnx_run(module, images[:1], spec.name)
    return median([run() for _ in range(WARMUP + REPEATS)][WARMUP:])


def onnx_run(module: nn.Module, image: Tensor, name: str, threads: int = 1) -> Run:
    """``module``, called ``name``, exported for the size of ``image`` and run by ONNX Runtime."""
    session = open_session(write_onnx(module, image, name), threads)
    inputs = {"image": image.contiguous().numpy()}

    def run() -> float:
        start = time.perf_counter()
        session.run(None, inputs)
        return (time.perf_counter() - start) * 1e3

    return run


PRODUCTS = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
"""Operators of ONNX Runtime that multiply and add."""


def profile(spec: Specification) -> list[float]:
    """Milliseconds of each of ``spec.rows()`` for one random image on one thread of ONNX Runtime, medians of 30 runs.

    What runs between two products, such as activations and squeezes, counts to the row of the first. Raises
    ``ExportError`` where ONNX Runtime has other products than torch, and ``UserError`` for a network without rows.
    """
    if not spec.rows():
        raise UserError(f"{spec.name} has no architecture table whose rows could be timed")
    module, images = build_module(spec)
    nodes, places = node_times(module, images[:1], spec.name), row_of_products(spec, module)
    if len(places) != sum(operator in PRODUCTS for _, operator in nodes):
        raise ExportError(f"{spec.name}: ONNX Runtime has other products than the {len(places)} of torch")
    found, row, done = [0.0] * len(spec.rows()), 0, 0
    for (_, operator), ms in nodes.items():
        if operator in PRODUCTS:
            row, done = places[done], done + 1
        elif ("Pool" in operator or operator == "ReduceMean") and done < len(places) and places[done] > row + 1:
            row += 1  # it is the row before the next one with products
        found[row] += ms
    return found


def row_of_products(spec: Specification, module: nn.Module) -> list[int]:
    """The row of each product, in the order of torch's calls: by the MACs up to it."""
    ends = [*accumulate(row.macs for row in spec.rows())]
    return [bisect_left(ends, macs) for macs in accumulate(counted(module, spec.resolution, 3).products)]


def node_times(module: nn.Module, image: Tensor, name: str) -> dict[tuple[str, str], float]:
    """Median milliseconds of every node that ONNX Runtime runs, in its order, by name and operator."""
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(write_onnx(module, image, name), 1, f"{folder}/profile")
        for _ in range(WARMUP + REPEATS):
            session.run(None, {"image": image.contiguous().numpy()})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"].removesuffix("_kernel_time"), event["args"]["op_name"]].append(event["dur"] / 1e3)
    return {node: median(ms[WARMUP:]) for node, ms in times.items()}
