"""The table of all models for others to use: CSV, Parquet and a data card in one folder."""

from pathlib import Path

from tinynet_book.dataset.card import FIELDS, data_card
from tinynet_book.dataset.tables import Tables, tables
from tinynet_core.files import SUFFIXES, UserError, check_target, write_table, write_text
from tinynet_core.study.pages import stale
from tinynet_core.study.study import Study

CARD = "README.md"


def release(study: Study, folder: Path) -> Tables:
    """Write the tables of ``study`` and their card into ``folder``, which is made; files that are there are replaced.

    Each file is written whole or not at all, the card last. Raises ``UserError`` for a folder that cannot be written
    and for records that are stale, ``MissingRecords`` where the study may not make what is missing.
    """
    _check_folder(folder)
    _refuse_stale(study)
    found = tables(study)
    card = data_card(found, study.preset)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror or error}") from error
    for name, fields in FIELDS.items():
        table = getattr(found, name)[list(fields)]
        for suffix in SUFFIXES:
            file = folder / f"{name}{suffix}"
            check_target(file)
            write_table(table, file)
    write_text(card, folder / CARD)
    return found


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: the dataset needs a folder of its own")


def _refuse_stale(study: Study) -> None:
    """Records that are stale may stand on a page, marked; in a release they may not."""
    if old := stale(study, ["cost"]):
        raise UserError(
            f"{len(old)} records in {study.store.root} are stale, such as {old[0].key[:12]}: {old[0].reason}; "
            f"make them anew with: tinynet sweep {study.preset_argument} --store {study.store.root} --page cost "
            "--retry-stale"
        )
