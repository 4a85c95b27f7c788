"""Where the runs of a sweep go: processes of this machine, or the nodes of a Ray cluster.

An executor only starts functions and says how they ended; what is run next, tried again or recorded is the sweep's.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from tinynet_core.errors import UserError
from tinynet_core.resources import Resources

EXECUTORS = ("local", "ray")


class ExecutorError(UserError):
    """No worker can be started; says why."""


class WorkerDied(Exception):
    """The process of a run ended without a word. ``asked``: because of somebody else, not because of the run."""

    def __init__(self, reason: str, asked: bool = False) -> None:
        super().__init__(reason)
        self.asked = asked


class Executor(Protocol):
    """Runs functions elsewhere."""

    @property
    def capacity(self) -> int | None:
        """How many runs may be under way; None where the executor keeps a queue of its own."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Future:
        """Start ``function(*args, device, should_stop)``.

        The future gives what it returns or raises, ``WorkerDied`` when its process ended, or ``ExecutorError``.
        """

    def steps(self, future: Future) -> int:
        """How often the run has asked ``should_stop``, where that is known; else 0."""

    def stop(self) -> None:
        """From now on ``should_stop`` answers true."""

    def close(self) -> None:
        """End all workers, at once where they are still running something."""


def open_executor(name: str, resources: Resources, most: int, device: str, address: str | None) -> Executor:
    """The executor called ``name`` for at most ``most`` runs at a time."""
    if name == "ray":
        from tinynet_core.study.executors.ray import RayExecutor

        return RayExecutor(resources, device, address)
    from tinynet_core.study.executors.local import LocalExecutor

    return LocalExecutor.on_this_machine(resources, most, device)
