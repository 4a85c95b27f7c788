"""From notebooks to a website: execute, stage, build. Each step repeats only what changed."""

from tinynet_core.book.site import BookError, make_book

__all__ = ["BookError", "make_book"]
