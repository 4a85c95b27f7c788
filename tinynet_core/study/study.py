"""A preset with its store of records: the object that notebooks use."""

import shlex
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import pandas as pd
from platformdirs import user_data_dir

from tinynet_core.files import UserError
from tinynet_core.scaling.formula import TinyFormula
from tinynet_core.scaling.frontier import frontier
from tinynet_core.study.classify import Experiment
from tinynet_core.study.presets import Preset, in_checkout, load_preset, project_root
from tinynet_core.study.record import Record, to_frame
from tinynet_core.study.series import Sample
from tinynet_core.study.store import FILE, Store
from tinynet_core.study.task import Task

NAMED = 12
"""Largest number of missing records that a message names."""


class MissingRecords(UserError):
    """Raised when records are missing and may not be trained. The message lists them and the command to make them."""


class Study:
    """A preset, given by its name or a .yaml file, with its ``store``, a folder of records (see ``default_store``).

    If ``train`` is true, missing records are trained. Otherwise ``MissingRecords`` is raised.
    """

    def __init__(self, preset: str = "reduced", store: str | Path = "", train: bool = True) -> None:
        self.preset: Preset = load_preset(preset)
        self.store = Store(store or default_store(self.preset))
        self.train = train
        self.preset_argument = str(Path(preset).resolve()) if preset.endswith((".yaml", ".yml")) else preset

    @property
    def sampled(self) -> "Study":
        """The study with the random samples and Tables 1 and 2, either this study or the one of ``sampled_on``."""
        other = self.preset.sampled_on
        return Study(other, self.store.root, self.train) if other else self

    @property
    def command(self) -> str:
        """The command that makes the missing records."""
        elsewhere = self.store.root != default_store(self.preset).resolve()
        where = ["--store", str(self.store.root)] if elsewhere else []
        return shlex.join(["tinynet", "sweep", self.preset_argument, *where])

    def records(self, tasks: Sequence[Task]) -> list[Record]:
        """Return records in the order of ``tasks``. Train missing ones, or raise ``MissingRecords``."""
        missing = self.store.missing(tasks)
        if missing and not self.train:
            lines = [f"{len(missing)} of {len(tasks)} records are not in {self.store.root} and train is false:"]
            lines += [f"  {task.label}: {task.key[:12]}" for task in missing[:NAMED]]
            lines += [f"  and {len(missing) - NAMED} more"] * (len(missing) > NAMED)
            raise MissingRecords("\n".join([*lines, f"make them with: {self.command}"]))
        if missing:
            from tinynet_core.study.sweep import sweep

            self.records([needed for task in missing for needed in task.needs])
            sweep(missing, self.store, resources=self.preset.resources)
        return [record for task in tasks if (record := self.store.get(task)) is not None]

    def frame(self, experiments: Sequence[Experiment]) -> pd.DataFrame:
        """Return one row per record of ``experiments``, failed ones included, with ``c`` = MACs over the baseline's."""
        frame = to_frame(self.records(experiments))
        for column in ("training_version", "dataset_sha256"):
            if frame[column].nunique() > 1:
                warnings.warn(f"records in {self.store.root} were made with different {column}s", stacklevel=2)
        return frame.assign(c=frame.macs / self.preset.c0)

    def named_frame(self, series: Mapping[str, Sequence[Experiment]]) -> pd.DataFrame:
        """Return ``frame`` for several named networks, with their names in the column ``model``."""
        names = [name for name, experiments in series.items() for _ in experiments]
        return self.frame([e for experiments in series.values() for e in experiments]).assign(model=names)

    def curves(self, series: Mapping[str, Sequence[Experiment]]) -> pd.DataFrame:
        """Return one row per epoch of every finished training in ``series``: model, seed and the curve's columns."""
        return pd.DataFrame(
            {"model": name, "seed": experiment.seed, **row}
            for name, experiments in series.items()
            for experiment, record in zip(experiments, self.records(experiments), strict=True)
            for row in record.curve
        )

    def random_sample(self) -> pd.DataFrame:
        """Return the random sample of Figure 1. The column ``frontier`` marks the models that NSGA-III keeps."""
        frame = self.frame(self.preset.random_experiments())
        done = frame[frame.status == "done"]
        assert self.preset.random_sample is not None  # random_experiments() raises if it is None
        kept = done.index[frontier(done.macs, done.top1, self.preset.random_sample.frontier)]
        return frame.assign(frontier=frame.index.isin(kept))

    def sample(self) -> Sample:
        """Return the random sample and the tiny formula fitted on its frontier."""
        models = self.random_sample()
        kept = models[models.frontier]
        return Sample(models, deepcopy(_fitted(*(tuple(kept[name]) for name in ("c", "r", "d")))))

    def formula(self) -> TinyFormula:
        """Return the tiny formula fitted on the frontier of this study's random sample."""
        return self.sample().formula


@lru_cache(maxsize=4)
def _fitted(c: tuple[float, ...], r: tuple[float, ...], d: tuple[float, ...]) -> TinyFormula:
    return TinyFormula().fit(c, r, d)


def default_store(preset: Preset) -> Path:
    """Return ``results/<preset>`` of the checkout if it holds published records, else ``runs/<preset>``.

    ``runs`` is in the checkout, or in the user's data folder if the package is installed.
    """
    published = project_root() / "results" / preset.name
    if (published / FILE).is_file():
        return published
    return (project_root() if in_checkout() else Path(user_data_dir("tinynet"))) / "runs" / preset.name
