"""Twisting resolution, depth and width of small networks: exact costs, sweeps, frontiers and the tiny formula.

Names are loaded on first use, so that a worker process does not import what it does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinynet_core.data import (
        CocoDataset,
        CreatureDataset,
        CreatureSceneDataset,
        GlyphDataset,
        ImageNetDataset,
        SceneDataset,
        load_images,
    )
    from tinynet_core.files import UserError
    from tinynet_core.machine import Resources
    from tinynet_core.networks.family import family, network, screen
    from tinynet_core.networks.own import traced
    from tinynet_core.scaling.formula import TinyFormula
    from tinynet_core.scaling.frontier import frontier, sample_scales, sample_scales_at
    from tinynet_core.scaling.released import ExtrapolationWarning, released_formula
    from tinynet_core.scaling.scale import Base, Scale, eq5_width, giant
    from tinynet_core.scaling.shrink import BudgetWarning, shrink
    from tinynet_core.scaling.solve import UnreachableBudget, solve_width
    from tinynet_core.study.classify import Experiment
    from tinynet_core.study.detect import Detection
    from tinynet_core.study.pages import repeated, series
    from tinynet_core.study.presets import Preset, load_preset
    from tinynet_core.study.record import Record
    from tinynet_core.study.store import Store, StoreError
    from tinynet_core.study.study import MissingRecords, Study
    from tinynet_core.study.sweep import SweepError, SweepStopped, run, sweep
    from tinynet_core.training.recipe import Recipe

_NAMES = {
    "data": (
        "CocoDataset",
        "CreatureDataset",
        "CreatureSceneDataset",
        "GlyphDataset",
        "ImageNetDataset",
        "SceneDataset",
        "load_images",
    ),
    "files": ("UserError",),
    "machine": ("Resources",),
    "networks.family": ("family", "network", "screen"),
    "networks.own": ("traced",),
    "scaling.formula": ("TinyFormula",),
    "scaling.frontier": ("frontier", "sample_scales", "sample_scales_at"),
    "scaling.scale": ("Base", "Scale", "eq5_width", "giant"),
    "scaling.released": ("ExtrapolationWarning", "released_formula"),
    "scaling.shrink": ("BudgetWarning", "shrink"),
    "scaling.solve": ("UnreachableBudget", "solve_width"),
    "study.classify": ("Experiment",),
    "study.detect": ("Detection",),
    "study.pages": ("repeated", "series"),
    "study.presets": ("Preset", "load_preset"),
    "study.record": ("Record",),
    "study.store": ("Store", "StoreError"),
    "study.study": ("MissingRecords", "Study"),
    "study.sweep": ("SweepError", "SweepStopped", "run", "sweep"),
    "training.recipe": ("Recipe",),
}
_HOME = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}
__all__ = [*_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'tinynet_core' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
