"""The study as a data set for others: tables of all models, runs and epochs as CSV and Parquet, with a README."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from tinynet_book.measure.latencies import ModelLatencies, distinct
from tinynet_core.files import SUFFIXES, UserError, check_target, write_table, write_text
from tinynet_core.networks import Network
from tinynet_core.study.classify import METRICS, Experiment
from tinynet_core.study.pages import PAGES, of, offered, series, stale
from tinynet_core.study.record import Record
from tinynet_core.study.series import Series
from tinynet_core.study.study import Study
from tinynet_core.study.sweep import run


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


def latencies_run(study: Study, pages: Mapping[str, Series] | None = None) -> ModelLatencies:
    """The networks of ``pages``, by default of all, each once, to be timed as often as the preset says."""
    times = study.preset.latency
    everything = (e for found in (pages or classifiers(study)).values() for e in found.all())
    return ModelLatencies(networks=distinct(everything, times.models), runs=times.model_runs, warmup=times.warmup)


def latencies(study: Study, pages: Mapping[str, Series] | None = None) -> Record:
    """The timings of ``latencies_run``, made now in this process where there is no record of them and the study may."""
    task = latencies_run(study, pages)
    return run(task, study.store, progress=True) if study.train else study.records([task])[0]


def _one_row(experiments: list[Experiment]) -> Series:
    found = Series()
    found[""] = experiments
    return found


PACKAGES = ("tinynet-core", "torch", "numpy", "pillow", "matplotlib")
"""Packages whose versions a table of trainings has."""
PROVENANCE = ("commit", "clean", "training_version", "dataset_sha256", "device", "threads", "processes", "python")
LATENCY = ("latency_ms", "latency_low_ms", "latency_high_ms")
JOINT = "; "
"""Between the roles of a model."""


@dataclass(frozen=True)
class Tables:
    """``models``: a row for each network on each data set with each recipe; ``runs``: a row for each training, failed
    ones included; ``epochs``: a row for each epoch of each finished training.

    ``data`` and ``recipes`` are what the columns of these names in ``models`` stand for.
    """

    models: pd.DataFrame
    runs: pd.DataFrame
    epochs: pd.DataFrame
    data: dict[str, BaseModel]
    recipes: dict[str, BaseModel]
    latencies: Record
    """The record of the times in ``models``."""


def tables(study: Study) -> Tables:
    """The tables of all classifiers under ``study``; trains and times what is missing, where it may."""
    roles: dict[str, dict[str, None]] = {}
    trainings: dict[str, dict[Experiment, None]] = {}
    pages = classifiers(study)
    for page, compared in pages.items():
        for row, experiments in compared.items():
            for experiment in experiments:
                model = model_id(experiment)
                roles.setdefault(model, {})[f"{page}: {row}" if row else page] = None
                trainings.setdefault(model, {})[experiment] = None
    everything = [(model, e) for model, found in trainings.items() for e in found]
    records = study.records([e for _, e in everything])
    runs = pd.DataFrame([_run(model, record) for (model, _), record in zip(everything, records, strict=True)])
    firsts = {model: next(iter(found)) for model, found in trainings.items()}
    timed = latencies(study, pages)
    models = pd.DataFrame([_model(model, e, roles[model]) for model, e in firsts.items()])
    models = models.assign(**_latency_columns(timed, firsts.values())).merge(_accuracies(runs), on="model")
    sample = study.sampled.random_sample() if study.sampled.preset.random_sample else None
    kept = set() if sample is None else set(runs.model[runs.key.isin(sample.key[sample.frontier])])
    whole = dict.fromkeys(("base_resolution", "base_divisor"), "Int64")  # a fixed network has no base
    return Tables(
        models=models.assign(frontier=models.model.isin(kept)).astype(whole),
        runs=runs.astype({"clean": "boolean", "compiled": "boolean"}),
        epochs=_epochs([model for model, _ in everything], records),
        data={label(e.dataset): e.dataset for e in firsts.values()},
        recipes={label(e.recipe): e.recipe for e in firsts.values()},
        latencies=timed,
    )


def model_id(experiment: Experiment) -> str:
    """The first twelve digits of the key of the training with seed 0: one name for all seeds."""
    return experiment.model_copy(update={"seed": 0}).key[:12]


def label(content: BaseModel) -> str:
    """A short name for a data set or a recipe: its kind and eight digits of the SHA-256 of its canonical JSON."""
    canonical = json.dumps(content.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return f"{getattr(content, 'kind', 'recipe')}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"


def has_role(models: pd.DataFrame, role: str) -> pd.Series:
    """Which ``models`` have this role, such as ``random sample`` or ``table3: TinyNet-A``."""
    return models.roles.str.split(JOINT).map(lambda roles: role in roles)


def _model(model: str, experiment: Experiment, roles: Iterable[str]) -> dict[str, Any]:
    spec, base = experiment.spec(), experiment.base
    return {
        "model": model,
        "roles": JOINT.join(roles),
        "network": experiment.network,
        "head": experiment.head or "default",
        **{name: getattr(spec.scale, name, nan) for name in ("r", "d", "w")},
        "base_resolution": base.resolution if base else None,
        "base_width": base.width if base else nan,
        "base_divisor": base.divisor if base else None,
        "classes": experiment.dataset.classes,
        "data": label(experiment.dataset),
        "recipe": label(experiment.recipe),
        **experiment.cost(),
    }


def _latency_columns(record: Record, experiments: Iterable[Experiment]) -> dict[str, list[float]]:
    """Median time of each network and the ends of its interval; NaN for one that was not timed."""
    task = record.experiment
    assert isinstance(task, ModelLatencies)
    times = zip(*(record.arrays[name] for name in ("median_ms", "low_ms", "high_ms")), strict=True)
    by_network: dict[Network, Sequence[float]] = {
        timed.spec(): row for timed, row in zip(task.networks, times, strict=True)
    }
    rows = [by_network.get(e.spec(), (nan,) * 3) for e in experiments]
    return {name: [row[i] for row in rows] for i, name in enumerate(LATENCY)}


def _run(model: str, record: Record) -> dict[str, Any]:
    about = record.provenance
    packages = about.get("packages", {})
    experiment = record.experiment
    assert isinstance(experiment, Experiment)
    return {
        "key": record.key,
        "model": model,
        "seed": experiment.seed,
        "status": record.status,
        "reason": record.reason,
        **{name: record.metrics.get(name, nan) for name in METRICS},
        "wall_s": record.wall_s,
        **{name: about.get(name) for name in PROVENANCE},
        **{name.replace("-", "_"): packages.get(name) for name in PACKAGES},
        "compiled": about.get("compiled"),
    }


def _accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """By model: finished and failed trainings, mean top-1 and its standard deviation over seeds."""
    done = runs.status == "done"
    groups = runs.assign(top1=runs.top1.where(done), done=done).groupby("model", sort=False)
    return pd.DataFrame(
        {
            "seeds": groups.done.sum(),
            "failed": groups.size() - groups.done.sum(),
            "top1_mean": groups.top1.mean(),
            "top1_sd": groups.top1.std(ddof=1),
        }
    ).reset_index()


def _epochs(models: Sequence[str], records: Sequence[Record]) -> pd.DataFrame:
    rows = [
        {"key": record.key, "model": model, "seed": getattr(record.experiment, "seed", 0), **row}
        for model, record in zip(models, records, strict=True)
        for row in record.curve
    ]
    return pd.DataFrame(rows)


README = Path(__file__).with_name("README.md")


def release(study: Study, folder: Path) -> Tables:
    """Write the tables of ``study``, their settings and the README into ``folder``, which is made if needed.

    Each file is written whole or not at all. Raises ``UserError`` for a folder that cannot be written and for stale
    records, ``MissingRecords`` for missing ones.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: the dataset needs a folder of its own")
    if old := stale(study, ["cost"]):
        raise UserError(
            f"{len(old)} records in {study.store.root} are stale, such as {old[0].key[:12]}: {old[0].reason}; "
            f"make them anew with: tinynet sweep {study.preset_argument} --store {study.store.root} --page cost "
            "--retry-stale"
        )
    found = tables(study)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror or error}") from error
    for name in ("models", "runs", "epochs"):
        for suffix in SUFFIXES:
            file = folder / f"{name}{suffix}"
            check_target(file)
            write_table(getattr(found, name), file)
    write_text(json.dumps(_settings(found, study), indent=1) + "\n", folder / "settings.json")
    write_text(README.read_text(encoding="utf-8"), folder / README.name)
    return found


def _settings(found: Tables, study: Study) -> dict[str, Any]:
    """What the tables refer to by name, and how the latencies were measured."""
    return {
        "preset": study.preset.name,
        "evidence": study.preset.evidence,
        "data": {name: data.model_dump(mode="json") for name, data in found.data.items()},
        "recipes": {name: recipe.model_dump(mode="json") for name, recipe in found.recipes.items()},
        "latency": found.latencies.provenance,
    }
