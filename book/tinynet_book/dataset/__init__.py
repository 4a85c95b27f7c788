"""The study as a data set for others: tables of all models, runs and epochs as CSV and Parquet, with a README."""

import json
from pathlib import Path
from typing import Any

from tinynet_book.dataset.tables import Tables, tables
from tinynet_core.files import SUFFIXES, UserError, check_target, write_table, write_text
from tinynet_core.study.pages import stale
from tinynet_core.study.study import Study

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
