"""Tables and pages written to a file for other programs, whole or not at all; tables as CSV or Parquet."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import pandas as pd

from tinynet_core.errors import UserError

SUFFIXES = (".csv", ".parquet")


def check_target(path: Path) -> None:
    """Raise ``UserError`` for a path that no table can be written to."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"export file must end in {' or '.join(SUFFIXES)}, got {path}")
    if path.is_dir():
        raise UserError(f"export file {path} is a folder")
    if not path.parent.is_dir():
        raise UserError(f"export file {path}: there is no folder {path.parent}")


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write ``frame`` without its index to ``path``, in the format of its suffix; a file that is there is replaced.

    Numbers are not rounded: ``pandas.read_csv(path, float_precision="round_trip")`` gives them back, bit by bit.
    Raises ``UserError`` for another suffix and for a path that cannot be written.
    """
    check_target(path)
    with _whole(path) as file:
        if path.suffix == ".csv":
            frame.to_csv(file, index=False)
        else:
            frame.to_parquet(file, engine="pyarrow", index=False)


def write_text(text: str, path: Path) -> None:
    """Write ``text`` to ``path`` in UTF-8; a file that is there is replaced.

    Raises ``UserError`` for a path that cannot be written.
    """
    with _whole(path) as file:
        file.write(text.encode())


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the name ``path`` once the block is left without an error."""
    scratch = path.with_suffix(f".{uuid4().hex}.tmp")
    try:
        with scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        raise UserError(f"export file {path} cannot be written: {error.strerror or error}") from error
    finally:
        scratch.unlink(missing_ok=True)
