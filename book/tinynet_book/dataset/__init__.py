"""The study as a data set for others: tables of all models, runs and epochs, with a data card."""

from tinynet_book.dataset.files import CARD, release

__all__ = ["CARD", "release"]
