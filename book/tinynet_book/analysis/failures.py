"""What failures cost a run that writes checkpoints, in closed form.

Failures come at random, at a constant rate, and undo the work since the last checkpoint. All times are in seconds.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Failures:
    """What one run meets.

    ``mtbf``: mean time between failures of everything that the run is on, infinite for none. ``repair``: until what
    failed is there again. ``restart``: to start the run again. ``checkpoint``: to write one, while the run waits.
    """

    mtbf: float = math.inf
    repair: float = 0.0
    restart: float = 0.0
    checkpoint: float = 0.0


def expected_seconds(work: float, interval: float, failures: Failures) -> float:
    """Mean time of a run of so much ``work`` with a checkpoint after each ``interval`` of it, none after the last.

    A stretch of s seconds takes (exp(s / M) - 1) (M + repair) where M is the mean time between failures (a renewal
    argument); the restart, in which the run may fail again, is part of the stretch from the second attempt on.
    """
    checkpoints = max(0, math.ceil(work / interval - 1e-9) - 1)
    stretches = _stretch(interval + failures.checkpoint, failures) if checkpoints else 0.0
    return checkpoints * stretches + _stretch(work - checkpoints * min(interval, work), failures)


def _stretch(seconds: float, failures: Failures) -> float:
    if math.isinf(failures.mtbf):
        return seconds
    lost = failures.mtbf + failures.repair
    again = math.expm1((failures.restart + seconds) / failures.mtbf) * lost
    return -math.expm1(-seconds / failures.mtbf) * (lost + again)


def young_interval(failures: Failures) -> float:
    """Work between two checkpoints that wastes least, to first order: sqrt(2 * checkpoint * mtbf).

    J. W. Young, Communications of the ACM 17(9), 1974; J. T. Daly, Future Generation Computer Systems 22(3), 2006.
    """
    return math.sqrt(2 * failures.checkpoint * failures.mtbf)
