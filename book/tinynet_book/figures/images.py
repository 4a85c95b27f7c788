"""The images that networks are trained on."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from tinynet_core.data.glyphs import CLASSES, SPLITS, GlyphDataset, render_image


def glyph_sheet(dataset: GlyphDataset, rows: int = 5, columns: int = 10) -> Figure:
    """The first training images of ``dataset``, each under its class."""
    figure, panels = plt.subplots(rows, columns, figsize=(1.1 * columns, 1.3 * rows))
    for index, axes in enumerate(panels.flat):
        axes.imshow(render_image(dataset, SPLITS[0], index))
        axes.set_title(CLASSES[index % dataset.classes], fontsize=10)
        axes.axis("off")
    figure.tight_layout(pad=0.3)
    return figure
