"""Networks in files of a user's own: dataclasses, files beside the file, packages, and names that are taken."""

import json
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
