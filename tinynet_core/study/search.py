"""Random search: what the models of a random sample give at one cost, and how many of them have to be trained.

The accuracy of the best of many trainings is too high: the best one was lucky in its seed and in the validation images
as well. This winner's curse is named where it is not removed.
"""

import numpy as np
import pandas as pd

from tinynet_core.scaling.solve import UnreachableBudget

WINDOW = 0.2
"""Relative distance in MACs from a budget within which a sampled model is a candidate for it.

Its r and d are used at the budget itself. Neighbouring budgets differ by a factor of two, over which the best r and d
may change; a fifth is well inside, and still leaves several candidates of a sample of a hundred.
"""
FEWEST = 3
"""Candidates at least: the models nearest in the ratio of costs, where fewer lie within ``WINDOW``."""


def candidates(models: pd.DataFrame, c: float) -> pd.DataFrame:
    """The finished ones of ``models`` that count as near to ``c`` times the baseline's MACs, the most accurate first.

    ``models`` has columns c, r, d, top1 and status. Raises ``UnreachableBudget`` where none of them finished.
    """
    done = models[models.status == "done"]
    if done.empty:
        raise UnreachableBudget(f"none of {len(models)} models of the random sample finished")
    near = done[(done.c / c - 1).abs() <= WINDOW]
    if len(near) < FEWEST:
        near = done.loc[np.log(done.c / c).abs().nsmallest(FEWEST).index]
    return near.sort_values("top1", ascending=False, kind="stable")


def best_near(models: pd.DataFrame, c: float) -> pd.Series:
    """The most accurate of the ``candidates``."""
    return candidates(models, c).iloc[0]
