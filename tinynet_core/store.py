"""Where records live: a folder with one JSON file per record, each written whole or not at all and never rewritten."""

import math
import os
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import pandas as pd

from tinynet_core.errors import UserError
from tinynet_core.experiment import Experiment, Record


class StoreError(UserError):
    """A store folder or a record in it that cannot be used; says which and why."""


class Store:
    """Records under ``root``, created on the first ``put``. Several processes may read and write it at once."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().resolve()

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def __contains__(self, experiment: Experiment) -> bool:
        return self._path(experiment.key).exists()

    def get(self, experiment: Experiment) -> Record | None:
        """The record of ``experiment``, or None. Raises ``StoreError`` for a record cut off or edited by hand."""
        path = self._path(experiment.key)
        return _read(path) if path.exists() else None

    def put(self, record: Record) -> None:
        """Write ``record``; one that is there already stays. Raises ``StoreError`` when it cannot be written."""
        path = self._path(record.key)
        scratch = path.with_suffix(f".{uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with scratch.open("w") as file:
                file.write(record.to_json())
                file.flush()
                os.fsync(file.fileno())
            os.link(scratch, path)  # unlike a rename it never replaces a record
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreError(f"store {self.root} cannot be written: {error.strerror or error}") from error
        finally:
            if scratch.exists():
                scratch.unlink()

    def check_writable(self) -> None:
        """Raise ``StoreError`` now rather than after hours of training."""
        probe = self.root / "records" / f".probe-{os.getpid()}"
        try:
            probe.parent.mkdir(parents=True, exist_ok=True)
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise StoreError(f"store {self.root} cannot be written: {error.strerror or error}") from error

    def missing(self, experiments: Iterable[Experiment]) -> list[Experiment]:
        """Those of ``experiments`` that have no record, each once, in their order."""
        return [e for e in dict.fromkeys(experiments) if e not in self]

    def records(self) -> list[Record]:
        """All records, by key."""
        return [_read(path) for path in sorted((self.root / "records").glob("*.json"))]

    def frame(self, experiments: Iterable[Experiment] | None = None) -> pd.DataFrame:
        """One row per record of ``experiments`` (in their order), or of the whole store."""
        if experiments is None:
            return to_frame(self.records())
        return to_frame([r for e in experiments if (r := self.get(e)) is not None])

    def checkpoint(self, experiment: Experiment) -> Path:
        """Where a run of ``experiment`` keeps its state between epochs."""
        return self.root / "checkpoints" / f"{experiment.key}.pt"

    def _path(self, key: str) -> Path:
        return self.root / "records" / f"{key}.json"


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Records as a table: key, network, r, d, w, seed, status, cost, metrics, provenance in short."""
    rows = []
    for record in records:
        experiment = record.experiment
        scale = experiment.spec().scale
        rows.append(
            {
                "key": record.key,
                "network": experiment.network,
                "r": scale.r if scale else math.nan,
                "d": scale.d if scale else math.nan,
                "w": scale.w if scale else math.nan,
                "seed": experiment.seed,
                "status": record.status,
                "reason": record.reason,
                **record.cost,
                **record.metrics,
                "wall_s": record.wall_s,
                "commit": record.provenance.get("commit"),
                "clean": record.provenance.get("clean"),
                "device": record.provenance.get("device"),
                "training_version": record.provenance.get("training_version"),
                "dataset_sha256": record.provenance.get("dataset_sha256"),
            }
        )
    return pd.DataFrame(rows)


def _read(path: Path) -> Record:
    try:
        record = Record.from_json(path.read_text())
        if record.key != path.stem:
            raise ValueError(f"it holds the record {record.key[:12]}")
        return record
    except (ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"record {path} is damaged or was edited ({reason}): delete it to have its experiment trained again"
        ) from error
