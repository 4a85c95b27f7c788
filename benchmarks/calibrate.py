"""The trainings by which recipe and data of the study were chosen: to make them, and as the tables of their page.

python benchmarks/calibrate.py train lengths    (an hour on two cores; stopped, it goes on where it was)
python benchmarks/calibrate.py show             (fills book/calibration.md from results/calibration)
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click
import numpy as np

import tinynet_core as tn
from tinynet_book.site import markdown_table
from tinynet_core.scaling.scale import Base, Scale
from tinynet_core.study.classify import Experiment
from tinynet_core.study.presets import Preset, RandomSample, load_preset, project_root
from tinynet_core.study.record import Record
from tinynet_core.study.spread import log_odds, seed_spread

PAGE = project_root() / "book" / "calibration.md"
STORE = project_root() / "results" / "calibration"
SEEDS = (100, 101, 102)
"""Of every network that is trained again; the study counts from 0."""
GRADED = {
    "c = 1": Scale(),
    "c = 1/2": Scale(0.93, 0.9, 0.606),
    "c = 1/4": Scale(0.8, 0.75, 0.47),
    "c = 1/8": Scale(0.66, 0.66, 0.33),
    "c = 1/16": Scale(0.52, 0.57, 0.33),
    "r = 0.43": Scale(0.43, 1.2, 0.745),
    "w = 0.27": Scale(1.2, 1.3, 0.27),
}
"""Five networks from the baseline's cost down, and two of unusual shape, trained with every seed."""
EXTREMES = ((0.36, 1.5, 1.3), (1.8, 0.8, 0.4), (0.9, 0.36, 0.9), (0.6, 2.75, 0.6), (1.1, 1.2, 0.36), (0.5, 0.5, 2.5))
"""About the smallest and the largest resolution, depth and width that a random sample has."""
LENGTHS = (("c = 1/4", 8_000, 6), ("c = 1/4", 6_000, 8), ("c = 1/4", 8_000, 8), ("r = 0.43", 8_000, 6))
"""Networks with training images and epochs that were compared."""
VARIANTS = {
    "no mirror images": ({"mirror": 0.0}, ("c = 1", "c = 1/2", "c = 1/8", "r = 0.43", "w = 0.27")),
    "no mirror images, peak 0.001": ({"mirror": 0.0, "lr": 1e-3}, ("r = 0.43",)),
}
"""Changes of the recipe that were tried because the spread was above what is wanted, and the networks trained so."""
RESNETS = ((Base(56, 0.25, 2), 2), (Base(56, 0.08, 2), 1), (Base(48, 0.1, 2), 1))
"""Sizes of ResNet-50 that were tried before that of the preset, and the trainings of each."""
LABELS = {"resnet50": "ResNet-50", "ghostnet_a": "GhostNet-A"}

Groups = dict[str, list[Experiment]]


def seeded(preset: Preset, networks: Iterable[str]) -> Groups:
    return {name: [preset.experiment(GRADED[name], seed) for seed in SEEDS] for name in networks}


def graded(preset: Preset) -> Groups:
    return seeded(preset, GRADED)


def lengths(preset: Preset) -> Groups:
    found = {}
    for name, images, epochs in LENGTHS:
        dataset = preset.dataset.model_copy(update={"train_images": images})
        recipe = preset.recipe.model_copy(update={"epochs": epochs})
        tried = preset.model_copy(update={"dataset": dataset, "recipe": recipe})
        found[f"{name}, {images:,} images, {epochs} epochs"] = seeded(tried, [name])[name]
    return found


def variants(preset: Preset) -> Groups:
    found = {}
    for variant, (changes, networks) in VARIANTS.items():
        tried = preset.model_copy(update={"recipe": preset.recipe.model_copy(update=changes)})
        found |= {f"{name}, {variant}": runs for name, runs in seeded(tried, networks).items()}
    return found


def scattered(preset: Preset) -> Groups:
    """Twenty random networks, the extremes among them, once each."""
    drawn = preset.model_copy(update={"random_sample": RandomSample(models=14, seed=1000)}).random_experiments()
    random = [e.model_copy(update={"seed": SEEDS[0]}) for e in drawn]
    return {"random": [*random, *(preset.experiment(Scale(*scale), SEEDS[0]) for scale in EXTREMES)]}


def others(preset: Preset) -> Groups:
    return {label: [preset.named(name, seed=seed) for seed in SEEDS[:2]] for name, label in LABELS.items()}


def resnets(preset: Preset) -> Groups:
    found = {}
    for base, runs in RESNETS:
        sized = preset.model_copy(update={"resnet_base": base})
        label = f"ResNet-50 at {base.resolution} px and {base.width:g} of its width, not taken"
        found[label] = [sized.named("resnet50", seed=seed) for seed in SEEDS[:runs]]
    return found


PARTS = {part.__name__: part for part in (graded, variants, scattered, others, resnets, lengths)}


def tables(preset: Preset, store: tn.Store) -> str:
    """The tables of the page in Markdown, from the records that there are."""
    found = {part: _found(store, of(preset)) for part, of in PARTS.items()}
    images, chance = preset.dataset.val_images, 1 / preset.dataset.classes
    random = [record.metrics["top1"] for record in found["scattered"]["random"]]
    above = f"{sum(x > 3 * chance for x in random)} of {len(random)} trained so far, the least {min(random):.1%}"
    plain = {name: found["graded"][name] for name in VARIANTS["no mirror images"][1]}
    other = {name: found["variants"][f"{name}, no mirror images"] for name in plain}
    summary = [
        ("spread between seeds, log odds", "at most 0.08", _spread(found["graded"], images)),
        ("of the networks below without mirror images: with them", "", _spread(plain, images)),
        ("of the same without mirror images", "", _spread(other, images)),
        ("baseline", "80% to 92%", _percent(found["graded"]["c = 1"])),
        ("network at 1/16 of the cost", "at least 45%", _percent(found["graded"]["c = 1/16"])),
        (f"random networks above three times chance, {3 * chance:.1%}", "all 20", above),
    ]
    aside = found["others"] | found["resnets"]
    summary += [(name, "50% to 92%", _percent(records)) for name, records in aside.items()]
    networks = [
        _line(preset, name, found[part][name], PARTS[part](preset)[name][0])
        for part in ("graded", "variants", "lengths")
        for name in found[part]
    ]
    epochs = []
    for name, records in found["graded"].items():
        means = np.mean([[row["ema_top1"] for row in record.curve] for record in records], axis=0)
        epochs.append((name, *(f"{x:.1%}" for x in means)))
    made = [record.provenance for record in store.records()]
    commits = ", ".join(f"`{commit[:10]}`" for commit in sorted({str(source.get("commit")) for source in made}))
    head = ["network", "input (px)", "MACs (millions)", "top-1 by seed", "SD (points)", "SD (log odds)", "seconds"]
    part = preset.recipe.curve_images or images
    return "\n\n".join(
        [
            markdown_table(["what", "wanted", "found"], summary),
            f"**Each network with its seeds**, one thread each. All {len(made)} trainings are of commits {commits}.",
            markdown_table(head, networks),
            f"**Accuracy by epoch**, mean of the seeds; until the last epoch over the first {part} validation images.",
            markdown_table(["network", *(f"epoch {i}" for i in range(1, preset.recipe.epochs + 1))], epochs),
        ]
    )


def _found(store: tn.Store, groups: Groups) -> dict[str, list[Record]]:
    return {name: [r for e in experiments if (r := store.get(e)) and r.done] for name, experiments in groups.items()}


def _spread(groups: Mapping[str, Sequence[Record]], images: int) -> str:
    odds = {name: log_odds([x.metrics["top1"] for x in records], images) for name, records in groups.items()}
    spread = seed_spread(odds)
    return f"{spread.sd:.3f} [{spread.low:.3f}, {spread.high:.3f}], {spread.freedom} degrees of freedom"


def _percent(records: Sequence[Record]) -> str:
    return ", ".join(f"{x.metrics['top1']:.1%}" for x in records) or "not yet trained"


def _line(preset: Preset, name: str, records: Sequence[Record], planned: Experiment) -> tuple[str, ...]:
    spec, top1 = planned.spec(), [x.metrics["top1"] for x in records]
    own = seed_spread({"": log_odds(top1, preset.dataset.val_images)})
    spread = (f"{100 * own.at(float(np.mean(top1))).sd:.1f}", f"{own.sd:.3f}") if own.known else ("", "")
    seconds = f"{np.mean([x.wall_s for x in records]):.0f}" if records else ""
    return (name, f"{spec.resolution}", f"{spec.complexity().macs / 1e6:.3g}", _percent(records), *spread, seconds)


def filled(page: str, generated: str) -> str:
    """A page with other tables between its two marks."""
    before, start, rest = page.partition("<!-- tables -->\n")
    return f"{before}{start}\n{generated}\n\n<!-- end -->{rest.partition('<!-- end -->')[2]}"


@click.group()
def main() -> None:
    """Train for the calibration, or show what was found."""


@main.command()
@click.argument("parts", type=click.Choice([*PARTS]), nargs=-1, required=True)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True)
def train(parts: tuple[str, ...], workers: int) -> None:
    """Train the named parts."""
    preset = load_preset("creatures")
    for part in parts:
        tn.sweep([e for runs in PARTS[part](preset).values() for e in runs], tn.Store(STORE), workers=workers)


@main.command()
@click.option("--page", type=click.Path(path_type=Path), default=PAGE)
def show(page: Path) -> None:
    """Fill the page with what the records say."""
    text = filled(page.read_text(encoding="utf-8"), tables(load_preset("creatures"), tn.Store(STORE)))
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
