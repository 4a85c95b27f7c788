"""The trainings by which recipe and data of the published study were chosen; the study uses none of them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from tinynet_core.scaling.scale import Base, Scale
from tinynet_core.study.classify import Experiment
from tinynet_core.study.presets import Preset, RandomSample
from tinynet_core.study.record import Record
from tinynet_core.study.spread import Spread, log_odds, seed_spread
from tinynet_core.study.store import Store

K = TypeVar("K")
SEEDS = (100, 101, 102)
"""Of every network that is trained again; the study counts from 0."""
GRADED: Mapping[str, Scale] = MappingProxyType(
    {
        "c = 1": Scale(),
        "c = 1/2": Scale(0.93, 0.9, 0.606),
        "c = 1/4": Scale(0.8, 0.75, 0.47),
        "c = 1/8": Scale(0.66, 0.66, 0.33),
        "c = 1/16": Scale(0.52, 0.57, 0.33),
        "r = 0.43": Scale(0.43, 1.2, 0.745),
        "w = 0.27": Scale(1.2, 1.3, 0.27),
    }
)
"""Five networks from the baseline's cost down, and two of unusual shape, trained with every seed."""
EXTREMES = (
    Scale(0.36, 1.5, 1.3),
    Scale(1.8, 0.8, 0.4),
    Scale(0.9, 0.36, 0.9),
    Scale(0.6, 2.75, 0.6),
    Scale(1.1, 1.2, 0.36),
    Scale(0.5, 0.5, 2.5),
)
"""About the smallest and the largest resolution, depth and width that a random sample has."""
LENGTHS = (("c = 1/4", 8_000, 6), ("c = 1/4", 6_000, 8), ("c = 1/4", 8_000, 8), ("r = 0.43", 8_000, 6))
"""Networks with training images and epochs that were compared."""
NO_MIRROR = {"mirror": 0.0}
VARIANTS: Mapping[str, tuple[Mapping[str, float], Sequence[str]]] = MappingProxyType(
    {
        "no mirror images": (NO_MIRROR, ("c = 1", "c = 1/2", "c = 1/8", "r = 0.43", "w = 0.27")),
        "no mirror images, peak 0.001": (NO_MIRROR | {"lr": 1e-3}, ("r = 0.43",)),
    }
)
"""Changes of the recipe that were tried because the spread was above what is wanted, and the networks trained so."""
RESNETS = ((Base(56, 0.25, 2), 2), (Base(56, 0.08, 2), 1), (Base(48, 0.1, 2), 1))
"""Sizes of ResNet-50 that were tried before that of the preset, and the trainings of each."""
LABELS = {"resnet50": "ResNet-50", "ghostnet_a": "GhostNet-A"}
_RANDOM, _RANDOM_SEED = 14, 1000


def graded(preset: Preset) -> dict[str, list[Experiment]]:
    """The networks of ``GRADED``, once for each seed."""
    return {name: [preset.experiment(scale, seed) for seed in SEEDS] for name, scale in GRADED.items()}


def lengths(preset: Preset) -> dict[tuple[str, int, int], list[Experiment]]:
    """The networks, training images and epochs of ``LENGTHS``, once for each seed."""
    found = {}
    for name, images, epochs in LENGTHS:
        dataset = preset.dataset.model_copy(update={"train_images": images})
        recipe = preset.recipe.model_copy(update={"epochs": epochs})
        tried = preset.model_copy(update={"dataset": dataset, "recipe": recipe})
        found[name, images, epochs] = [tried.experiment(GRADED[name], seed) for seed in SEEDS]
    return found


def variants(preset: Preset) -> dict[str, dict[str, list[Experiment]]]:
    """By recipe of ``VARIANTS``: its networks, once for each seed."""
    found = {}
    for variant, (changes, networks) in VARIANTS.items():
        tried = preset.model_copy(update={"recipe": preset.recipe.model_copy(update=dict(changes))})
        found[variant] = {name: [tried.experiment(GRADED[name], seed) for seed in SEEDS] for name in networks}
    return found


def scattered(preset: Preset) -> list[Experiment]:
    """Twenty random networks, the extremes among them, once each."""
    sample = RandomSample(models=_RANDOM, seed=_RANDOM_SEED)
    drawn = preset.model_copy(update={"random_sample": sample}).random_experiments()
    seeded = [e.model_copy(update={"seed": SEEDS[0]}) for e in drawn]
    return [*seeded, *(preset.experiment(scale, SEEDS[0]) for scale in EXTREMES)]


def others(preset: Preset) -> dict[str, list[Experiment]]:
    """ResNet-50 and GhostNet-A at the preset's size."""
    return {name: [preset.named(name, seed=seed) for seed in SEEDS[:2]] for name in LABELS}


def resnets(preset: Preset) -> dict[Base, list[Experiment]]:
    """ResNet-50 at the sizes that were tried."""
    sized = {base: preset.model_copy(update={"resnet_base": base}) for base, _ in RESNETS}
    return {base: [sized[base].named("resnet50", seed=seed) for seed in SEEDS[:runs]] for base, runs in RESNETS}


WANTED_SPREAD = 0.08
"""Largest pooled standard deviation between seeds, in log odds."""
WANTED_BASELINE, WANTED_SMALLEST, WANTED_OTHERS = (0.80, 0.92), 0.45, (0.50, 0.92)


def page(preset: Preset, store: Store) -> str:
    """The tables of the calibration page in Markdown, from the records that ``store`` has so far."""
    parts = (_summary, _graded, _epochs, _variants, _lengths)
    return "\n\n".join(part(preset, store) for part in parts)


def _found(store: Store, groups: Mapping[K, Sequence[Experiment]]) -> dict[K, list[Record]]:
    """The records that there are of each group."""
    return {name: [r for e in experiments if (r := store.get(e))] for name, experiments in groups.items()}


def _top1(records: Sequence[Record]) -> list[float]:
    return [record.metrics["top1"] for record in records if record.done]


def _spread(preset: Preset, groups: Mapping[Any, Sequence[Record]]) -> Spread:
    images = preset.dataset.val_images
    return seed_spread({name: log_odds(_top1(records), images) for name, records in groups.items()})


def _summary(preset: Preset, store: Store) -> str:
    groups, planned = _found(store, graded(preset)), scattered(preset)
    random = _top1(_found(store, {"": planned})[""])
    chance = 1 / preset.dataset.classes
    above = f"{sum(x > 3 * chance for x in random)} of {len(random)} trained so far, "
    above += f"the least {min(random):.1%}" if random else "none yet"
    lines = [
        ("spread between seeds, log odds", f"at most {WANTED_SPREAD}", _said(_spread(preset, groups))),
        ("baseline", _range(WANTED_BASELINE), _percent(groups["c = 1"])),
        ("network at 1/16 of the cost", f"at least {WANTED_SMALLEST:.0%}", _percent(groups["c = 1/16"])),
        (f"random networks above three times chance, {3 * chance:.1%}", f"all {len(planned)}", above),
    ]
    for name, records in _found(store, others(preset)).items():
        lines.append((LABELS[name], _range(WANTED_OTHERS), _percent(records)))
    for base, records in _found(store, resnets(preset)).items():
        name = f"ResNet-50 at {base.resolution} px and {base.width:g} of its width, not taken"
        lines.append((name, _range(WANTED_OTHERS), _percent(records)))
    return _table(("what", "wanted", "found"), lines)


def _graded(preset: Preset, store: Store) -> str:
    made = [record.provenance for record in store.records()]
    commits = ", ".join(f"`{commit[:10]}`" for commit in sorted({str(source.get("commit")) for source in made}))
    source = f"{len(made)} trainings, one thread each, at commits {commits}." if made else "No training was made yet."
    lines = []
    for name, records in _found(store, graded(preset)).items():
        spec, own = preset.spec(GRADED[name]), _spread(preset, {name: records})
        spread = (f"{100 * own.at(float(np.mean(_top1(records)))).sd:.1f}", f"{own.sd:.3f}") if own.known else ("", "")
        seconds = f"{np.mean([record.wall_s for record in records]):.0f}" if records else "not yet trained"
        macs = f"{spec.complexity().macs / 1e6:.3g}"
        lines.append((name, f"{spec.resolution}", macs, _percent(records), *spread, seconds))
    head = ("network", "input (px)", "MACs (millions)", "top-1 by seed", "SD (points)", "SD (log odds)", "seconds")
    return f"**Three seeds each.** {source}\n\n{_table(head, lines)}"


def _epochs(preset: Preset, store: Store) -> str:
    """Mean top-1 after each epoch; all but the last over a part of the validation images."""
    lines = []
    for name, records in _found(store, graded(preset)).items():
        curves = [[row["ema_top1"] for row in record.curve] for record in records]
        means = [f"{x:.1%}" for x in np.mean(curves, axis=0)] if curves else [""] * preset.recipe.epochs
        lines.append((name, *means))
    head = ("network", *(f"epoch {i}" for i in range(1, preset.recipe.epochs + 1)))
    part = preset.recipe.curve_images or preset.dataset.val_images
    said = f"**Accuracy by epoch**, mean of the seeds; until the last epoch over the first {part} validation images."
    return f"{said}\n\n{_table(head, lines)}"


def _variants(preset: Preset, store: Store) -> str:
    plain, lines = _found(store, graded(preset)), []
    for variant, experiments in variants(preset).items():
        tried = _found(store, experiments)
        same = {name: plain[name] for name in tried}
        lines += [(name, _percent(same[name]), variant, _percent(tried[name])) for name in tried]
        lines.append(("**SD in log odds**", _said(_spread(preset, same)), variant, _said(_spread(preset, tried))))
    head = ("network", "recipe above: top-1 by seed", "other recipe", "top-1 by seed")
    return f"**Other recipes**, on some of these networks.\n\n{_table(head, lines)}"


def _lengths(preset: Preset, store: Store) -> str:
    lines = []
    for (name, images, epochs), records in _found(store, lengths(preset)).items():
        own = _spread(preset, {"": records})
        lines.append((name, f"{images:,}", f"{epochs}", _percent(records), f"{own.sd:.3f}" if own.known else ""))
    head = ("network", "training images", "epochs", "top-1 by seed", "SD (log odds)")
    return f"**Shorter trainings.** With so few seeds a spread is hardly known.\n\n{_table(head, lines)}"


def _said(spread: Spread) -> str:
    if not spread.known:
        return "not yet known"
    return f"{spread.sd:.3f} [{spread.low:.3f}, {spread.high:.3f}], {spread.freedom} degrees of freedom"


def _percent(records: Sequence[Record]) -> str:
    return ", ".join(f"{value:.1%}" for value in _top1(records)) or "not yet trained"


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.0%} to {ends[1]:.0%}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "|" + "---|" * len(head)
    return "\n".join(["| " + " | ".join(head) + " |", rule, *("| " + " | ".join(line) + " |" for line in lines)])
