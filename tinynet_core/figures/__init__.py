"""The figures of the book, in one style. Accuracies are drawn in percent, MACs in millions, with 95% intervals."""

from tinynet_core.figures.accuracy import accuracy_against_dimensions, accuracy_against_macs, compared_models
from tinynet_core.figures.cluster import makespan_against_devices, waste_against_interval
from tinynet_core.figures.cost import cost_by_row, cost_distances, enumerated_scales, ways_to_shrink
from tinynet_core.figures.curves import averaging_curves, initial_shares
from tinynet_core.figures.frontier import correlations_against_null, dimensions_against_cost, formula_band
from tinynet_core.figures.images import glyph_sheet
from tinynet_core.figures.style import (
    BLUE,
    DIMENSIONS,
    GREEN,
    GREY,
    ORANGE,
    RED,
    binomial_half_width,
    mean_half_width,
    set_style,
)

__all__ = [
    "BLUE",
    "DIMENSIONS",
    "GREEN",
    "GREY",
    "ORANGE",
    "RED",
    "accuracy_against_dimensions",
    "accuracy_against_macs",
    "averaging_curves",
    "binomial_half_width",
    "compared_models",
    "correlations_against_null",
    "cost_by_row",
    "cost_distances",
    "dimensions_against_cost",
    "enumerated_scales",
    "formula_band",
    "glyph_sheet",
    "initial_shares",
    "makespan_against_devices",
    "mean_half_width",
    "set_style",
    "waste_against_interval",
    "ways_to_shrink",
]
