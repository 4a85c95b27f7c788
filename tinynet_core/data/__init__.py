"""Data sets as uint8 arrays in memory."""

from tinynet_core.data.glyphs import GlyphDataset, ImageSet, load_glyphs

__all__ = ["GlyphDataset", "ImageSet", "load_glyphs"]
