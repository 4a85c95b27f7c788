"""``tinynet sweep`` and ``tinynet train``: many small trainings, or one."""

from typing import TYPE_CHECKING

import click

from tinynet_core.study.executors import EXECUTORS

if TYPE_CHECKING:
    from tinynet_core.study.record import Record
    from tinynet_core.study.task import Task

store_option = click.option(
    "--store",
    default="",
    help="Folder of records; results/PRESET where it is published, else runs/PRESET, of the checkout or, where the "
    "package is installed, of your data folder.",
)


@click.command("sweep")
@click.argument("preset")
@store_option
@click.option("--limit", type=click.IntRange(min=1), help="Train at most so many of the missing models.")
@click.option(
    "--workers", type=click.IntRange(min=1), help="Runs at a time; the preset's, or one per core, by default."
)
@click.option("--executor", type=click.Choice(EXECUTORS), default="local", show_default=True)
@click.option(
    "--address", help="Ray cluster to join, such as auto or 10.0.0.1:6379; a new one on this machine without."
)
@click.option("--page", "pages", multiple=True, metavar="PAGE", help="Only what this page needs; may be repeated.")
@click.option("--retry-failed", is_flag=True, help="Train again what is recorded as failed.")
@click.option("--retry-stale", is_flag=True, help="Train again what another version of training or of the data gave.")
@click.option("--dry-run", is_flag=True, help="List what would be trained, and estimate the time from records.")
def sweep_command(
    preset: str,
    store: str,
    limit: int | None,
    workers: int | None,
    executor: str,
    address: str | None,
    pages: tuple[str, ...],
    retry_failed: bool,
    retry_stale: bool,
    dry_run: bool,
) -> None:
    """Train what the notebooks need under PRESET and is not in the store yet.

    Stop it whenever you like, in whatever way: the same command goes on where it was.
    """
    from tinynet_core.study.plan import check_sources, plan, stages
    from tinynet_core.study.study import Study
    from tinynet_core.study.sweep import sweep

    if dry_run and (retry_failed or retry_stale):
        raise click.UsageError("--dry-run changes nothing: leave --retry-failed and --retry-stale out")
    study = Study(preset, store)
    if dry_run:
        first, after = plan(study, pages)
        click.echo(_plan(study, study.store.missing(first)[:limit], study.store.missing(after), workers))
        return
    check_sources(study, pages)
    _say_where(study, store)
    wanted: list[Task] = []
    records: list[Record] = []
    for stage in stages(study, pages):
        wanted += stage
        if retry_failed:
            study.store.set_failed_aside(stage)
        left = None if limit is None else limit - len(records)
        if retry_stale:
            free = None if left is None else max(0, left - len(study.store.missing(stage)))
            study.store.set_stale_aside(_outdated_keys(study, stage)[:free])
        todo = study.store.missing(stage)
        resources = study.preset.resources
        records += sweep(todo[:left], study.store, executor, workers, resources=resources, address=address)
        if len(todo) > len(todo[:left]):
            break
    failed = sum(not r.done for r in records)
    click.echo(f"{len(records)} models trained, {failed} of them failed, records in {study.store.root}")
    _list_failed(study.store.frame([*dict.fromkeys(wanted)]))


def _say_where(study, store: str) -> None:
    if not store:
        click.echo(f"records go to {study.store.root}", err=True)


def _outdated_keys(study, stage) -> list[str]:
    """Keys of the records of ``stage`` that do not belong to their tasks any more."""
    from tinynet_core.study.staleness import outdated

    records = (study.store.get(task) for task in stage)
    return [record.key for record in records if record and outdated(record)]


def _list_failed(frame) -> None:
    """The failed records among all that were wanted, whenever they were made."""
    failed = frame[frame.status == "failed"]
    if failed.empty:
        return
    click.echo(f"{len(failed)} of the {len(frame)} records are failed runs; --retry-failed trains them again:")
    for x in failed.itertuples():
        click.echo(f"  {x.key[:12]} {x.network} r {x.r:.4g} d {x.d:.4g} w {x.w:.4g} seed {x.seed}: {x.reason}")


def _plan(study, todo, after, workers: int | None) -> str:
    """What a sweep would train and how long that may take on this machine."""
    import torch

    from tinynet_core.errors import UserError
    from tinynet_core.resources import cores
    from tinynet_core.study.classify import Experiment
    from tinynet_core.study.estimate import by_kind, rate_from_records
    from tinynet_core.text import plan_table

    if not todo and not after:
        return f"nothing to train: all records are in {study.store.root}"
    resources, notes = study.preset.resources, []
    try:
        lanes = len(resources.devices(cores(), torch.cuda.device_count()))
    except UserError as error:
        lanes = max(1, cores() // resources.cpus)
        notes.append(f"{error}: this preset is not for this machine.")
    lanes = workers or resources.workers or lanes
    tables = []
    for alike in by_kind([e for e in todo if type(e) is Experiment]):
        tables.append(plan_table(alike, rate_from_records(study.store.records(), alike[0]), lanes))
    if getattr(study.preset.dataset, "stream", False):
        notes.append("The time to decode the images on the way is not in it.")
    notes += [f"Then, not in the time: {task.label}." for task in after]
    notes.append("Not listed: what follows from the formula that is fitted on the sample, such as Table 1.")
    return "\n".join([*tables, *notes])


@click.command("train")
@click.argument("preset")
@click.argument("name")
@click.option("--w", type=float, help="Width multiplier.")
@click.option("--d", type=float, help="Depth multiplier.")
@click.option("--r", type=float, help="Resolution multiplier.")
@click.option("--head", type=click.Choice(["fixed", "scaled"]), help="Whether stem and head move with the width.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@store_option
def train_command(preset: str, name: str, w, d, r, head, seed: int, store: str) -> None:
    """Train network NAME on the data and with the recipe of PRESET.

    \b
    On several GPUs together:
      accelerate launch --multi_gpu --num_processes 8 -m tinynet_core.cli train imagenet1k tinynet_a
    """
    import torch

    from tinynet_core.networks import SCALABLE
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
        raise SystemExit(1)
    top1, raw = record.metrics["top1"], record.metrics["raw_top1"]
    click.echo(f"{record.key[:12]} {name}: top-1 {top1:.2%} (raw weights {raw:.2%}), record in {study.store.root}")
