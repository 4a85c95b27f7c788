"""The generated parts of the reference: the keys of a preset, the public names, and how to cite.

As a Sphinx extension, signatures and docstrings as the pages of the API show them: the fields of a pydantic model are
listed as parameters, and array-likes and data sets are called so, in place of the union of types that they stand for.
"""

import inspect
import re
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from numpy.typing import ArrayLike
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.util.typing import stringify_annotation

import tinynet_core
from tinynet_core.data import Dataset, DetectionDataset
from tinynet_core.study.presets import Preset

_WORDS = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "null": "null"}
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_NAMED = {
    stringify_annotation(union, "smart"): name
    for name, union in (("ArrayLike", ArrayLike), ("Dataset", Dataset), ("DetectionDataset", DetectionDataset))
}
"""Unions by what they are called, as Sphinx writes them out."""


@cache
def meanings() -> dict[str, dict[str, str]]:
    """What the keys mean that have no description where they are declared, by class and key."""
    return yaml.safe_load(Path(__file__).with_name("meanings.yaml").read_text(encoding="utf-8"))


def preset_schema() -> str:
    """A section with a table of its keys for a preset and each of its parts, in Markdown."""
    whole = Preset.model_json_schema()
    parts = {"Preset": whole, **whole["$defs"]}
    places: dict[str, list[str]] = {"Preset": []}
    _find("Preset", "", parts, places)
    return "\n\n".join(_section(name, paths, parts) for name, paths in places.items())


def _find(part: str, path: str, parts: dict[str, Any], places: dict[str, list[str]]) -> None:
    """Add to ``places`` the parts below ``part``, which stands at ``path``, each with all its paths."""
    for key, field in parts[part]["properties"].items():
        for below in filter(None, map(_part, _options(field))):
            places.setdefault(below, []).append(f"{path}{key}")
            _find(below, f"{path}{key}.", parts, places)


def _options(field: dict[str, Any]) -> list[dict[str, Any]]:
    """What a field may be, one schema each."""
    return field.get("anyOf") or field.get("oneOf") or [field]


def _part(field: dict[str, Any]) -> str:
    """The name of the part that a field holds, or nothing."""
    return str(field.get("$ref", "")).rpartition("/")[2]


def _section(name: str, paths: list[str], parts: dict[str, Any]) -> str:
    title = ", ".join(f"`{path}`" for path in paths) or "The file"
    if kind := _kind(name, parts):
        title += f" of kind `{kind}`"
    about = " ".join(parts[name]["description"].partition("\n\n")[0].split()).replace("``", "`")
    rows = [_row(name, key, field, parts) for key, field in parts[name]["properties"].items()]
    head = ["| key | type | default | allowed | meaning |", "|---|---|---|---|---|"]
    return f"({_anchor(name)})=\n## {title}\n\n{about}\n\n" + "\n".join([*head, *rows])


def _anchor(part: str) -> str:
    return f"schema-{part.lower()}"


def _kind(part: str, parts: dict[str, Any]) -> str:
    """The kind of a data set."""
    return str(parts[part]["properties"].get("kind", {}).get("default", ""))


def _row(part: str, key: str, field: dict[str, Any], parts: dict[str, Any]) -> str:
    words = " or ".join(_words(option, parts) for option in _options(field))
    required = "default" not in field and key in parts[part].get("required", [key])
    default = "required" if required else _default(field.get("default"))
    allowed = [x for option in _options(field) for x in _allowed(option)]
    meaning = _meaning(part, key, field.get("description"))
    return f"| `{key}` | {words} | {default} | {', '.join(allowed)} | {meaning} |"


def _words(option: dict[str, Any], parts: dict[str, Any]) -> str:
    """A type in words."""
    if part := _part(option):
        kind = _kind(part, parts)
        return f"[mapping](#{_anchor(part)})" + (f" ({kind})" if kind else "")
    if option["type"] == "array":
        items = option.get("prefixItems", [])
        inner = items[0] if items else option["items"]
        return f"list of {f'{len(items)} ' if items else ''}{_WORDS[inner['type']]}s"
    return _WORDS[option["type"]]


def _default(value: Any) -> str:
    """A default value as it is written in a preset."""
    if isinstance(value, dict):
        return "its own defaults"
    return f"`{yaml.safe_dump(value, default_flow_style=True).removesuffix(chr(10)).removesuffix('...').strip()}`"


def _allowed(option: dict[str, Any]) -> list[str]:
    """The words that are allowed, or the ends of a range."""
    words = option.get("enum", [option["const"]] if "const" in option else [])
    limits = [f"{sign} {option[limit]:,}" for limit, sign in _LIMITS.items() if limit in option]
    return [f"`{word}`" for word in words] or limits


def _meaning(part: str, key: str, description: str | None) -> str:
    """What a key stands for: its ``description``, or what ``meanings`` has of it."""
    return (description or meanings()[part][key]).replace("``", "`")


def parameters(documented: object) -> dict[str, str]:
    """What a docstring in NumPy's style says of each parameter, on one line; empty without such a section."""
    text = inspect.getdoc(documented) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", text, re.M | re.S)
    found: dict[str, str] = {}
    for names, said in re.findall(r"^(\w[^\n]*)\n((?:[ ]+[^\n]*\n?|\n)+)", section[1] if section else "", re.M):
        found |= dict.fromkeys(names.split(", "), " ".join(said.split()))
    return found


def public_names() -> str:
    """A table of the names that ``import tinynet_core as tn`` gives, each with a link to its description."""
    rows = []
    for name in tinynet_core.__all__:
        found = getattr(tinynet_core, name)
        link = f"{{py:obj}}`tn.{name} <{found.__module__}.{found.__qualname__}>`"
        about = inspect.cleandoc(found.__doc__ or "").partition("\n\n")[0]
        rows.append(f"| {link} | {' '.join(about.split()).replace('``', '`')} |")
    return "| name | what it is |\n|---|---|\n" + "\n".join(rows)


def citation(root: Path) -> str:
    """What ``CITATION.cff`` in ``root`` says: for readers, and as BibTeX of this software and of the paper."""
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    (paper,) = cited["references"]
    people, title, version = _people(cited), cited["title"], f"ersion {cited['version']}, {cited['license']}"
    authors = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"])
    where, volume, year = paper["collection-title"], paper["volume"], paper["year"]
    return f"""{people}: *{title}*, v{version}.

{_people(paper)}: *{paper["title"]}*. {where}, volume {volume}, {year}.

```bibtex
@misc{{tinynet_core,
  author = {{{{{people}}}}},
  title = {{{{{title}}}}},
  note = {{V{version}}},
}}

@inproceedings{{han2020model,
  author = {{{authors}}},
  title = {{{{{paper["title"]}}}}},
  booktitle = {{{where}}},
  volume = {{{volume}}},
  year = {{{year}}},
}}
```"""


def _people(cited: dict[str, Any]) -> str:
    return ", ".join(a.get("name") or f"{a['given-names']} {a['family-names']}" for a in cited["authors"])


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls on an extension."""
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", list_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def signature(_app, _what: str, _name: str, documented: Any, _options, arguments: str | None, returned: str | None):
    """None of a model, and short names for unions; as Sphinx's event ``autodoc-process-signature`` wants it."""
    if _is_model(documented):
        return "", None
    for union, name in _NAMED.items():
        arguments = arguments and arguments.replace(union, name)
    return arguments, returned


def list_fields(_app, _what: str, _name: str, documented: Any, _options, lines: list[str]) -> None:
    """Add the fields of a model to the ``lines`` of its docstring, for ``autodoc-process-docstring``."""
    if _is_model(documented):
        lines += ["", *(_parameter(documented, name, field) for name, field in documented.model_fields.items()), ""]


def _is_model(documented: Any) -> bool:
    return inspect.isclass(documented) and issubclass(documented, BaseModel)


def _parameter(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    """One field of a model as a parameter in reStructuredText."""
    bounds = [f"{sign} {getattr(m, x):,}" for x, sign in _BOUNDS.items() for m in field.metadata if hasattr(m, x)]
    default = "its own defaults" if isinstance(field.default, BaseModel) else f"``{field.default!r}``"
    about = [f"``{_type(field.annotation)}``", *bounds, "required" if field.is_required() else f"default {default}"]
    text = _meaning(model.__name__, name, field.description).replace("`", "``").replace("*", r"\*")
    return f":param {name}: {text} ({', '.join(about)})"


def _type(annotation: Any) -> str:
    """A type as it is written, names without their modules and without pydantic's annotations."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inside[0])
    if origin in (Union, UnionType):
        return " | ".join(map(_type, inside))
    return re.sub(r"~?(?:\w+\.)+(?=\w)", "", stringify_annotation(annotation, "smart"))
