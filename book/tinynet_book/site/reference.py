"""The generated parts of the reference: the keys of a preset, the public names, and how to cite."""

import inspect
import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import tinynet_core
from tinynet_core.study.presets import Preset

DESCRIBED = {
    "Preset.name": "what the folder of its records is called; lower-case letters, digits, _ and -",
    "Preset.about": "one or two sentences for the page on how the site was made",
    "Preset.base": "size of the baseline, EfficientNet-B0, at r = d = w = 1",
    "Preset.dataset": "images of the classifiers",
    "Preset.recipe": "how the classifiers are trained",
    "Preset.random_sample": "models of Figures 1 and 3; without it, and without `sampled_on`, these pages are left out",
    "Preset.equal_cost_sample": "models of Figure 2, likewise",
    "Preset.closeup": "for Figures 4 and 5; the preset's own base, data and recipe where left out",
    "Preset.detection": "detectors of Table 5; the page is left out without",
    "Preset.second_world": "without it, the page on a second world is left out",
    "Preset.longer": "without it, the page on longer trainings is left out",
    "Preset.latency": "stopwatch of Table 4 and of the page on cost",
    "Preset.resources": "what one run holds of a machine; part of no record",
    "RandomSample.models": "how many",
    "RandomSample.seed": "of the sample",
    "EqualCostSample.models": "how many",
    "EqualCostSample.seed": "of the sample",
    "EqualCostSample.tolerance": "largest relative distance of their MACs from that cost",
    "Longer.seeds": "of each network",
    "Latencies.runs": "timed runs of each network of Table 4",
    "Latencies.warmup": "runs before them that are not timed",
    "Closeup.base": "size of the baseline",
    "Closeup.dataset": "images",
    "DetectionPlan.dataset": "images with boxes",
    "DetectionPlan.recipe": "how the detectors are trained",
    "DetectionPlan.pretrained": "start with the averaged weights of the classifier of the same network",
    "Recipe.epochs": "passes over the training images",
    "Recipe.warmup_epochs": "epochs in which the learning rate grows from zero to its peak",
    "Recipe.label_smoothing": "share of the target spread over all classes",
    "Recipe.ema_decay": "of the average of weights; 0: none",
    "Recipe.interpolation": "of crops when they are resized",
    "GlyphDataset.kind": "drawn letters; what a data set is where the key is left out",
    "GlyphDataset.train_images": "images of the training split",
    "GlyphDataset.val_images": "images of the validation split",
    "GlyphDataset.seed": "of everything that varies between images",
    "ImageNetDataset.kind": "photographs in the folder `TINYNET_IMAGENET`; has to be given",
    "ImageNetDataset.classes": "how many",
    "SceneDataset.kind": "several letters on a canvas; has to be given",
    "SceneDataset.train_images": "scenes of the training split",
    "SceneDataset.val_images": "scenes of the validation split",
    "SceneDataset.seed": "of everything that varies between scenes",
    "CocoDataset.kind": "photographs in the folder `TINYNET_COCO`; has to be given",
    "CocoDataset.classes": "that the folder must have",
    "CocoDataset.train_images": "nominal, for estimates: those with an object are trained on",
    "CocoDataset.val_images": "nominal, for estimates: all are judged",
    "Experiment.kind": "tells it from other tasks",
    "Experiment.network": "name of the network",
    "Experiment.scale": "of a scalable network; 1 each where left out",
    "Experiment.head": "as for `network`",
    "Experiment.base": "what r = d = w = 1 stands for; the network's own where left out",
    "Experiment.dataset": "what it is trained on",
    "Experiment.recipe": "how it is trained",
    "Experiment.seed": "of initial weights, order of images, augmentation and dropout",
    "Detection.dataset": "images with boxes",
    "Detection.recipe": "how the detector is trained",
    "Detection.kind": "tells it from other tasks",
    "Detection.network": "name of the backbone",
    "Detection.scale": "of a scalable network; 1 each where left out",
    "Detection.head": "as for `network`",
    "Detection.base": "what r = d = w = 1 stands for; the network's own where left out",
    "Detection.seed": "of everything random",
    "Detection.pretraining": "training whose averaged weights the backbone starts with; at random without",
    "Record.format": "of the record itself",
    "Record.experiment": "the task that was performed",
    "Record.status": "whether it gave a result",
    "Record.reason": "why it did not",
    "Record.metrics": "results by name; accuracies are fractions",
    "Record.curve": "a row for each epoch",
    "Record.arrays": "further results, as nested lists",
    "Record.cost": "resolution in pixels; MACs, parameters and activations for one image",
    "Record.wall_s": "seconds that it took",
    "Record.provenance": "commit, training version, hash of the data, device, threads, versions of packages",
    "Record.migrated": "what a migration found of a record that it moved: its key before, hash of the probe images",
    "Finding.value": "truth value or number, in the unit of the claim; none where it could not be had",
    "Finding.evidence": "its level, empty where nothing was measured",
    "Finding.note": "what a reader should know of it",
    "Finding.records": "keys of the records behind it",
    "Finding.low": "lower end of its 95% interval, where it has one",
    "Finding.high": "upper end",
    "Finding.estimate": "number that was measured and decides nothing",
}
"""What the keys mean that have no description where they are declared."""
_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}
_MANY = {float: "numbers", str: "texts"}
_BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
_END_OF_DOCUMENT = "\n...\n"


@dataclass(frozen=True)
class Key:
    """One key of a part of a preset; ``words`` are its type, ``parts`` the classes of a nested mapping."""

    name: str
    words: str
    default: str
    allowed: str
    description: str
    parts: tuple[type, ...]


def preset_schema() -> str:
    """A section with a table of its keys for a preset and each of its parts, in Markdown."""
    places: dict[type, list[str]] = {Preset: []}
    _find(Preset, "", places)
    return "\n\n".join(_section(part, paths) for part, paths in places.items())


def _find(part: type, path: str, places: dict[type, list[str]]) -> None:
    """Add to ``places`` the parts below ``part``, which stands at ``path``, each with all its paths."""
    for key in keys(part):
        for below in key.parts:
            places.setdefault(below, []).append(f"{path}{key.name}")
            _find(below, f"{path}{key.name}.", places)


def _section(part: type, paths: list[str]) -> str:
    title = ", ".join(f"`{path}`" for path in paths) or "The file"
    if kind := _kind(part):
        title += f" of kind `{kind}`"
    head = "| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n"
    rows = (f"| `{k.name}` | {k.words} | {k.default} | {k.allowed} | {k.description} |" for k in keys(part))
    return f"({_anchor(part)})=\n## {title}\n\n{first_paragraph(part)}\n\n{head}" + "\n".join(rows)


def _anchor(part: type) -> str:
    return f"schema-{part.__name__.lower()}"


def _kind(part: type) -> str:
    """The kind of a data set."""
    return str(part.model_fields["kind"].default) if issubclass(part, BaseModel) and "kind" in part.model_fields else ""


def keys(part: type) -> list[Key]:
    """The keys of a pydantic model, or of a dataclass whose docstring lists its parameters."""
    if issubclass(part, BaseModel):
        fields_of = part.model_fields.items()
        return [_key(part, name, f.annotation, f.default, f.metadata, f.description) for name, f in fields_of]
    texts = parameters(part)
    return [
        _key(part, f.name, f.type, f.default, (), texts[f.name])
        for f in fields(part)  # type: ignore[arg-type]
    ]


def _key(part: type, name: str, annotation: Any, default: Any, limits: Sequence[Any], description: str | None) -> Key:
    words, parts = _type(annotation)
    allowed = ", ".join(f"`{word}`" for word in _literals(annotation)) or bounds(limits)
    return Key(name, words, shown(default), allowed, meaning(part, name, description), parts)


def meaning(part: type, name: str, description: str | None) -> str:
    """What a key stands for: its ``description``, or what is written here of it."""
    return (description or DESCRIBED[f"{part.__name__}.{name}"]).replace("``", "`")


def shown(value: Any) -> str:
    """A default value as it is written in a preset, or ``required``."""
    if value is PydanticUndefined or value is MISSING:
        return "required"
    if isinstance(value, BaseModel):
        return "its own defaults"
    text = yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True)
    return f"`{text.removesuffix(_END_OF_DOCUMENT).strip()}`"


def _type(annotation: Any) -> tuple[str, tuple[type, ...]]:
    """An annotation in words, and the classes of the mappings in it."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inside[0])
    if origin in (Union, UnionType):
        found = [_type(x) for x in inside if x is not NoneType]
        words = [words for words, _ in found] + ["null"] * (NoneType in inside)
        return " or ".join(words), tuple(part for _, parts in found for part in parts)
    if origin is Literal:
        return _WORDS[type(inside[0])], ()
    if origin is tuple:
        how_many = "" if inside[-1] is ... else f"{len(inside)} "
        inner = get_args(inside[0])[0] if get_origin(inside[0]) is Annotated else inside[0]
        return f"list of {how_many}{_MANY[inner]}", ()
    if annotation in _WORDS:
        return _WORDS[annotation], ()
    return f"[mapping](#{_anchor(annotation)}){_kind(annotation) and f' ({_kind(annotation)})'}", (annotation,)


def bounds(limits: Sequence[Any]) -> str:
    """The ends of the range that a number must lie in, or nothing."""
    ends = {name: getattr(limit, name) for limit in limits for name, _ in _BOUNDS if hasattr(limit, name)}
    return ", ".join(f"{sign} {ends[name]:,}" for name, sign in _BOUNDS if name in ends)


def _literals(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((found for x in get_args(annotation) if (found := _literals(x))), ())


def parameters(documented: object) -> dict[str, str]:
    """What a docstring in NumPy's style says of each parameter, on one line; empty without such a section."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", _docstring(documented), re.M | re.S)
    found: dict[str, str] = {}
    for names, text in re.findall(r"^(\w[^\n]*)\n((?:[ ]+[^\n]*\n?|\n)+)", section[1] if section else "", re.M):
        found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found


def first_paragraph(documented: object) -> str:
    """The first paragraph of a docstring on one line, in Markdown."""
    return " ".join(_docstring(documented).split("\n\n")[0].split()).replace("``", "`")


def _docstring(documented: object) -> str:
    return inspect.cleandoc(documented.__doc__ or "")


def public_names() -> str:
    """A table of the names that ``import tinynet_core as tn`` gives, each with a link to its description."""
    rows = []
    for name in tinynet_core.__all__:
        found = getattr(tinynet_core, name)
        link = f"{{py:obj}}`tn.{name} <{found.__module__}.{found.__qualname__}>`"
        rows.append(f"| {link} | {first_paragraph(found)} |")
    return "| name | what it is |\n|---|---|\n" + "\n".join(rows)


def citation(root: Path) -> str:
    """What ``CITATION.cff`` in ``root`` says: for readers, and as BibTeX of this software and of the paper."""
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    (paper,) = cited["references"]
    readable = f"{_people(cited)}: *{cited['title']}*, version {cited['version']}, {cited['license']}."
    software = {
        "author": f"{{{_people(cited)}}}",
        "title": f"{{{cited['title']}}}",
        "note": f"Version {cited['version']}, {cited['license']}",
    }
    article = {
        "author": " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]),
        "title": f"{{{paper['title']}}}",
        "booktitle": paper["collection-title"],
        "volume": paper["volume"],
        "year": paper["year"],
    }
    entries = [_bibtex("misc", "tinynet_core", software), _bibtex("inproceedings", "han2020model", article)]
    return f"{readable}\n\n{_people(paper)}: *{paper['title']}*. {paper['collection-title']}, {_volume(paper)}.\n\n" + (
        "```bibtex\n" + "\n\n".join(entries) + "\n```"
    )


def _volume(paper: dict[str, Any]) -> str:
    return f"volume {paper['volume']}, {paper['year']}"


def _people(cited: dict[str, Any]) -> str:
    return ", ".join(a.get("name") or f"{a['given-names']} {a['family-names']}" for a in cited["authors"])


def _bibtex(kind: str, name: str, entry: dict[str, Any]) -> str:
    lines = (f"  {key} = {{{value}}}," for key, value in entry.items())
    return f"@{kind}{{{name},\n" + "\n".join(lines) + "\n}"
