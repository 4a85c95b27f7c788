"""The commands that the book adds to ``tinynet``."""

import sys
from collections import Counter
from pathlib import Path

import click

from tinynet_core.study.commands import store_option


@click.command()
@click.argument("preset")
@store_option
@click.option("--build", type=click.Path(path_type=Path), help="Folder to build in; _build by default.")
def book(preset: str, store: str, build: Path | None) -> None:
    """Execute the notebooks under PRESET and build the website from its records. Only changed parts are made again.

    This command trains nothing; tinynet sweep makes records. Pages with stale records or a failed notebook (for
    example, records are missing) are marked, and the exit status is then 1.
    """
    from tinynet_book.site.build import make_book

    built = make_book(preset, store, build)
    click.echo(built.index)
    for what, lines in (("stale records", built.stale), ("failed notebooks", built.failed)):
        if lines:
            click.echo("\n  ".join([f"error: {what}, marked on their pages:", *lines]), err=True)
    if built.remedy:
        click.echo(built.remedy, err=True)
    if built.stale or built.failed:
        sys.exit(1)


@click.command()
@click.option("--preset", default="reduced", show_default=True)
@store_option
@click.option("--format", "form", type=click.Choice(["text", "csv"]), default="text", show_default=True)
def claims(preset: str, store: str, form: str) -> None:
    """Print the paper's claims, what was measured for them, and whether the two agree."""
    from tinynet_book.paper.claims import ledger
    from tinynet_core.study.record import outdated
    from tinynet_core.study.study import Study

    kept = Study(preset, store).store
    table = ledger(kept)
    behind = {*" ".join(table.records).split()}
    found = (outdated(record) for record in kept.records() if record.key in behind)
    for reason, n in Counter(filter(None, found)).most_common():
        click.echo(f"warning: {n} of the records behind these findings are stale: {reason}", err=True)
    if form == "csv":
        click.echo(table.to_csv(index=False), nl=False)
    else:
        click.echo(table[["id", "paper", "ours", "evidence", "verdict"]].to_string(index=False))


@click.command("dataset")
@click.argument("preset")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@store_option
def dataset(preset: str, folder: Path, store: str) -> None:
    """Write the models, trainings and epochs of PRESET to DIR as CSV. This command trains nothing."""
    from tinynet_book.analysis.models import write_tables
    from tinynet_core.study.study import Study

    write_tables(Study(preset, store, train=False), folder)


@click.command("released")
@click.argument("preset", default="imagenet1k")
@store_option
def released(preset: str, store: str) -> None:
    """Evaluate the released weights of Table 3 on the images in TINYNET_IMAGENET. Results go to the store of PRESET."""
    from tinynet_book.measure.released import evaluated
    from tinynet_book.measure.released import released as offers
    from tinynet_core.data.imagenet import imagenet_root
    from tinynet_core.study.study import Study

    imagenet_root()
    records, reasons = evaluated(Study(preset, store), evaluate=True)
    for row, offered in offers().items():
        if row in records:
            top1, top5 = records[row].metrics["top1"], records[row].metrics["top5"]
            click.echo(f"{row}: top-1 {top1:.2%}, top-5 {top5:.2%} ({offered.note})")
        else:
            click.echo(f"{row}: {reasons[row]}")
    if not records:
        raise SystemExit(1)
