"""The kernels that the notebooks of the book run in."""

import json
import sys
import tempfile
import time
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.forkserver import _forkserver
from pathlib import Path

import nbformat
import psutil
import pytest
from jupyter_client.provisioning import KernelProvisionerFactory
from nbformat.v4 import new_code_cell, new_notebook

from tinynet_book.site import kernels
from tinynet_book.site.execute import _BEHIND, execute
from tinynet_book.site.kernels import _Forked
from tinynet_core.machine import folder_for_sockets

STATE = """
import os, sys
print("matplotlib.pyplot" in sys.modules, os.getsid(0) == os.getpid())
print(os.getcwd(), sep="")
"""
DRAW = "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()"


def notebook(path: Path, *sources: str) -> Path:
    cells = [new_code_cell("preset = 1", metadata={"tags": ["parameters"]}), *map(new_code_cell, sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


STYLE = """
import os, sys
from tinynet_book.figures import set_style
set_style()
import matplotlib
print(sys.executable, os.environ["MPLBACKEND"], matplotlib.rcParams["text.usetex"], hasattr(sys, "foreign"))
"""


def long_folder(where: Path) -> Path:
    """A folder whose path no socket can have."""
    folder = where / ("x" * 110)
    folder.mkdir(parents=True)
    return folder


def foreign_files(folder: Path) -> dict[str, str]:
    """What a user may have set up for Jupyter, IPython and Matplotlib, and the variables that name the files."""
    kernel = folder / "jupyter" / "kernels" / "python3"
    startup = folder / "ipython" / "profile_default" / "startup"
    for made in (kernel, startup, folder / "jupyter_config"):
        made.mkdir(parents=True)
    argv = ["/nowhere/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "other", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    for file in (startup / "a.py", folder / "startup.py"):
        file.write_text("import sys\nsys.foreign = True\n", encoding="utf-8")
    for name in ("ipython_config", "ipython_kernel_config"):
        text = "c.InteractiveShell.ast_node_interactivity = 'none'"
        (startup.parent / f"{name}.py").write_text(text, encoding="utf-8")
    for name in ("jupyter_config", "jupyter_nbclient_config"):
        text = "c.NotebookClient.timeout = 1\nc.KernelManager.transport = 'tcp'"
        (folder / "jupyter_config" / f"{name}.py").write_text(text, encoding="utf-8")
    (folder / "matplotlibrc").write_text("text.usetex: True\nbackend: tkagg\nfigure.figsize: 1, 1\n", encoding="utf-8")
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
        "HOME": "/proc/nowhere",
        "TMPDIR": str(long_folder(folder)),
    }


@pytest.fixture
def forked(tmp_path, monkeypatch):
    """This process starts kernels as the build does, with few imports and amid a user's configuration."""
    monkeypatch.setattr(kernels, "IMPORTED", ("matplotlib.pyplot", "tinynet_book.site.kernels"))
    factory = KernelProvisionerFactory.instance()
    monkeypatch.setattr(factory, "default_provisioner_name", factory.default_provisioner_name)
    for name, value in foreign_files(tmp_path / "foreign").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", None)  # look at TMPDIR anew
    _forkserver._stop()
    monkeypatch.setattr(tempfile, "tempdir", folder_for_sockets(_BEHIND))
    kernels.offer()
    yield
    _forkserver._stop()
    kernels._server.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux alone")
def test_kernels_start_with_the_imports_done_and_with_nothing_of_the_users_configuration(forked, tmp_path, capfd):
    (tmp_path / "a").mkdir()
    drawing = f"{DRAW}\naxes.set_title('$x$')\nfigure.get_size_inches()"
    drawn = notebook(tmp_path / "a" / "x.ipynb", STATE, STYLE, drawing)
    assert execute(drawn, tmp_path / "out.ipynb", {"preset": 2}, tmp_path) == ""
    state, style, drawn = (cell.outputs for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells[2:])
    assert state[0].text.splitlines() == ["True True", str(tmp_path / "a")]
    backend = "module://matplotlib_inline.backend_inline"
    assert style[0].text.rsplit(maxsplit=3) == [sys.executable, backend, "False", "False"]
    assert drawn[0].data["text/plain"] == "array([6.4, 4.8])"
    assert set(drawn[1].data) >= {"text/plain", "image/png"}
    said = capfd.readouterr().err
    assert "KeyboardInterrupt" not in said
    assert "encryption" not in said
    assert "NOTE:" not in said
    bad = notebook(tmp_path / "bad.ipynb", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    reason = execute(bad, tmp_path / "bad_out.ipynb", {"preset": 2}, tmp_path / "failed")
    assert reason.startswith("DeadKernelError")


def test_what_kernels_import_beforehand_exists():
    assert all(find_spec(name) for name in kernels.IMPORTED)


def test_a_kernel_that_has_ended_can_be_told_to_end():
    process = get_context("forkserver").Process(target=int)
    process.start()
    process.join()
    handle = _Forked(process)
    handle.terminate()
    handle.kill()
    assert handle.poll() == 0


BUILD = """
import sys
from pathlib import Path
from tinynet_book.site import kernels
from tinynet_book.site.execute import _execute_together
kernels.IMPORTED = ("tinynet_book.site.kernels",)
if __name__ == "__main__":
    out = Path(sys.argv[1])
    list(_execute_together([(out / "waits.ipynb", out / "done.ipynb")], {"preset": 1}, out / "failed"))
"""


def test_a_killed_build_leaves_no_process_behind(tmp_path):
    started = tmp_path / "started"
    waits = f"import time, pathlib\npathlib.Path({str(started)!r}).touch()\ntime.sleep(600)"
    notebook(tmp_path / "waits.ipynb", waits)
    (tmp_path / "build.py").write_text(BUILD, encoding="utf-8")
    build = psutil.Popen([sys.executable, tmp_path / "build.py", tmp_path])
    while not started.exists():
        assert build.poll() is None
        time.sleep(0.1)
    left = build.children(recursive=True)
    assert len(left) >= 3  # who executes, the server that forks, the kernel
    build.terminate()
    assert psutil.wait_procs([build, *left], timeout=60)[1] == []
