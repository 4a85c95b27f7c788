"""Networks in files of a user's own: dataclasses, files beside the file, packages, and names that are taken."""

import json
import re
import sys

import pytest
from click.testing import CliRunner

from tinynet_core.cli import tinynet

NETWORK = """
def build(scale):
    width = max(8, int(64 * scale.w))
    return nn.Sequential(conv(3, width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
"""
CONV = "import torch.nn as nn\ndef conv(i, o): return nn.Conv2d(i, o, 3)\n"
WITH_A_DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass
import torch.nn as nn

@dataclass
class Sizes:
    width: int

def conv(i, o): return nn.Conv2d(i, Sizes(o).width, 3)
"""
FILES = {
    "dataclass": ({"mine.py": WITH_A_DATACLASS + NETWORK}, "mine.py"),
    "sibling": (
        {"blocks.py": CONV, "mine.py": "import torch.nn as nn\nfrom blocks import conv\n" + NETWORK},
        "mine.py",
    ),
    "package": (
        {
            "nets/__init__.py": "",
            "nets/blocks.py": CONV,
            "nets/mine.py": "import torch.nn as nn\nfrom .blocks import conv\n" + NETWORK,
        },
        "nets/mine.py",
    ),
    "taken name": ({"types.py": CONV + NETWORK}, "types.py"),
}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What one test imports the next one does not find."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in ("mine", "blocks", "nets", "nets.mine", "nets.blocks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("kind", FILES)
def test_a_network_is_found(kind, tmp_path):
    files, name = FILES[kind]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    asked = [f"{tmp_path / name}:build", "--macs", "40M", "--method", "w", "--json"]
    done = CliRunner().invoke(tinynet, ["shrink", *asked], catch_exceptions=False)
    answer = json.loads(done.stdout)
    assert answer["macs"] == pytest.approx(40e6, rel=0.02)


WRONG = """
import torch.nn as nn

def nothing(scale): pass

def raises(scale):
    width = {}["width"]

def stops(scale): raise SystemExit(3)

def grey(scale): return nn.Conv2d(1, 8, 3)

instance, number = nn.Conv2d(3, 8, 3), 3
"""


@pytest.mark.parametrize("method", ["formula", "w", "giant"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", r"nothing must build a torch.nn.Module, got NoneType"),
        ("raises", r"raises at .* cannot be built: KeyError: 'width' \(wrong.py, line 7\)"),
        ("stops", r"stops at .* cannot be built: SystemExit: 3 \(wrong.py, line 9\)"),
        ("grey", r"grey at .* fails on an image of 224 px with 3 channels: RuntimeError: "),
        ("instance", r"builder must be a function of a Scale that returns a module, got a Conv2d"),
        ("number", r"builder must be a function of a Scale that returns a module, got a int"),
        ("absent", r"wrong.py has no function 'absent'"),
    ],
)
def test_what_is_wrong_with_a_builder_is_said_by_every_method(tmp_path, monkeypatch, name, message, method):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    result = CliRunner().invoke(tinynet, ["shrink", f"wrong.py:{name}", "--macs", "1M", "--method", method])
    assert re.search(message, str(result.exception))


def test_a_network_of_your_own_is_counted_and_exported_at_a_scale(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CONV + NETWORK.replace("conv(3", "conv(1"), encoding="utf-8")
    own = ["mine.py:build", "--w", "0.5", "--resolution", "16", "--channels", "1"]
    counted = CliRunner().invoke(tinynet, ["cost", *own])
    macs = 14 * 14 * 9 * 32 + 32 * 10
    assert f"MACs              {macs:>16,}" in counted.output
    written = CliRunner().invoke(tinynet, ["export", own[0], "mine.onnx", *own[1:]])
    assert written.exit_code == 0
    assert (tmp_path / "mine.onnx").stat().st_size > 4 * 32 * 9
    for extra in (["--profile"], ["--profile", "--counters"]):
        assert CliRunner().invoke(tinynet, ["cost", *own, *extra]).exit_code != 0
    assert "add that of the function, mine.py:NAME" in CliRunner().invoke(tinynet, ["shrink", "mine.py"]).output
