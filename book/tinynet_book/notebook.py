"""Open a notebook's study: check its parameters, set the book's style, and keep figures as PNG, SVG and data."""

import ast

import pandas as pd
from IPython import get_ipython
from IPython.core.formatters import BaseFormatter
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats

from tinynet_book.figures import set_style
from tinynet_book.plotted import plotted
from tinynet_book.tables import html
from tinynet_core.files import UserError
from tinynet_core.study.study import Study

FIGURE_DATA = "application/vnd.tinynet.figure-data+csv"
"""MIME type of the numbers of a figure in a notebook."""


def open_notebook(namespace: dict) -> Study:
    """Return the study of a notebook's parameters ``preset``, ``store`` and ``train``, and set the book's plot style.

    Raises ``UserError`` if papermill injected a parameter that the notebook does not have.
    """
    known = ("preset", "store", "train")
    for cell in namespace.get("In", []):
        if cell.startswith("# Parameters"):  # the first line of the cell that papermill injects
            names = [x for x in ast.walk(ast.parse(cell)) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)]
            if unknown := [name.id for name in names if name.id not in known]:
                raise UserError(f"unknown notebook parameter {unknown[0]!r}, known: {', '.join(known)}")
    preset, store, train = (namespace[name] for name in known)
    if isinstance(train, str) and train.lower() in ("true", "false"):
        train = train.lower() == "true"  # papermill passes all but True and False as text
    if not (isinstance(preset, str) and isinstance(store, str) and isinstance(train, bool)):
        raise UserError(
            f"preset and store must be text and train True or False, got {preset!r}, {store!r} and {train!r}"
        )
    set_style()
    _keep_vectors_and_data()
    return Study(preset, store, train)


def _keep_vectors_and_data() -> None:
    """Make a notebook save figures also as SVG and with their numbers, and show tables in the book's format."""
    if (shell := get_ipython()) is not None:
        set_matplotlib_formats("png", "svg")
        display = shell.display_formatter
        formatter = BaseFormatter(parent=display, format_type=FIGURE_DATA, print_method="_repr_figure_data_")
        formatter.for_type(Figure, lambda figure: plotted(figure).to_csv(index=False))
        display.formatters[FIGURE_DATA] = formatter
        display.formatters["text/html"].for_type(pd.DataFrame, html)
