"""Export a network to ONNX, check that ONNX Runtime gives the logits of torch, and measure its latency."""

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

TOLERANCE = 1e-4  # largest allowed difference of two logits, as a share of the largest logit
OPSET = 17  # version of ONNX's operator set


class ExportError(UserError):
    """The network has no faithful ONNX form: torch cannot export it, or ONNX Runtime computes something else."""


def export_onnx(spec: Specification, path: Path, weights: str | Path | None = None) -> tuple[float, float]:
    """Write ``spec`` to ``path`` as one ONNX file: ``image`` (batch, 3, R, R) to ``logits`` (batch, classes), float32.

    ``weights`` are as for ``Network.build``; without them, the network is random (see ``build_module``). Batch norms
    may be folded into convolutions. The file appears only if ONNX Runtime and torch agree to ``TOLERANCE`` on two
    random images. Otherwise, or if torch cannot export the network, raises ``ExportError``. Returns the largest
    difference between the logits of both, and this difference as a share of the largest logit.
    """
    check_target(path, (".onnx",))
    module, images = build_module(spec, weights)
    with exported(path) as file:
        onnx = write_onnx(module, images[:3], spec.name, any_batch=True)
        differences = _differences(module, onnx, images[:2], spec.name)
        file.write(onnx)
    return differences


def build_module(spec: Specification, weights: str | Path | None = None) -> tuple[nn.Module, Tensor]:
    """Return the module of ``spec``, ready for inference, and four random images. Torch's global state is unchanged.

    An untrained network of this package gets the batch-norm statistics of these images. With the initial statistics,
    the signal of a deep network vanishes or grows without bound. Its logits then mean nothing, and denormals are slow.
    """
    if weights is not None and not isinstance(spec, Network):
        raise UserError(f"weights are for networks of this package; {spec.name} is your own network")
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, getattr(spec, "channels", 3), spec.resolution, spec.resolution, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = spec.build(weights=weights) if isinstance(spec, Network) else spec.build()
        if isinstance(spec, Network) and weights is None:
            update_bn([images], module)
    return module.eval(), images


def write_onnx(module: nn.Module, images: Tensor, name: str, any_batch: bool = False) -> bytes:
    """Return the bytes of an ONNX file of ``module`` for the size of ``images``; ``any_batch`` allows any batch size.

    Uses torch's TorchScript exporter. It takes a tenth of the time of the exporter based on ``torch.export``, and the
    exported network runs at the same speed. ``name`` appears in errors.
    """
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
    names["dynamic_axes"] = {"image": {0: "batch"}, "logits": {0: "batch"}} if any_batch else None
    content = io.BytesIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # torch prints there what it cannot export
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (images,), content, dynamo=False, opset_version=OPSET, **names)  # type: ignore[arg-type]
    except Exception as error:  # any type: the module may be anyone's, and torch has its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{name} cannot be exported to ONNX: {reason}") from error
    return content.getvalue()


def open_session(onnx: bytes, threads: int = 0, profile: str = "") -> onnxruntime.InferenceSession:
    """Open ONNX Runtime on the CPU. Operators run one after the other, each on ``threads`` threads (0: all).

    If given, ``profile`` is the start of the name of a file for the times of the operators.
    """
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = bool(profile), profile
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads, options.intra_op_num_threads = 1, threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def _differences(module: nn.Module, onnx: bytes, images: Tensor, name: str) -> tuple[float, float]:
    """Return the largest difference between logits of ``module`` and of its ONNX form, and its share of the largest.

    The limit is ``TOLERANCE`` times the largest logit, or twice torch's own float32 error if this is larger.
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


Run = Callable[[], float]  # runs a network once on one image and returns the milliseconds
WARMUP, REPEATS = 5, 30


def measure_latency(spec: Specification) -> float:
    """Return milliseconds of ``spec`` on one random image and one thread: median of 30 runs after 5 warm-up runs."""
    module, images = build_module(spec)
    run = onnx_run(module, images[:1], spec.name)
    return median([run() for _ in range(WARMUP + REPEATS)][WARMUP:])


def onnx_run(module: nn.Module, image: Tensor, name: str, threads: int = 1) -> Run:
    """Export ``module`` for the size of ``image``, and return a function that runs it once in ONNX Runtime."""
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
    """Return milliseconds of each of ``spec.rows()`` in ONNX Runtime: one random image, one thread, median of 30 runs.

    Operators between two products, such as activations and squeezes, count towards the row of the first product. Raises
    ``ExportError`` if ONNX Runtime has other products than torch, and ``UserError`` for a network without rows.
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
            row += 1  # a pooling row has no products; the next product is in a later row
        found[row] += ms
    return found


def row_of_products(spec: Specification, module: nn.Module) -> list[int]:
    """Return the row of each product, in the order of torch's calls. Cumulative MACs identify the row."""
    ends = [*accumulate(row.macs for row in spec.rows())]
    return [bisect_left(ends, macs) for macs in accumulate(counted(module, spec.resolution, 3).products)]


def node_times(module: nn.Module, image: Tensor, name: str) -> dict[tuple[str, str], float]:
    """Return median milliseconds of every node, by name and operator, in the order in which ONNX Runtime runs."""
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
