"""Stale records: of another training version or of other data than the code has now."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tinynet_core.data.probe import probe_hash
from tinynet_core.study.classify import Experiment
from tinynet_core.study.detect import Detection
from tinynet_core.study.record import Record
from tinynet_core.study.task import Task

_DATA = ("data", "data of the pretraining")
"""What the members of a task's ``data`` are called, in their order."""


@dataclass(frozen=True, slots=True)
class Stale:
    """A task whose record is stale, the key of that record, and why."""

    task: Task
    key: str
    reason: str


def outdated(record: Record) -> str:
    """Why ``record`` does not belong to its own task any more, or nothing.

    Its training version and, where the package draws the images, the hash of its probe images must be those of now.
    Photographs belong to their reader and are not checked.
    """
    from tinynet_core.training.loop import TRAINING_VERSION

    task, about = record.experiment, record.provenance
    if not isinstance(task, Experiment | Detection):
        return ""  # nothing was trained for it
    if (version := about.get("training_version")) != TRAINING_VERSION:
        return f"training version was {version}, is {TRAINING_VERSION}"
    if not record.done:
        return ""  # a failed run does not name its data
    recorded = about.get("probe_sha256") or record.migrated.get("probe_sha256") or []
    missing = [""] * (len(task.data) - len(recorded))
    for dataset, was, what in zip(task.data, [*recorded, *missing], _DATA, strict=False):
        if was != (now := probe_hash(dataset)):
            return f"hash of the probe images of the {what} was {was[:12] or 'not recorded'}, is {now[:12]}"
    return ""


def summary(stale: Sequence[Stale]) -> list[str]:
    """One line for each reason with the number of its records, the most frequent first."""
    count = Counter(x.reason for x in stale)
    return [f"{n} record{'s' * (n > 1)}: {reason}" for reason, n in count.most_common()]
