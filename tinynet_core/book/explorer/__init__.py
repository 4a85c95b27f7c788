"""The cube explorer: the trained models over r, d and w, and what the tiny formula gives for a budget, as a page."""

from tinynet_core.book.explorer.models import trained_models
from tinynet_core.book.explorer.page import write_explorer
from tinynet_core.book.explorer.slider import budgets, sizes

__all__ = ["budgets", "sizes", "trained_models", "write_explorer"]
