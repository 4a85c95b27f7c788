"""``tinynet store``: look at a store of records, and take its table elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinynet_core.errors import UserError

if TYPE_CHECKING:
    from tinynet_core.study.store import Inspection, Store

SHOWN = 20


class _Refusal(click.ClickException):
    exit_code = 2

    def show(self, file=None) -> None:
        click.echo(f"error: {self.message}", err=True)


@click.group()
def store() -> None:
    """Check, list and export the records of a store."""


folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@store.command()
@folder_argument
def check(folder: Path) -> None:
    """Verify every record of the store DIR in full, and change nothing.

    The exit status is 0 for a sound store, 1 where something is damaged, 2 where DIR is no store.
    """
    with _one_line():
        opened = _opened(folder)
        found = opened.check()
    click.echo(_inspection_text(found, opened.root))
    if not found.sound:
        sys.exit(1)


@store.command("list")
@folder_argument
def list_records(folder: Path) -> None:
    """One line for every record of the store DIR; damaged ones are set aside, as by everything but check."""
    with _one_line():
        frame = _opened(folder).frame()
    click.echo(
        f"{'key':<14}{'network':<22}{'r':>8}{'d':>8}{'w':>8}{'seed':>6}  {'status':<8}"
        f"{'MACs (M)':>11}{'top-1 (%)':>11}{'wall (s)':>11}"
    )
    for x in frame.itertuples():
        click.echo(
            f"{x.key[:12]:<14}{x.network:<22}{_number(x.r, '.4g'):>8}{_number(x.d, '.4g'):>8}{_number(x.w, '.4g'):>8}"
            f"{x.seed:>6}  {x.status:<8}{x.macs / 1e6:>11.2f}{_number(100 * x.top1, '.2f'):>11}{x.wall_s:>11.1f}"
        )


@store.command()
@folder_argument
@click.argument("file", type=click.Path(path_type=Path))
def export(folder: Path, file: Path) -> None:
    """Write the records of the store DIR to FILE, which ends in .csv or .parquet, one row a record.

    Damaged ones are set aside, as by everything but check.
    """
    from tinynet_core.files import check_target, write_table

    with _one_line():
        check_target(file)
        frame = _opened(folder).frame()
        write_table(frame, file)
    click.echo(f"{len(frame)} records written to {file}")


@store.command("migrate")
@folder_argument
def migrate_records(folder: Path) -> None:
    """Give the records of the store DIR, made before keys belonged to networks, their new keys; nothing is trained.

    The file of before is kept as records.format1.jsonl. Weights, and checkpoints of runs that were stopped, are not
    moved. The exit status is 2, and the store stays as it was, where the present code would make a record otherwise.
    """
    from tinynet_core.study.migration import migrate

    with _one_line():
        done = migrate(folder)
    for what, lines in (("left out, equal to another", done.repeated), ("refused", done.refused)):
        if lines:
            click.echo("\n  ".join([f"{len(lines)} {what}:", *lines]))
    if done.refused:
        raise _Refusal(f"{folder} was not changed; leave the refused records out, or train them again")
    click.echo(f"{done.moved} records have the keys of their networks")


@contextmanager
def _one_line() -> Iterator[None]:
    """Show a mistake in one line, with status 2, however the command was called."""
    try:
        yield
    except UserError as error:
        raise _Refusal(str(error)) from error


def _opened(folder: Path) -> "Store":
    from tinynet_core.study.store import FILE, Store

    if not (folder / FILE).is_file():
        raise UserError(f"{folder} is no store: it has no {FILE}")
    return Store(folder)


def _inspection_text(found: "Inspection", root: Path) -> str:
    lines = [
        f"{found.done + found.failed} records in {root}: {found.done} done, {found.failed} failed",
        f"{len(found.damaged)} damaged, {found.set_aside} set aside before, {found.doubled} doubled",
    ]
    lines += [f"  {line}" for line in found.damaged[:SHOWN]]
    if (more := len(found.damaged) - SHOWN) > 0:
        lines.append(f"  and {more} more")
    if found.tail:
        lines.append(
            f"the last line is unfinished, {found.tail} bytes: a process was killed, or is writing it now; "
            "the next record that is written sets it aside"
        )
    if found.damaged:
        lines.append(
            "What to do: run the sweep again; it moves what is damaged to records.damaged.jsonl and trains those "
            "experiments anew. Or bring back records.jsonl from a copy."
        )
    elif found.sound and found.set_aside:
        lines.append("What to do: nothing; records.damaged.jsonl holds what was once set aside and may be deleted.")
    return "\n".join(lines)


def _number(x: Any, form: str) -> str:
    return "-" if x != x else format(x, form)
