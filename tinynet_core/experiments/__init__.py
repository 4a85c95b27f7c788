"""Everything that has a record: pure data that says what to compute, and how it is computed.

Device and executor are never part of it.
"""

from tinynet_core.experiments.task import Result, Task
from tinynet_core.experiments.training import Experiment

__all__ = ["AnyTask", "Experiment", "Result", "Task"]

AnyTask = Experiment
"""Any of them, told apart by its key ``kind``."""
