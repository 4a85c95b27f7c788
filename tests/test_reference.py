"""The reference says what the code does: presets, public names, citation, and the pages of the API."""

import importlib
import inspect
import re
from dataclasses import is_dataclass
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

import tinynet_core as tn
from tinynet_book.site import reference
from tinynet_core.study.presets import PRESETS, Preset, load_preset, preset_names, project_root

BOOK = project_root() / "book"
DIRECTIVE = re.compile(r"^\.\. auto(\w+):: ([\w.]+)\n(?:   :members: (.*)\n)?", re.M)
FUNCTIONS = [name for name in tn.__all__ if inspect.isfunction(getattr(tn, name))]


def documented():
    """Full names of what the pages of the API describe."""
    for page in sorted((BOOK / "api").glob("*.md")):
        for kind, target, members in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            if kind != "module":
                yield target
            yield from (f"{target}.{name}" for name in members.split(", ") if members and kind == "module")


def named(full):
    """The object of a full name."""
    module, _, name = full.rpartition(".")
    return getattr(importlib.import_module(module), name)


def parts(annotation):
    """The models and dataclasses below a type, itself included."""
    if inspect.isclass(annotation) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        yield annotation
        for field in getattr(annotation, "model_fields", {}).values():
            yield from parts(field.annotation)
    for inside in get_args(annotation):
        yield from parts(inside)


def test_every_part_of_a_preset_is_on_its_page_by_the_keys_that_hold_it():
    page = (BOOK / "preset_schema.md").read_text(encoding="utf-8")
    shown = [named(full) for _, full, _ in DIRECTIVE.findall(page)]
    assert {x.__name__: x for x in shown} == {x.__name__: x for x in parts(Preset)}
    titles = " ".join(re.findall(r"^## (.*)$", page, re.M))
    for name in preset_names():
        content = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
        assert all(f"`{key}`" in titles for key, value in content.items() if isinstance(value, dict))


def test_public_names_are_all_described_and_linked():
    rows = re.findall(r"^\| \{py:obj\}`tn\.(\w+) <([\w.]+)>` \| (.+) \|$", reference.public_names(), re.M)
    assert [name for name, _, _ in rows] == tn.__all__
    described = list(documented())
    assert len(described) == len(set(described)) > 70
    for name, target, text in rows:
        assert named(target) is getattr(tn, name)
        assert target in described, f"no page of the API describes {target}"
        assert text.endswith((".", ")")), text
    for found in map(named, described):
        assert found.__doc__, found
        for member in vars(found).values() if inspect.isclass(found) else ():
            if isinstance(member, property) and member.__doc__:
                first = re.sub(r"``[^`]*``", "", member.__doc__.strip().splitlines()[0])
                assert ":" not in first, f"{found}: Sphinx takes what stands before a colon in {first} for a type"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings_name_the_parameters(name):
    """Each of them, in prose or in a section of its own."""
    function = getattr(tn, name)
    text = inspect.getdoc(function)
    assert [x for x in inspect.signature(function).parameters if not re.search(rf"``{x}``|^{x}\b", text, re.M)] == []


def test_citation_is_the_same_everywhere():
    def field(key, bibtex):
        body = re.search(r"@\w+\{han2020model,\n(.*?)\n\}", bibtex, re.S)[1]
        return re.search(rf"^\s*{key} = \{{(.*?)\}},?$", body, re.M)[1]

    page, cited = (BOOK / "citing.md").read_text(encoding="utf-8"), project_root() / "CITATION.cff"
    cited = yaml.safe_load(cited.read_text(encoding="utf-8"))
    assert page.count(f"ersion {cited['version']}, {cited['license']}") == 2
    assert cited["references"][0]["title"] in page
    bibliography = (BOOK / "references.bib").read_text(encoding="utf-8")
    for key in ("author", "year"):
        assert field(key, page) == field(key, bibliography)


def test_the_page_on_gpus_has_the_numbers_of_the_presets():
    text = (BOOK / "gpu.md").read_text(encoding="utf-8")
    for name in ("imagenet100", "imagenet1k"):
        preset = load_preset(name)
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[3:] == [preset.recipe.precision, f"{1 / preset.resources.gpus:.0f}"]
        assert cells[2].startswith(f"{preset.dataset.classes} classes")
        assert preset.recipe.norm_batch == 128
    hundred = load_preset("imagenet100").dataset
    assert round((hundred.train_images + hundred.val_images) * hundred.side**2 * 3 / 1e9) == 11
