"""Every code block of the README and of the pages: Python runs, commands parse, presets validate."""

import ast
import re
import shlex
import subprocess
from functools import partial
from pathlib import Path

import click
import nbformat
import papermill
import pytest
import yaml

import tinynet_core as tn
from tinynet_core.cli import tinynet
from tinynet_core.machine import Resources
from tinynet_core.networks import NAMES
from tinynet_core.study.pages import PAGES
from tinynet_core.study.presets import load_preset, preset_names, project_root

ROOT = project_root()
TEXTS = [ROOT / "README.md", *sorted((ROOT / "book").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FENCE = re.compile(r"^(`{3,})(\w+)\n(.*?)^\1\s*$", re.M | re.S)
COMMANDS = {"accelerate", "conda", "curl", "echo", "export", "kubectl", "make", "papermill", "python", "ray", "srun"}
COMMANDS |= {"tar", "tinynet"}


def text_of(path):
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def blocks(path, language):
    return [body for _, kind, body in FENCE.findall(text_of(path)) if kind == language]


def written_in(language, paths):
    found = [path for path in paths if blocks(path, language)]
    assert found
    return pytest.mark.parametrize("path", found, ids=lambda path: str(path.relative_to(ROOT)))


def check_tinynet(words):
    """Click raises for what does not exist or is not allowed."""
    command, context = tinynet, tinynet.make_context("tinynet", words)
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(context, [*context.protected_args, *context.args])
        context = command.make_context(name, words, parent=context)
    values = context.params
    if (preset := values.get("preset")) and not preset.endswith(".yaml"):
        assert preset in preset_names()
    if (name := values.get("name")) and ":" not in name:
        assert name in NAMES
    assert set(values.get("pages", ())) <= set(PAGES)


def check_make(words):
    subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"$({word.split('=')[0]})" in makefile for word in words if "=" in word)


def check_command(words):
    program = Path(words[0]).name.split("=")[0]
    assert program in COMMANDS, f"{words[0]} is no command that these pages use"
    starts = [i for i, word in enumerate(words) if Path(word).name == "tinynet" or word == "tinynet_core.cli"]
    if starts:  # perhaps through another command
        check_tinynet(words[starts[0] + 1 :])
    elif program == "make":
        check_make(words)
    elif program == "papermill":
        given = {words[i + 1] for i, word in enumerate(words) if word == "-p"}
        assert given <= papermill.inspect_notebook(str(ROOT / words[1])).keys()
    elif program == "python" and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file()


@written_in("sh", [*TEXTS, *NOTEBOOKS])
def test_commands_exist_with_their_options(path):
    for block in blocks(path, "sh"):
        assert subprocess.run(["bash", "-n"], input=block, encoding="utf-8", check=False).returncode == 0
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(re.sub(r"^\w+=\$\(.*\)$", "", line), comments=True):
                check_command(words)


@pytest.mark.parametrize("path", [*TEXTS, *NOTEBOOKS], ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_the_text_exist_with_their_options(path):
    """They may leave their arguments out."""
    for code in re.findall(r"(?<!`)`(tinynet [^`]*)`(?!`)", FENCE.sub("", text_of(path))):
        command, (_, *rest) = tinynet, shlex.split(" ".join(code.split()))
        while isinstance(command, click.Group) and rest:
            assert rest[0] in command.commands, code
            command, rest = command.commands[rest[0]], rest[1:]
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= options, code


def few_images(dataset, *how, **more):
    """The first few images of a data set."""
    return tn.data.load_images(dataset.model_copy(update={"train_images": 20, "val_images": 10}), *how, **more)


def run_block(block, namespace):
    """Where a Python literal is the comment behind an expression, that is what the expression gives."""
    for statement in ast.parse(block).body:
        source = ast.unparse(statement)
        try:
            expected = ast.literal_eval(block.splitlines()[statement.end_lineno - 1].partition("  # ")[2])
        except (ValueError, SyntaxError):
            exec(source, namespace)
        else:
            assert eval(source, namespace) == expected


@written_in("python", TEXTS)
def test_python_runs(path, cache, tmp_path, monkeypatch):
    """In one namespace for a page; a study has the published records alone, and data sets are a few images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tn, "Study", partial(tn.Study, train=False))
    monkeypatch.setattr(tn, "load_images", few_images)
    namespace = {"__name__": "page"}
    for block in blocks(path, "python"):
        run_block(block, namespace)


@written_in("yaml", TEXTS)
def test_presets_validate(path, tmp_path):
    for i, block in enumerate(blocks(path, "yaml")):
        content = yaml.safe_load(block)
        if "entrypoint" in content.get("spec", {}):
            check_command(shlex.split(content["spec"]["entrypoint"]))
        elif "resources" in content and len(content) == 1:
            Resources(**content["resources"])
        else:
            file = tmp_path / f"{i}.yaml"
            file.write_text(block, encoding="utf-8")
            load_preset(str(file))
