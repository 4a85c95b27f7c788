"""Every code block of the README and of the pages: Python runs, commands parse, presets validate."""

import ast
import io
import re
import shlex
import subprocess
import tokenize
from functools import partial
from pathlib import Path

import click
import nbformat
import pytest
import yaml
from fake_study import fake_study

import tinynet_core as tn
from tinynet_core.cli import tinynet
from tinynet_core.machine import Resources
from tinynet_core.networks import NAMES
from tinynet_core.study.pages import PAGES
from tinynet_core.study.presets import load_preset, preset_names, project_root

ROOT = project_root()
TEXTS = [
    ROOT / "README.md",
    *sorted((ROOT / "book").glob("*.md")),
    *sorted((ROOT / "book" / "api").glob("*.md")),
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FENCE = re.compile(r"^(`{3,})(\w+)\n(.*?)^\1\s*$", re.M | re.S)
OTHERS = {"accelerate", "conda", "curl", "echo", "export", "kubectl", "make", "papermill", "python", "ray", "srun"}
OTHERS |= {"tar", "tinynet"}
"""Commands that a block may begin with."""


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


def parsed(arguments):
    """The innermost command with its parameters; click raises for what does not exist or is not allowed."""
    command, context, name = tinynet, None, "tinynet"
    while True:
        context = command.make_context(name, list(arguments), parent=context)
        if not isinstance(command, click.Group):
            return context.params
        name, command, arguments = command.resolve_command(context, [*context.protected_args, *context.args])


def check_tinynet(arguments):
    values = parsed(arguments)
    if (preset := values.get("preset")) and not preset.endswith(".yaml"):
        assert preset in preset_names(), arguments
    if (name := values.get("name")) and ":" not in name:
        assert name in NAMES, arguments
    assert set(values.get("pages", ())) <= set(PAGES), arguments


def check_make(words):
    done = subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, (words, done.stderr)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for variable in (word.split("=")[0] for word in words[1:] if "=" in word):
        assert f"$({variable})" in makefile, words


def check_papermill(words):
    parameters = [words[i + 1] for i, word in enumerate(words) if word == "-p"]
    cells = nbformat.read(ROOT / words[1], as_version=4).cells
    (cell,) = (c for c in cells if "parameters" in c.metadata.get("tags", []))
    known = {target.id for s in ast.parse(cell.source).body for target in s.targets}
    assert set(parameters) <= known, words


def check_command(words):
    program = Path(words[0]).name.split("=")[0]
    assert program in OTHERS, f"{words[0]} is no command that these pages use"
    starts = [i for i, word in enumerate(words) if Path(word).name == "tinynet" or word == "tinynet_core.cli"]
    if starts:  # perhaps through another command
        check_tinynet(words[starts[0] + 1 :])
    elif program == "make":
        check_make(words)
    elif program == "papermill":
        check_papermill(words)
    elif program == "python" and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file(), words


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


def small_glyphs(dataset, *how, **more):
    """The first few images of a data set."""
    return tn.data.load_images(dataset.model_copy(update={"train_images": 20, "val_images": 10}), *how, **more)


def results_written_beside(block):
    """Line numbers and values of comments that are a Python literal: what the expression of the line gives."""
    for token in tokenize.generate_tokens(io.StringIO(block).readline):
        if token.type == tokenize.COMMENT:
            try:
                yield token.start[0], ast.literal_eval(token.string[1:].strip())
            except (ValueError, SyntaxError):
                continue


def run_block(block, namespace):
    expected = dict(results_written_beside(block))
    for statement in ast.parse(block).body:
        if isinstance(statement, ast.Expr):
            value = eval(compile(ast.Expression(statement.value), "<block>", "eval"), namespace)
            if statement.end_lineno in expected:
                assert value == expected.pop(statement.end_lineno)
        else:
            exec(compile(ast.Module([statement], []), "<block>", "exec"), namespace)
    assert not expected, f"nothing was computed for {expected}"


@written_in("python", TEXTS)
def test_python_runs(path, tmp_path, monkeypatch):
    """In one namespace for a page; a study has records that are made up, and data sets are a few images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tn, "Study", partial(lambda root, preset: fake_study(root, preset), tmp_path / "store"))
    monkeypatch.setattr(tn, "load_images", small_glyphs)
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
