"""Worker processes on this machine, kept from run to run.

Each worker has a pipe and a word of shared memory of its own: no lock or queue is shared, so that a worker killed at
any moment takes nothing with it.
"""

import os
import pickle
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from ctypes import c_longlong
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.util import get_temp_dir
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
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class LocalExecutor:
    """One worker per entry of ``devices``, with ``threads`` threads each."""

    def __init__(self, devices: list[str], threads: int) -> None:
        self.capacity = len(devices)
        self.idle = [_Worker(device, threads) for device in devices]
        self._busy: list[_Worker] = []

    @classmethod
    def on_this_machine(cls, resources: Resources, most: int, device: str = "auto") -> "LocalExecutor":
        """As many workers as ``resources`` give on this machine, at most ``most``."""
        gpus = 0
        if device == "auto" and resources.gpus != 0:
            import torch  # which takes seconds

            gpus = torch.cuda.device_count()
        return cls(resources.devices(cores(), gpus, device)[:most], resources.cpus)

    def start(self, function: Callable[..., Any], *args: Any) -> "_Worker":
        """Let an idle worker call ``function(*args, device, should_stop)``."""
        worker = self.idle.pop()
        self._busy.append(worker)
        worker.start(function, args)
        return worker

    def ended(self, timeout: float) -> "list[_Worker]":
        """Those whose result can be had, after ``timeout`` seconds at most."""
        ready = wait([worker.pipe for worker in self._busy], timeout)
        return [worker for worker in self._busy if worker.pipe in ready and worker.answered()]

    def result(self, worker: "_Worker") -> Any:
        """What the function returned or raised; ``WorkerDied`` when the process ended first."""
        self._busy.remove(worker)
        self.idle.append(worker)
        return worker.result()

    def steps(self, worker: "_Worker") -> int:
        """How often its function has asked whether it should stop."""
        return worker.steps.value

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
        self._answer: tuple[Any, Exception | None] = (None, None)

    def start(self, function: Callable[..., Any], args: tuple) -> None:
        if self.process is None or not self.process.is_alive():
            self._start_process()
        self.steps.value = 0
        with suppress(ConnectionError):  # it died just now, which is found when its answer is asked for
            self.pipe.send((function, args))

    def _start_process(self) -> None:
        self.pipe, other = _CONTEXT.Pipe()
        self._ready = False
        _place_sockets()
        _CONTEXT.set_forkserver_preload(_IMPORTED)
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

    def answered(self) -> bool:
        """Take in what came through the pipe; false where that only says that the process is up."""
        try:
            message = self.pipe.recv()
        except (EOFError, ConnectionError):
            self._answer = None, self._death()
            return True
        if message is None:
            self._ready = True
            return False
        self._answer = message
        return True

    def _death(self) -> Exception:
        self.pipe.close()
        self.process.join()
        code = self.process.exitcode
        if code >= 0 and not self._ready:
            return ExecutorError(
                f"worker processes end with exit status {code} while they start; "
                'a script that trains needs its calls under `if __name__ == "__main__":`'
            )
        name = f"exit status {code}" if code >= 0 else signal.Signals(-code).name
        return WorkerDied(f"the worker process ended with {name}" + ", as it does when memory runs out" * (code == -9))

    def result(self) -> Any:
        value, error = self._answer
        if error is not None:
            raise error
        return value


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
    connection.send(None)
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
    """``error`` with its traceback as a note, or its text where it does not survive the way through the pipe."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
