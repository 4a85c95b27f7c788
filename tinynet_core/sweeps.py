"""Candidates and their training: sample scales, run experiments, one process each."""

import os
import signal
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from multiprocessing import get_context

import numpy as np
from tqdm import tqdm

from tinynet_core.data import load_glyphs
from tinynet_core.errors import UserError
from tinynet_core.experiment import Experiment, Record, execute, failed
from tinynet_core.networks import network
from tinynet_core.scale import Base, Scale
from tinynet_core.shrinking import UnreachableBudget, solve_width
from tinynet_core.store import Store


class SweepError(UserError):
    """Experiments that stopped for a reason that is not their own, and have no record."""


RANGE = (0.35, 2.8)
"""The paper samples r, d and w from this range (section 4.2)."""


def sample_scales(
    net_name: str,
    n: int,
    window: tuple[float, float] = (0.03, 1.05),
    seed: int = 0,
    base: Base | None = None,
    num_classes: int = 1000,
) -> list[Scale]:
    """``n`` random scales, r, d, w uniform on 0.35 ... 2.8, whose MACs lie in ``window`` times the baseline's.

    The first k of a larger sample are the sample of k (paper, sections 3.2 and 4.2).
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if not 0 < window[0] < window[1]:
        raise ValueError(f"window must satisfy 0 < low < high, got {window}")
    c0 = network(net_name, num_classes=num_classes, base=base).complexity().macs
    rng = np.random.default_rng(seed)
    scales: list[Scale] = []
    for _ in range(2000 * n):
        scale = Scale(*(float(x) for x in rng.uniform(*RANGE, 3)))
        macs = network(net_name, scale, num_classes, base=base).complexity().macs
        if window[0] * c0 <= macs <= window[1] * c0:
            scales.append(scale)
            if len(scales) == n:
                return scales
    raise ValueError(f"window {window} accepts too few scales of {net_name}: {len(scales)} of {n} found")


def sample_scales_at(
    net_name: str,
    n: int,
    c: float,
    tolerance: float = 0.03,
    seed: int = 0,
    base: Base | None = None,
    num_classes: int = 1000,
) -> list[Scale]:
    """``n`` random scales at a fraction ``c`` of the baseline's MACs, to within ``tolerance`` (paper, section 3.1).

    r and d are uniform on 0.35 ... 2.8 and the width is solved; a width outside that range is drawn again. The paper
    does not say which widths it allowed.
    """
    c0 = network(net_name, num_classes=num_classes, base=base).complexity().macs
    rng = np.random.default_rng(seed)
    scales: list[Scale] = []
    for _ in range(2000 * n):
        r, d = (float(x) for x in rng.uniform(*RANGE, 2))
        try:
            width = solve_width(net_name, c * c0, r, d, base=base, num_classes=num_classes)
        except UnreachableBudget:
            continue
        if abs(width.error) <= tolerance and RANGE[0] <= width.x <= RANGE[1]:
            scales.append(Scale(r, d, width.x))
            if len(scales) == n:
                return scales
    raise ValueError(f"c = {c:g} accepts too few scales of {net_name}: {len(scales)} of {n} found")


def run(experiment: Experiment, store: Store, device: str = "auto") -> Record:
    """The record of ``experiment``: from ``store``, or trained in this process and put there."""
    if (record := store.get(experiment)) is not None:
        return record
    store.check_writable()
    return _keep(store, execute(experiment, device, store.checkpoint(experiment)))


def sweep(
    experiments: Iterable[Experiment],
    store: Store,
    executor: str = "local",
    workers: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> list[Record]:
    """Records of ``experiments`` in their order; those not in ``store`` are trained, in ``workers`` processes.

    A run that diverges, runs out of memory or loses its process is recorded as failed and the sweep goes on. Anything
    else that stops a run, such as a full disk, is reported by ``SweepError`` after the others have ended. An
    interrupted sweep loses at most the epochs under way.
    """
    if executor != "local":
        raise ValueError(f"executor must be 'local', got {executor!r}")
    wanted = list(experiments)
    todo = store.missing(wanted)
    if todo:
        store.check_writable()
        workers = min(workers or _default_workers(), len(todo))
        for dataset in dict.fromkeys(e.dataset for e in todo):
            load_glyphs(dataset, workers, progress)
        _run_local(todo, store, workers, device, progress)
    records = [store.get(e) for e in wanted]
    return [r for r in records if r is not None]


def _default_workers() -> int:
    import torch

    if torch.cuda.is_available():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_local(todo: Sequence[Experiment], store: Store, workers: int, device: str, progress: bool) -> None:
    """Largest first, so that no long run is left alone at the end; the bar counts multiply-adds, not models."""
    from pebble import ProcessPool

    work = {e: _work(e) for e in todo}
    order = sorted(todo, key=lambda e: -work[e])
    pool = ProcessPool(workers, context=get_context("spawn"), initializer=_start_worker)
    failures, broken = 0, []
    with (
        pool,
        tqdm(total=sum(work.values()), unit="MAC", unit_scale=True, desc="training", disable=not progress) as bar,
    ):
        try:
            futures: dict[Future, Experiment] = {
                pool.schedule(execute, args=(e, device, store.checkpoint(e))): e for e in order
            }
            pending: set[Future] = set(futures)
            while pending:
                finished, pending = wait(pending, timeout=5, return_when=FIRST_COMPLETED)
                for future in finished:
                    experiment = futures[future]
                    bar.update(work[experiment])
                    try:
                        record = _result(future, experiment)
                    except Exception as error:  # a defect or a full disk, not a result
                        what = f"{type(error).__name__}: {error}"
                        broken.append(f"{experiment.key[:12]} {experiment.spec().scale}: {what}")
                        continue
                    failures += not _keep(store, record).done
                bar.set_description(f"trained {len(todo) - len(pending)}/{len(todo)} models, {failures} failed")
        except BaseException:
            pool.stop()
            raise
    if broken:
        raise SweepError("\n".join([f"{len(broken)} experiments stopped without a result:", *broken]))


def _result(future, experiment: Experiment) -> Record:
    from pebble import ProcessExpired

    try:
        return future.result()
    except ProcessExpired as death:
        return failed(experiment, f"the worker process ended with {_exit_name(death.exitcode)}")


def _exit_name(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name
    return f"{name}, as it does when memory runs out" if name == "SIGKILL" else name


def _keep(store: Store, record: Record) -> Record:
    store.put(record)
    store.checkpoint(record.experiment).unlink(missing_ok=True)
    return record


def _work(experiment: Experiment) -> int:
    """Multiply-adds of the forward passes of training, in proportion to the time it takes."""
    macs = experiment.spec().complexity().macs
    return macs * experiment.dataset.train_images * experiment.recipe.epochs


def _start_worker() -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides when to stop
    torch.set_num_threads(1)
