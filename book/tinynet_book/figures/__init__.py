"""The style of the book's figures, and the plots that several pages share. A plot of one page stands in its notebook.

Accuracies are drawn in percent, MACs in millions, with 95% intervals.
"""

from tinynet_book.figures.plotted import plotted
from tinynet_book.figures.shared import (
    compared_models,
    cost_axis,
    effects,
    effects_beside_paper,
    families,
    glyph_sheet,
    trained_systems,
    verdicts_by_evidence,
)
from tinynet_book.figures.style import (
    BLUE,
    COLOURS,
    DIMENSIONS,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    RED,
    binomial_half_width,
    error_bars,
    intervals,
    mean_half_width,
    plain_ticks,
    points,
    seeds_each,
    set_style,
)

__all__ = [
    "BLUE",
    "COLOURS",
    "DIMENSIONS",
    "GREEN",
    "GREY",
    "MARKERS",
    "ORANGE",
    "RED",
    "binomial_half_width",
    "compared_models",
    "cost_axis",
    "effects",
    "effects_beside_paper",
    "error_bars",
    "families",
    "glyph_sheet",
    "intervals",
    "mean_half_width",
    "plain_ticks",
    "plotted",
    "points",
    "seeds_each",
    "set_style",
    "trained_systems",
    "verdicts_by_evidence",
]
