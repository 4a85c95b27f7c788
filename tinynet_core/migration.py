"""Moves a store of format 1, with keys of multipliers, to keys of networks (``tinynet store migrate``)."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from tinynet_core.data import CocoDataset, Dataset, DetectionDataset, load_detection, load_images
from tinynet_core.data.probe import probe_hash
from tinynet_core.data.scenes import SceneDataset
from tinynet_core.errors import UserError
from tinynet_core.journal import seal, unseal
from tinynet_core.record import Record
from tinynet_core.resources import cores
from tinynet_core.store import FILE

_HASHES = ("dataset_sha256", "pretraining_dataset_sha256")


@dataclass
class Migration:
    """How many records were ``moved``, the ``repeated`` ones that were left out, and the ``refused``, with reasons."""

    moved: int = 0
    repeated: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def migrate(root: Path) -> Migration:
    """Give every record of the store at ``root`` the key of its network; metrics and provenance stay as they are.

    Refused by name: a record whose network costs something else today than it did, whose images are drawn otherwise,
    or which differs from another record of the same network. With any refusal the store stays as it was. Of records of
    one network with equal results the first stays. ``migrated`` of each record has its former ``key`` and the hash of
    the probe images of its data.
    """
    file, found = root / FILE, Migration()
    if not file.is_file():
        raise UserError(f"{root} is no store: it has no {FILE}")
    moved: dict[str, Record] = {}
    for old_key, content in _old_records(file):
        record = Record.model_validate({**content, "format": 2, "migrated": {"key": old_key}})
        probes = [probe_hash(data) for data in record.experiment.data]
        record = record.model_copy(update={"migrated": {"key": old_key, "probe_sha256": probes}})
        name = f"{old_key[:12]} {record.experiment.label}"
        first = moved.setdefault(record.key, record)
        if reason := _changed(record):
            found.refused.append(f"{name}: {reason}")
        elif first is not record and _result(first) == _result(record):
            found.repeated.append(f"{name}: as {first.migrated['key'][:12]}")
        elif first is not record:
            found.refused.append(f"{name}: {first.migrated['key'][:12]} has the same network and another result")
    if not found.refused:
        scratch = file.with_suffix(".migrating")
        scratch.write_bytes(b"".join(seal(key, record.to_json().encode()) for key, record in moved.items()))
        scratch.replace(file)
        found.moved = len(moved)
    return found


def _old_records(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key and content of each record; ``UserError`` for one that is damaged, of another format or of another key."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                key, body = unseal(line)
            except ValueError as error:
                raise UserError(f"{file} line {number}: {error}; check the store with: tinynet store check") from error
            content = from_json(body)
            if content.get("format") != 1:
                raise UserError(f"{file} line {number}: format {content.get('format')}, only 1 can be migrated")
            canonical = json.dumps(content["experiment"], sort_keys=True, separators=(",", ":"), allow_nan=False)
            if hashlib.sha256(canonical.encode()).hexdigest() != key:
                raise UserError(f"{file} line {number}: {key[:12]} is not the key of its experiment")
            yield key, content


def _changed(record: Record) -> str:
    """What the present code would do otherwise, or nothing."""
    if record.cost != record.experiment.cost():
        return f"the network cost {record.cost}, today {record.experiment.cost()}"
    for data, name in zip(record.experiment.data, _HASHES, strict=False):
        was = record.provenance.get(name, "")
        if was and probe_hash(data) and was != (now := _drawn_hash(data)):
            return f"its images had the hash {was[:12]}, today {now[:12]}"
    return ""


@cache
def _drawn_hash(data: Dataset | DetectionDataset) -> str:
    if isinstance(data, SceneDataset | CocoDataset):
        return load_detection(data, cores(), progress=True).content_hash
    return load_images(data, cores(), progress=True).content_hash


def _result(record: Record) -> tuple[Any, ...]:
    return record.status, record.metrics, record.curve, record.arrays, record.cost
