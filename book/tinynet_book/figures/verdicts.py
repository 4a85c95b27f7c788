"""How the claims of the ledger fared."""

from typing import get_args

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from tinynet_book.figures.style import BLUE, GREEN, GREY, RED
from tinynet_book.paper.claims import Verdict

COLOURS = dict(zip(get_args(Verdict), (BLUE, GREEN, RED, GREY), strict=True))
_HATCHES = dict(zip(get_args(Verdict), ("", "//", "xx", ""), strict=True))


def verdicts_by_evidence(ledger: pd.DataFrame) -> Figure:
    """Claims of each kind of evidence by verdict, one bar a kind; columns ``evidence`` and ``verdict``."""
    kinds = ledger.evidence.replace("", "no run").value_counts().index
    counts = pd.crosstab(ledger.evidence.replace("", "no run"), ledger.verdict).reindex(kinds)
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(kinds) + 1.4), layout="constrained")
    left = pd.Series(0, index=kinds)
    for verdict, colour in COLOURS.items():
        if verdict not in counts:
            continue
        n = counts[verdict]
        label = f"{verdict} ({n.sum()})"
        bars = axes.barh(kinds, n, left=left, color=colour, hatch=_HATCHES[verdict], edgecolor="white", label=label)
        large = n.where(n >= 0.03 * counts.sum(axis=1).max(), 0)
        labels = axes.bar_label(bars, [f"{x}" if x else "" for x in large], label_type="center", fontsize="small")
        for text in filter(lambda text: text.get_text(), labels):
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})
        left = left + n
    axes.invert_yaxis()
    axes.set(xlabel=f"claims of the paper (n = {len(ledger)})", ylabel="evidence here")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize="small")
    return figure
