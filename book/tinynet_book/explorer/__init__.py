"""The cube explorer: the trained models over r, d and w, and what the tiny formula gives for a budget, as a page."""

from tinynet_book.explorer.models import trained_models
from tinynet_book.explorer.page import write_explorer
from tinynet_book.explorer.slider import budgets, sizes

__all__ = ["budgets", "sizes", "trained_models", "write_explorer"]
