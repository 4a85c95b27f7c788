"""Tasks on a Ray cluster, or on one that is started on this machine for as long as the sweep takes.

Ray places the runs; the sweep itself tries again what died, so that one rule counts everywhere. A run whose node was
lost, or asked back by a scheduler, does not count as having died.
"""

import logging
import os
import shlex
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tinynet_core.machine import Resources, folder_for_sockets
from tinynet_core.study.worker import ExecutorError, NoRecord, WorkerDied, noting

_BEHIND = 70
"""Bytes that Ray puts behind its folder in the path of a socket."""
_PASSED_ON = ("TINYNET_CACHE", "TINYNET_IMAGENET", "TINYNET_COCO")


def _environment() -> dict[str, Any]:
    """What the workers are given. Ray leaves a space in the path of Python to the shell, which takes it for an end."""
    found: dict[str, Any] = {"env_vars": {name: os.environ[name] for name in _PASSED_ON if name in os.environ}}
    quoted = shlex.quote(sys.executable)
    return found if quoted == sys.executable else found | {"py_executable": quoted}


class RayExecutor:
    """Tasks that hold ``resources.cpus`` cores and ``resources.gpus`` of a GPU each.

    Uses the cluster that the process is already connected to, else connects to ``address`` and leaves it at ``close``.
    Raises ``ExecutorError`` where there is no Ray or no cluster.
    """

    def __init__(self, resources: Resources, device: str = "auto", address: str | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise ExecutorError("executor 'ray' needs Ray: pip install 'tinynet-core[ray]'") from error
        self.capacity = resources.workers
        self._ray = ray
        self._owned = not ray.is_initialized()
        if self._owned:
            _connect(address)
        share = resources.gpu_share(int(ray.cluster_resources().get("GPU", 0)))
        _warn_of_lack(ray.cluster_resources(), CPU=resources.cpus, GPU=share)
        self._device = "cpu" if device == "auto" and not share else device
        self._threads = resources.cpus
        self._task = ray.remote(
            num_cpus=resources.cpus,
            num_gpus=share,
            max_retries=0,
            runtime_env=_environment(),
        )(_on_node)
        self._refs: dict[Future, Any] = {}

    def submit(self, function: Callable[..., Any], *args: Any) -> Future:
        ref = self._task.remote(function, args, self._device, self._threads)
        future: Future = Future()
        self._refs[future] = ref
        ref.future().add_done_callback(lambda ended: self._translate(ended, future))
        return future

    def _translate(self, ended: Future, future: Future) -> None:
        errors = self._ray.exceptions
        del self._refs[future]
        try:
            future.set_result(ended.result())
        except errors.TaskCancelledError:
            future.set_result(NoRecord.STOPPED)
        except errors.NodeDiedError:
            future.set_exception(WorkerDied("its node was lost", asked=True))
        except errors.OutOfMemoryError:
            future.set_exception(WorkerDied("Ray ended the worker process, since the memory of its node ran out"))
        except errors.WorkerCrashedError:
            future.set_exception(WorkerDied("the worker process died"))
        except errors.RayTaskError as error:
            future.set_exception(error.cause if isinstance(error.cause, Exception) else error)
        except Exception as error:
            future.set_exception(error)

    def steps(self, future: Future) -> int:
        return 0

    def stop(self) -> None:
        for ref in list(self._refs.values()):
            self._ray.cancel(ref, force=False)

    def close(self) -> None:
        for ref in list(self._refs.values()):
            self._ray.cancel(ref, force=True)
        if self._owned:
            self._ray.shutdown()


def _connect(address: str | None) -> None:
    """Join the cluster at ``address``, or at $RAY_ADDRESS, or start one here; leave the process's handlers alone."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not (address or os.environ.get("RAY_ADDRESS")):
        os.environ.setdefault("RAY_TMPDIR", folder_for_sockets(_BEHIND))
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _knock(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises bare ones when its processes do not come up
        where = f"the Ray cluster at {address} cannot be joined" if address else "Ray cannot be started"
        raise ExecutorError(f"{where}: {str(error).splitlines()[0]}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _knock(address: str) -> None:
    """Raise ``OSError`` when nobody listens at ``host:port``, for which Ray itself takes minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _warn_of_lack(there: dict[str, float], **wanted: float) -> None:
    for name, amount in wanted.items():
        if amount > there.get(name, 0):
            warnings.warn(
                f"a run holds {amount:g} {name}, the Ray cluster has {there.get(name, 0):g}: waiting for nodes to join",
                stacklevel=4,
            )


def _on_node(function: Callable[..., Any], args: tuple, device: str, threads: int) -> Any:
    """The task: as a local worker runs it. Ray's cancel comes as SIGINT."""
    import torch

    torch.set_num_threads(threads)
    with noting(signal.SIGINT) as asked:
        return function(*args, device, lambda: bool(asked))
