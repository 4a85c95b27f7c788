"""All classifiers of the pages together: where each is compared, what it costs and how accurate it is."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pydantic import BaseModel

from tinynet_core.study.classify import Experiment
from tinynet_core.study.pages import PAGES, of, offered, series
from tinynet_core.study.record import to_frame
from tinynet_core.study.series import Series
from tinynet_core.study.study import Study

LABELS = ("network", "head", "r", "d", "w", "base_resolution", "base_width", "base_divisor")
COSTS = ("resolution", "macs", "params", "activations")
JOINT = "; "
"""Between the roles of a model."""


def classifiers(study: Study) -> dict[str, Series]:
    """Every training of a classifier that the pages compare, by page and row; Table 3 and the samples come first.

    A network that several pages compare is in each. The samples are pages with a single row, which has no name.
    """
    found = {"table3": series(study, "table3")}
    sampled = study.sampled.preset
    if sampled.random_sample:
        found["random sample"] = _one_row(sampled.random_experiments())
    for c in sampled.equal_costs:
        name = "equal-cost sample" if c == sampled.equal_costs[0] else f"equal-cost sample, c = {c:g}"
        found[name] = _one_row(sampled.equal_cost_experiments(c))
    sample = study.sampled.sample() if sampled.random_sample else None
    offers = offered(study.preset)
    named = [page for page in PAGES if page in offers and PAGES[page].series]
    fitted = [page for page in PAGES if page in offers and PAGES[page].fitted]
    for page in (*named, *fitted):
        found.setdefault(page, series(of(study, page), page, sample))
    if study.preset.networks:
        found["further networks"] = _one_row(study.preset.named_experiments())
    return found


def _one_row(experiments: list[Experiment]) -> Series:
    found = Series()
    found[""] = experiments
    return found


class Models(NamedTuple):
    """``models``: a row for each network on each data set with each recipe; ``runs``: for each training, failed ones
    included; ``epochs``: for each epoch of a finished training.
    """

    models: pd.DataFrame
    runs: pd.DataFrame
    epochs: pd.DataFrame


def all_models(study: Study) -> Models:
    """The tables of all classifiers under ``study``; trains what is missing, where it may."""
    pages = classifiers(study)
    roles: dict[str, dict[str, None]] = {}
    trainings: dict[str, dict[Experiment, None]] = {}
    for page, compared in pages.items():
        for row, experiments in compared.items():
            for experiment in experiments:
                model = model_id(experiment)
                roles.setdefault(model, {})[f"{page}: {row}" if row else page] = None
                trainings.setdefault(model, {})[experiment] = None
    names = [model for model, found in trainings.items() for _ in found]
    records = study.records([e for found in trainings.values() for e in found])
    runs = to_frame(records).assign(model=names)
    epochs = pd.DataFrame(
        {"key": record.key, "model": model, "seed": seed, **row}
        for model, seed, record in zip(names, runs.seed, records, strict=True)
        for row in record.curve
    )
    firsts = [next(iter(found)) for found in trainings.values()]
    models = runs.groupby("model", sort=False)[[*LABELS, *COSTS]].first().reset_index()
    models["head"] = models["head"].fillna("default")
    models.insert(1, "roles", [JOINT.join(roles[model]) for model in models.model])
    models["data"], models["recipe"] = ([label(getattr(e, part)) for e in firsts] for part in ("dataset", "recipe"))
    models = models.merge(_accuracies(runs), on="model")
    sample = study.sampled.random_sample() if study.sampled.preset.random_sample else None
    kept = set() if sample is None else set(runs.model[runs.key.isin(sample.key[sample.frontier])])
    return Models(models.assign(frontier=models.model.isin(kept)), runs, epochs)


def write_tables(study: Study, folder: Path) -> None:
    """The same as models.csv, runs.csv and epochs.csv in ``folder``, which is made if needed."""
    found = all_models(study)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("models", "runs", "epochs"):
        getattr(found, name).to_csv(folder / f"{name}.csv", index=False)


def model_id(experiment: Experiment) -> str:
    """The first twelve digits of the key of the training with seed 0: one name for all seeds."""
    return experiment.model_copy(update={"seed": 0}).key[:12]


def label(content: BaseModel) -> str:
    """A short name for a data set or a recipe: its kind and eight digits of a hash of its content."""
    return f"{getattr(content, 'kind', 'recipe')}-{hashlib.sha256(content.model_dump_json().encode()).hexdigest()[:8]}"


def _accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """By model: finished and failed trainings, mean top-1 and its standard deviation over seeds."""
    done = runs.status == "done"
    groups = runs.assign(top1=runs.top1.where(done), done=done).groupby("model", sort=False)
    seeds, mean, sd = groups.done.sum(), groups.top1.mean(), groups.top1.std(ddof=1)
    columns = {"seeds": seeds, "failed": groups.size() - seeds, "top1_mean": mean, "top1_sd": sd}
    return pd.DataFrame(columns).reset_index()
