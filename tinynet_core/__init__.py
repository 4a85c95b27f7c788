"""Twisting resolution, depth and width of small networks: exact costs, sweeps, frontiers and the tiny formula."""

from tinynet_core.data import GlyphDataset, load_glyphs
from tinynet_core.experiment import Experiment, Record
from tinynet_core.formula import ExtrapolationWarning, TinyFormula
from tinynet_core.frontier import frontier, null_correlations, rank_correlation
from tinynet_core.networks import network
from tinynet_core.presets import Preset, load_preset
from tinynet_core.scale import Base, Scale, eq5_width, giant
from tinynet_core.shrink import BudgetWarning, shrink, solve_width
from tinynet_core.store import Store, StoreError
from tinynet_core.sweep import run, sample_scales, sample_scales_at, sweep
from tinynet_core.training.recipe import Recipe

__all__ = [
    "Base",
    "BudgetWarning",
    "Experiment",
    "ExtrapolationWarning",
    "GlyphDataset",
    "Preset",
    "Recipe",
    "Record",
    "Scale",
    "Store",
    "StoreError",
    "TinyFormula",
    "eq5_width",
    "frontier",
    "giant",
    "load_glyphs",
    "load_preset",
    "network",
    "null_correlations",
    "rank_correlation",
    "run",
    "sample_scales",
    "sample_scales_at",
    "shrink",
    "solve_width",
    "sweep",
]
