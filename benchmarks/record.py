"""Where measurements go: each script replaces its own section of book/benchmarks.json, which the book's page shows."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from quiet import Quietly, clocks, others

from tinynet_core.latency import processor
from tinynet_core.study.presets import project_root
from tinynet_core.study.record import provenance

RESULTS = project_root() / "book" / "benchmarks.json"
PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow")


class Recording:
    """The rows of one script. A ``with`` block that ends without an error writes them, with the machine and the load.

    ``arguments`` are those that the script was called with, as far as they matter. The load is that during the runs of
    ``quietly``, which lets others have ``limit`` of the cores, or during the whole block where it was not used.
    """

    def __init__(self, script: str, arguments: str = "", path: Path = RESULTS, limit: float = 1.0) -> None:
        self.script, self.path, self.quietly = script, path, Quietly(limit)
        self.command = f"python benchmarks/{script}.py {arguments}".rstrip()
        self.rows: list[dict[str, Any]] = []

    def __enter__(self) -> "Recording":
        self._start = clocks()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        if kind is None:
            self._write()

    def add(
        self,
        what: str,
        values: float | Sequence[float] | np.ndarray,
        unit: str = "",
        *,
        group: str = "",
        at_least: float | None = None,
        at_most: float | None = None,
        peer: str = "",
        interval: tuple[float, float] | None = None,
        x: float | None = None,
        x_label: str = "",
    ) -> None:
        """One row: the median of ``values`` with their range, or with the 95% ``interval`` where one is given.

        Rows of one ``group``, by default those of the script, share a table. ``x`` is what a cost is drawn against.
        """
        many = np.atleast_1d(np.asarray(values, dtype=float))
        low, high = interval or (many.min(), many.max())
        row = {
            "group": group or self.script,
            "what": what,
            "value": _digits(np.median(many)),
            "low": _digits(low),
            "high": _digits(high),
            "n": len(many),
            "unit": unit,
        }
        more = {"at_least": at_least, "at_most": at_most, "peer": peer, "x": x, "x_label": x_label}
        more["interval"] = "95%" if interval else None
        self.rows.append(row | {key: value for key, value in more.items() if value not in (None, "")})
        print(_line(self.rows[-1]), flush=True)

    def _write(self) -> None:
        sections = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        about: dict[str, Any] = {"command": self.command, "date": datetime.now(UTC).date().isoformat()}
        about["machine"] = machine()
        load = self.quietly.worst
        about["others"] = round(others(self._start, clocks()) if load is None else load, 3)
        about["others_are"] = "average" if load is None else "most"
        about["history"] = _history(sections.get(self.script))
        sections[self.script] = about | {"rows": self.rows}
        scratch = self.path.with_suffix(".tmp")
        scratch.write_text(json.dumps(dict(sorted(sections.items())), indent=1) + "\n", encoding="utf-8")
        scratch.rename(self.path)


def _history(before: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What the section that is replaced kept of older ones, and its own rows with a target; the oldest first."""
    if before is None:
        return []
    rows = [row for row in before["rows"] if "at_least" in row or "at_most" in row]
    about = {"date": before["date"], "commit": before["machine"]["commit"], "processor": before["machine"]["processor"]}
    return [*before.get("history", []), *([about | {"rows": rows}] if rows else [])]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    made = provenance("auto")
    return {
        "processor": processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": made["python"],
        "packages": {name: version(name) for name in PACKAGES},
        "commit": made["commit"],
        "clean": made["clean"],
    }


def _digits(x: float) -> float:
    return float(f"{x:.5g}")


def _line(row: dict[str, Any]) -> str:
    target = "".join(
        f", target {sign} {row[key]:g}" for key, sign in (("at_least", ">="), ("at_most", "<=")) if key in row
    )
    against = f" against {row['peer']}" if "peer" in row else ""
    at = f" at {row['x']:,g}" if "x" in row else ""
    return f"{row['what']}{at}{against}: {row['value']:,g} {row['unit']} [{row['low']:,g}, {row['high']:,g}]{target}"
