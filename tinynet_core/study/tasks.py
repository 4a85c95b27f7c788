"""Every kind of task that has a record, told apart by its key ``kind``.

Kinds of other packages, such as the book's, register under the entry point ``tinynet_core.tasks``.
"""

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from tinynet_core.study.classify import Experiment
from tinynet_core.study.detect import Detection
from tinynet_core.study.task import Task

KINDS: dict[str, type[Task]] = {"training": Experiment, "detection": Detection}
KINDS |= {entry.name: entry.load() for entry in entry_points(group="tinynet_core.tasks")}

if TYPE_CHECKING:
    AnyTask = Task
else:
    AnyTask = Annotated[Union[tuple(KINDS.values())], Field(discriminator="kind")]  # noqa: UP007
