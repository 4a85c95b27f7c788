"""Everything that has a record: pure data that says what to compute, and how it is computed.

Device and executor are never part of it.
"""

from typing import Annotated

from pydantic import Field

from tinynet_core.experiments.detection import Detection, DetectionPlan
from tinynet_core.experiments.latencies import ModelLatencies, TimedNetwork
from tinynet_core.experiments.latency import LatencyRun
from tinynet_core.experiments.maps import ActivationMaps
from tinynet_core.experiments.released import ReleasedEvaluation
from tinynet_core.experiments.task import Result, Task
from tinynet_core.experiments.training import Experiment

__all__ = [
    "ActivationMaps",
    "AnyTask",
    "Detection",
    "DetectionPlan",
    "Experiment",
    "LatencyRun",
    "ModelLatencies",
    "ReleasedEvaluation",
    "Result",
    "Task",
    "TimedNetwork",
]

AnyTask = Annotated[
    ActivationMaps | Detection | Experiment | LatencyRun | ModelLatencies | ReleasedEvaluation,
    Field(discriminator="kind"),
]
"""Any of them, told apart by its key ``kind``."""
