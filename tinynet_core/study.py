"""The sets of models behind each figure and table, and their records: what a notebook asks for."""

import ast
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tinynet_core.errors import UserError
from tinynet_core.experiments import Experiment
from tinynet_core.formula import ExtrapolationWarning, TinyFormula
from tinynet_core.networks import Head, network
from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.pareto import frontier
from tinynet_core.presets import Preset, load_preset, project_root
from tinynet_core.record import Record
from tinynet_core.scale import Base, Scale, eq5_width
from tinynet_core.shrinking import Method, UnreachableBudget, solve_width
from tinynet_core.store import Store, to_frame
from tinynet_core.sweeps import sweep
from tinynet_core.training.recipe import EFFICIENTNET_RECIPE

Series = dict[str, list[Experiment]]
IMAGENET_IMAGES = 1_281_167
"""Training images of the ILSVRC 2012 classification set."""


class MissingRecords(UserError):
    """Records that a page needs and may not train; lists them and the command that makes them."""


class Study:
    """A preset with its store. ``train=False`` refuses to train what is missing.

    ``store`` is a folder of records; empty means ``runs/<preset>`` in the checkout.
    """

    def __init__(self, preset: str = "smoke", store: str | Path = "", train: bool = True) -> None:
        self.preset: Preset = load_preset(preset)
        self.store = Store(store or project_root() / "runs" / self.preset.name)
        self.train = train
        self.preset_argument = str(Path(preset).resolve()) if preset.endswith((".yaml", ".yml")) else preset

    def records(self, experiments: Sequence[Experiment]) -> list[Record]:
        """Records in the order of ``experiments``, trained now where missing, or ``MissingRecords``."""
        missing = self.store.missing(experiments)
        if missing and not self.train:
            lines = [f"  {e.label}: {e.key[:12]}" for e in missing]
            raise MissingRecords(
                f"{len(missing)} of {len(experiments)} records are not in {self.store.root} and train is false:\n"
                + "\n".join(lines)
                + f"\nmake them with: tinynet sweep {self.preset_argument} --store {self.store.root}"
            )
        return sweep(experiments, self.store, resources=self.preset.resources)

    def frame(self, experiments: Sequence[Experiment]) -> pd.DataFrame:
        """One row per record of ``experiments``, failed ones included, with ``c`` = MACs over the baseline's."""
        frame = to_frame(self.records(experiments))
        for column in ("training_version", "dataset_sha256"):
            if frame[column].nunique() > 1:
                warnings.warn(f"records in {self.store.root} were made with different {column}s", stacklevel=2)
        return frame.assign(c=frame.macs / self.preset.c0)

    def named_frame(self, series: Series) -> pd.DataFrame:
        """Like ``frame`` for several named networks, with their name in the column ``model``."""
        pairs = [(name, e) for name, experiments in series.items() for e in experiments]
        return self.frame([e for _, e in pairs]).assign(model=[name for name, _ in pairs])

    def random_sample(self) -> pd.DataFrame:
        """The random sample of Figure 1, with a column ``frontier`` that marks the models kept by NSGA-III."""
        frame = self.frame(self.preset.random_experiments())
        done = frame[frame.status == "done"]
        assert self.preset.random_sample is not None  # random_experiments() has seen it
        kept = done.index[frontier(done.macs, done.top1, self.preset.random_sample.frontier)]
        return frame.assign(frontier=frame.index.isin(kept))

    def formula(self) -> TinyFormula:
        """The tiny formula fitted on the frontier of this study's random sample."""
        kept = self.random_sample().query("frontier")
        return TinyFormula().fit(kept.c, kept.r, kept.d)

    def giant_series(self) -> Series:
        """The baseline and EfficientNet-B^-1 ... B^-4 at 2^-phi of its MACs, on the inverse giant formula (Figure 1).

        One seed, as for the random sample.
        """
        series = {"EfficientNet-B0": [self.preset.experiment(Scale())]}
        for phi in (1, 2, 3, 4):
            scale = self.preset.shrunk(2.0**-phi, "giant", head="scaled")
            series[f"EfficientNet-B^-{phi}"] = [self.preset.experiment(scale, head="scaled")]
        return series

    def averaging_series(self) -> Series:
        """The baseline network with three averages of its weights; everything else is this preset's recipe.

        The paper's decay as printed, the same with a warm-up, and the decay whose window is the same share of this
        training as the paper's is of its own.
        """
        paper, recipe = EFFICIENTNET_RECIPE, self.preset.recipe
        steps = recipe.epochs * (self.preset.dataset.train_images // recipe.batch_size)
        scaled = paper.ema_decay ** (paper.epochs * IMAGENET_IMAGES / paper.batch_size / steps)
        variants = {
            f"decay {paper.ema_decay} as printed": (paper.ema_decay, False),
            f"decay {paper.ema_decay} with warm-up": (paper.ema_decay, True),
            f"decay {scaled:.4f}, scaled to {steps} steps": (scaled, False),
        }
        baseline, series = self.preset.experiment(Scale()), {}
        for name, (decay, warmup) in variants.items():
            varied = recipe.model_copy(update={"ema_decay": decay, "ema_warmup": warmup})
            series[name] = [
                baseline.model_copy(update={"recipe": varied, "seed": seed})
                for seed in range(self.preset.compared_seeds)
            ]
        return series

    def curves(self, series: Series) -> pd.DataFrame:
        """One row per epoch of every finished training in ``series``, with columns model, seed and the curve's own."""
        pairs = [(name, e) for name, experiments in series.items() for e in experiments]
        records = self.records([e for _, e in pairs])
        rows = [
            {"model": name, "seed": record.experiment.seed, **row}
            for (name, _), record in zip(pairs, records, strict=True)
            for row in record.curve
        ]
        return pd.DataFrame(rows)

    def table1_series(self) -> tuple[Series, dict[str, str]]:
        """The networks of Table 1 at a half and a quarter of the baseline's MACs, and those that cannot be had and why.

        TinyNet-B and -C keep the released r and d, with the width solved for this preset's baseline; the last of each
        group takes r and d from the formula fitted on this study's own random sample.
        """
        series, unreachable = {}, {}
        formula = self.formula()
        for c, phi, tiny in ((0.5, 1, "b"), (0.25, 2, "c")):
            wanted: dict[str, tuple[Method, Head]] = {
                f"EfficientNet-B^-{phi}": ("giant", "scaled"),
                f"resolution only, c = {c:g}": ("r", "fixed"),
                f"depth only, c = {c:g}": ("d", "fixed"),
                f"width only, c = {c:g}": ("w", "fixed"),
                f"formula fitted here, c = {c:g}": ("formula", "fixed"),
            }
            for name, (method, head) in wanted.items():
                try:
                    scale = self.preset.shrunk(c, method, formula, head)
                except UnreachableBudget as error:
                    unreachable[name] = str(error)
                    continue
                series[name] = self._seeds(scale, head)
            series[f"TinyNet-{tiny.upper()}"] = self._seeds(self.preset.released_tinynet(f"tinynet_{tiny}", c), "fixed")
        return series, unreachable

    def table1_experiments(self) -> list[Experiment]:
        """The trainings behind Table 1, known once the random sample is trained."""
        series, _ = self.table1_series()
        return [e for experiments in series.values() for e in experiments]

    def _seeds(self, scale: Scale, head: Head) -> list[Experiment]:
        return [self.preset.experiment(scale, seed, head) for seed in range(self.preset.compared_seeds)]

    def experiments(self) -> list[Experiment]:
        """Everything the notebooks need that is known before any training."""
        found = self.preset.named_experiments()
        if self.preset.random_sample:
            found += [e for experiments in self.averaging_series().values() for e in experiments]
            giants = [e for experiments in self.giant_series().values() for e in experiments]
            found += [*self.preset.random_experiments(), *giants]
        if self.preset.equal_cost_sample:
            found += self.preset.equal_cost_experiments()
        return list(dict.fromkeys(found))


def released_tinynets() -> pd.DataFrame:
    """r, d, w of the released TinyNets, their real MACs, and c as a fraction of EfficientNet-B0's."""
    c0 = network("efficientnet_b0").complexity().macs
    rows = []
    for name, scale in TINYNETS.items():
        macs = network(name).complexity().macs
        rows.append({"network": name, "r": scale.r, "d": scale.d, "w": scale.w, "macs": macs, "c": macs / c0})
    return pd.DataFrame(rows)


def formula_tinynets(
    formula: TinyFormula, fractions: Sequence[float], base: Base | None = None, num_classes: int = 1000
) -> pd.DataFrame:
    """r and d of ``formula`` with their standard deviations at each fraction c, the width by Eq. 5 and on real MACs.

    ``extrapolated`` marks fractions outside the fitted ones; a prediction that is no network, or a budget
    that no width meets, leaves the widths and MACs empty.
    """
    c0 = network("efficientnet_b0", num_classes=num_classes, base=base).complexity().macs
    low, high = formula.c_.min(), formula.c_.max()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        mean, std = formula.predict(fractions, return_std=True)
    rows = []
    for c, (r, d), (r_std, d_std) in zip(fractions, mean, std, strict=True):
        row = {"c": c, "r": r, "r_std": r_std, "d": d, "d_std": d_std, "extrapolated": not low <= c <= high}
        try:
            width = solve_width("efficientnet_b0", c * c0, r, d, base=base, num_classes=num_classes)
            row |= {"w_eq5": eq5_width(c, r, d), "w": width.x, "macs": width.cost, "off": width.error}
        except ValueError:  # r or d not above zero, or a budget that no width meets
            row |= dict.fromkeys(("w_eq5", "w", "macs", "off"), math.nan)
        rows.append(row)
    return pd.DataFrame(rows)


def open_notebook(namespace: dict) -> Study:
    """The study that a notebook's parameters ``preset``, ``store`` and ``train`` name, with the book's plot style.

    Raises ``UserError`` for a parameter that papermill injected and the notebook does not have.
    """
    from tinynet_core.figures import set_style

    known = ("preset", "store", "train")
    for cell in namespace.get("In", []):
        if cell.startswith("# Parameters"):  # how papermill opens the cell that it injects
            statements = [s for s in ast.parse(cell).body if isinstance(s, ast.Assign)]
            names = [t.id for s in statements for t in s.targets if isinstance(t, ast.Name)]
            if unknown := [name for name in names if name not in known]:
                raise UserError(f"unknown notebook parameter {unknown[0]!r}, known: {', '.join(known)}")
    preset, store, train = (namespace[name] for name in known)
    if isinstance(train, str) and train.lower() in ("true", "false"):
        train = train.lower() == "true"  # papermill hands on anything but True and False as text
    if not (isinstance(preset, str) and isinstance(store, str) and isinstance(train, bool)):
        raise UserError(
            f"preset and store must be text and train True or False, got {preset!r}, {store!r} and {train!r}"
        )
    set_style()
    return Study(preset, store, train)
