"""Notebook kernels that start with all imports done, because imports are most of a notebook's running time."""

import logging
import os
import sys
from functools import cache
from importlib.metadata import EntryPoint
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import set_forkserver_preload
from typing import Any

from ipykernel.kernelapp import IPKernelApp
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from traitlets import default

from tinynet_core.machine import end_with_driver

IMPORTED = (
    *("torch", "torchvision", "timm", "sklearn.gaussian_process", "matplotlib.pyplot"),
    *("tinynet_book.figures", "tinynet_core.study.study", "tinynet_core.cli", "tinynet_book.site.kernels"),
)

INTERRUPTED = "KeyboardInterrupt caught in kernel."
"""Message that a kernel may print at shutdown, because Jupyter interrupts the kernel first."""


def offer() -> None:
    """Make Jupyter fork the kernels of this process where forking is safe (Linux)."""
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # the kernel would set it too late
    if sys.platform == "linux":
        factory = KernelProvisionerFactory.instance()
        name = "forked"
        factory.provisioners[name] = EntryPoint(name, f"{__name__}:{ForkedKernels.__name__}", factory.GROUP_NAME)
        factory.default_provisioner_name = name


def isolation(folder: str) -> dict[str, Any]:
    """Return arguments of ``papermill.execute_notebook`` that keep a kernel from reading the user's configuration.

    ``folder`` takes the place of the user's IPython folder.
    """
    ignored = [f"--ipython-dir={folder}", "--InteractiveShellApp.exec_PYTHONSTARTUP=False"]
    return {"kernel_name": "python3", "kernel_manager_class": OwnKernels, "extra_arguments": ignored}


class OwnKernels(AsyncKernelManager):
    """Start kernels of this Python, even if another kernel with the same name is installed elsewhere."""

    @default("kernel_spec_manager")
    def _of_this_python(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])


class ForkedKernels(LocalProvisioner):
    """Fork each kernel from a server process, which has only imported ``IMPORTED`` and runs a single thread."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start a kernel with ``cmd`` of its specification. Fork it if ``cmd`` is this Python's ipykernel_launcher."""
        if cmd[:3] != [sys.executable, "-m", "ipykernel_launcher"]:
            return await super().launch_kernel(cmd, **kwargs)
        arguments = cmd[3:]
        self.cwd = kwargs.get("cwd") or os.getcwd()
        process = _server().Process(target=_kernel, args=(arguments, kwargs["env"], self.cwd))
        process.start()
        self.process = _Forked(process)  # type: ignore[assignment]
        self.pid = self.pgid = process.pid
        return self.connection_info


class _Forked:
    """A ``multiprocessing`` process with the part of the ``subprocess.Popen`` interface that Jupyter uses."""

    stdin = stdout = stderr = None

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, signum: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, signum)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


@cache
def _server() -> ForkServerContext:
    set_forkserver_preload([*IMPORTED])
    return get_context("forkserver")


def _kernel(arguments: list[str], env: dict[str, str], cwd: str) -> None:
    os.setsid()
    end_with_driver()
    os.environ.update(env)
    os.chdir(cwd)
    logging.getLogger("IPKernelApp").addFilter(lambda record: record.getMessage() != INTERRUPTED)
    IPKernelApp.launch_instance([*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])  # else it prints help
