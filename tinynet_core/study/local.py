"""Worker processes on this machine.

Each worker has a pipe and two words of shared memory of its own: no lock or queue is shared, so that a worker killed
at any moment takes nothing with it.
"""

import os
import pickle
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from ctypes import c_bool, c_longlong
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.util import get_temp_dir
from queue import SimpleQueue
from typing import Any

from tinynet_core.machine import Resources, cores, end_with_driver, folder_for_sockets
from tinynet_core.study.worker import ExecutorError, WorkerDied

_CONTEXT: Any = get_context("forkserver" if sys.platform == "linux" else "spawn")
_IMPORTED = [
    "torch._dynamo",
    "safetensors.torch",
    "tinynet_core.training.classifier",
    "tinynet_core.study.store",
    "tinynet_core.study.worker",
]
"""What the server that workers are forked off has imported once for all of them."""
_STARTING = threading.Lock()  # multiprocessing's table of children is not for several threads
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_START_ATTEMPTS = 3


class LocalExecutor:
    """One process per entry of ``devices``, with ``threads`` threads each, kept from run to run."""

    def __init__(self, devices: list[str], threads: int) -> None:
        self.capacity = len(devices)
        self._stop = _CONTEXT.RawValue(c_bool, False)
        self._workers = [_Worker(device, threads, self._stop) for device in devices]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._running: dict[Future, _Worker] = {}
        self._threads = ThreadPoolExecutor(len(devices), "worker")
        for worker in self._workers:
            self._idle.put(worker)

    @classmethod
    def on_this_machine(cls, resources: Resources, most: int, device: str = "auto") -> "LocalExecutor":
        """As many workers as ``resources`` give on this machine, at most ``most``."""
        gpus = 0
        if device == "auto" and resources.gpus != 0:
            import torch  # which takes seconds

            gpus = torch.cuda.device_count()
        return cls(resources.devices(cores(), gpus, device)[:most], resources.cpus)

    def submit(self, function: Callable[..., Any], *args: Any) -> Future:
        worker = self._idle.get()
        worker.steps.value = 0
        future = self._threads.submit(worker.call, function, args)
        self._running[future] = worker
        future.add_done_callback(self._release)
        return future

    def _release(self, future: Future) -> None:
        self._idle.put(self._running.pop(future))

    def steps(self, future: Future) -> int:
        worker = self._running.get(future)
        return worker.steps.value if worker else 0

    def stop(self) -> None:
        self._stop.value = True

    def close(self) -> None:
        busy = set(self._running.values())
        for worker in self._workers:
            worker.end(now=worker in busy)
        self._threads.shutdown()


class _Worker:
    """The driver's side of one worker process, which is started when first needed and again after its death."""

    def __init__(self, device: str, threads: int, stop: Any) -> None:
        self.steps = _CONTEXT.RawValue(c_longlong, 0)
        self._arguments = (stop, self.steps, device, threads)
        self._process: Any = None
        self._connection: Connection | None = None
        self._ended = False

    def call(self, function: Callable[..., Any], args: tuple) -> Any:
        """What ``function`` returns or raises in the worker; ``WorkerDied`` when the process ends first."""
        if self._connection is not None and wait([self._process.sentinel], timeout=0):
            self._reap()  # it died while it had nothing to do
        if self._connection is None:
            self._connection = self._start()
        try:
            self._connection.send((function, args))
            value, error = self._connection.recv()
        except (EOFError, ConnectionError) as end:
            raise WorkerDied(f"the worker process ended with {_exit_name(self._reap())}") from end
        if error is not None:
            raise error
        return value

    def _start(self) -> Connection:
        """A fresh process that has said that it is ready."""
        code = 0
        for _ in range(_START_ATTEMPTS):
            mine, other = _CONTEXT.Pipe()
            with _STARTING:
                if self._ended:
                    raise ExecutorError("the workers were ended")
                _place_sockets()
                _CONTEXT.set_forkserver_preload(_IMPORTED)
                arguments = (other, *self._arguments, dict(os.environ))
                process = _CONTEXT.Process(target=_serve, args=arguments, name="tinynet-worker")
                # A signal to the whole process group waits until the worker can heed it.
                before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
                try:
                    process.start()
                except EOFError as error:  # a signal to the whole process group took the server that forks
                    raise ExecutorError("the server that starts the workers was ended") from error
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, before)
                    other.close()
                self._process = process
            try:
                mine.recv()
                return mine
            except (EOFError, ConnectionError):
                mine.close()
                code = self._reap()
        raise ExecutorError(
            f"worker processes end with {_exit_name(code)} while they start; "
            'a script that trains needs its calls under `if __name__ == "__main__":`'
        )

    def _reap(self) -> int:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        wait([self._process.sentinel])
        with _STARTING:
            self._process.join()
            return self._process.exitcode

    def end(self, now: bool) -> None:
        """Let an idle worker leave; kill it when it does not, or at once."""
        with _STARTING:
            self._ended = True
        if self._process is None:
            return
        if not now:
            if self._connection is not None:
                self._connection.close()
            wait([self._process.sentinel], timeout=5)
        with _STARTING:
            self._process.kill()
            self._process.join()


def _place_sockets() -> None:
    """Have multiprocessing make its folder of sockets, if it has none yet, where their paths are short enough."""
    usual = tempfile.tempdir
    tempfile.tempdir = folder_for_sockets(len("/pymp-12345678/listener-12345678"))
    try:
        get_temp_dir()
    finally:
        tempfile.tempdir = usual


def _exit_name(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name
    return f"{name}, as it does when memory runs out" if name == "SIGKILL" else name


def _serve(
    connection: Connection, stop: Any, steps: Any, device: str, threads: int, environment: dict[str, str]
) -> None:
    """The worker: runs what comes through the pipe, until the pipe or the driver ends."""
    os.environ.clear()  # of the server it was forked off, which may be older
    os.environ.update(environment)
    asked = False

    def note(*_) -> None:
        nonlocal asked
        asked = True

    def should_stop() -> bool:
        steps.value += 1
        return asked or stop.value

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal; the driver has it too and decides
    signal.signal(signal.SIGTERM, note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    end_with_driver()

    import torch

    torch.set_num_threads(threads)
    connection.send("ready")
    while True:
        try:
            task = connection.recv_bytes()
        except EOFError:
            return
        asked = False
        answer: tuple[Any, Exception | None]
        try:
            function, args = pickle.loads(task)
            answer = function(*args, device, should_stop), None
        except Exception as error:
            answer = None, _portable(error)
        connection.send(answer)


def _portable(error: Exception) -> Exception:
    """``error`` with its traceback as a note, or its text where it does not survive the way through the pipe."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
