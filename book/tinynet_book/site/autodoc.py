"""A Sphinx extension: signatures and docstrings as the pages of the API show them.

The fields of a pydantic model are listed as parameters with their bounds, in place of a signature in pydantic's
own words; array-likes and data sets are called so, in place of the union of types that they stand for.
"""

import inspect
import re
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from numpy.typing import ArrayLike
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.util.typing import stringify_annotation

from tinynet_book.site.reference import bounds, meaning
from tinynet_core.data import Dataset, DetectionDataset

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_NAMED = {
    stringify_annotation(union, "smart"): name
    for name, union in (("ArrayLike", ArrayLike), ("Dataset", Dataset), ("DetectionDataset", DetectionDataset))
}
"""Unions by what they are called, as Sphinx writes them out."""


def setup(app: "Sphinx") -> dict[str, bool]:
    """What Sphinx calls on an extension."""
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _signature(_app, _what: str, _name: str, documented: Any, _options, arguments: str | None, returned: str | None):
    if _is_model(documented):
        return "", None
    if arguments is None:
        return None
    for union, name in _NAMED.items():
        arguments = arguments.replace(union, name)
    return arguments, returned


def _docstring(_app, _what: str, _name: str, documented: Any, _options, lines: list[str]) -> None:
    """List the fields of a model."""
    if _is_model(documented):
        lines += ["", *(_parameter(documented, name, field) for name, field in documented.model_fields.items()), ""]


def _is_model(documented: Any) -> bool:
    return inspect.isclass(documented) and issubclass(documented, BaseModel)


def _parameter(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    """One field of a model as a parameter in reStructuredText."""
    default = "required" if field.is_required() else f"default {_default(field.default)}"
    about = [f"``{_type(field.annotation)}``", bounds(field.metadata), default]
    text = meaning(model, name, field.description).replace("`", "``").replace("*", r"\*")
    return f":param {name}: {text} ({', '.join(x for x in about if x)})"


def _default(value: Any) -> str:
    return "its own defaults" if isinstance(value, BaseModel) else f"``{value!r}``"


def _type(annotation: Any) -> str:
    """A type as it is written, names without their modules and without pydantic's annotations."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inside[0])
    if origin in (Union, UnionType):
        return " | ".join(_type(x) for x in inside)
    return re.sub(r"~?(?:\w+\.)+(?=\w)", "", stringify_annotation(annotation, "smart"))
