"""Worker processes on this machine, which stay for many runs. Also the errors and signal handling of all executors.

Each worker has its own pipe and its own word of shared memory. Workers share no lock or queue, so killing a worker
at any moment harms no other worker.
"""

import os
import pickle
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import c_longlong
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.util import get_temp_dir
from types import FrameType
from typing import Any

from tinynet_core.files import UserError
from tinynet_core.machine import end_with_driver, folder_for_sockets

_CONTEXT: Any = get_context("forkserver" if sys.platform == "linux" else "spawn")
_IMPORTED = ["torch._dynamo", "safetensors.torch", "tinynet_core.training.classifier", "tinynet_core.study.sweep"]
"""Modules that the fork server imports once, for all workers that it forks."""
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STARTING = -1  # instead of the number of steps, until the process is ready


class ExecutorError(UserError):
    """Raised when no worker can be started. The message says why."""


class WorkerDied(Exception):
    """Raised when the process of a run ended without a result. ``asked``: something outside the run ended it."""

    def __init__(self, reason: str, asked: bool = False) -> None:
        super().__init__(reason)
        self.asked = asked


@contextmanager
def noting(*numbers: signal.Signals) -> Iterator[list[signal.Signals]]:
    """Put the first of these signals into the yielded list. A second signal ends the block at once.

    Ignored signals stay ignored. Does nothing outside the main thread, because only that thread may set handlers.
    """
    received: list[signal.Signals] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        received.append(signal.Signals(number))

    main = threading.current_thread() is threading.main_thread()
    heeded = [x for x in numbers if main and signal.getsignal(x) is not signal.SIG_IGN]
    before = [(x, signal.signal(x, note)) for x in heeded]
    try:
        yield received
    finally:
        for number, handler in before:
            signal.signal(number, handler or signal.SIG_DFL)


class LocalExecutor:
    """One worker per entry of ``devices``, with ``threads`` threads each."""

    def __init__(self, devices: list[str], threads: int) -> None:
        self.capacity = len(devices)
        self.idle = [_Worker(device, threads) for device in devices]
        self._busy: list[_Worker] = []

    def start(self, function: Callable[..., Any], *args: Any) -> "_Worker":
        """Let an idle worker call ``function(*args, device, should_stop)``."""
        worker = self.idle.pop()
        self._busy.append(worker)
        worker.start(function, args)
        return worker

    def ended(self, timeout: float) -> "list[_Worker]":
        """Return the workers whose result is ready. Wait at most ``timeout`` seconds for one."""
        ready = wait([worker.pipe for worker in self._busy], timeout)
        return [worker for worker in self._busy if worker.pipe in ready]

    def result(self, worker: "_Worker") -> Any:
        """Return or raise what the function returned or raised. Raise ``WorkerDied`` if the process ended first."""
        self._busy.remove(worker)
        self.idle.append(worker)
        return worker.result()

    def steps(self, worker: "_Worker") -> int:
        """Return how often the worker's function has called ``should_stop``."""
        return max(0, worker.steps.value)

    def stop(self) -> None:
        """Ask all runs to stop."""
        for worker in self._busy:
            worker.process.terminate()

    def close(self) -> None:
        for worker in (*self._busy, *self.idle):
            if worker.process is not None:
                worker.process.kill()
                worker.process.join()


class _Worker:
    """The driver's side of one worker process. The process starts when first needed, and again after its death."""

    def __init__(self, device: str, threads: int) -> None:
        self.steps = _CONTEXT.RawValue(c_longlong, 0)
        self.process: Any = None
        self.pipe: Connection
        self._device, self._threads = device, threads

    def start(self, function: Callable[..., Any], args: tuple) -> None:
        if self.process is not None and self.process.is_alive():
            self.steps.value = 0
        else:
            self._start_process()
        with suppress(ConnectionError):  # the worker died just now, and ``result`` will report it
            self.pipe.send((function, args))

    def _start_process(self) -> None:
        _place_sockets()
        _CONTEXT.set_forkserver_preload(_IMPORTED)
        self.pipe, other = _CONTEXT.Pipe()
        self.steps.value = _STARTING
        arguments = (other, self.steps, self._device, self._threads, dict(os.environ))
        process = _CONTEXT.Process(target=_serve, args=arguments, name="tinynet-worker")
        # A signal to the whole process group waits until the worker can handle it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            process.start()
        except EOFError as error:
            raise ExecutorError("the server that starts the workers was ended") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            other.close()
        self.process = process

    def result(self) -> Any:
        try:
            value, error = self.pipe.recv()
        except (EOFError, ConnectionError):
            value, error = None, self._death()
        if error is not None:
            raise error
        return value

    def _death(self) -> Exception:
        self.pipe.close()
        self.process.join()
        code = self.process.exitcode
        if code >= 0 and self.steps.value == _STARTING:
            return ExecutorError(
                f"worker processes end with exit status {code} while they start; "
                'a script that trains needs its calls under `if __name__ == "__main__":`'
            )
        name = f"exit status {code}" if code >= 0 else signal.Signals(-code).name
        return WorkerDied(f"the worker process ended with {name}" + ", as it does when memory runs out" * (code == -9))


def _place_sockets() -> None:
    """Let multiprocessing create its socket folder now, if it has none yet, in a place with a short enough path."""
    usual = tempfile.tempdir
    tempfile.tempdir = folder_for_sockets(len("/pymp-12345678/listener-12345678"))
    try:
        get_temp_dir()
    finally:
        tempfile.tempdir = usual


def _serve(connection: Connection, steps: Any, device: str, threads: int, environment: dict[str, str]) -> None:
    """Run in the worker: call what comes through the pipe, until the pipe or the driver ends."""
    os.environ.clear()  # inherited from the fork server, whose environment may be older than the driver's
    os.environ.update(environment)
    asked = False

    def note(*_) -> None:
        nonlocal asked
        asked = True

    def should_stop() -> bool:
        steps.value += 1
        return asked

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal also sends SIGINT to the driver, which decides
    signal.signal(signal.SIGTERM, note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    end_with_driver()

    import torch

    torch.set_num_threads(threads)
    steps.value = 0
    while True:
        try:
            task = connection.recv_bytes()
        except EOFError:
            return
        answer: tuple[Any, Exception | None]
        try:
            function, args = pickle.loads(task)
            answer = function(*args, device, should_stop), None
        except Exception as error:
            answer = None, _portable(error)
        asked = False
        connection.send(answer)


def _portable(error: Exception) -> Exception:
    """Return ``error`` with its traceback as a note, or only its text if it cannot be pickled."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
