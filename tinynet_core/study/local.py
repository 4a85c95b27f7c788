"""Worker processes on this machine, kept from run to run; what every executor shares: its errors, and noting signals.

Each worker has a pipe and a word of shared memory of its own: no lock or queue is shared, so that a worker killed at
any moment takes nothing with it.
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
"""What the server that workers are forked off has imported once for all of them."""
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STARTING = -1  # in the place of the number of steps, until the process is up


class ExecutorError(UserError):
    """No worker can be started; says why."""


class WorkerDied(Exception):
    """The process of a run ended without a word. ``asked``: because of somebody else, not because of the run."""

    def __init__(self, reason: str, asked: bool = False) -> None:
        super().__init__(reason)
        self.asked = asked


@contextmanager
def noting(*numbers: signal.Signals) -> Iterator[list[signal.Signals]]:
    """While entered, the first of these signals is noted in the list; a second one ends the block at once.

    Ignored signals stay ignored. Outside the main thread, which alone may set handlers, it does nothing.
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
        """Those whose result can be had, after ``timeout`` seconds at most."""
        ready = wait([worker.pipe for worker in self._busy], timeout)
        return [worker for worker in self._busy if worker.pipe in ready]

    def result(self, worker: "_Worker") -> Any:
        """What the function returned or raised; ``WorkerDied`` when the process ended first."""
        self._busy.remove(worker)
        self.idle.append(worker)
        return worker.result()

    def steps(self, worker: "_Worker") -> int:
        """How often its function has asked whether it should stop."""
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
    """The driver's side of one worker process, which is started when first needed and again after its death."""

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
        with suppress(ConnectionError):  # it died just now, which is found when its answer is asked for
            self.pipe.send((function, args))

    def _start_process(self) -> None:
        _place_sockets()
        _CONTEXT.set_forkserver_preload(_IMPORTED)
        self.pipe, other = _CONTEXT.Pipe()
        self.steps.value = _STARTING
        arguments = (other, self.steps, self._device, self._threads, dict(os.environ))
        process = _CONTEXT.Process(target=_serve, args=arguments, name="tinynet-worker")
        # A signal to the whole process group waits until the worker can heed it.
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
    """Have multiprocessing make its folder of sockets, if it has none yet, where their paths are short enough."""
    usual = tempfile.tempdir
    tempfile.tempdir = folder_for_sockets(len("/pymp-12345678/listener-12345678"))
    try:
        get_temp_dir()
    finally:
        tempfile.tempdir = usual


def _serve(connection: Connection, steps: Any, device: str, threads: int, environment: dict[str, str]) -> None:
    """The worker: runs what comes through the pipe, until the pipe or the driver ends."""
    os.environ.clear()  # of the server it was forked off, which may be older
    os.environ.update(environment)
    asked = False

    def note(*_) -> None:
        nonlocal asked
        asked = True

    def should_stop() -> bool:
        steps.value += 1
        return asked

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal; the driver has it too and decides
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
    """``error`` with its traceback as a note, or its text where it does not survive the pipe."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
