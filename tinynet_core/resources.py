"""What one run of a sweep holds of a machine, and how the runs share it."""

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from tinynet_core.errors import UserError

SOCKET_PATH = 103
"""Bytes of a socket's path at most, on macOS; Linux allows four more."""


class Resources(BaseModel):
    """Workers, and the cores and the share of a GPU that each of them holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    workers: int | None = Field(None, ge=1, description="runs at a time; null: one per core, or per share of a GPU")
    cpus: int = Field(1, ge=1, description="threads of one run")
    gpus: float | None = Field(None, ge=0, le=1, description="share of a GPU; null: 1 where there is one, else 0")
    retries: int = Field(2, ge=0, description="deaths in a row without progress after which a run counts as failed")
    compiled: bool = Field(False, description="send networks through torch.compile")

    def gpu_share(self, gpus: int) -> float:
        """The share of a GPU that one run holds where there are ``gpus`` of them."""
        return float(gpus > 0) if self.gpus is None else self.gpus

    def devices(self, cores: int, gpus: int, device: str = "auto") -> list[str]:
        """The device of each worker on a machine with so many cores and GPUs.

        ``"auto"`` spreads the workers over all GPUs where a run holds a share of one. Raises ``UserError`` where a
        share is asked for and there is no GPU.
        """
        share = self.gpu_share(gpus)
        if device == "auto" and share and not gpus:
            raise UserError(f"resources.gpus is {share:g}, but this machine has no GPU that torch can use")
        if device == "cpu" or (device == "auto" and not share):
            return ["cpu"] * (self.workers or max(1, cores // self.cpus))
        on_one = math.floor(1 / (share or 1) + 1e-9)
        if device != "auto":
            return [device] * (self.workers or on_one)
        return [f"cuda:{i % gpus}" for i in range(self.workers or on_one * gpus)]


def cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: those it may run on, and no more than a container's quota, rounded up.

    ``root`` is where the system's files are.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for group in _control_groups(root) if (quota := _quota(group)) is not None]
    return min([there, *(max(1, math.ceil(quota)) for quota in quotas)])


def _control_groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups that this process is in, with those above them, of Linux's versions 1 and 2."""
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, name = line.split(":", 2)  # version 2 names no controllers
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in {"cpu", controllers} if controllers else {""}:
            top = root / "sys" / "fs" / "cgroup" / mount
            group = top / name.strip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _quota(group: Path) -> float | None:
    """Processors' worth of time that the control group at ``group`` may use; None without a limit."""
    names = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")  # the first of version 2, the others of version 1
    quota, *period = " ".join(_text(group / name) for name in names).split() or ["max"]
    return int(quota) / int(period[0]) if period and quota not in ("max", "-1") else None


def _text(path: Path) -> str:
    """What a file of the system says; nothing where there is none, as on another system."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def user_folder(folder_of: Callable[[str], str], name: str, setting: str) -> Path:
    """The folder that a function of platformdirs gives for ``name``; ``UserError`` for a user who has no home."""
    try:
        path = Path(folder_of(name))
    except RuntimeError:  # of platformdirs 4.14; older ones give a relative path
        path = Path()
    if not path.is_absolute():
        raise UserError(f"this user has no home folder: name {setting}, or set HOME")
    return path


def folder_for_sockets(behind: int) -> str:
    """A folder in which a socket's path has room for ``behind`` more bytes: that of temporary files where it has.

    Raises ``UserError`` where neither that nor another one of the system will do.
    """
    usual, room = tempfile.gettempdir(), SOCKET_PATH - behind
    for folder in (usual, os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp"):
        if folder and len(os.fsencode(folder)) <= room and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise UserError(f"TMPDIR: {usual} is too long for sockets in it, which allow {room} bytes")


def launched() -> bool:
    """Whether a launcher started this process together with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
