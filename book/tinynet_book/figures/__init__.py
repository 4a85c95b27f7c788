"""The figures of the book, in one style. Accuracies are drawn in percent, MACs in millions, with 95% intervals."""

from tinynet_book.figures.accuracy import accuracy_against_dimensions, accuracy_against_macs, compared_models
from tinynet_book.figures.cluster import makespan_against_devices, waste_against_interval
from tinynet_book.figures.comparison import effects, head_shares, shrinking_curves
from tinynet_book.figures.cost import cost_by_row, cost_distances, enumerated_scales, ways_to_shrink
from tinynet_book.figures.cost_of_models import (
    accuracy_against_costs,
    cost_correlations,
    latency_against_costs,
    leads_at_equal_cost,
)
from tinynet_book.figures.curves import averaging_curves, initial_shares, learning_curves
from tinynet_book.figures.detection import average_precisions, detected_objects
from tinynet_book.figures.duel import best_of_random, differences_at_budgets
from tinynet_book.figures.frontier import correlations_against_null, dimensions_against_cost, formula_band
from tinynet_book.figures.images import glyph_sheet
from tinynet_book.figures.latency import latency_distributions, latency_ratios
from tinynet_book.figures.maps import activation_grid, lift_distributions, paired_differences
from tinynet_book.figures.plotted import plotted
from tinynet_book.figures.robustness import left_out, moved_proposals
from tinynet_book.figures.spread import correlations_by_selection, seed_spreads, what_seeds_resolve
from tinynet_book.figures.style import (
    BLUE,
    DIMENSIONS,
    GREEN,
    GREY,
    ORANGE,
    RED,
    binomial_half_width,
    error_bars,
    mean_half_width,
    set_style,
)
from tinynet_book.figures.systems import effects_beside_paper, margins_over_others, quoted_systems, trained_systems
from tinynet_book.figures.verdicts import verdicts_by_evidence

__all__ = [
    "BLUE",
    "DIMENSIONS",
    "GREEN",
    "GREY",
    "ORANGE",
    "RED",
    "accuracy_against_costs",
    "accuracy_against_dimensions",
    "accuracy_against_macs",
    "activation_grid",
    "average_precisions",
    "averaging_curves",
    "best_of_random",
    "binomial_half_width",
    "compared_models",
    "correlations_against_null",
    "correlations_by_selection",
    "cost_by_row",
    "cost_correlations",
    "cost_distances",
    "detected_objects",
    "differences_at_budgets",
    "dimensions_against_cost",
    "effects",
    "effects_beside_paper",
    "enumerated_scales",
    "error_bars",
    "formula_band",
    "glyph_sheet",
    "head_shares",
    "initial_shares",
    "latency_against_costs",
    "latency_distributions",
    "latency_ratios",
    "leads_at_equal_cost",
    "learning_curves",
    "left_out",
    "lift_distributions",
    "makespan_against_devices",
    "margins_over_others",
    "mean_half_width",
    "moved_proposals",
    "paired_differences",
    "plotted",
    "quoted_systems",
    "seed_spreads",
    "set_style",
    "shrinking_curves",
    "trained_systems",
    "verdicts_by_evidence",
    "waste_against_interval",
    "ways_to_shrink",
    "what_seeds_resolve",
]
