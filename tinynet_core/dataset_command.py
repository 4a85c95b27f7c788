"""``tinynet dataset``: the table of all models, for others to use."""

from pathlib import Path

import click

from tinynet_core.train_commands import store_option


@click.command("dataset")
@click.argument("preset")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@store_option
def dataset_command(preset: str, folder: Path, store: str) -> None:
    """Write the models, trainings and epochs of PRESET to DIR as CSV and Parquet, with a data card.

    Trains nothing: it stops with a list where records are missing.
    """
    from tinynet_core.release.files import release
    from tinynet_core.study import Study

    found = release(Study(preset, store, train=False), folder)
    failed = int((found.runs.status == "failed").sum())
    click.echo(
        f"{len(found.models)} models, {len(found.runs)} trainings ({failed} failed) and {len(found.epochs)} epochs "
        f"written to {folder}"
    )
