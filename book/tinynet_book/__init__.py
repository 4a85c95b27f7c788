"""The book: its numbers, statistics, figures and pages, made from the records of ``tinynet_core``.

The names that notebooks use are imported on first use.
"""

from importlib import import_module

_HOME = {
    "Estimate": "tinynet_book.paper.claims",
    "Finding": "tinynet_book.paper.claims",
    "claim": "tinynet_book.paper.claims",
    "evaluated": "tinynet_book.measure.released",
    "formula_tinynets": "tinynet_book.analysis.robustness",
    "maps": "tinynet_book.measure.maps",
    "open_notebook": "tinynet_book.notebook",
    "rank_correlation": "tinynet_book.analysis.correlation",
    "study_spread": "tinynet_book.analysis.spread",
    "write_claims": "tinynet_book.paper.claims",
}
__all__ = [*_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'tinynet_book' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
