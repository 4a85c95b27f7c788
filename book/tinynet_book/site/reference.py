"""The table of public names for the reference.

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
from tinynet_book.site import markdown_table
from tinynet_core.data import Dataset, DetectionDataset

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


def public_names() -> str:
    """A table of the names that ``import tinynet_core as tn`` gives, each with a link to its description."""
    lines = []
    for name in tinynet_core.__all__:
        found = getattr(tinynet_core, name)
        link = f"{{py:obj}}`tn.{name} <{found.__module__}.{found.__qualname__}>`"
        about = inspect.cleandoc(found.__doc__ or "").partition("\n\n")[0]
        lines.append((link, " ".join(about.split()).replace("``", "`")))
    return markdown_table(["name", "what it is"], lines)


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
    default = "its own defaults" if isinstance(field.default, BaseModel) else f"``{field.default!r}``"
    required = "required" if field.is_required() else f"default {default}"
    bounds = [f"{sign} {getattr(m, x):,}" for x, sign in _BOUNDS.items() for m in field.metadata if hasattr(m, x)]
    text = re.sub("`+", "``", field.description or meanings()[model.__name__][name]).replace("*", r"\*")
    return f":param {name}: {text} ({', '.join([f'``{_type(field.annotation)}``', *bounds, required])})"


def _type(annotation: Any) -> str:
    """A type as it is written, names without their modules and without pydantic's annotations."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inside[0])
    if origin in (Union, UnionType):
        return " | ".join(map(_type, inside))
    if origin is tuple:
        return f"list of {_type(inside[0])}"
    return re.sub(r"~?(?:\w+\.)+(?=\w)", "", stringify_annotation(annotation, "smart"))
