"""Stale records: of another training version, recipe or data than the code and the preset have now."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinynet_core.data.probe import probe_hash
from tinynet_core.experiments import Detection, Experiment, Task
from tinynet_core.record import Record

_NAMED = 3
"""Differences that a reason names."""
_SUBJECT = ("kind", "network", "networks", "seed")
"""Parts of the identity that say what is trained or timed; the others say how."""
_DATA = ("data", "data of the pretraining")
"""What the members of a task's ``data`` are called, in their order."""


class StaleWarning(UserWarning):
    """Records are used that are stale."""


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


def stand_in(task: Task, records: Iterable[Record]) -> Record | None:
    """The record of the same network and seed as ``task``, made in another way: of several, the most similar one."""
    wanted = _subject(task)
    alike = [record for record in records if _subject(record.experiment) == wanted]
    return min(alike, key=lambda record: len(changes(record.experiment, task)), default=None)


def replaced(missing: Iterable[Task], older: Mapping[str, Record]) -> list[Stale]:
    """Those of ``missing`` for which an older record stands in, with the first of the things that differ."""
    found = []
    for task in missing:
        if record := older.get(task.key):
            differing = changes(record.experiment, task)
            more = len(differing) - _NAMED
            named = [*differing[:_NAMED], *([f"and {more} more"] if more > 0 else [])]
            found.append(Stale(task, record.key, "; ".join(named)))
    return found


def changes(old: Task, new: Task) -> list[str]:
    """What differs between two tasks, as ``recipe.lr was 0.02, is 0.01``."""
    before, after = (dict(_leaves(task.identity)) for task in (old, new))
    keys = sorted(before.keys() | after.keys())
    differing = [key for key in keys if before.get(key, "absent") != after.get(key, "absent")]
    return [f"{key} was {before.get(key, 'absent')}, is {after.get(key, 'absent')}" for key in differing]


def summary(stale: Sequence[Stale]) -> list[str]:
    """One line for each reason with the number of its records, the most frequent first."""
    count = Counter(x.reason for x in stale)
    return [f"{n} record{'s' * (n > 1)}: {reason}" for reason, n in count.most_common()]


def _subject(task: Task) -> dict[str, Any]:
    subject = {name: value for name, value in task.identity.items() if name in _SUBJECT}
    if isinstance(subject.get("network"), dict):
        del subject["network"]["num_classes"]  # of the data set
    return subject


def _leaves(content: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, content
