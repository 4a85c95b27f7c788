"""Every text is read and written in UTF-8, whatever the locale of the machine says."""

import ast
import os
import subprocess
import sys

import pytest

from tinynet_core.study.presets import project_root

ROOT = project_root()
SOURCES = [path for folder in ("tinynet_core", "benchmarks", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
OWN_PRESET = """
name: own
about: "Prüfung"
base: {resolution: 48, width: 0.2, divisor: 4}
dataset: {classes: 4, resolution: 48, train_images: 64, val_images: 32}
recipe: {epochs: 2, batch_size: 32}
"""


def leaves_the_encoding_open(call: ast.Call) -> bool:
    """Whether ``call`` reads or writes text, or the output of a program, in the encoding of the locale."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
    if "encoding" in given:
        return False
    if name in ("read_text", "write_text"):
        return isinstance(call.func, ast.Attribute) and len(call.args) < 1 + (name == "write_text")
    if name in ("open", "fdopen"):
        owner = getattr(getattr(call.func, "value", None), "id", "")
        modes = [given.get("mode"), *(getattr(argument, "value", None) for argument in call.args)]
        return owner not in ("os", "Image", "tarfile", "self") and not any("b" in str(mode) for mode in modes)
    return bool(given.get("text") or given.get("universal_newlines"))


@pytest.mark.parametrize(
    ("code", "left_open"),
    [("path.read_text()", True), ("open(path, mode='w')", True), ("run(c, text=True)", True), ("open(p, 'rb')", False)],
)
def test_what_leaves_the_encoding_open(code, left_open):
    assert leaves_the_encoding_open(ast.parse(code).body[0].value) == left_open


def test_every_text_names_its_encoding():
    assert len(SOURCES) > 100
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert not leaves_the_encoding_open(node), f"{path}:{node.lineno}: {ast.unparse(node)}"


def test_a_preset_that_is_not_ascii_in_a_locale_that_is(tmp_path):
    (tmp_path / "own.yaml").write_text(OWN_PRESET, encoding="utf-8")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    read = "from tinynet_core.study.presets import load_preset; print(ascii(load_preset('own.yaml').about))"
    done = subprocess.run(
        [sys.executable, "-c", read], cwd=tmp_path, env=os.environ | locale, capture_output=True, encoding="utf-8"
    )
    assert done.stdout == ascii("Prüfung") + "\n", done.stderr
