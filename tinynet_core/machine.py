"""The machine: its cores, processor, git commit and processes, and the cores and GPUs that each run gets."""

import math
import os
import platform
import re
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from itertools import starmap
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
from pydantic import BaseModel, ConfigDict, Field

from tinynet_core.files import UserError

J = TypeVar("J")
T = TypeVar("T")
_CHUNK = 32  # images that a process reads or draws at a time
SOCKET_PATH = 103  # most bytes in the path of a socket on macOS; Linux allows four more


class Resources(BaseModel):
    """Number of workers, and the cores and the share of a GPU that each worker gets."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    workers: int | None = Field(None, ge=1, description="runs at a time; null: one per core, or per share of a GPU")
    cpus: int = Field(1, ge=1, description="threads of one run")
    gpus: float | None = Field(None, ge=0, le=1, description="share of a GPU; null: 1 where there is one, else 0")
    retries: int = Field(2, ge=0, description="new starts in a row without progress; then a run counts as failed")
    compiled: bool = Field(False, description="send networks through torch.compile")

    def gpu_share(self, gpus: int) -> float:
        """Return the share of a GPU that one run gets on a machine with ``gpus`` GPUs."""
        return float(gpus > 0) if self.gpus is None else self.gpus

    def devices(self, cores: int, gpus: int, device: str = "auto") -> list[str]:
        """Return the device of each worker, given the machine's cores and GPUs. ``"auto"`` uses all GPUs in turn."""
        share = self.gpu_share(gpus)
        if device == "auto" and share and not gpus:
            raise UserError(f"resources.gpus is {share:g}, but this machine has no GPU that torch can use")
        if device == "cpu" or (device == "auto" and not share):
            return ["cpu"] * (self.workers or max(1, cores // self.cpus))
        on_one = math.floor(1 / (share or 1) + 1e-9)
        if device != "auto":
            return [device] * (self.workers or on_one)
        return [f"cuda:{i % gpus}" for i in range(self.workers or on_one * gpus)]


def cores() -> int:
    """Return how many cores this process may use: its affinity, limited by a container's quota, rounded up."""
    from joblib import cpu_count

    return cpu_count()


def cache_root() -> Path:
    """Return the folder for cached data sets: ``$TINYNET_CACHE`` or the user's cache folder."""
    return Path(os.environ.get("TINYNET_CACHE") or platformdirs.user_cache_dir("tinynet-core"))


def folder_for_sockets(behind: int) -> str:
    """Return the temporary folder if a socket's path has room for ``behind`` more bytes there, else ``/tmp``."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) + behind <= SOCKET_PATH else "/tmp"


def launched() -> bool:
    """Return whether a launcher started this process together with others."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


@cache
def processor() -> str:
    """Return the processor's model from ``/proc/cpuinfo``, or the architecture if no model is listed there."""
    about = Path("/proc/cpuinfo")
    text = about.read_text(encoding="utf-8") if about.exists() else ""
    model = re.search(r"^model name\s*:(.*)", text, re.M)
    return model[1].strip() if model else platform.machine()


@cache
def commit() -> dict[str, Any]:
    """Return the commit of the checkout that holds this package, and whether the sources match the commit.

    Both are None unless the package is tracked at the top of its repository. An untracked module counts as a change.
    A record that a sweep adds to a tracked store does not.
    """
    package = Path(__file__).resolve().parent
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
    if tracked is None or _git(package, "rev-parse", "--show-cdup") != "../":
        return {"commit": None, "clean": None}
    changes = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)*.jsonl")
    added = _git(package, "ls-files", "--others", "--", "*.py", ":(top)book/*.py")
    clean = None if changes is None or added is None else not (changes or added)
    return {"commit": _git(package, "rev-parse", "HEAD"), "clean": clean}


def _git(folder: Path, *arguments: str) -> str | None:
    """Return git's output in ``folder``, or None if git fails. Ignore a repository named in the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=20, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def in_chunks(
    function: Callable[..., T], jobs: Sequence[tuple], workers: int, doing: str, progress: bool
) -> Iterator[T]:
    """Yield ``function(*job)`` for each job, in order. A job is one image; a progress bar is labelled ``doing``.

    With several ``workers``, spawned processes do the work. They end when this process ends.
    """
    from tqdm import tqdm

    each, chunks = partial(_each, function), [jobs[i : i + _CHUNK] for i in range(0, len(jobs), _CHUNK)]
    several = workers > 1 and len(chunks) > 1
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=end_with_driver) if several else None
    try:
        with tqdm(total=len(jobs), desc=doing, unit="img", disable=not progress) as bar:
            for found in ahead(pool, each, chunks, 2 * workers) if pool else map(each, chunks):
                bar.update(len(found))
                yield from found
    except BrokenProcessPool as error:
        raise UserError(
            "a process that reads or draws images ended abruptly: it was killed, memory ran out, or the script "
            'that was started lacks `if __name__ == "__main__":`; run it again, with fewer workers if memory is short'
        ) from error
    finally:
        if pool:
            pool.shutdown(wait=True, cancel_futures=True)


def _each(function: Callable[..., T], jobs: Sequence[tuple]) -> list[T]:
    return [*starmap(function, jobs)]


def ahead(pool: Executor, function: Callable[[J], T], jobs: Iterable[J], most: int) -> Iterator[T]:
    """Yield ``function(job)`` for each job, in order. At most ``most`` jobs are submitted ahead of the reader."""
    waiting: deque[Future[T]] = deque()
    for job in jobs:
        waiting.append(pool.submit(function, job))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def end_with_driver() -> None:
    """End this process as soon as its parent process has ended, whatever this process is doing."""
    driver = parent_process()
    assert driver is not None

    def end() -> None:
        driver.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
