"""The kernels that the notebooks of the book run in."""

import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tinynet_core.book.execute import _execute_together

STATE = """
import os, sys
print(*(name in sys.modules for name in ("torch", "sklearn", "matplotlib.pyplot")), os.getsid(0) == os.getpid())
print(os.getcwd(), sep="")
"""
DRAW = "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()"


def notebook(path: Path, *sources: str) -> Path:
    cells = [new_code_cell("preset = 1", metadata={"tags": ["parameters"]}), *map(new_code_cell, sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux alone")
def test_kernels_start_with_the_imports_done_and_fail_as_any_kernel(tmp_path, capfd):
    (tmp_path / "a").mkdir()
    good = notebook(tmp_path / "a" / "good.ipynb", STATE, DRAW)
    bad = notebook(tmp_path / "bad.ipynb", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    todo = [(path, tmp_path / f"{path.stem}_out.ipynb") for path in (good, bad)]
    found = dict(_execute_together(todo, {"preset": 2}, tmp_path / "failed"))
    assert found[good] is None
    assert "DeadKernelError" in found[bad].reason
    state, drawn = (cell.outputs for cell in nbformat.read(tmp_path / "good_out.ipynb", 4).cells[2:])
    assert state[0].text.splitlines() == ["True True True True", str(good.parent)]
    assert [set(output.data) for output in drawn] == [{"text/plain", "image/png"}]
    said = capfd.readouterr().err
    assert "executed good.ipynb" in said
    assert "KeyboardInterrupt" not in said
    assert "encryption" not in said
