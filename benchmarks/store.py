"""The store of records beside other ways to keep them: time to load them into a table, and to put one more.

All of them hold the same lines with checksums and answer with the same columns. Every put waits for the disk.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click
import numpy as np
import pandas as pd
from frame import Recording, median_interval, timed

import tinynet_core as tn
from tinynet_core.study.classify import METRICS
from tinynet_core.study.presets import project_root
from tinynet_core.study.store import _row, seal, unseal

DATASET = tn.CreatureDataset()
RECIPE = tn.Recipe(epochs=4)
COST = {"resolution": 224, "macs": 385_814_560, "params": 4_033_168, "activations": 6_732_016}
CURVE = ("train_loss", "train_top1", "raw_loss", "raw_top1", "raw_top5", "ema_loss", "ema_top1", "ema_top5")
PROVENANCE = {
    "commit": "0" * 40,
    "clean": True,
    "training_version": 2,
    "device": "cpu (x86_64)",
    "threads": 1,
    "python": "3.11.2",
    "packages": {
        "tinynet-core": "0.1.0",
        "torch": "2.12.1",
        "numpy": "2.4.6",
        "pillow": "12.0",
        "matplotlib": "3.11.2",
    },
    "dataset_sha256": "0" * 64,
}
PUTS = 300
SHARE = 5000


def made(n: int, first: int = 0) -> Iterator[tn.Record]:
    """Records as a sweep of four epochs gives them."""
    rng = np.random.default_rng(first)
    for seed in range(first, first + n):
        experiment = tn.Experiment(
            network="efficientnet_b0",
            scale=tn.Scale(*rng.uniform(0.35, 2.8, 3)),
            dataset=DATASET,
            recipe=RECIPE,
            seed=seed,
        )
        rows = rng.random((4, len(CURVE))).tolist()
        yield tn.Record(
            experiment=experiment,
            status="done",
            metrics=dict(zip(METRICS, rng.random(len(METRICS)).tolist(), strict=True)),
            curve=[{"epoch": i + 1, **dict(zip(CURVE, row, strict=True))} for i, row in enumerate(rows)],
            cost=COST,
            wall_s=rng.exponential(60),
            provenance=PROVENANCE,
        )


class Ours:
    name = "one line a record (ours)"

    def __init__(self, root: Path) -> None:
        self.store = tn.Store(root)
        root.mkdir(exist_ok=True)

    def fill(self, lines: Iterator[tuple[str, bytes]]) -> None:
        with (self.store.root / "records.jsonl").open("wb") as file:
            file.writelines(line for _, line in lines)

    def put(self, record: tn.Record) -> None:
        self.store.put(record)

    def load(self) -> pd.DataFrame:
        return tn.Store(self.store.root).frame()


class Files:
    """One JSON file a record, written under another name, synced and renamed."""

    name = "one file a record, our parser"

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)

    def fill(self, lines: Iterator[tuple[str, bytes]]) -> None:
        for key, line in lines:
            (self.root / f"{key}.json").write_bytes(line)

    def put(self, record: tn.Record) -> None:
        path = self.root / f"{record.key}.json"
        scratch = path.with_suffix(".tmp")
        with scratch.open("wb") as file:
            file.write(seal(record.key, record.to_json().encode()))
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(path)
        folder = os.open(self.root, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def load(self) -> pd.DataFrame:
        return table(path.read_bytes() for path in self.root.glob("*.json"))


class PandasFiles(Files):
    """The same files, read by pandas one by one: the first ``SHARE`` of them, for it takes milliseconds a file."""

    name = "one file a record, pandas"

    def load(self) -> pd.DataFrame:
        return pd.json_normalize([pd.read_json(path, typ="series").to_dict() for path in self.share()])

    def share(self) -> list[Path]:
        return list(islice(self.root.glob("*.json"), SHARE))


class SQLite:
    """One row a record, committed with synchronous=FULL."""

    mode = "delete"
    name = "SQLite"

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.database = sqlite3.connect(root / "records.sqlite")
        self.database.execute(f"pragma journal_mode={self.mode}")
        self.database.execute("pragma synchronous=full")
        self.database.execute("create table if not exists records (key text primary key, line blob) without rowid")

    def fill(self, lines: Iterator[tuple[str, bytes]]) -> None:
        with self.database:
            self.database.executemany("insert into records values (?, ?)", lines)

    def put(self, record: tn.Record) -> None:
        with self.database:
            line = seal(record.key, record.to_json().encode())
            self.database.execute("insert or ignore into records values (?, ?)", (record.key, line))

    def load(self) -> pd.DataFrame:
        return table(line for (line,) in self.database.execute("select line from records"))


class SQLiteLog(SQLite):
    mode = "wal"
    name = "SQLite, write-ahead log"


KINDS = (Ours, Files, SQLite, SQLiteLog)


def table(lines: Iterator[bytes]) -> pd.DataFrame:
    """Lines checked and parsed as our store does it."""
    return pd.DataFrame([_row(*unseal(line)) for line in lines])


def fsync_ms(folder: Path, size: int) -> np.ndarray:
    """Milliseconds that the disk takes to append ``size`` bytes to a file for good."""
    with (folder / "probe").open("wb", buffering=0) as file:

        def append() -> None:
            file.write(b"x" * size)
            os.fsync(file.fileno())

        return np.array([timed(append) for _ in range(PUTS)]) * 1e3


def put_ms(stores: list, first: int) -> dict[str, np.ndarray]:
    """Milliseconds a put, the stores in turn so that all of them meet the same disk."""
    times: dict[str, list[float]] = {store.name: [] for store in stores}
    for record in made(PUTS, first):
        for store in stores:
            times[store.name].append(timed(lambda store=store, record=record: store.put(record)) * 1e3)
    return {name: np.array(x) for name, x in times.items()}


def record_puts(recording: Recording, stores: list, first: int, where: str) -> None:
    for name, (opening, *times) in put_ms(stores, first).items():
        what, ours = f"put one into {where}: {name}", name == Ours.name
        recording.add(what, times, "ms", at_most=2.0 if ours else None, interval=median_interval(times))
        if ours:
            recording.add(f"{what}, 99th percentile", np.quantile(times, 0.99), "ms")
            recording.add(f"{what}, the first of a process", opening, "ms")


def record_loads(recording: Recording, stores: list, n: int) -> None:
    """Seconds of two loads of ``n`` records; a peer that holds fewer is scaled up, and says so."""
    for store in stores:
        tables: list[pd.DataFrame] = []
        seconds = [timed(lambda store=store, tables=tables: tables.append(store.load())) for _ in range(2)]
        found = len(tables[0])
        note = f", from {found:,} of them" if found < n else ""
        ours = store.name == Ours.name
        recording.add(
            f"load {n:,}: {store.name}{note}", np.array(seconds) * n / found, "s", at_most=5.0 if ours else None
        )


@click.command()
@click.option("--records", "n", type=click.IntRange(min=1), default=100_000, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to measure; runs/ of the checkout by default.")
def main(n: int, folder: Path | None) -> None:
    """Compare the store with its peers on one disk, in one run."""
    parent = folder or project_root() / "runs"
    parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="store-benchmark-", dir=parent))
    try:
        with Recording("store", f"--records {n}") as recording:
            compare(recording, scratch, n)
    finally:
        shutil.rmtree(scratch)


def compare(recording: Recording, scratch: Path, n: int) -> None:
    lines = [(record.key, seal(record.key, record.to_json().encode())) for record in made(n)]
    recording.add("size of a record", len(lines[0][1]), "bytes")
    disk = fsync_ms(scratch, len(lines[0][1]))
    recording.add("the disk itself, to append one", disk, "ms", interval=median_interval(disk))
    record_puts(recording, [kind(scratch / f"empty-{kind.__name__}") for kind in KINDS], n, "an empty store")
    stores = [kind(scratch / kind.__name__) for kind in KINDS]
    for store in stores:
        store.fill(iter(lines))
    del lines
    os.sync()
    record_loads(recording, [*stores, PandasFiles(scratch / Files.__name__)], n)
    record_puts(recording, stores, n, f"a store of {n:,}")


if __name__ == "__main__":
    main()
