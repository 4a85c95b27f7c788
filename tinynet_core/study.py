"""A preset with its store of records: what a notebook asks for."""

import math
import shlex
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from platformdirs import user_data_dir

from tinynet_core.data import ImageNetDataset, check_source
from tinynet_core.data.imagefolder import imagenet_root
from tinynet_core.errors import UserError
from tinynet_core.experiments import ActivationMaps, Detection, Experiment, LatencyRun, ModelLatencies, Task
from tinynet_core.experiments.latencies import distinct
from tinynet_core.formula import ExtrapolationWarning, TinyFormula
from tinynet_core.networks import network
from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.paper import rows
from tinynet_core.paper.released import released
from tinynet_core.pareto import frontier
from tinynet_core.presets import Preset, PresetError, in_checkout, load_preset, project_root
from tinynet_core.record import Record
from tinynet_core.resources import user_folder
from tinynet_core.scale import FITTED_DECIMALS, Base, eq5_width
from tinynet_core.series import AFTER_SAMPLE, KNOWN, SAMPLED, Sample, Series
from tinynet_core.shrinking import BudgetWarning, solve_width
from tinynet_core.spread import Spread, log_odds, seed_spread
from tinynet_core.staleness import Stale, StaleWarning, outdated, replaced, stand_in, summary
from tinynet_core.store import FILE, Store, to_frame
from tinynet_core.sweeps import SweepStopped, run, sweep

PAGES = (
    *("fig1", "fig2", "fig3", "fig4", "fig5", "fig6", "fig7"),
    *("table1", "table2", "table3", "table4", "table5", "table6", "ema", "heads", "duel", "cost"),
    *("spread", "robustness", "worlds", "longer"),
)
"""Pages of the book that rest on records."""
NEED_SEEDS = {"spread", "robustness"}
"""Those that rest on the seeds of the networks of ``REPEATED``."""
REPEATED = ("table1", "table3", "fig6", "heads")
"""Pages of networks that are trained with as many seeds as the preset compares."""
NEED_SAMPLE = {"fig1", "fig3", "cost", "worlds", *NEED_SEEDS, *AFTER_SAMPLE}
"""Those that rest on the random sample of Figure 1."""
NEED_EQUAL_COST = {"fig2", "duel"}
"""Those that rest on the random sample at one cost of Figure 2."""
IMAGENET_CLASSES = 1000
NAMED = 12
"""Missing records that a message names."""


class MissingRecords(UserError):
    """Records that a page needs and may not train; lists them and the command that makes them."""


class Study:
    """A preset with its store of records.

    Parameters
    ----------
    preset
        Its name, or a .yaml file.
    store
        Folder of records; empty means that of ``default_store``.
    train
        Whether to train what is missing; otherwise ``MissingRecords`` lists it.
    """

    def __init__(self, preset: str = "reduced", store: str | Path = "", train: bool = True) -> None:
        self.preset: Preset = load_preset(preset)
        self.sampled: Study = self
        """The study with the random samples and Tables 1 and 2, which is this one or that of ``sampled_on``."""
        self.store = Store(store or default_store(self.preset))
        self.train = train
        self.preset_argument = str(Path(preset).resolve()) if preset.endswith((".yaml", ".yml")) else preset
        if self.preset.sampled_on:
            self.sampled = Study(self.preset.sampled_on, self.store.root, train)

    @property
    def command(self) -> str:
        """The command that makes the records that are missing."""
        elsewhere = self.store.root != default_store(self.preset).resolve()
        where = ["--store", str(self.store.root)] if elsewhere else []
        return shlex.join(["tinynet", "sweep", self.preset_argument, *where])

    def records(self, experiments: Sequence[Task]) -> list[Record]:
        """Records in the order of ``experiments``, trained now where missing, or ``MissingRecords``.

        Without training the record of another recipe or of other data stands in for a missing one, with a
        ``StaleWarning``.
        """
        missing = self.store.missing(experiments)
        if missing and not self.train:
            older = self._stand_ins(missing)
            if len(older) == len(missing):
                warnings.warn("; ".join(summary(replaced(missing, older))), StaleWarning, stacklevel=2)
                found = {record.key: record for record in self.store.records()}
                return [older.get(e.key) or found[e.key].model_copy(update={"experiment": e}) for e in experiments]
            lines = [f"  {e.label}: {e.key[:12]}" for e in missing if e.key not in older]
            more = [f"  and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
            raise MissingRecords(
                f"{len(lines)} of {len(experiments)} records are not in {self.store.root} and train is false:\n"
                + "\n".join([*lines[:NAMED], *more])
                + f"\nmake them with: {self.command}"
            )
        if needed := dict.fromkeys(needed for task in missing for needed in task.needs):
            self.records([*needed])
        return sweep(experiments, self.store, resources=self.preset.resources)

    def _stand_ins(self, missing: Sequence[Task]) -> dict[str, Record]:
        """By the key of the task that is missing, records that nothing asks for any more and that come near it."""
        first, after = self.plan()
        wanted = {task.key for task in (*first, *after)}
        unused = [record for record in self.store.records() if record.key not in wanted]
        found = {task.key: stand_in(task, unused) for task in missing}
        return {key: record for key, record in found.items() if record is not None}

    def stale(self, pages: Sequence[str] = ()) -> list[Stale]:
        """What of the records that ``pages`` need is stale; without ``pages``, of all that this preset can have."""
        tasks = self._known(pages)
        records = {record.key: record for record in self.store.records()}
        missing = [task for task in tasks if task.key not in records]
        reasons = [(task, outdated(records[task.key])) for task in tasks if task.key in records]
        old = [Stale(task, task.key, reason) for task, reason in reasons if reason]
        return old + replaced(missing, self._stand_ins(missing))

    def frame(self, experiments: Sequence[Experiment]) -> pd.DataFrame:
        """One row per record of ``experiments``, failed ones included, with ``c`` = MACs over the baseline's."""
        frame = to_frame(self.records(experiments))
        for column in ("training_version", "dataset_sha256"):
            if frame[column].nunique() > 1:
                warnings.warn(f"records in {self.store.root} were made with different {column}s", stacklevel=2)
        return frame.assign(c=frame.macs / self.preset.c0)

    def named_frame(self, series: Mapping[str, Sequence[Experiment]]) -> pd.DataFrame:
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
        return self.sample().formula

    def sample(self) -> Sample:
        """The random sample with the tiny formula fitted on its frontier."""
        models = self.random_sample()
        kept = models[models.frontier]
        return Sample(models, deepcopy(_fitted(*(tuple(kept[name]) for name in ("c", "r", "d")))))

    def repeated(self, pages: Sequence[str] = REPEATED) -> Series:
        """The networks of ``pages`` under the preset's own recipe, each once with its seeds; empty with one seed."""
        found, seen = Series(), set[str]()
        for page in pages if self.preset.compared_seeds > 1 else ():
            for name, experiments in self.series(page).items():
                if experiments[0].key not in seen and experiments[0].recipe == self.preset.recipe:
                    found[f"{name} ({page})"] = experiments
                    seen.add(experiments[0].key)
        return found

    def seed_spread(self) -> Spread:
        """The spread of the log odds of top-1 between seeds, pooled over the networks of ``repeated``.

        Over those that are trained so far: nothing is trained for it.
        """
        sampled = self.preset.random_sample and not self.store.missing(self.preset.random_experiments())
        images, groups = self.preset.dataset.val_images, {}
        for name, experiments in self.repeated([p for p in REPEATED if sampled or p not in AFTER_SAMPLE]).items():
            done = [record.metrics["top1"] for record in map(self.store.get, experiments) if record and record.done]
            groups[name] = log_odds(done, images)
        return seed_spread(groups)

    def curves(self, series: Mapping[str, Sequence[Experiment]]) -> pd.DataFrame:
        """One row per epoch of every finished training in ``series``, with columns model, seed and the curve's own."""
        pairs = [(name, e) for name, experiments in series.items() for e in experiments]
        records = self.records([e for _, e in pairs])
        rows = [
            {"model": name, "seed": experiment.seed, **row}
            for (name, experiment), record in zip(pairs, records, strict=True)
            for row in record.curve
        ]
        return pd.DataFrame(rows)

    def series(self, page: str) -> Series:
        """What the page compares under this preset: one of ``series.KNOWN`` and ``series.AFTER_SAMPLE``.

        It warns neither of a network off its budget, which the pages show, nor of a budget outside the fitted range,
        which the pages on the formula and on the duel name.
        """
        return self._series(page, self.sampled.sample() if page in AFTER_SAMPLE else None)

    def _series(self, page: str, sample: Sample | None) -> Series:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BudgetWarning)
            warnings.simplefilter("ignore", ExtrapolationWarning)
            if page in KNOWN:
                return KNOWN[page](self.preset)
            assert sample is not None
            return AFTER_SAMPLE[page](self.preset, sample)

    def latency(self) -> Record:
        """The timings of Table 4, made now in this process where there is no record of them."""
        task = latency_run(self.preset)
        return run(task, self.store, progress=True) if self.train else self.records([task])[0]

    def classifiers(self) -> dict[str, Series]:
        """Every training of a classifier that the pages compare, by page and row; Table 3 and the samples come first.

        A network that several pages compare is in each. The samples are pages with a single row, which has no name.
        """
        found = {"table3": self.series("table3")}
        sampled = self.sampled.preset
        if sampled.random_sample:
            found["random sample"] = _one_row("", sampled.random_experiments())
        if sampled.equal_cost_sample:
            for c, experiments in _equal_costs(sampled).items():
                first = c == sampled.equal_cost_sample.c[0]
                found["equal-cost sample" + ("" if first else f", c = {c:g}")] = _one_row("", experiments)
        sample = self.sampled.sample() if sampled.random_sample else None
        pages = [page for page in (*KNOWN, *AFTER_SAMPLE) if page in self.pages and page not in found]
        found |= {page: self._of(page)._series(page, sample) for page in pages}
        if self.preset.networks:
            found["further networks"] = _one_row("", self.preset.named_experiments())
        return found

    def latencies_run(self, classifiers: Mapping[str, Series] | None = None) -> ModelLatencies:
        """The networks of ``classifiers``, each once, to be timed as often as the preset says."""
        times, pages = self.preset.latency, classifiers or self.classifiers()
        everything = (e for series in pages.values() for e in series.all())
        return ModelLatencies(networks=distinct(everything, times.models), runs=times.model_runs, warmup=times.warmup)

    def latencies(self, classifiers: Mapping[str, Series] | None = None) -> Record:
        """The timings of ``latencies_run``, made now in this process where there is no record of them."""
        task = self.latencies_run(classifiers)
        return run(task, self.store, progress=True) if self.train else self.records([task])[0]

    def maps(self) -> dict[str, list[ActivationMaps]]:
        """The class activation maps of Figure 5, of every network of Figure 4."""
        return {name: [_mapped(e) for e in experiments] for name, experiments in self.series("fig4").items()}

    def detection(self) -> dict[str, list[Detection]]:
        """The detectors of Table 5 on the networks of Table 3, one for each seed.

        Raises ``PresetError`` where the preset trains none.
        """
        plan, classifiers = self.preset.detection, self.series("table3")
        if plan is None:
            raise PresetError(f"preset {self.preset.name} has no detection: this page needs a preset that has it")
        seeds = self.preset.seeds_aside
        names = ("EfficientNet-B^-3", "TinyNet-D")
        return {name: [plan.detection(e) for e in classifiers[name][:seeds]] for name in names}

    def released(self, evaluate: bool = False) -> tuple[dict[str, Record], dict[str, str]]:
        """Records of released weights on ImageNet by row of Table 3, and for every row without one the reason.

        ``evaluate`` makes those that are not in the store, on the images of ``$TINYNET_IMAGENET``; so does a preset of
        all 1000 classes, where it may train.
        """
        dataset, offered = self.preset.dataset, released()
        whole = isinstance(dataset, ImageNetDataset) and dataset.classes == IMAGENET_CLASSES
        found: dict[str, Record] = {}
        reasons: dict[str, str] = {}
        folder = _no_imagenet()
        for row in (row["model"] for row in rows("table3")):
            if row not in offered:
                reasons[row] = "no released weights are known to be of this row"
            elif (record := self.store.get(offered[row].task)) is not None:
                found[row] = record
            elif not (evaluate or (whole and self.train)):
                reasons[row] = "not evaluated on ImageNet"
            elif folder:
                reasons[row] = folder
            else:
                try:
                    found[row] = run(offered[row].task, self.store, progress=True)
                except SweepStopped:
                    raise
                except UserError as error:
                    reasons[row] = str(error)
        return found, reasons

    def experiments(self) -> list[Task]:
        """Everything the notebooks need that is known before any training."""
        return next(self.stages())

    def stages(self, pages: Sequence[str] = ()) -> Iterator[list[Task]]:
        """What ``pages`` need, in stages: each is known once the one before it has its records.

        Without ``pages`` it is all that this preset can have. Raises ``UserError`` for a page that is not in ``PAGES``.
        """
        first, after = self.plan(pages)
        wanted = self._wanted(pages)
        yield first
        sampled = [e for p in AFTER_SAMPLE if p in wanted for e in self._of(p).series(p).all()]
        yield list(dict.fromkeys(sampled + self._repeated(wanted, AFTER_SAMPLE)))
        yield [task for task in after if not isinstance(task, LatencyRun)]
        yield [self.latencies_run()] if "cost" in wanted else []  # alone on the machine, and so is the next
        yield [task for task in after if isinstance(task, LatencyRun)]

    def plan(self, pages: Sequence[str] = ()) -> tuple[list[Task], list[Task]]:
        """What ``pages`` need as far as the preset says it: the trainings, and what is made after all trainings."""
        if unknown := [page for page in pages if page not in PAGES]:
            raise UserError(f"unknown page {unknown[0]!r}, known: {', '.join(PAGES)}")
        wanted = self._wanted(pages)
        first: list[Task] = [*self.preset.named_experiments()] if "cost" in wanted or not pages else []
        if wanted & NEED_SAMPLE:
            first += self.sampled.preset.random_experiments()
        if wanted & NEED_EQUAL_COST:
            first += [e for experiments in _equal_costs(self.sampled.preset).values() for e in experiments]
        if "worlds" in wanted:
            first += self.sampled.preset.elsewhere.random_experiments()
        known = wanted | ({"table3", "table6"} if "fig7" in wanted else set())
        first += [e for page in KNOWN if page in known for e in self._of(page).series(page).all()]
        first += self._repeated(wanted, KNOWN)
        after: list[Task] = []
        if "fig5" in wanted:
            after += [task for tasks in self.maps().values() for task in tasks]
        if "table5" in wanted:
            after += [task for tasks in self.detection().values() for task in tasks]
        first += [needed for task in after for needed in task.needs]
        after += [latency_run(self.preset)] if "table4" in wanted else []
        return list(dict.fromkeys(first)), after

    def check_sources(self, pages: Sequence[str] = ()) -> None:
        """Raise ``UserError`` where the folder of any data set that ``pages`` need is missing: before any training."""
        first, after = self.plan(pages)
        for dataset in dict.fromkeys(dataset for task in self.store.missing([*first, *after]) for dataset in task.data):
            check_source(dataset)

    def behind(self, page: str = "") -> list[Record]:
        """The records in the store that a page needs; all that this preset can have where it is left out."""
        tasks = self._known([page] if page else [])
        return [record for task in tasks if (record := self.store.get(task)) is not None]

    def missing(self) -> list[Task]:
        """What the pages need and the store does not have, as far as its records tell."""
        return self.store.missing(self._known([]))

    def _known(self, pages: Sequence[str]) -> list[Task]:
        """What ``pages`` need, as far as the records that are there tell: each task once."""
        tasks: list[Task] = []
        with suppress(MissingRecords):  # what follows from the random sample is known when the sample is whole
            for stage in self.stages(pages):
                tasks += stage
        return list(dict.fromkeys(tasks))

    def make_records(self) -> None:
        """Train and measure everything that the pages need and that is not in the store."""
        self.check_sources()
        for stage in self.stages():
            self.records(stage)

    def _repeated(self, wanted: set[str], pages: Container[str]) -> list[Experiment]:
        """What ``wanted`` needs of ``REPEATED`` for its seeds, as far as it is among ``pages``."""
        needed = [page for page in REPEATED if page in pages] if wanted & NEED_SEEDS else []
        return self.sampled.repeated(needed).all()

    def _of(self, page: str) -> "Study":
        return self.sampled if page in SAMPLED else self

    def _wanted(self, pages: Sequence[str]) -> set[str]:
        """``pages``, or all that this preset can have; the page of all models wants those of the others too."""
        wanted = set(pages) or self.pages
        return wanted | ({*KNOWN, *AFTER_SAMPLE} & self.pages if "cost" in wanted else set())

    @property
    def pages(self) -> set[str]:
        """The pages for which this preset has what they need."""
        sampled = self.sampled.preset
        lacking = set() if sampled.random_sample else NEED_SAMPLE
        lacking = lacking | (set() if sampled.equal_cost_sample else NEED_EQUAL_COST)
        lacking |= {
            page for page, part in (("worlds", "second_world"), ("longer", "longer")) if not getattr(sampled, part)
        }
        return set(PAGES) - lacking - (set() if self.preset.detection else {"table5"})


@lru_cache(maxsize=4)
def _fitted(c: tuple[float, ...], r: tuple[float, ...], d: tuple[float, ...]) -> TinyFormula:
    return TinyFormula().fit(c, r, d)


def default_store(preset: Preset) -> Path:
    """``results/<preset>`` of the checkout where its records are published there, ``runs/<preset>`` elsewhere.

    ``runs`` is in the checkout, or in the user's data folder where the package is installed. Raises ``UserError`` for
    a user without a home.
    """
    if is_published(preset):
        return project_root() / "results" / preset.name
    root = project_root() if in_checkout() else user_folder(user_data_dir, "tinynet", "the store")
    return root / "runs" / preset.name


def is_published(preset: Preset) -> bool:
    """Whether the checkout comes with the records of ``preset``."""
    return (project_root() / "results" / preset.name / FILE).is_file()


def _no_imagenet() -> str:
    """Why there is no folder of ImageNet, or nothing."""
    try:
        imagenet_root()
    except UserError as error:
        return str(error)
    return ""


def _equal_costs(preset: Preset) -> dict[float, list[Experiment]]:
    """The random samples at each cost of the preset."""
    assert preset.equal_cost_sample is not None
    return {c: preset.equal_cost_experiments(c) for c in preset.equal_cost_sample.c}


def _one_row(name: str, experiments: list[Experiment]) -> Series:
    series = Series()
    series[name] = experiments
    return series


def _mapped(experiment: Experiment) -> ActivationMaps:
    return ActivationMaps(**{name: getattr(experiment, name) for name in Experiment.model_fields if name != "kind"})


def latency_run(preset: Preset) -> LatencyRun:
    """The networks of Table 4, timed as often as the preset says."""
    networks = [row["network"] for row in rows("table4")]
    return LatencyRun(networks=networks, runs=preset.latency.runs, warmup=preset.latency.warmup)


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
    c0 = network("efficientnet_b0", num_classes=num_classes, base=base).complexity().macs
    low, high = formula.c_.min(), formula.c_.max()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        mean, std = formula.predict(fractions, return_std=True)
    rows = []
    for c, (r, d), (r_std, d_std) in zip(fractions, np.round(mean, FITTED_DECIMALS), std, strict=True):
        row = {"c": c, "r": r, "r_std": r_std, "d": d, "d_std": d_std, "extrapolated": not low <= c <= high}
        try:
            width = solve_width("efficientnet_b0", c * c0, r, d, base=base, num_classes=num_classes)
            row |= {"w_eq5": eq5_width(c, r, d), "w": width.x, "macs": width.cost, "off": width.error}
        except ValueError:  # r or d not above zero, or a budget that no width meets
            row |= dict.fromkeys(("w_eq5", "w", "macs", "off"), math.nan)
        rows.append(row)
    return pd.DataFrame(rows)
