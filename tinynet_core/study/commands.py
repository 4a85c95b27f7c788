"""The commands on a study: ``tinynet sweep``, ``train``, ``verify``, and ``store`` with its subcommands."""

import sys
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinynet_core.files import UserError, check_target, write_table

if TYPE_CHECKING:
    from tinynet_core.study.store import Store
    from tinynet_core.study.study import Study
    from tinynet_core.study.task import Task
    from tinynet_core.study.verify import Check

FEWEST_TIMED = 5
"""Finished records of one data set, batch size and device that an estimate of training time needs."""
OTHER_BITS = """\
Other bits: trainings that differ in a last bit drift apart within the first epochs, and then differ as two seeds do.
So the first epochs must agree closely. Top-1 must lie in the range that another seed could give. A change to later
epochs within this range goes unnoticed here. Only a machine of the record's kind would show the change, by the bits."""

store_option = click.option(
    "--store",
    default="",
    help="Folder of records. Default: results/PRESET if published, else runs/PRESET. Both are in the checkout or, "
    "for an installed package, in your data folder.",
)
workers_option = click.option(
    "--workers", type=click.IntRange(min=1), help="Tasks at a time. Default: the preset's number, or one per core."
)


@click.command("sweep")
@click.argument("preset")
@store_option
@click.option("--limit", type=click.IntRange(min=1), help="Train at most this many missing models.")
@workers_option
@click.option("--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option(
    "--address", help="Ray cluster to join, such as auto or 10.0.0.1:6379. Default: a new one on this machine."
)
@click.option("--page", "pages", multiple=True, metavar="PAGE", help="Train only what this page needs; repeatable.")
@click.option("--retry-failed", is_flag=True, help="Repeat tasks whose records say that they failed.")
@click.option("--retry-stale", is_flag=True, help="Repeat tasks recorded with another version of training or data.")
@click.option("--dry-run", is_flag=True, help="List what would be trained, and estimate the time from records.")
def sweep_command(
    preset: str, store: str, limit, workers, executor, address, pages, retry_failed, retry_stale, dry_run
) -> None:
    """Train what the notebooks need under PRESET and the store lacks.

    You may stop this command at any time and in any way. The same command then continues where it stopped.
    """
    from tinynet_core.study.pages import check_sources, stages
    from tinynet_core.study.record import outdated
    from tinynet_core.study.study import Study
    from tinynet_core.study.sweep import sweep

    if dry_run and (retry_failed or retry_stale):
        raise click.UsageError("--dry-run changes nothing: leave --retry-failed and --retry-stale out")
    study = Study(preset, store)
    kept, resources = study.store, study.preset.resources
    if dry_run:
        click.echo(_plan(study, pages, limit, workers))
        return
    check_sources(study, pages)
    if not store:
        click.echo(f"records go to {kept.root}", err=True)
    wanted: list[Task] = []
    trained = failed = 0
    for stage in stages(study, pages):
        wanted += stage
        left = None if limit is None else limit - trained
        there = [record for task in stage if (record := kept.get(task))]
        if retry_failed:
            kept.set_aside(record.key for record in there if not record.done)
        if retry_stale:
            free = None if left is None else max(0, left - len(kept.missing(stage)))
            kept.set_aside([record.key for record in there if outdated(record)][:free])
        todo = kept.missing(stage)
        records = sweep(todo[:left], kept, executor, workers, resources=resources, address=address)
        trained += len(records)
        failed += sum(not record.done for record in records)
        if left is not None and len(todo) > left:
            break
    click.echo(f"{trained} models trained, {failed} of them failed, records in {kept.root}")
    broken = [record for task in dict.fromkeys(wanted) if (record := kept.get(task)) and not record.done]
    if broken:
        click.echo(f"{len(broken)} of the records are failed runs; --retry-failed trains them again:")
    for record in broken:
        click.echo(f"  {record.key[:12]} {record.experiment.label}: {record.reason}")


def _plan(study: "Study", pages: tuple[str, ...], limit: int | None, workers: int | None) -> str:
    """Return a text on what a sweep would train, with a time if the store has enough records of this machine."""
    import pandas as pd

    from tinynet_core.study.classify import Experiment
    from tinynet_core.study.pages import plan
    from tinynet_core.study.record import labels

    first, after = plan(study, pages)
    todo, after = study.store.missing(first)[:limit], study.store.missing(after)
    if not todo and not after:
        return f"nothing to train: all records are in {study.store.root}"
    trainings = [task for task in todo if type(task) is Experiment]
    rows = [{"key": e.key[:12], **labels(e.model_dump()), "seed": e.seed, **e.cost()} for e in trainings]
    shown = pd.DataFrame(rows, columns=["key", "network", "r", "d", "w", "seed", "resolution", "macs", "params"])
    lines = [shown.to_string(index=False, na_rep="", float_format="{:.3f}".format)] if rows else []
    macs, time = sum(e.work for e in trainings), _time(study, trainings, workers)
    lines.append(f"{len(trainings)} models, {macs:.3g} multiply-adds of forward passes. {time}")
    lines += [f"Afterwards, not included in the time: {task.label}." for task in after]
    lines.append("Not listed: models that depend on the formula fitted on the sample, such as those of Table 1.")
    return "\n".join(lines)


def _time(study: "Study", todo: "Sequence[Any]", workers: int | None) -> str:
    """Return a text on how long ``todo`` takes, from the seconds per multiply-add in finished records.

    These records have the same data set, batch size and device. The range is from their first to their last decile.
    """
    import numpy as np
    import torch
    from tqdm import tqdm

    from tinynet_core.machine import cores
    from tinynet_core.study.classify import Experiment
    from tinynet_core.study.record import provenance

    resources, device, rates = study.preset.resources, provenance()["device"], defaultdict(list)
    for r in study.store.records():
        if type(e := r.experiment) is Experiment and r.done and r.wall_s and r.provenance.get("device") == device:
            rates[e.dataset, e.recipe.batch_size].append(r.wall_s / e.work)
    alike = [rates[e.dataset, e.recipe.batch_size] for e in todo]
    if not todo or min(map(len, alike)) < FEWEST_TIMED:
        return f"No time is estimated: this needs {FEWEST_TIMED} finished records of such trainings on this machine."
    lanes = workers or len(resources.devices(cores(), torch.cuda.device_count()))
    spans = np.array([e.work * np.quantile(x, (0.1, 0.5, 0.9)) for e, x in zip(todo, alike, strict=True)])
    spans = np.maximum(spans.sum(axis=0) / lanes, spans.max(axis=0))  # one training is never split over several workers
    low, middle, high = (tqdm.format_interval(round(x)) for x in spans)
    source = f"{sum(map(len, rates.values()))} finished records on {device}"
    return f"Estimated time on this machine, {lanes} at a time: {middle} ({low} to {high}), from {source}."


@click.command("train")
@click.argument("preset")
@click.argument("name")
@click.option("--w", type=float, help="Width multiplier.")
@click.option("--d", type=float, help="Depth multiplier.")
@click.option("--r", type=float, help="Resolution multiplier.")
@click.option("--head", type=click.Choice(["fixed", "scaled"]), help="Whether w scales stem and head too.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@store_option
def train_command(preset: str, name: str, w, d, r, head, seed: int, store: str) -> None:
    """Train network NAME on the data and with the recipe of PRESET.

    \b
    On several GPUs together:
      accelerate launch --multi_gpu --num_processes 8 -m tinynet_core.cli train imagenet1k tinynet_a
    """
    import torch

    from tinynet_core.networks.family import SCALABLE
    from tinynet_core.scaling.scale import Scale
    from tinynet_core.study.study import Study
    from tinynet_core.study.sweep import run
    from tinynet_core.training.team import team

    study = Study(preset, store)
    given = {k: v for k, v in (("r", r), ("d", d), ("w", w)) if v is not None}
    scale = Scale(**given) if given or name in SCALABLE else None
    resources = study.preset.resources
    torch.set_num_threads(resources.cpus)
    experiment = study.preset.named(name, scale, seed, head)
    record = run(experiment, study.store, compiled=resources.compiled, progress=True)
    if not team().leads:
        return
    if not record.done:
        click.echo(f"{record.key[:12]} failed: {record.reason}", err=True)
        sys.exit(1)
    top1, raw = record.metrics["top1"], record.metrics["raw_top1"]
    click.echo(f"{record.key[:12]} {name}: top-1 {top1:.2%} (raw weights {raw:.2%}), record in {study.store.root}")


@click.command("verify")
@click.argument("preset", default="reduced")
@store_option
@click.option("--records", type=click.IntRange(min=1), default=2, show_default=True, help="Trainings to repeat.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed that draws the trainings.")
@workers_option
def verify_command(preset: str, store: str, records: int, seed: int, workers: int | None) -> None:
    """Repeat a few trainings of the store of PRESET (reduced by default), and compare them with their records.

    --seed draws the trainings from the cheapest tenth, or from the cheapest --records if these are more. On the same
    kind of machine all numbers must have the same bits. Another processor gives other bits. A record must then agree
    in its first epochs, with its own other numbers and with the spread between seeds; each check is printed. The
    store is only read. The exit status is 0 if all records agree, 1 if one does not, 2 if nothing could be verified.
    """
    from tinynet_core.study.study import Study
    from tinynet_core.study.verify import verify

    opened = Study(preset, store).store
    checks = verify(opened, records, seed, workers)
    for check in checks:
        click.echo(_told(check))
    if any(check.held for check in checks):
        click.echo(OTHER_BITS)
    agreeing = sum(check.agrees for check in checks)
    click.echo(f"{agreeing} of {records} records agree, chosen by seed {seed} of the cheapest in {opened.root}")
    if agreeing < records:
        sys.exit(1)


def _told(check: "Check") -> str:
    """Return a line for the record, and a line for each of its numbers that was checked against a range."""
    record, now, made = check.record, check.now, check.record.provenance
    repeated = f", {now.metrics['top1']:.2%} now in {now.wall_s:.1f} s" if now and now.done else ""
    commit = f"{(made.get('commit') or 'no commit')[:7]}{'' if made.get('clean') else '*'}"
    top1 = f"top-1 {record.metrics['top1']:.2%} at {commit}{repeated}"
    lines = [f"{record.key[:12]} {record.experiment.label}: {top1}: {check}"]
    return "\n".join([*lines, *(f"  {held}{'' if held.holds else ' FAILS'}" for held in check.held)])


@click.group("store")
def store_group() -> None:
    """Check, list, export and repair the records of a store."""


folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@store_group.command()
@folder_argument
def check(folder: Path) -> None:
    """Verify every record of the store DIR in full, and change nothing.

    The exit status is 0 for a sound store, 1 if a line is damaged, 2 if DIR is no store.
    """
    opened = _opened(folder)
    with warnings.catch_warnings(record=True) as damaged:
        warnings.simplefilter("always")
        records = opened.records()
    done = sum(record.done for record in records)
    counts = f"{done} done, {len(records) - done} failed, {len(damaged)} lines damaged"
    click.echo(f"{len(records)} records in {opened.root}: {counts}")
    for warning in damaged:
        click.echo(f"  {warning.message}")
    if damaged:
        sys.exit(1)


@store_group.command("list")
@folder_argument
def list_records(folder: Path) -> None:
    """Print one line for every record of the store DIR."""
    frame = _opened(folder).frame()
    shown = frame[["network", "r", "d", "w", "seed", "status"]].assign(
        **{"MACs (M)": frame.macs / 1e6, "top-1 (%)": 100 * frame.top1, "wall (s)": frame.wall_s}
    )
    shown.insert(0, "key", frame.key.str[:12])
    click.echo(shown.to_string(index=False, na_rep="-", float_format="{:.4g}".format))


@store_group.command()
@folder_argument
@click.argument("file", type=click.Path(path_type=Path))
def export(folder: Path, file: Path) -> None:
    """Write the records of the store DIR to FILE, one row a record. FILE must end in .csv or .parquet."""
    check_target(file)
    frame = _opened(folder).frame()
    write_table(frame, file)
    click.echo(f"{len(frame)} records written to {file}")


@store_group.command()
@folder_argument
def repair(folder: Path) -> None:
    """Move damaged lines of the store DIR to records.damaged.jsonl. A sweep then repeats the tasks of these lines."""
    click.echo(f"{_opened(folder).repair()} lines moved to records.damaged.jsonl")


def _opened(folder: Path) -> "Store":
    from tinynet_core.study.store import FILE, Store

    if not (folder / FILE).is_file():
        raise UserError(f"{folder} is no store: it has no {FILE}")
    return Store(folder)
