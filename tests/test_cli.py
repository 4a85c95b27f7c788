"""The command: exact numbers, the network for a budget as text and as JSON, and mistakes in one line."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tinynet_core import Scale, network
from tinynet_core.cli import main, tinynet


def run(*arguments):
    result = CliRunner().invoke(tinynet, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_cost_prints_exact_numbers():
    assert all(part in run("cost", "tinynet_a") for part in ("336,867,712", "6,187,972", "input 192 px"))
    assert "98,682,032" in run("cost", "efficientnet_b0", "--w", "0.38")


def test_claims_without_a_run_are_not_attempted(tmp_path):
    lines = run("claims", "--store", tmp_path, "--format", "csv").splitlines()
    assert lines[0].startswith("id,source,statement,paper,ours,interval,tolerance,evidence,verdict")
    assert sum("not attempted" in line for line in lines) == len(lines) - 1


def test_shrink_prints_what_it_found():
    output = run("shrink", "ghostnet_a", "--macs", "141e6")
    assert "fitted on TinyNet-A to -E and EfficientNet-B0 as released" in output
    program = json.loads(run("shrink", "ghostnet_a", "--macs", "141M", "--json"))
    cost = network("ghostnet_a", Scale(**program["scale"])).complexity()
    assert (program["macs"], program["params"]) == (cost.macs, cost.params)
    assert program["macs"] == pytest.approx(141e6, rel=0.01)
    assert sum(stage["macs"] for stage in program["stages"]) == cost.macs
    assert program["std"]["r"] > 0
    for key in ("r", "d", "w"):
        assert f"{program['scale'][key]:.10g}" in output
    assert f"{cost.macs:,}" in output
    assert f"{cost.params:,}" in output


def test_shrink_answers_without_the_imports_that_take_seconds():
    code = (
        "import sys; from tinynet_core.cli import tinynet; "
        "tinynet(['shrink', 'resnet50', '--macs', '1.8G'], standalone_mode=False); "
        "print(sorted({'torch', 'sklearn', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, encoding="utf-8")
    assert done.stdout.splitlines()[-1] == "[]"


def test_shrink_by_another_budget_and_method():
    program = json.loads(run("shrink", "resnet18", "--params", "5M", "--method", "w", "--json"))
    assert program["budget"]["kind"] == "params"
    assert program["params"] == pytest.approx(5e6, rel=0.03)
    assert (program["formula"], program["std"]["r"]) == (None, None)


def test_shrink_off_the_budget_warns(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tinynet", "shrink", "efficientnet_b0", "--macs", "185M", "--method", "d"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    told = capsys.readouterr()
    assert "warning: efficientnet_b0 shrunk by d: the nearest network found" in told.err
    assert told.err.count("warning") == 1
    assert "off the budget" in told.out


def test_shrink_a_network_of_your_own(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def build(scale):\n"
        "    c = max(1, round(64 * scale.w))\n"
        "    return nn.Sequential(nn.Conv2d(3, c, 3, 2, 1), nn.Conv2d(c, c, 3, 1, 1))\n",
        encoding="utf-8",
    )
    asked = ("--resolution", "32", "--macs", "5M", "--method", "w", "--json")
    program = json.loads(run("shrink", f"{tmp_path}/mine.py:build", *asked))
    assert (program["network"], program["resolution"], program["stages"]) == ("build", 32, [])
    assert program["macs"] == pytest.approx(5e6, rel=0.05)
    monkeypatch.chdir(tmp_path)
    assert "build shrunk to 5,000,000 MACs by method w" in run("shrink", "mine:build", "--macs", "5M", "--method", "w")


def test_export_writes_a_checked_file(tmp_path):
    output = run("export", "efficientnet_b0", tmp_path / "net.onnx", "--r", "0.3", "--w", "0.3", "--classes", "5")
    assert (tmp_path / "net.onnx").stat().st_size > 1e5
    assert "ONNX Runtime and torch differ by" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cost", "tinynet_q"], "error: unknown network 'tinynet_q', nearest: tinynet_"),
        (["cost", "efficientnet_b0", "--r", "-1"], "error: Scale.r must be a finite number above 0, got -1.0"),
        (["cost", "efficientnet_b0", "--r", "wide"], "'wide' is not a valid float"),
        (["cost", "fbnet_b", "--w", "2"], "error: fbnet_b has its own scale; networks that take one: efficientnet_b0"),
        (["shrink", "efficientnet_b0"], "give a budget: --macs, --params, --peak-activations or --latency"),
        (["shrink", "efficientnet_b0", "--macs", "1M", "--fix", "x=1"], "'x=1' is not a multiplier such as r=1"),
        (["shrink", "efficientnet_b0", "--macs", "1M", "--fix", "r=1", "--resolution", "64"], "both fix r: give one"),
        (["shrink", "efficientnet_b0", "--macs", "many"], "'many' is not an amount such as 141e6, 500k, 100M or 1.8G"),
        (["shrink", "efficientnet_b0", "--macs", "-5M"], "error: budget must be a finite number above 0"),
        (["shrink", "efficientnet_b1", "--macs", "1M"], "error: network must be a scalable one (efficientnet_b0, res"),
        (["shrink", "resnet18", "--macs", "1G", "--method", "d", "--preset", "smoke"], "--preset gives a formula, but"),
        (["shrink", "resnet50", "--macs", "1k"], "below the smallest reachable cost"),
        (["shrink", "resnet50", "--macs", "1,8G"], "give each amount its suffix, 1G,2G, and decimals a point, 1.8G"),
        (["shrink", "resnet50", "--macs", "1G", "--fix", "r=1", "--fix", "r=0.5"], "--fix gives one multiplier twice"),
        (["shrink", "resnet50", "--macs", "1G", "--csv", "/nowhere/x.csv"], "there is no folder /nowhere"),
        (["shrink", "resnet50", "--macs", "1G", "--plot", "x.xyz"], "must end in .svg or .png or .pdf, got x.xyz"),
        (
            ["shrink", "resnet50", "--macs", "1G", "--channels", "1"],
            "--channels is for a network of your own, resn",
        ),
        (
            ["cost", "resnet50", "--resolution", "64"],
            "--resolution is for a network of your own; give resnet50",
        ),
        (["shrink", "x.py:f", "--macs", "1G", "--init", "w"], "--init is for networks of this package"),
        (["shrink", ":f", "--macs", "1G"], "error: :f must be file.py:function or module:function"),
        (["shrink", "nowhere.py:f", "--macs", "1M"], "error: nowhere.py cannot be imported: FileNotFoundError"),
        (["shrink", "json:nothing", "--macs", "1M"], "error: json has no function 'nothing'"),
        (["shrink", "no_such_module:f", "--macs", "1M"], "error: no_such_module cannot be imported: "),
        (["export", "tinynet_e", "net.txt"], "net.txt"),
        (["export", "tinynet_e", "x.onnx", "--weights", "nowhere.pth"], "nowhere.pth"),
        (
            ["sweep", "nothing"],
            "error: unknown preset 'nothing', known: creatures, imagenet100, imagenet1k, imagenette",
        ),
        (["sweep", "smoke", "--store", "/dev/null/x"], "error: store /dev/null/x cannot be written"),
        (["sweep", "smoke", "--workers", "0"], "0 is not in the range"),
    ],
)
def test_mistakes_end_with_one_line_and_status_2(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tinynet", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_shrink_with_a_detectors_input_and_two_budgets():
    asked = ["shrink", "efficientnet_b0", "--macs", "3G", "--params", "3M", "--resolution", "640", "--method", "w"]
    found = json.loads(run(*asked, "--json"))
    assert found["resolution"] == 640
    assert found["macs"] <= 3e9
    assert found["params"] <= 3.03e6
    assert "the budget that binds, by method w" in run(*asked)
