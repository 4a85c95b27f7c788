"""Tables of all classifiers of the pages: where each one is compared, its cost and its accuracy."""

import hashlib
from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from tinynet_core.study.classify import Experiment
from tinynet_core.study.pages import PAGES, of, offered, series
from tinynet_core.study.record import to_frame
from tinynet_core.study.study import Study

LABELS = ("network", "head", "r", "d", "w", "base_resolution", "base_width", "base_divisor")
COSTS = ("resolution", "macs", "params", "activations")
JOINT = "; "
"""Separator between the roles of a model."""


def classifiers(study: Study) -> dict[str, dict[str, list[Experiment]]]:
    """Return every training of a classifier that the pages compare, by page and row; Table 3 and samples first.

    A network that several pages compare occurs on each of them. A sample is a page with a single unnamed row.
    """
    found: dict[str, dict[str, list[Experiment]]] = {"table3": series(study, "table3")}
    sampled = study.sampled.preset
    if sampled.random_sample:
        found["random sample"] = {"": sampled.random_experiments()}
    for c in sampled.equal_costs:
        name = "equal-cost sample" if c == sampled.equal_costs[0] else f"equal-cost sample, c = {c:g}"
        found[name] = {"": sampled.equal_cost_experiments(c)}
    if sampled.second_world:
        found["second world"] = {"": sampled.elsewhere.random_experiments()}
    sample, offers = study.sampled.sample() if sampled.random_sample else None, offered(study.preset)
    named = [page for page in PAGES if page in offers and PAGES[page].series]
    fitted = [page for page in PAGES if page in offers and PAGES[page].fitted]
    for page in (*named, *fitted):
        found.setdefault(page, series(of(study, page), page, sample))
    if study.preset.networks:
        found["further networks"] = {"": study.preset.named_experiments()}
    return found


def all_models(study: Study) -> dict[str, pd.DataFrame]:
    """Return the tables of all classifiers of ``study``. Trains missing ones if the study may train.

    ``models`` has one row per network, data set and recipe; ``runs`` one row per training, failed ones included;
    ``epochs`` one row per epoch of a finished training.
    """
    roles: dict[str, dict[str, None]] = {}
    trainings: dict[str, dict[Experiment, None]] = {}
    for page, compared in classifiers(study).items():
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
    done = runs.status == "done"
    groups = runs.assign(top1=runs.top1.where(done), done=done).groupby("model", sort=False)
    models = groups[[*LABELS, *COSTS]].first()
    models["head"] = models["head"].fillna("default")
    models.insert(0, "roles", [JOINT.join(roles[model]) for model in models.index])
    models["data"], models["recipe"] = ([label(getattr(e, part)) for e in firsts] for part in ("dataset", "recipe"))
    models["seeds"] = groups.done.sum()
    models["failed"] = groups.size() - models.seeds
    models["top1_mean"], models["top1_sd"] = groups.top1.mean(), groups.top1.std(ddof=1)
    sample = study.sampled.random_sample() if study.sampled.preset.random_sample else None
    kept = set() if sample is None else set(runs.model[runs.key.isin(sample.key[sample.frontier])])
    models["frontier"] = models.index.isin(kept)
    return {"models": models.reset_index(), "runs": runs, "epochs": epochs}


def write_tables(study: Study, folder: Path) -> None:
    """Write the tables of ``all_models`` as models.csv, runs.csv and epochs.csv to ``folder``, created if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in all_models(study).items():
        table.to_csv(folder / f"{name}.csv", index=False)


def model_id(experiment: Experiment) -> str:
    """Return one id for all seeds: the first twelve digits of the key of the training with seed 0."""
    before = experiment.pretraining and experiment.pretraining.model_copy(update={"seed": 0})
    return experiment.model_copy(update={"seed": 0, "pretraining": before}).key[:12]


def label(content: BaseModel) -> str:
    """Return a short name for a data set or a recipe: its kind and eight digits of a hash of its content."""
    return f"{getattr(content, 'kind', 'recipe')}-{hashlib.sha256(content.model_dump_json().encode()).hexdigest()[:8]}"
