"""TinyNets as tables: the released ones, and those of a fitted formula."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tinynet_core.networks import family, network
from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.scaling.formula import ExtrapolationWarning, TinyFormula
from tinynet_core.scaling.scale import FITTED_DECIMALS, Base, eq5_width
from tinynet_core.scaling.solve import solve_width


def released_tinynets() -> pd.DataFrame:
    """The released TinyNets as a table.

    Returns
    -------
    pandas.DataFrame
        ``network``, ``r``, ``d``, ``w``, real ``macs``, and ``c``, their fraction of EfficientNet-B0's; a row each.
    """
    c0 = network("efficientnet_b0").complexity().macs
    rows = []
    for name, scale in TINYNETS.items():
        macs = network(name).complexity().macs
        rows.append({"network": name, "r": scale.r, "d": scale.d, "w": scale.w, "macs": macs, "c": macs / c0})
    return pd.DataFrame(rows)


def formula_tinynets(
    formula: TinyFormula, fractions: Sequence[float], base: Base | None = None, num_classes: int = 1000
) -> pd.DataFrame:
    """TinyNets by a fitted formula: r and d with their standard deviations, the width by Eq. 5 and on real MACs.

    Parameters
    ----------
    formula, fractions
        A fitted one, and the fractions c of the baseline's MACs to ask it for.
    base, num_classes
        As for ``network``.

    Returns
    -------
    pandas.DataFrame
        A row for each fraction; ``extrapolated`` marks those outside the fitted ones. A prediction that is no network,
        or a budget that no width meets, leaves widths and MACs empty.
    """
    net = family("efficientnet_b0", base, classes=num_classes)
    c0 = net.at().complexity().macs
    low, high = formula.c_.min(), formula.c_.max()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        mean, std = formula.predict(fractions, return_std=True)
    rows = []
    for c, (r, d), (r_std, d_std) in zip(fractions, np.round(mean, FITTED_DECIMALS), std, strict=True):
        row = {"c": c, "r": r, "r_std": r_std, "d": d, "d_std": d_std, "extrapolated": not low <= c <= high}
        try:
            width = solve_width(net, c * c0, r, d)
            row |= {"w_eq5": eq5_width(c, r, d), "w": width.x, "macs": width.cost, "off": width.error}
        except ValueError:  # r or d not above zero, or a budget that no width meets
            row |= dict.fromkeys(("w_eq5", "w", "macs", "off"), math.nan)
        rows.append(row)
    return pd.DataFrame(rows)
