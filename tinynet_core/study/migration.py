"""Moves a store of format 1, with keys of multipliers, to keys of networks (``tinynet store migrate``)."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic_core import from_json

from tinynet_core.data import CocoDataset, CreatureSceneDataset, Dataset, DetectionDataset, load_detection, load_images
from tinynet_core.data.probe import probe_hash
from tinynet_core.data.scenes import SceneDataset
from tinynet_core.errors import UserError
from tinynet_core.resources import cores
from tinynet_core.study.journal import seal, unseal
from tinynet_core.study.record import Record
from tinynet_core.study.store import FILE

_HASHES = ("dataset_sha256", "pretraining_dataset_sha256")


@dataclass
class Migration:
    """How many records were ``moved``, which were ``repeated`` in another, and which ``refused``, with reasons."""

    moved: int = 0
    repeated: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def migrate(root: Path) -> Migration:
    """Give every record of the store at ``root`` the key of its network; metrics and provenance stay as they are.

    Refused by name: a record whose network costs something else today than it did, whose images are drawn otherwise,
    or which differs from another record of the same network. With any refusal the store stays as it was, else the file
    of before is kept as ``records.format1.jsonl``. Of records of one network with equal results the first stays.
    ``migrated`` of each record has its former ``key``, the hash of the probe images of its data, and as ``twins`` what
    was left out for it. Weights, and checkpoints of runs that were stopped, keep their names and are found no more.
    """
    file, found = root / FILE, Migration()
    if not file.is_file():
        raise UserError(f"{root} is no store: it has no {FILE}")
    with FileLock(file.with_suffix(".lock")):
        moved = _moved(file, found)
        if not found.refused:
            _replace(file, [seal(key, record.to_json().encode()) for key, record in moved.items()])
            found.moved = len(moved)
    return found


def _moved(file: Path, found: Migration) -> dict[str, Record]:
    """The records of ``file`` by their new keys; what cannot be moved goes into ``found``."""
    moved: dict[str, Record] = {}
    for old_key, content in _old_records(file):
        record = Record.model_validate({**content, "format": 2})
        about = {"key": old_key, "probe_sha256": [probe_hash(data) for data in record.experiment.data], "twins": []}
        record = record.model_copy(update={"migrated": about})
        name = f"{old_key[:12]} {record.experiment.label}"
        first = moved.setdefault(record.key, record)
        if reason := _changed(record):
            found.refused.append(f"{name}: {reason}")
        elif first is not record and _result(first) == _result(record):
            found.repeated.append(f"{name}: as {first.migrated['key'][:12]}")
            twin = {name: content[name] for name in ("experiment", "wall_s", "provenance")}
            first.migrated["twins"].append({"key": old_key, **twin})
        elif first is not record:
            found.refused.append(f"{name}: {first.migrated['key'][:12]} has the same network and another result")
    return moved


def _replace(file: Path, lines: list[bytes]) -> None:
    """Put ``lines`` in the place of the content of ``file``, which is kept beside it, whole or not at all."""
    shutil.copyfile(file, file.with_suffix(".format1.jsonl"))
    scratch = file.with_suffix(".migrating")
    with scratch.open("wb") as out:
        out.writelines(lines)
        out.flush()
        os.fsync(out.fileno())
    scratch.replace(file)


def _old_records(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key and content of each record; ``UserError`` for one that is damaged, of another format or of another key.

    A last line without its end, as a killed process leaves it, is left out.
    """
    for number, line in enumerate(file.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            return
        try:
            key, body = unseal(line)
        except ValueError as error:
            raise UserError(f"{file} line {number}: {error}; take the line out and migrate the others") from error
        content = from_json(body)
        if content.get("format") != 1:
            raise UserError(f"{file} line {number}: format {content.get('format')}, only 1 can be migrated")
        canonical = json.dumps(content["experiment"], sort_keys=True, separators=(",", ":"), allow_nan=False)
        if hashlib.sha256(canonical.encode()).hexdigest() != key:
            raise UserError(f"{file} line {number}: {key[:12]} is not the key of its experiment")
        yield key, content


def _changed(record: Record) -> str:
    """What the present code would do otherwise, as far as cost and images tell, or nothing."""
    if record.cost != record.experiment.cost():
        return f"the network cost {record.cost}, today {record.experiment.cost()}"
    for data, name in zip(record.experiment.data, _HASHES, strict=False):
        was = record.provenance.get(name, "")
        if was and probe_hash(data) and was != (now := _drawn_hash(data)):
            return f"its images had the hash {was[:12]}, today {now[:12]}"
    return ""


@cache
def _drawn_hash(data: Dataset | DetectionDataset) -> str:
    if isinstance(data, SceneDataset | CreatureSceneDataset | CocoDataset):
        return load_detection(data, cores(), progress=True).content_hash
    return load_images(data, cores(), progress=True).content_hash


def _result(record: Record) -> tuple[Any, ...]:
    return record.status, record.metrics, record.curve, record.arrays, record.cost
