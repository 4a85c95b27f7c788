"""The look of the figures, which is the book's own."""

import matplotlib
import matplotlib.pyplot as plt

from tinynet_book.figures import set_style

FOREIGN = """
text.usetex: True
font.size: 30
axes.grid: True
figure.figsize: 1, 1
image.cmap: gray
savefig.facecolor: red
svg.fonttype: none
axes.prop_cycle: cycler("color", ["k"])
"""


def styled():
    set_style()
    return {name: str(value) for name, value in matplotlib.rcParams.items() if not name.startswith("backend")}


def test_the_style_ignores_a_matplotlibrc(tmp_path):
    file = tmp_path / "matplotlibrc"
    file.write_text(FOREIGN, encoding="utf-8")
    with plt.rc_context():
        own = styled()
        matplotlib.rc_file(file)
        assert matplotlib.rcParams["font.size"] == 30
        assert styled() == own
