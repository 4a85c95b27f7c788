"""Twisting resolution, depth and width of small networks: exact costs, sweeps, frontiers and the tiny formula.

Names are loaded on first use, so that a worker process does not import what it does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinynet_core.budget import UnreachableBudget
    from tinynet_core.data import CocoDataset, GlyphDataset, ImageNetDataset, SceneDataset, load_glyphs, load_images
    from tinynet_core.errors import UserError
    from tinynet_core.experiments import Detection, Experiment
    from tinynet_core.formula import ExtrapolationWarning, TinyFormula
    from tinynet_core.networks import network
    from tinynet_core.networks.traced import traced
    from tinynet_core.notebook import open_notebook
    from tinynet_core.paper.claims import Finding, write_claims
    from tinynet_core.pareto import frontier, null_correlations, rank_correlation
    from tinynet_core.presets import Preset, load_preset
    from tinynet_core.record import Record
    from tinynet_core.resources import Resources
    from tinynet_core.sampling import sample_scales, sample_scales_at
    from tinynet_core.scale import Base, Scale, eq5_width, giant
    from tinynet_core.screening import screen
    from tinynet_core.shrinking import BudgetWarning, released_formula, shrink, shrunk, solve_width
    from tinynet_core.store import Store, StoreError
    from tinynet_core.study import MissingRecords, Study, formula_tinynets, released_tinynets
    from tinynet_core.sweeps import SweepError, SweepStopped, run, sweep
    from tinynet_core.training.recipe import Recipe

_HOME = {
    "UnreachableBudget": "tinynet_core.budget",
    "CocoDataset": "tinynet_core.data",
    "GlyphDataset": "tinynet_core.data",
    "ImageNetDataset": "tinynet_core.data",
    "SceneDataset": "tinynet_core.data",
    "load_glyphs": "tinynet_core.data",
    "load_images": "tinynet_core.data",
    "UserError": "tinynet_core.errors",
    "Detection": "tinynet_core.experiments",
    "Experiment": "tinynet_core.experiments",
    "Record": "tinynet_core.record",
    "ExtrapolationWarning": "tinynet_core.formula",
    "TinyFormula": "tinynet_core.formula",
    "frontier": "tinynet_core.pareto",
    "null_correlations": "tinynet_core.pareto",
    "rank_correlation": "tinynet_core.pareto",
    "network": "tinynet_core.networks",
    "traced": "tinynet_core.networks.traced",
    "Finding": "tinynet_core.paper.claims",
    "write_claims": "tinynet_core.paper.claims",
    "Preset": "tinynet_core.presets",
    "load_preset": "tinynet_core.presets",
    "Resources": "tinynet_core.resources",
    "Base": "tinynet_core.scale",
    "Scale": "tinynet_core.scale",
    "eq5_width": "tinynet_core.scale",
    "giant": "tinynet_core.scale",
    "screen": "tinynet_core.screening",
    "BudgetWarning": "tinynet_core.shrinking",
    "released_formula": "tinynet_core.shrinking",
    "shrink": "tinynet_core.shrinking",
    "shrunk": "tinynet_core.shrinking",
    "solve_width": "tinynet_core.shrinking",
    "Store": "tinynet_core.store",
    "StoreError": "tinynet_core.store",
    "MissingRecords": "tinynet_core.study",
    "Study": "tinynet_core.study",
    "open_notebook": "tinynet_core.notebook",
    "formula_tinynets": "tinynet_core.study",
    "released_tinynets": "tinynet_core.study",
    "run": "tinynet_core.sweeps",
    "sample_scales": "tinynet_core.sampling",
    "sample_scales_at": "tinynet_core.sampling",
    "sweep": "tinynet_core.sweeps",
    "SweepError": "tinynet_core.sweeps",
    "SweepStopped": "tinynet_core.sweeps",
    "Recipe": "tinynet_core.training.recipe",
}

__all__ = [
    "Base",
    "BudgetWarning",
    "CocoDataset",
    "Detection",
    "Experiment",
    "ExtrapolationWarning",
    "Finding",
    "GlyphDataset",
    "ImageNetDataset",
    "MissingRecords",
    "Preset",
    "Recipe",
    "Record",
    "Resources",
    "Scale",
    "SceneDataset",
    "Store",
    "StoreError",
    "Study",
    "SweepError",
    "SweepStopped",
    "TinyFormula",
    "UnreachableBudget",
    "UserError",
    "eq5_width",
    "formula_tinynets",
    "frontier",
    "giant",
    "load_glyphs",
    "load_images",
    "load_preset",
    "network",
    "null_correlations",
    "open_notebook",
    "rank_correlation",
    "released_formula",
    "released_tinynets",
    "run",
    "sample_scales",
    "sample_scales_at",
    "screen",
    "shrink",
    "shrunk",
    "solve_width",
    "sweep",
    "traced",
    "write_claims",
]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'tinynet_core' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
