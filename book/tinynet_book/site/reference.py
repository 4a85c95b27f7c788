"""The table of public names for the reference, and a Sphinx extension for the pages of the API.

The extension lists the fields of a pydantic model as parameters. In signatures, it writes short names such as
``ArrayLike`` and ``Dataset`` in place of long unions of types.
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
"""Short names of unions, by the text that Sphinx writes for the union."""


@cache
def meanings() -> dict[str, dict[str, str]]:
    """Return the meanings, by class and key, of fields that are declared without a description."""
    return yaml.safe_load(Path(__file__).with_name("meanings.yaml").read_text(encoding="utf-8"))


def public_names() -> str:
    """Return a table of the names in ``import tinynet_core as tn``, each with a link to its description."""
    lines = []
    for name in tinynet_core.__all__:
        found = getattr(tinynet_core, name)
        link = f"{{py:obj}}`tn.{name} <{found.__module__}.{found.__qualname__}>`"
        about = inspect.cleandoc(found.__doc__ or "").partition("\n\n")[0]
        lines.append((link, " ".join(about.split()).replace("``", "`")))
    return markdown_table(["name", "what it is"], lines)


def setup(app: Any) -> dict[str, bool]:
    """Register the extension with Sphinx, which calls this function."""
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", list_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def signature(_app, _what: str, _name: str, documented: Any, _options, arguments: str | None, returned: str | None):
    """Handle Sphinx's ``autodoc-process-signature``: hide the signature of models, and shorten unions."""
    if _is_model(documented):
        return "", None
    for union, name in _NAMED.items():
        arguments = arguments and arguments.replace(union, name)
    return arguments, returned


def list_fields(_app, _what: str, _name: str, documented: Any, _options, lines: list[str]) -> None:
    """Handle Sphinx's ``autodoc-process-docstring``: add the fields of a model to the ``lines`` of its docstring."""
    if _is_model(documented):
        lines += ["", *(_parameter(documented, name, field) for name, field in documented.model_fields.items()), ""]


def _is_model(documented: Any) -> bool:
    return inspect.isclass(documented) and issubclass(documented, BaseModel)


def _parameter(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    """Describe one field of a model as a parameter in reStructuredText."""
    default = "its own defaults" if isinstance(field.default, BaseModel) else f"``{field.default!r}``"
    required = "required" if field.is_required() else f"default {default}"
    bounds = [f"{sign} {getattr(m, x):,}" for x, sign in _BOUNDS.items() for m in field.metadata if hasattr(m, x)]
    text = re.sub("`+", "``", field.description or meanings()[model.__name__][name]).replace("*", r"\*")
    return f":param {name}: {text} ({', '.join([f'``{_type(field.annotation)}``', *bounds, required])})"


def _type(annotation: Any) -> str:
    """Return a type as text, without module names and pydantic's annotations."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inside[0])
    if origin in (Union, UnionType):
        return " | ".join(map(_type, inside))
    if origin is tuple:
        return f"list of {_type(inside[0])}"
    return re.sub(r"~?(?:\w+\.)+(?=\w)", "", stringify_annotation(annotation, "smart"))
