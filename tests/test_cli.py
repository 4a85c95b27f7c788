"""The command: exact numbers, the network for a budget as text, JSON and table, files of one's own, and mistakes."""

import json
import re
import subprocess
import sys
from unittest.mock import Mock

import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from tinynet_core import Scale, network, shrink
from tinynet_core.cli import main, tinynet
from tinynet_core.scaling.shrink import METHODS


def run(*arguments):
    result = CliRunner().invoke(tinynet, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def ended(monkeypatch, capsys):
    """Runs the program and gives its status and what it said of it."""

    def run_main(arguments):
        monkeypatch.setattr(sys, "argv", ["tinynet", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code, capsys.readouterr().err

    return run_main


def test_cost_prints_exact_numbers():
    assert all(part in run("cost", "tinynet_a") for part in ("336,867,712", "6,187,972", "input 192 px"))
    assert "98,682,032" in run("cost", "efficientnet_b0", "--w", "0.38")


def test_claims_without_a_run_are_not_attempted(tmp_path):
    lines = run("claims", "--store", tmp_path, "--format", "csv").splitlines()
    assert lines[0].startswith("id,source,statement,paper,ours,interval,tolerance,evidence,verdict")
    assert sum("not attempted" in line for line in lines) == len(lines) - 1


def test_shrink_prints_what_it_found():
    output = run("shrink", "ghostnet_a", "--macs", "141e6")
    program = json.loads(run("shrink", "ghostnet_a", "--macs", "141M", "--json"))
    cost = network("ghostnet_a", Scale(**program["scale"])).complexity()
    assert (program["macs"], program["params"]) == (cost.macs, cost.params)
    assert program["macs"] == pytest.approx(141e6, rel=0.01)
    assert sum(stage["macs"] for stage in program["stages"]) == cost.macs
    assert program["std"]["r"] > 0
    shown = (*(f"{program['scale'][key]:.10g}" for key in "rdw"), f"{cost.macs:,}", f"{cost.params:,}")
    assert all(number in output for number in shown)


def test_shrink_by_several_budgets_with_an_input_that_stays():
    budgets = ("--macs", "3G", "--params", "3M", "--resolution", "640")
    found = json.loads(run("shrink", "efficientnet_b0", *budgets, "--method", "w", "--json"))
    assert (found["resolution"], found["macs"] <= 3e9, found["params"] <= 3.03e6) == (640, True, True)


def test_shrink_answers_without_the_imports_that_take_seconds():
    code = (
        "import sys; from tinynet_core.cli import tinynet; "
        "tinynet(['shrink', 'resnet50', '--macs', '1.8G'], standalone_mode=False); "
        "print(sorted({'torch', 'sklearn', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, encoding="utf-8")
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.filterwarnings("ignore::tinynet_core.scaling.shrink.BudgetWarning")
def test_a_table_of_several_budgets_has_what_shrink_gives_by_every_method(tmp_path):
    csv, picture = tmp_path / "x.csv", tmp_path / "x.png"
    printed = run("shrink", "resnet50", "--macs", "300M, 2G", "--csv", csv, "--plot", picture)
    assert "none: resnet50 shrunk by d: budget 300,000,000 is below" in printed
    assert Image.open(picture).size[0] > 600
    found = pd.read_csv(csv)
    assert [*zip(found.wanted, found.method, strict=True)] == [(x, method) for x in (3e8, 2e9) for method in METHODS]
    assert found[found.reason.notna()][["wanted", "method"]].values.tolist() == [[3e8, "d"]]
    for row in found[found.reason.isna()].itertuples():
        answer = shrink("resnet50", row.wanted, row.method)
        scale, cost = answer.scale, answer.complexity
        assert (row.r, row.d, row.w, row.macs, row.params) == (scale.r, scale.d, scale.w, cost.macs, cost.params)


@pytest.mark.parametrize(("kept", "methods"), [([], "formula giant d w"), (["--fix", "d=0.5"], "w")])
@pytest.mark.filterwarnings("ignore::tinynet_core.scaling.shrink.BudgetWarning")
def test_a_table_keeps_what_is_fixed(kept, methods, tmp_path):
    run("shrink", "resnet50", "--macs", "1G,2G", "--resolution", "160", *kept, "--csv", tmp_path / "x.csv")
    found = pd.read_csv(tmp_path / "x.csv")
    assert [*found.method] == 2 * methods.split()
    assert set(found.resolution.dropna()) == {160}
    assert not kept or set(found.d.dropna()) == {0.5}


def test_an_interrupt_ends_with_130(monkeypatch, ended):
    monkeypatch.setattr("tinynet_core.scaling.shrink.shrink", Mock(side_effect=KeyboardInterrupt))
    assert ended(["shrink", "resnet18", "--macs", "1G"])[0] == 130


def test_a_picture_that_cannot_be_written_leaves_the_older_one(tmp_path, monkeypatch, ended):
    picture = tmp_path / "x.svg"
    picture.write_text("older", encoding="utf-8")
    monkeypatch.setattr("os.fsync", Mock(side_effect=OSError(28, "No space left on device")))
    said = ended(["shrink", "resnet18", "--macs", "1G", "--plot", picture])[1]
    assert f"export file {picture} cannot be written: No space left" in said
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["older"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cost", "tinynet_q"], "error: unknown network 'tinynet_q', nearest: tinynet_"),
        (["shrink", "tinynet_a", "--macs", "1M"], "error: network must be a scalable one, efficientnet_b0, "),
        (["cost", "resnet50", "--resolution", "64"], "--resolution is for a network of your own; give resnet50"),
        (["shrink", "efficientnet_b0"], "give a budget: --macs, --params, --peak-activations or --latency"),
        (["shrink", "efficientnet_b0", "--macs", "1M", "--fix", "x=1"], "'x=1' is not a multiplier such as r=1"),
        (["shrink", "efficientnet_b0", "--macs", "1M", "--fix", "r=1", "--resolution", "64"], "both fix r: give one"),
        (["shrink", "efficientnet_b0", "--macs", "many"], "'many' is not an amount such as 141e6, 500k, 100M or 1.8G"),
        (["shrink", "resnet18", "--macs", "1G", "--method", "d", "--preset", "smoke"], "--preset gives a formula, but"),
        (["shrink", "resnet50", "--macs", "1,8G"], "end each amount with a suffix (1G,2G)"),
        (["shrink", "resnet50", "--macs", "1G,2G", "--json"], "a table takes --macs alone as its budgets, and neither"),
        (["shrink", "resnet50", "--macs", "1G", "--csv", "/nowhere/x.csv"], "there is no folder /nowhere"),
        (["shrink", "resnet50", "--macs", "1G", "--plot", "x.xyz"], "must end in .svg or .png or .pdf, got x.xyz"),
        (["shrink", "x.py:f", "--macs", "1G", "--init", "w"], "--init is for networks of this package"),
        (["shrink", "nowhere.py:f", "--macs", "1M"], "error: there is no file nowhere.py"),
        (["sweep", "smoke", "--store", "/dev/null/x"], "error: store /dev/null/x cannot be written"),
        (["sweep", "smoke", "--page", "table9"], "unknown page 'table9', known: fig1, fig2"),
    ],
)
def test_mistakes_end_with_one_line_and_status_2(arguments, message, ended):
    status, said = ended(arguments)
    assert status == 2
    assert message in said
    assert "Traceback" not in said


BUILD = """
def build(scale):
    width = max(8, int(64 * scale.w))
    return nn.Sequential(conv(3, width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
"""
CONV = "import torch.nn as nn\ndef conv(i, o): return nn.Conv2d(i, o, 3)\n"
DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass
from blocks import conv, nn
@dataclass
class Sizes:
    width: int
"""
FILES = {
    "a dataclass and a sibling": {"blocks.py": CONV, "mine.py": DATACLASS + BUILD},
    "a package": {"nets/__init__.py": "", "nets/parts.py": CONV, "nets/mine.py": f"from .parts import conv, nn{BUILD}"},
    "a name that is taken": {"types.py": CONV + BUILD},
}
WRONG = """
import torch.nn as nn
def nothing(scale): pass
def raises(scale):
    width = {}["width"]
def stops(scale): raise SystemExit(3)
def grey(scale): return nn.Conv2d(1, 8, 3)
number = 3
"""


@pytest.mark.parametrize("kind", FILES)
def test_a_network_of_ones_own_is_found(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    for path, text in FILES[kind].items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    asked = ("--macs", "40M", "--method", "w", "--json")
    assert json.loads(run("shrink", f"{tmp_path / path}:build", *asked))["macs"] == pytest.approx(40e6, rel=0.02)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", r"nothing must build a torch.nn.Module, got NoneType"),
        ("raises", r"raises at .* cannot be built: KeyError: 'width' \(wrong.py, line 5\)"),
        ("stops", r"stops at .* cannot be built: SystemExit: 3 \(wrong.py, line 6\)"),
        ("grey", r"grey at .* fails on an image of 224 px with 3 channels: RuntimeError: "),
        ("number", r"builder must be a function of a Scale that returns a module, got a int"),
        ("absent", r"wrong.py has no function 'absent', it has .*grey"),
    ],
)
def test_what_is_wrong_with_a_builder_is_said(tmp_path, monkeypatch, name, message):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    asked = ["shrink", f"{tmp_path / 'wrong.py'}:{name}", "--macs", "1M"]
    assert re.search(message, str(CliRunner().invoke(tinynet, asked).exception))


def test_a_network_of_ones_own_is_counted_and_exported_at_a_scale(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CONV + BUILD.replace("conv(3", "conv(1"), encoding="utf-8")
    own = ["mine.py:build", "--w", "0.5", "--resolution", "16", "--channels", "1"]
    assert f"MACs              {14 * 14 * 9 * 32 + 32 * 10:>16,}" in run("cost", *own)
    run("export", own[0], "mine.onnx", *own[1:])
    assert (tmp_path / "mine.onnx").stat().st_size > 4 * 32 * 9
