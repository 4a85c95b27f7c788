"""Numbers that others measured and published: ImageNet accuracies, trainings over width and resolution, and times.

The numbers are in ``public_*.csv`` beside this module. ``public_sources.csv`` names the repository and the file that
each number was copied from.
"""

import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pandas as pd

from tinynet_book.analysis.intervals import Interval
from tinynet_book.paper.claims import Estimate

TESTS = {"val": 50_000, "ReaL": 46_837, "V2": 10_000, "A": 7_500, "R": 30_000, "Sketch": 50_889}
"""Images per test set: ImageNet's validation set, the same with ReaL labels, ImageNetV2 (matched), -A, -R, -Sketch."""
KINDS = {
    "paper": "the paper's authors say so",
    "list": "the authors of the network say so",
    "weights": "the authors' weights, evaluated by somebody else",
    "training": "another training",
    "company": "another training, by the company that the paper's authors work for",
    "converted": "weights that another library trained",
}
"""Origin of a number. Numbers of the paper's authors and of their company do not count as third-party."""
LEFT_OUT = {"minimal": "no squeeze-excite", r"\.ap_": "adversarial examples", "ra4_e3600": "3600 epochs, of 2024"}
"""Trainings of networks of 2018 to 2020 that are not rivals: a pattern in the name, and why they are left out."""
GRIDS = ("MobileNetV1", "MobileNetV2", "MnasNet-A1")
"""Networks that Google trained at several widths and resolutions."""


@cache
def _read(name: str) -> pd.DataFrame:
    text = {"params": str, "gmacs": str} if name in ("results", "grid") else {}  # keeps the printed decimals
    frame = pd.read_csv(Path(__file__).with_name(f"public_{name}.csv"), dtype=text, encoding="utf-8")
    strings = frame.select_dtypes(exclude="number").columns
    return frame.assign(**{column: frame[column].fillna("") for column in strings})


def sources() -> pd.DataFrame:
    """Return all sources by name: ``repository``, ``file`` and ``commit`` where known, and ``address``."""
    frame = _read("sources").set_index("source")
    commit = frame.commit.where(frame.commit != "", "HEAD")
    address = "https://github.com/" + frame.repository + "/blob/" + commit + "/" + frame.file
    return frame.assign(address=address.where(frame.file != "", frame.repository))


def networks() -> pd.DataFrame:
    """Return the networks by their names in this book, with the ``year`` of publication and our exact counts.

    ``network`` is the name in this package; networks that are not in this package have their timm name in ``timm``.
    ``macs`` and ``params`` are for ``input`` pixels and 1000 classes.
    """
    return _read("networks").set_index("architecture")


def results() -> pd.DataFrame:
    """Return one published accuracy per row, in percent, with the exact ``macs`` and the ``year`` of its network.

    ``network`` is the name in the source, ``row`` the row of the paper's tables if there is one. ``kind`` is a key of
    ``KINDS``, ``test`` of ``TESTS``. ``params`` (millions) and ``gmacs`` (billions) are as the source prints them.
    """
    return _read("results").join(networks()[["macs", "year"]], on="architecture")


def grid() -> pd.DataFrame:
    """Return Google's trainings over ``width`` and ``input`` pixels: ``top1`` in percent and our exact ``macs``.

    One line of the source contradicts itself. Its ``note`` says so, and its ``top1`` is missing.
    """
    frame = _read("grid")
    return frame.assign(r=frame.input / 224, top1=frame.top1.where(frame.note == ""))


def times() -> pd.DataFrame:
    """Return one timing per row: timm's name of the ``network``, ``input``, ``batch``, ``images_per_s`` and device."""
    return _read("times").merge(_read("runs"), on="run").join(sources()[["address"]], on="source")


def costs() -> pd.DataFrame:
    """Return timm's counts for its timed networks, by name and input: MACs (billions), activations (millions)."""
    frame = _read("costs")
    return frame.assign(gmacs=frame.gmacs.astype(float)).set_index(["network", "input"])


def rivals() -> pd.DataFrame:
    """Return timm's evaluations of networks of 2018 to 2020 without extra data, except TinyNets and ``LEFT_OUT``."""
    frame = results()
    timm = frame[frame.source.str.startswith("timm-") & frame.year.between(2018, 2020) & (frame.macs < 400e6)]
    return timm[~timm.architecture.str.startswith("TinyNet") & ~timm.network.str.contains("|".join(LEFT_OUT))]


def tinynets() -> pd.DataFrame:
    """Return timm's evaluations of the TinyNets that the authors released, A to E."""
    frame = results()
    return frame[frame.source.str.startswith("timm-") & frame.architecture.str.startswith("TinyNet")]


def trainings(row: str) -> pd.DataFrame:
    """Return all third-party accuracies of the network ``row`` on the validation images, each set of weights once."""
    frame = results()
    mine = (frame.architecture == row) | (frame.row == row)
    return frame[mine & (frame.test == "val") & frame.kind.isin(["list", "weights", "training"])]


def printed(row: str, column: str) -> Estimate:
    """Return the estimate that decides a printed accuracy: ``top1`` or ``top5`` of a ``row`` of the paper's tables.

    The list of the network's own authors decides. If there is no list, or the paper's authors made it, their weights
    decide, evaluated by somebody else with a stated crop. Another training is no check, so the claim stays open.
    """
    found = results().query("row == @row and test == 'val'").dropna(subset=[column])
    own = found[found.kind == "list"]
    if own.empty:
        own = found[(found.kind == "weights") & found.crop.notna()]
    others = found[(found.kind == "training")][column]
    spread = f"{len(others)} other: {others.min():.1f} to {others.max():.1f}" if len(others) else "no other training"
    if own.empty and others.empty:
        return Estimate(None, "third party", open="nobody else published one")
    links = tuple(dict.fromkeys(sources().address[(own if len(own) else found).source]))
    if own.empty:
        ends = (float(others.min()), float(others.max())) if len(others) > 1 else (math.nan, math.nan)
        between = Interval(float(others.median()), *ends, len(others))
        return Estimate(between, "third party", spread, links, "no weights of this training are public")
    (line,) = own.itertuples()
    where = sources().repository[line.source]
    return Estimate(float(getattr(line, column)), "third party", f"{KINDS[line.kind]}: {where}; {spread}", links)


def reason(*what: str) -> str:
    """Return why a source prints another cost: the first entry that matches the starts of source, column, network."""
    lines = _read("reasons").itertuples(index=False)
    return next(line[-1] for line in lines if all(x.startswith(y) for x, y in zip(what, line, strict=False)))


def cited(names: Iterable[str]) -> str:
    """Return the named sources as a Markdown list with links, with the files of one repository and commit grouped."""
    mine = sources().loc[[*dict.fromkeys(names)]]
    lines = []
    for (repository, commit), some in mine.groupby(["repository", "commit"]):
        links = ", ".join(f"[{x.file or 'page'}]({x.address})" for x in some.itertuples())
        at = f", commit `{commit[:10]}`" if commit else ""
        lines.append(f"- {repository.removeprefix('https://')}{at}: {links}")
    return "\n".join(lines)
