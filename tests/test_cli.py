import subprocess
import sys

import pytest
from click.testing import CliRunner

from tinynet_core.cli import main, tinynet


def run(*arguments):
    return CliRunner().invoke(tinynet, list(arguments))


def test_cost_prints_exact_numbers():
    result = run("cost", "tinynet_a")
    assert result.exit_code == 0
    assert "336,867,712" in result.output
    assert "6,187,972" in result.output
    assert "input 192 px" in result.output


def test_cost_of_any_scale():
    assert "98,682,032" in run("cost", "efficientnet_b0", "--w", "0.38").output


def test_claims_without_a_run_are_not_attempted(tmp_path):
    result = run("claims", "--store", str(tmp_path), "--format", "csv")
    assert result.output.splitlines()[0].startswith("id,source,statement,paper,ours,evidence,verdict")
    assert result.output.count("not attempted") == len(result.output.splitlines()) - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cost", "tinynet_q"], "error: unknown network 'tinynet_q', nearest: tinynet_"),
        (["cost", "efficientnet_b0", "--r", "-1"], "error: Scale.r must be a finite number above 0, got -1.0"),
        (["cost", "efficientnet_b0", "--r", "nan"], "error: Scale.r must be a finite number above 0, got nan"),
        (["cost", "efficientnet_b0", "--r", "wide"], "'wide' is not a valid float"),
        (["sweep", "nothing"], "error: unknown preset 'nothing', known: reduced, smoke"),
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


def test_the_command_is_installed():
    done = subprocess.run(
        [sys.executable, "-m", "tinynet_core.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert "0.1.0" in done.stdout
