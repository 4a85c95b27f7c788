"""Every text is read and written in UTF-8, whatever the locale of the machine says."""

import ast
import os
import subprocess
import sys

from tinynet_core.study.presets import project_root

ROOT = project_root()
SOURCES = [path for folder in ("tinynet_core", "benchmarks", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
OTHERS_OPEN = {"os", "Image", "tarfile", "self"}
"""What has a function ``open`` that is not for text."""
OWN_PRESET = """
name: own
about: "Prüfung"
base: {resolution: 48, width: 0.2, divisor: 4}
dataset: {classes: 4, resolution: 48, train_images: 64, val_images: 32}
recipe: {epochs: 2, batch_size: 32}
"""


def leaves_the_encoding_open(call: ast.Call) -> bool:
    """Whether ``call`` reads or writes text, or the output of a program, in the encoding of the locale."""
    function = call.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
    if "encoding" in given:
        return False
    if name == "read_text":
        return not call.args
    if name == "write_text":
        return isinstance(function, ast.Attribute) and len(call.args) < 2
    if name in ("open", "fdopen"):
        owner = getattr(getattr(function, "value", None), "id", "")
        modes = [given.get("mode"), *(getattr(argument, "value", None) for argument in call.args)]
        binary = any(isinstance(mode, str) and mode.strip("rwaxb+") == "" and "b" in mode for mode in modes)
        return not (binary or (name == "open" and owner in OTHERS_OPEN))
    return bool(given.get("text") or given.get("universal_newlines"))


def calls(source: str) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]


LEFT_OPEN = """
path.read_text(); path.write_text(text); open(path); open(path, mode='w'); path.open(); os.fdopen(file, 'r')
run(command, text=True)
"""
NOT_LEFT_OPEN = """
path.read_text('ascii'); path.read_text(encoding='utf-8'); write_text(text, path); open(path, 'rb'); Image.open(path)
path.open('ab', buffering=0); run(command, encoding='utf-8')
"""


def test_what_leaves_the_encoding_open():
    assert all(map(leaves_the_encoding_open, calls(LEFT_OPEN)))
    assert not any(map(leaves_the_encoding_open, calls(NOT_LEFT_OPEN)))


def test_every_text_names_its_encoding():
    assert len(SOURCES) > 100
    read = {path: calls(path.read_text(encoding="utf-8")) for path in SOURCES}
    found = [(path, call) for path in SOURCES for call in read[path] if leaves_the_encoding_open(call)]
    assert [f"{path}:{call.lineno}: {ast.unparse(call)}" for path, call in found] == []


def test_a_preset_that_is_not_ascii_in_a_locale_that_is(tmp_path):
    (tmp_path / "own.yaml").write_text(OWN_PRESET, encoding="utf-8")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    read = "from tinynet_core.study.presets import load_preset; print(ascii(load_preset('own.yaml').about))"
    done = subprocess.run(
        [sys.executable, "-c", read], cwd=tmp_path, env=os.environ | locale, capture_output=True, encoding="utf-8"
    )
    assert done.stdout == ascii("Prüfung") + "\n", done.stderr
