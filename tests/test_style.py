"""The look of the figures, which is the book's own."""

import os
import subprocess
import sys

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
SETTINGS = """
from tinynet_book.figures import set_style
set_style()
import matplotlib
for name, value in matplotlib.rcParams.items():
    if not name.startswith("backend"):
        print(name, value)
"""


def test_the_style_ignores_a_matplotlibrc(tmp_path):
    def settings(**environment: str) -> list[str]:
        command = [sys.executable, "-W", "ignore", "-c", SETTINGS]
        said = subprocess.check_output(command, cwd=tmp_path, env=os.environ | environment, encoding="utf-8")
        return said.splitlines()

    own = settings()
    (tmp_path / "matplotlibrc").write_text(FOREIGN, encoding="utf-8")
    theirs = settings(MATPLOTLIBRC=str(tmp_path))
    assert len(own) > 300
    assert theirs == own
