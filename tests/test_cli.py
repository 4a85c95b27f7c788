import json
import sys

import pytest
from click.testing import CliRunner

from tinynet_core import Scale, network
from tinynet_core.cli import main, tinynet


def run(*arguments):
    return CliRunner().invoke(tinynet, list(arguments))


def test_cost_prints_exact_numbers():
    output = run("cost", "tinynet_a").output
    assert all(part in output for part in ("336,867,712", "6,187,972", "input 192 px"))
    assert "98,682,032" in run("cost", "efficientnet_b0", "--w", "0.38").output


def test_claims_without_a_run_are_not_attempted(tmp_path):
    result = run("claims", "--store", str(tmp_path), "--format", "csv")
    head = "id,source,statement,paper,ours,interval,tolerance,evidence,verdict"
    assert result.output.splitlines()[0].startswith(head)
    assert result.output.count("not attempted") == len(result.output.splitlines()) - 1


@pytest.mark.parametrize(
    ("name", "amount", "macs"),
    [("efficientnet_b0", "100M", 100e6), ("resnet50", "1.8G", 1.8e9), ("ghostnet_a", "141e6", 141e6)],
)
def test_shrink_prints_what_it_found(name, amount, macs):
    result = run("shrink", name, "--macs", amount)
    assert result.exit_code == 0, result.output
    assert "fitted on TinyNet-A to -E and EfficientNet-B0 as released" in result.output
    assert "one standard deviation of the formula's posterior" in result.output
    program = json.loads(run("shrink", name, "--macs", amount, "--json").stdout)
    scale = Scale(**program["scale"])
    cost = network(name, scale).complexity()
    assert (program["macs"], program["params"]) == (cost.macs, cost.params)
    assert program["macs"] == pytest.approx(macs, rel=0.01)
    assert sum(stage["macs"] for stage in program["stages"]) == cost.macs
    for key in ("r", "d", "w"):
        assert f"{program['scale'][key]:.10g}" in result.output
    for count in (program["macs"], program["params"]):
        assert f"{count:,}" in result.output
    assert program["std"]["r"] > 0


def test_shrink_by_other_budgets_and_methods():
    program = json.loads(run("shrink", "resnet18", "--params", "5M", "--method", "w", "--json").stdout)
    assert program["budget"]["kind"] == "params"
    assert program["params"] == pytest.approx(5e6, rel=0.03)
    assert (program["formula"], program["std"]["r"]) == (None, None)
    program = json.loads(run("shrink", "ghostnet_100", "--peak-activations", "300k", "--method", "r", "--json").stdout)
    assert program["peak_activations"] == pytest.approx(300e3, rel=0.03)


def test_shrink_off_the_budget_warns(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tinynet", "shrink", "efficientnet_b0", "--macs", "185M", "--method", "d"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    told = capsys.readouterr()
    assert "warning: efficientnet_b0 shrunk by d: the nearest reachable network" in told.err
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
    result = run("shrink", f"{tmp_path}/mine.py:build", "--resolution", "32", "--macs", "5M", "--method", "w", "--json")
    program = json.loads(result.stdout)
    assert program["network"] == "build"
    assert program["macs"] == pytest.approx(5e6, rel=0.05)
    assert program["resolution"] == 32
    assert program["stages"] == []
    monkeypatch.chdir(tmp_path)
    output = run("shrink", "mine:build", "--macs", "5M", "--method", "w").output
    assert "build shrunk to 5,000,000 MACs by method w" in output


def test_export_writes_a_checked_file(tmp_path):
    path = tmp_path / "net.onnx"
    result = run("export", "efficientnet_b0", str(path), "--r", "0.3", "--d", "0.3", "--w", "0.3", "--classes", "5")
    assert result.exit_code == 0, result.output
    assert path.stat().st_size > 1e5
    assert "ONNX Runtime and torch differ by" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cost", "tinynet_q"], "error: unknown network 'tinynet_q', nearest: tinynet_"),
        (["cost", "efficientnet_b0", "--r", "-1"], "error: Scale.r must be a finite number above 0, got -1.0"),
        (["cost", "efficientnet_b0", "--r", "wide"], "'wide' is not a valid float"),
        (["cost", "fbnet_b", "--w", "2"], "error: fbnet_b has its own scale; networks that take one: efficientnet_b0"),
        (["shrink", "efficientnet_b0"], "give exactly one of --macs, --params, --peak-activations and --latency"),
        (["shrink", "efficientnet_b0", "--macs", "1M", "--params", "1M"], "give exactly one of"),
        (["shrink", "efficientnet_b0", "--macs", "many"], "'many' is not an amount such as 141e6, 500k, 100M or 1.8G"),
        (["shrink", "efficientnet_b0", "--macs", "-5M"], "error: budget must be a finite number above 0"),
        (["shrink", "efficientnet_b1", "--macs", "1M"], "error: network must be a scalable one (efficientnet_b0, res"),
        (["shrink", "resnet18", "--macs", "1G", "--method", "d", "--preset", "smoke"], "--preset gives a formula, but"),
        (["shrink", "resnet50", "--macs", "1k"], "below the smallest reachable cost"),
        (["shrink", "nowhere.py:f", "--macs", "1M"], "error: nowhere.py is not a file"),
        (["shrink", "json:nothing", "--macs", "1M"], "error: json has no function 'nothing'"),
        (["shrink", "no_such_module:f", "--macs", "1M"], "error: no_such_module cannot be imported: "),
        (["shrink", "resnet50", "--macs", "1G", "--resolution", "96"], "--resolution is for a network of your own"),
        (["export", "tinynet_e", "net.txt"], "net.txt"),
        (["export", "tinynet_e", "x.onnx", "--weights", "nowhere.pth"], "nowhere.pth"),
        (["sweep", "nothing"], "error: unknown preset 'nothing', known: creatures, imagenet100, imagenet1k, reduced"),
        (["book", "nothing"], "error: unknown preset 'nothing'"),
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
