"""The kernels that the notebooks of the book run in."""

import json
import os
import re
import sys
import time
from pathlib import Path

import matplotlib
import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_notebook

STATE = """
import os, sys
print("matplotlib.pyplot" in sys.modules, os.getsid(0) == os.getpid())
print(os.getcwd())
"""
STYLE = """
import os, sys
from tinynet_book.figures import set_style
set_style()
import matplotlib
print(sys.executable, os.environ["MPLBACKEND"], matplotlib.rcParams["text.usetex"], hasattr(sys, "foreign"))
"""
DRAW = """
import matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.set_title("$x$")
figure.get_size_inches()
"""
KILL = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
WAIT = "import time, pathlib\npathlib.Path('started').touch()\ntime.sleep(600)"
BUILD = """
import sys
from pathlib import Path
from tinynet_book.site import kernels
from tinynet_book.site.execute import _execute_together
kernels.IMPORTED = ("matplotlib.pyplot", "tinynet_book.site.kernels")
if __name__ == "__main__":
    out = Path(sys.argv[1])
    todo = [(out / f"{name}.ipynb", out / f"{name}_out.ipynb") for name in ("draws", "dies", "waits")]
    list(_execute_together(todo, {"preset": 2}, out / "failed"))
"""
SPEC = {"argv": ["/nowhere/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "other"}
FOREIGN = "import sys\nsys.foreign = True\n"
SILENT = "c.InteractiveShell.ast_node_interactivity = 'none'"
SET_UP = {
    "jupyter/kernels/python3/kernel.json": json.dumps(SPEC | {"language": "python"}),
    "ipython/profile_default/startup/a.py": FOREIGN,
    "startup.py": FOREIGN,
    "ipython/profile_default/ipython_config.py": SILENT,
    "ipython/profile_default/ipython_kernel_config.py": SILENT,
    "jupyter_config/jupyter_config.py": "c.KernelManager.transport = 'tcp'",
    "jupyter_config/jupyter_nbclient_config.py": "c.NotebookClient.timeout = 1",
    "matplotlibrc": "text.usetex: True\nbackend: tkagg\nfigure.figsize: 1, 1\n",
    f"{'x' * 110}/no_socket_has_such_a_path": "",
}
"""What a user may have set up for Jupyter, IPython and Matplotlib."""


def foreign_files(folder: Path) -> dict[str, str]:
    """Write these, and give the variables that name them."""
    for name, text in SET_UP.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return {
        "JUPYTER_PATH": str(folder / "jupyter"),
        "JUPYTER_DATA_DIR": str(folder / "jupyter"),
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter_config"),
        "JUPYTER_RUNTIME_DIR": "/proc/nowhere",
        "JUPYTER_PREFER_ENV_PATH": "0",
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONSTARTUP": str(folder / "startup.py"),
        "MATPLOTLIBRC": str(folder / "matplotlibrc"),
        "MPLBACKEND": "tkagg",
        "MPLCONFIGDIR": matplotlib.get_cachedir(),  # where the list of fonts is, which takes seconds to make
        "HOME": "/proc/nowhere",
        "TMPDIR": str(folder / ("x" * 110)),
    }


def test_kernels_have_their_imports_and_nothing_of_the_users_configuration_and_end_with_a_killed_build(tmp_path):
    for name, sources in {"draws": (STATE, STYLE, DRAW), "dies": (KILL,), "waits": (WAIT,)}.items():
        cells = [new_code_cell("preset = 1", metadata={"tags": ["parameters"]}), *map(new_code_cell, sources)]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), tmp_path / f"{name}.ipynb")
    (tmp_path / "build.py").write_text(BUILD, encoding="utf-8")
    environment, said = os.environ | foreign_files(tmp_path / "foreign"), tmp_path / "said"
    with said.open("w") as stderr:
        build = psutil.Popen([sys.executable, tmp_path / "build.py", tmp_path], env=environment, stderr=stderr)
    while not ((tmp_path / "started").exists() and "dies.ipynb: DeadKernelError" in said.read_text(encoding="utf-8")):
        assert build.poll() is None
        time.sleep(0.1)
    left = build.children(recursive=True)
    assert len(left) >= 3  # who executes, the server that forks, the kernel
    build.terminate()
    assert psutil.wait_procs([build, *left], timeout=60)[1] == []
    state, style, drawn = (cell.outputs for cell in nbformat.read(tmp_path / "draws_out.ipynb", 4).cells[2:])
    assert state[0].text.splitlines() == [f"{sys.platform == 'linux'} True", str(tmp_path)]  # forked on Linux alone
    backend = "module://matplotlib_inline.backend_inline"
    assert style[0].text.rsplit(maxsplit=3) == [sys.executable, backend, "False", "False"]
    assert drawn[0].data["text/plain"] == "array([6.4, 4.8])"
    assert set(drawn[1].data) >= {"text/plain", "image/png"}
    assert nbformat.read(tmp_path / "failed" / "dies.ipynb", 4).metadata.papermill.end_time
    assert not re.search("KeyboardInterrupt|encryption|NOTE:", said.read_text(encoding="utf-8"))
