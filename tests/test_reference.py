"""The reference says what the code does: presets, public names, citation, and the pages of the API."""

import importlib
import inspect
import re

import pytest
import yaml
from numpy.typing import ArrayLike
from pydantic import BaseModel, ValidationError
from sphinx.util.typing import stringify_annotation

import tinynet_core as tn
from tinynet_book.site import autodoc, reference
from tinynet_core.data import Dataset
from tinynet_core.scaling.scale import Base
from tinynet_core.study.presets import PRESETS, Preset, load_preset, preset_names, project_root
from tinynet_core.training.recipe import Recipe

BOOK = project_root() / "book"
API = sorted((BOOK / "api").glob("*.md"))
DIRECTIVE = re.compile(r"^\.\. auto(\w+):: ([\w.]+)\n(?:   :members: (.*)\n)?", re.M)
FUNCTIONS = [name for name in tn.__all__ if inspect.isfunction(getattr(tn, name))]
PROSE = {"open_notebook", "write_claims"}
"""Functions of notebooks, whose docstrings are a sentence or two."""


def parts():
    """Every class whose keys have a table."""
    found = {Preset: None}
    for part in found.copy():
        _add(part, found)
    return list(found)


def _add(part, found):
    for key in reference.keys(part):
        for below in key.parts:
            found[below] = None
            _add(below, found)


def documented():
    """Full names of what the pages of the API describe."""
    for page in API:
        for kind, target, members in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            if kind != "module":
                yield target
            yield from (f"{target}.{name}" for name in members.split(", ") if members and kind == "module")


def named(full):
    """The object of a full name."""
    module, _, name = full.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_key_of_every_preset_has_a_row():
    table = reference.preset_schema()
    for name in preset_names():
        content = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
        for path in paths(content):
            assert f"| `{path.split('.')[-1]}` |" in table, path
    assert len(re.findall("^## ", table, re.M)) == len(parts()) == 17


def paths(content, above=""):
    for key, value in content.items():
        yield f"{above}{key}"
        if isinstance(value, dict):
            yield from paths(value, f"{above}{key}.")


def test_a_place_of_each_part_is_its_title():
    titles = re.findall(r"^## (.*)$", reference.preset_schema(), re.M)
    assert titles[0] == "The file"
    assert "`recipe`, `resnet_recipe`, `closeup.recipe`, `detection.recipe`" in titles
    assert "`detection.dataset` of kind `coco`" in titles


def test_links_go_to_tables():
    text = reference.preset_schema()
    assert set(re.findall(r"\(#([\w-]+)\)", text)) <= set(re.findall(r"^\(([\w-]+)\)=$", text, re.M))


@pytest.mark.parametrize("part", [p for p in parts() if issubclass(p, BaseModel)], ids=lambda p: p.__name__)
def test_bounds_are_those_that_pydantic_enforces(part):
    """A value just outside is refused, and the message is about that key; one just inside is not."""
    for key in reference.keys(part):
        for sign, number in re.findall(r"([≥>≤<]) ([\d.,]+)", key.allowed):
            end = float(number.replace(",", ""))
            step = 1 if key.words.startswith("whole") else 1e-6
            down, up = (end - step, end), (end, end + step)
            outside, inside = {"≥": down, ">": up, "≤": up[::-1], "<": down[::-1]}[sign]
            assert key.name in refused(part, key, outside)
            assert key.name not in refused(part, key, inside)


def refused(part, key, value):
    """Keys that a mapping of this one ``value`` is refused for."""
    try:
        part.model_validate({key.name: int(value) if key.words.startswith("whole") else value})
    except ValidationError as error:
        return {e["loc"][0] for e in error.errors() if e["loc"]}
    return set()


def test_hand_read_rows():
    recipe = {key.name: key for key in reference.keys(Recipe)}
    assert recipe["epochs"].default == "required"
    assert (recipe["norm_batch"].words, recipe["norm_batch"].default) == ("whole number or null", "`null`")
    assert recipe["optimizer"].allowed == "`adamw`, `sgd`, `rmsprop`"
    assert recipe["crop_area"].words == "list of 2 numbers"
    assert recipe["crop_area"].default == "`[0.6, 1.0]`"
    assert recipe["label_smoothing"].allowed == "≥ 0, < 1"
    base = {key.name: key for key in reference.keys(Base)}
    assert base["resolution"].default == "`224`"
    assert base["divisor"].description.startswith("Channels are multiples of it: 2, 4 or 8")


@pytest.mark.parametrize("part", parts(), ids=lambda p: p.__name__)
def test_defaults_are_those_of_the_code(part):
    fields = part.model_fields if issubclass(part, BaseModel) else inspect.signature(part).parameters
    for key in reference.keys(part):
        default = fields[key.name].default
        if key.default.startswith("`"):
            read = yaml.safe_load(key.default.strip("`"))
            assert read == (list(default) if isinstance(default, tuple) else default), key


def test_descriptions_written_here_are_of_fields_without_one():
    models = {named(full) for full in documented() if inspect.isclass(named(full))}
    models = {m.__name__: m for m in (*models, *parts()) if issubclass(m, BaseModel)}
    for name in reference.DESCRIBED:
        model, field = name.split(".")
        assert models[model].model_fields[field].description is None, name
    for model in models.values():
        for field, info in model.model_fields.items():
            assert reference.meaning(model, field, info.description)


def test_public_names_are_all_described_and_linked():
    rows = re.findall(r"^\| \{py:obj\}`tn\.(\w+) <([\w.]+)>` \| (.+) \|$", reference.public_names(), re.M)
    assert [name for name, _, _ in rows] == tn.__all__
    described = set(documented())
    for name, target, text in rows:
        assert named(target) is getattr(tn, name)
        assert target in described, f"no page of the API describes {target}"
        assert text.endswith((".", ")")), text


def test_what_the_pages_describe_exists_and_has_a_docstring():
    names = list(documented())
    assert len(names) == len(set(names)) > 70
    for full in names:
        assert named(full).__doc__, full


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings_name_the_parameters(name):
    """In NumPy's style: each parameter once, in order, and no other."""
    function = getattr(tn, name)
    found = reference.parameters(function)
    expected = set(inspect.signature(function).parameters)
    assert set(found) == (set() if name in PROSE else expected)
    assert all(found.values())
    if name not in PROSE:
        assert re.search(r"^Returns\n-{7}\n\S.*\n    \S", inspect.getdoc(function), re.M)


def test_properties_have_no_colon_in_their_first_line():
    """Sphinx's reader of NumPy's style takes what stands before it for a type."""
    for full in documented():
        found = named(full)
        if inspect.isclass(found):
            for name, member in vars(found).items():
                if isinstance(member, property) and not name.startswith("_") and member.__doc__:
                    first = member.__doc__.strip().splitlines()[0]
                    assert ":" not in re.sub(r"``[^`]*``", "", first), f"{full}.{name}"


def test_parameters_of_a_docstring():
    def function():
        """Do it.

        Parameters
        ----------
        a, b
            Two numbers,
            on two lines.
        c
            A third.

        Returns
        -------
        float
            Their sum.
        """

    assert reference.parameters(function) == dict.fromkeys("ab", "Two numbers, on two lines.") | {"c": "A third."}
    assert reference.parameters(len) == {}


def test_citation_is_the_same_everywhere():
    text = reference.citation(project_root())
    assert "version 0.1.0" in text
    assert "doi" not in text.lower()
    assert field("author", text, "han2020model") == field(
        "author", (BOOK / "references.bib").read_text(encoding="utf-8"), "han2020model"
    )
    assert field("year", text, "han2020model") == "2020"


def field(key, bibtex, entry):
    body = re.search(rf"@\w+\{{{entry},\n(.*?)\n\}}", bibtex, re.S)[1]
    return re.search(rf"^\s*{key} = \{{(.*?)\}},?$", body, re.M)[1]


def test_a_changed_citation_file_changes_the_page(tmp_path):
    (tmp_path / "CITATION.cff").write_text(
        (project_root() / "CITATION.cff").read_text(encoding="utf-8").replace("0.1.0", "7.8.9"), encoding="utf-8"
    )
    assert reference.citation(tmp_path).count("7.8.9") == 2


def test_pages_have_a_place_for_what_is_generated():
    for page in ("api", "preset_schema", "citing"):
        assert (BOOK / f"{page}.md").read_text(encoding="utf-8").count("<!-- generated -->") == 1


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


def test_the_extension_shows_models_and_array_likes_for_people():
    lines = []
    autodoc._docstring(None, "class", "Recipe", Recipe, None, lines)
    assert r":param epochs: passes over the training images (``int``, ≥ 1, required)" in lines
    assert any("``Literal['adamw', 'sgd', 'rmsprop']``, default ``'adamw'``" in line for line in lines)
    assert len(lines) == len(Recipe.model_fields) + 2
    assert autodoc._signature(None, "class", "Recipe", Recipe, None, "(epochs)", None) == ("", None)
    written = f"(r: {stringify_annotation(ArrayLike, 'smart')}, data: {stringify_annotation(Dataset, 'smart')})"
    shown = autodoc._signature(None, "function", "f", len, None, written, None)
    assert shown == ("(r: ArrayLike, data: Dataset)", None)
