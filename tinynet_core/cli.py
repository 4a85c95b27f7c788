"""The ``tinynet`` command."""

import sys
import warnings
from pathlib import Path

import click
from pydantic import ValidationError

from tinynet_core.complexity import CostedRow
from tinynet_core.errors import UserError
from tinynet_core.networks import SCALABLE, network
from tinynet_core.paper.claims import ledger
from tinynet_core.scale import Scale
from tinynet_core.study import Study
from tinynet_core.sweeps import sweep


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tinynet-core")
def tinynet() -> None:
    """Cost, train and compare small networks, and build the book about them."""


@tinynet.command()
@click.argument("name")
@click.option("--r", type=float, help="Resolution multiplier.")
@click.option("--d", type=float, help="Depth multiplier.")
@click.option("--w", type=float, help="Width multiplier.")
@click.option("--head", type=click.Choice(["fixed", "scaled"]), help="Whether stem and head move with the width.")
@click.option("--classes", type=int, default=1000, show_default=True)
def cost(name: str, r: float | None, d: float | None, w: float | None, head, classes: int) -> None:
    """Exact cost of network NAME, such as tinynet_a, or efficientnet_b0 with --r, --d and --w."""
    given = {k: v for k, v in (("r", r), ("d", d), ("w", w)) if v is not None}
    spec = network(name, Scale(**given) if given or name in SCALABLE else None, classes, head)
    total = spec.complexity()
    click.echo(f"{spec.name}  {spec.scale or ''}  input {spec.resolution} px")
    if rows := spec.rows():
        click.echo(_architecture(rows))
    click.echo(f"MACs         {total.macs:>14,}")
    click.echo(f"parameters   {total.params:>14,}")
    click.echo(f"activations  {total.activations:>14,}")


def _architecture(rows: list[CostedRow]) -> str:
    """An architecture table, one line a row."""
    lines = [f"{'input':<14}{'operator':<22}{'kernel':>6}{'stride':>8}{'repeats':>9}{'channels':>10}{'MACs':>14}"]
    for x in rows:
        size = f"{x.side}x{x.side}x{x.c_in}"
        row = x.row
        operator = row.operator + row.squeeze * " + SE"
        lines.append(
            f"{size:<14}{operator:<22}{row.kernel:>6}{row.stride:>8}{row.repeats:>9}{row.channels:>10}{x.macs:>14,}"
        )
    return "\n".join(lines)


@tinynet.command("sweep")
@click.argument("preset")
@click.option("--store", default="", help="Folder of records; runs/PRESET by default.")
@click.option("--limit", type=click.IntRange(min=1), help="Train at most so many of the missing models.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; the preset's, or one per core, by default.")
def sweep_command(preset: str, store: str, limit: int | None, workers: int | None) -> None:
    """Train what the notebooks need under PRESET and is not in the store yet."""
    study = Study(preset, store)
    todo = study.store.missing(study.experiments())
    records = sweep(todo[:limit], study.store, workers=workers or study.preset.workers)
    if len(todo) == len(records):
        series, _ = study.table1_series()
        last = study.store.missing([e for experiments in series.values() for e in experiments])
        records += sweep(last[: None if limit is None else limit - len(records)], study.store, workers=workers)
    failed = [r for r in records if not r.done]
    click.echo(f"{len(records)} models trained, {len(failed)} of them failed, records in {study.store.root}")
    for record in failed:
        click.echo(f"  {record.key[:12]} {record.experiment.spec().scale}: {record.reason}")


@tinynet.command()
@click.argument("preset")
@click.option("--store", default="", help="Folder of records; runs/PRESET by default.")
@click.option("--no-train", is_flag=True, help="Stop with a list where records are missing.")
@click.option("--build", type=click.Path(path_type=Path), help="Folder to build in; _build by default.")
def book(preset: str, store: str, no_train: bool, build: Path | None) -> None:
    """Execute the notebooks under PRESET and build the website; only what changed is done again."""
    from tinynet_core.book import make_book

    click.echo(make_book(preset, store, not no_train, build))


@tinynet.command()
@click.option("--preset", default="smoke", show_default=True)
@click.option("--store", default="", help="Folder of records; runs/PRESET by default.")
@click.option("--format", "form", type=click.Choice(["text", "csv"]), default="text", show_default=True)
def claims(preset: str, store: str, form: str) -> None:
    """The paper's claims, what was measured for them, and whether the two agree."""
    table = ledger(Study(preset, store).store)
    if form == "csv":
        click.echo(table.to_csv(index=False), nl=False)
    else:
        click.echo(table[["id", "paper", "ours", "evidence", "verdict"]].to_string(index=False))


def main() -> None:
    """Run the command; a user's mistake ends with its message and status 2."""
    warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)
    try:
        tinynet(standalone_mode=True)
    except (UserError, ValidationError, ValueError, OverflowError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
