"""Run tasks on a Ray cluster, or on a Ray cluster of this machine that lives as long as the sweep.

Ray places the runs. The sweep itself retries runs that died, so that the same rule holds for every executor. A run
whose node was lost, or taken back by a scheduler, does not count as a death.
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
from typing import Any

from tinynet_core.machine import Resources, folder_for_sockets
from tinynet_core.study.local import ExecutorError, WorkerDied, noting

_BEHIND = 70
"""Number of bytes that Ray appends to its folder in the path of a socket."""
_PASSED_ON = ("TINYNET_CACHE", "TINYNET_IMAGENET", "TINYNET_COCO")


class RayExecutor:
    """Run tasks that each use ``resources.cpus`` cores and a share ``resources.gpus`` of a GPU.

    If the process is connected to a cluster, use that cluster. Otherwise connect to ``address``, and leave at
    ``close``. Raises ``ExecutorError`` if Ray is not installed or there is no cluster.
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
        there = ray.cluster_resources()
        share = resources.gpu_share(int(there.get("GPU", 0)))
        for name, amount in (("CPU", resources.cpus), ("GPU", share)):
            if amount > there.get(name, 0):
                has = f"the Ray cluster has {there.get(name, 0):g}: waiting for nodes to join"
                warnings.warn(f"a run holds {amount:g} {name}, {has}", stacklevel=4)
        self._device = "cpu" if device == "auto" and not share else device
        self._threads = resources.cpus
        environment: dict[str, Any] = {"env_vars": {x: os.environ[x] for x in _PASSED_ON if x in os.environ}}
        if shlex.quote(sys.executable) != sys.executable:  # Ray does not quote the path of Python for its shell
            environment["py_executable"] = shlex.quote(sys.executable)
        held: Any = {"num_cpus": resources.cpus, "num_gpus": share, "max_retries": 0}
        self._task = ray.remote(**held, runtime_env=environment)(_on_node)
        self._refs: list[Any] = []

    def start(self, function: Callable[..., Any], *args: Any) -> Any:
        ref = self._task.remote(function, args, self._device, self._threads)
        self._refs.append(ref)
        return ref

    def ended(self, timeout: float) -> list[Any]:
        return self._ray.wait(self._refs, timeout=timeout)[0] if self._refs else []

    def result(self, ref: Any) -> Any:
        errors = self._ray.exceptions
        self._refs.remove(ref)
        try:
            return self._ray.get(ref)
        except (errors.TaskCancelledError, errors.NodeDiedError) as error:
            raise WorkerDied("it was cancelled, or its node was lost", asked=True) from error
        except errors.OutOfMemoryError as error:
            raise WorkerDied("Ray ended the worker process, since the memory of its node ran out") from error
        except errors.WorkerCrashedError as error:
            raise WorkerDied("the worker process died") from error
        except errors.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from error

    def steps(self, ref: Any) -> int:
        return 0

    def stop(self) -> None:
        for ref in self._refs:
            self._ray.cancel(ref, force=False)

    def close(self) -> None:
        for ref in self._refs:
            self._ray.cancel(ref, force=True)
        if self._owned:
            self._ray.shutdown()


def _connect(address: str | None) -> None:
    """Join the cluster at ``address`` or $RAY_ADDRESS, or start one here. Keep the process's SIGTERM handler."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    named = address or os.environ.get("RAY_ADDRESS", "")
    if not named:
        os.environ.setdefault("RAY_TMPDIR", folder_for_sockets(_BEHIND))
    handler = signal.getsignal(signal.SIGTERM)
    host, _, port = named.rpartition("://")[2].rpartition(":")
    try:
        if host and port.isdecimal():  # Ray itself takes minutes to notice that nothing listens
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises bare exceptions if its processes do not start
        where = f"the Ray cluster at {named} cannot be joined" if named else "Ray cannot be started"
        raise ExecutorError(f"{where}: {str(error).splitlines()[0]}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _on_node(function: Callable[..., Any], args: tuple, device: str, threads: int) -> Any:
    """Run ``function`` as a local worker would. Ray cancels a task with SIGINT."""
    import torch

    torch.set_num_threads(threads)
    with noting(signal.SIGINT) as asked:
        return function(*args, device, lambda: bool(asked))
