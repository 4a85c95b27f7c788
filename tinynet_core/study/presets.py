"""Presets: everything that differs between machines and budgets, validated on load."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from tinynet_core.data import CocoDataset, Dataset, ImageNetDataset
from tinynet_core.files import UserError
from tinynet_core.machine import Resources
from tinynet_core.networks.family import SCALABLE, Family, base_of, family
from tinynet_core.networks.ghostnet import NAMES as GHOSTNETS
from tinynet_core.networks.resnet import NAMES as RESNETS
from tinynet_core.networks.spec import Head, Network
from tinynet_core.scaling.frontier import sample_scales, sample_scales_at
from tinynet_core.scaling.scale import PAPER_BASE, Base, Scale
from tinynet_core.study.classify import Experiment
from tinynet_core.study.detect import DetectionPlan
from tinynet_core.training.recipe import Recipe

BASELINE = "efficientnet_b0"
FEWEST_CLASSES, FEWEST_EPOCHS, DETECTOR_PIXELS = 100, 90, 512
"""Classes and epochs of the paper's smallest training (section 4.1), and input of its detectors (section 4.3)."""
INVERSE_SHARES = (0.5, 0.25, 0.125, 0.0625)
"""Shares of the baseline's MACs of EfficientNet-B⁻¹ ... -B⁻⁴ (section 4.1: 2⁻ᵠ)."""
_FEWEST_KEPT = 4  # models on the frontier: the least that a fit of the formula needs when one model is left out


class PresetError(UserError):
    """Raised when a preset does not exist or is invalid. The message names the key, its value and what is allowed."""


class RandomSample(BaseModel, frozen=True, extra="forbid", strict=True):
    """The random candidates of Figures 1 and 3 (paper, section 4.2)."""

    models: int = Field(ge=5, le=10_000)
    seed: int = Field(0, ge=0)
    low: float = Field(0.03, gt=0, description="smallest MACs as a fraction of the baseline's")
    high: float = Field(1.05, gt=0, description="largest MACs as a fraction of the baseline's")
    frontier: float = Field(0.2, gt=0, le=1, description="share of the models kept as the frontier")

    @property
    def window(self) -> tuple[float, float]:
        return self.low, self.high


class EqualCostSample(BaseModel, frozen=True, extra="forbid", strict=True):
    """The random candidates of Figure 2, all at one cost (paper, section 3.1)."""

    models: int = Field(ge=3, le=10_000)
    seed: int = Field(1, ge=0)
    c: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.5,), min_length=1, strict=False, description="MACs as fractions of the baseline's; each has `models` models"
    )
    tolerance: float = Field(0.03, gt=0, lt=0.5)


class SecondWorld(BaseModel, frozen=True, extra="forbid", strict=True):
    """The first random candidates, trained on drawn data of another seed: does the study hold for another data set?"""

    seed: int = Field(ge=0, description="seed of the data set; not the preset's")
    models: int = Field(ge=5, le=10_000, description="size of the random sample")


class Longer(BaseModel, frozen=True, extra="forbid", strict=True):
    """The networks of one budget, trained longer: does their order hold beyond a short schedule?"""

    times: int = Field(ge=2, le=100, description="factor on the recipe's epochs; warm-up and decay keep their share")
    c: float = Field(gt=0, lt=1, description="one of the preset's budgets")
    seeds: int = Field(2, ge=1, le=100)


class Inherited(BaseModel, frozen=True, extra="forbid", strict=True):
    """The giants trained for a short while, from the weights of the baseline and from random ones."""

    epochs: int = Field(1, ge=1, le=1000)
    seeds: int = Field(3, ge=1, le=100, description="each starts from the baseline with the same seed")


class Latencies(BaseModel, frozen=True, extra="forbid", strict=True):
    """How often the networks of Table 4 are timed (paper, section 4.3: 1,000 runs)."""

    runs: int = Field(1000, ge=10, le=100_000)
    warmup: int = Field(20, ge=0, le=10_000)


class Closeup(BaseModel, frozen=True, extra="forbid"):
    """Base, data and recipe of Figures 4 and 5. Their networks need more than one pixel in the last feature map."""

    base: Base
    dataset: Dataset
    recipe: Recipe | None = Field(None, description="default: the preset's recipe")


class Preset(BaseModel, frozen=True, extra="forbid"):
    """One way to run the whole study."""

    name: str = Field(pattern="^[a-z0-9_-]+$")
    about: str
    base: Base
    dataset: Dataset
    recipe: Recipe
    random_sample: RandomSample | None = None
    equal_cost_sample: EqualCostSample | None = None
    sampled_on: str | None = Field(
        None, description="preset with the random samples and Tables 1 and 2, as ImageNet-100 is for ImageNet"
    )
    budgets: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.5, 0.25), description="shares of the baseline's MACs to shrink to"
    )
    resnet_base: Base | None = Field(None, description="size of the ResNets; default: scaled like the baseline")
    ghostnet_base: Base | None = Field(
        None, description="size of GhostNet-A, the others in proportion; default: scaled like the baseline"
    )
    resnet_recipe: Recipe | None = Field(None, description="recipe of Table 2; default: the preset's recipe")
    closeup: Closeup | None = None
    detection: DetectionPlan | None = None
    latency: Latencies = Latencies()
    networks: tuple[str, ...] = Field((), description="further networks to train, by name")
    compared_seeds: int = Field(1, ge=1, le=100, strict=True, description="seeds of each network compared by name")
    side_seeds: int | None = Field(
        None,
        ge=1,
        le=100,
        strict=True,
        description="seeds of ResNets, GhostNets, RandAugment, fixed heads, close-ups and detectors; "
        "default and upper limit: compared_seeds",
    )
    second_world: SecondWorld | None = None
    longer: Longer | None = None
    inherited: Inherited | None = None
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _consistent(self) -> "Preset":
        sample, second, longer = self.random_sample, self.second_world, self.longer
        if self.sampled_on and (sample or self.equal_cost_sample):
            raise ValueError("give either sampled_on or random_sample and equal_cost_sample, not both")
        if not set(self.budgets) & set(INVERSE_SHARES):
            raise ValueError(f"budgets must hold one of {list(INVERSE_SHARES)}, got {list(self.budgets)}")
        if sample and not sample.low < sample.high:
            raise ValueError(f"random_sample.low {sample.low:g} must be below random_sample.high {sample.high:g}")
        if sample and round(sample.frontier * sample.models) < _FEWEST_KEPT:
            fewer = f"keeps fewer than {_FEWEST_KEPT} of {sample.models} models"
            raise ValueError(f"random_sample.frontier {sample.frontier:g} {fewer}")
        if self.side_seeds and self.side_seeds > self.compared_seeds:
            raise ValueError(f"side_seeds {self.side_seeds} must be at most compared_seeds {self.compared_seeds}")
        if longer and longer.c not in self.budgets:
            raise ValueError(f"longer.c {longer.c:g} must be one of budgets, {list(self.budgets)}")
        if second and isinstance(self.dataset, ImageNetDataset):
            raise ValueError("second_world needs a drawn dataset: photographs have no seed")
        if second and second.seed == getattr(self.dataset, "seed", None):
            raise ValueError(f"second_world.seed must differ from dataset.seed, got {second.seed} twice")
        if second and not (sample and second.models <= sample.models):
            raise ValueError(f"second_world.models must be at most random_sample.models, got {second.models}")
        for where, preset in (("", self), ("closeup: ", self.close)):
            try:
                preset.experiment(Scale())
                preset.named_experiments()
            except ValidationError as error:
                raise ValueError(where + error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self

    @property
    def seeds_aside(self) -> int:
        """Number of seeds of the networks that are not part of a main question."""
        return self.side_seeds or self.compared_seeds

    @property
    def evidence(self) -> Literal["trained", "proxy"]:
        """``trained`` for photographs of at least 100 classes, the paper's baseline and at least 90 epochs."""
        photographs = isinstance(self.dataset, ImageNetDataset) and self.dataset.classes >= FEWEST_CLASSES
        whole = photographs and self.base == PAPER_BASE and self.recipe.epochs >= FEWEST_EPOCHS
        return "trained" if whole else "proxy"

    @property
    def detection_evidence(self) -> Literal["trained", "proxy"]:
        """``trained`` for COCO at the paper's 512 pixels, if ``evidence`` is ``trained`` too."""
        plan = self.detection
        whole = plan is not None and isinstance(plan.dataset, CocoDataset) and plan.resolution == DETECTOR_PIXELS
        return "trained" if whole and self.evidence == "trained" else "proxy"

    @property
    def c0(self) -> int:
        """MACs of the unscaled baseline, the paper's C0."""
        return self.family().cost(Scale()).macs

    def spec(self, scale: Scale) -> Network:
        """Return the baseline network at ``scale``, with this preset's base size and class count."""
        return self.family().at(scale)

    def experiment(self, scale: Scale, seed: int = 0, head: Head | None = None) -> Experiment:
        """Return the training of the baseline network at ``scale`` under this preset."""
        return self.named(BASELINE, scale, seed, head)

    def named(self, name: str, scale: Scale | None = None, seed: int = 0, head: Head | None = None) -> Experiment:
        """Return the training of the network called ``name`` under this preset, at the size of ``base_for``."""
        base, shared = self.base_for(name), {"dataset": self.dataset, "recipe": self.recipe}
        return Experiment(network=name, scale=scale, head=head, base=base, seed=seed, **shared)

    def base_for(self, name: str) -> Base | None:
        """Return the base size (r = d = w = 1) of the network called ``name``: its own, scaled like the baseline's.

        Return None for a fixed network of another library.
        """
        own, ours, papers = base_of(name), self.base, PAPER_BASE
        if own is None:
            return None
        if self.resnet_base and name in RESNETS:
            return self.resnet_base
        if self.ghostnet_base and name in GHOSTNETS:
            ours, papers = self.ghostnet_base, SCALABLE["ghostnet_a"]
        pixels = round(own.resolution * ours.resolution / papers.resolution)
        return Base(pixels, own.width * ours.width / papers.width, min(own.divisor, ours.divisor))

    @property
    def close(self) -> "Preset":
        """This preset with the base, the data and the recipe of ``closeup``, if it has one."""
        if (part := self.closeup) is None:
            return self
        own = {"base": part.base, "dataset": part.dataset, "recipe": part.recipe or self.recipe}
        return self.model_copy(update={**own, "compared_seeds": self.seeds_aside, "closeup": None})

    @property
    def elsewhere(self) -> "Preset":
        """This preset in its second world. Raises ``PresetError`` if it has none."""
        second, sample = self.part("second_world"), self.part("random_sample")
        dataset = self.dataset.model_copy(update={"seed": second.seed})
        fewer = sample.model_copy(update={"models": second.models})
        return self.model_copy(update={"dataset": dataset, "random_sample": fewer, "second_world": None})

    def named_experiments(self) -> list[Experiment]:
        """Return the trainings of ``networks``, with ``compared_seeds`` seeds each."""
        return [self.named(name, seed=seed) for name in self.networks for seed in range(self.compared_seeds)]

    def random_experiments(self) -> list[Experiment]:
        """Return the random sample inside the MACs window. Raise ``PresetError`` if the preset has no random sample."""
        s = self.part("random_sample")
        return [self.experiment(x) for x in sample_scales(self.family(), s.models, s.window, s.seed)]

    def equal_cost_experiments(self, c: float | None = None) -> list[Experiment]:
        """Return the sample at cost ``c`` (default: the first cost). Raise ``PresetError`` if there is no sample."""
        s = self.part("equal_cost_sample")
        c = s.c[0] if c is None else c
        return [self.experiment(x) for x in sample_scales_at(self.family(), s.models, c, s.tolerance, s.seed)]

    @property
    def equal_costs(self) -> tuple[float, ...]:
        """Costs of the samples at equal cost, as fractions of the baseline's MACs. Empty if there are none."""
        return self.equal_cost_sample.c if self.equal_cost_sample else ()

    def part(self, key: str):
        """Return the part of the preset under ``key``. Raise ``PresetError`` if the preset has none."""
        if (part := getattr(self, key)) is None:
            raise PresetError(f"preset {self.name} has no {key}: use a preset that has it, such as smoke")
        return part

    def family(self, head: Head | None = None) -> Family:
        """Return the family of the baseline at all scales."""
        return family(BASELINE, self.base, head, self.dataset.classes)


_PACKAGE = Path(__file__).resolve().parent.parent
PRESETS = _PACKAGE / "presets"
"""Folder with the project's own presets."""


def in_checkout() -> bool:
    """Return whether the package runs from a checkout of the project, which holds the book and its records."""
    return (_PACKAGE.parent / "book" / "_toc.yml").is_file()


def project_root() -> Path:
    """Return the checkout that the package runs from, or the package's own folder if it is installed."""
    return _PACKAGE.parent if in_checkout() else _PACKAGE


def preset_names() -> list[str]:
    """Return the names of the project's presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


class _OnceEach(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice. Plain YAML would silently take the last one."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


@cache
def load_preset(name: str) -> Preset:
    """Read and validate the project's preset called ``name``, or the preset in a .yaml or .yml file ``name``.

    Raises ``PresetError`` with one line for each wrong key.
    """
    is_file = str(name).endswith((".yaml", ".yml"))
    if not is_file and name not in preset_names():
        raise PresetError(f"unknown preset {name!r}, known: {', '.join(preset_names())}, or a path to a .yaml file")
    path = Path(name) if is_file else PRESETS / f"{name}.yaml"
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _OnceEach)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PresetError(f"preset {path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise PresetError(f"preset {path}: must be a mapping of keys, got {type(content).__name__}")
    _from_its_folder(content, path.parent)
    try:
        preset = Preset.model_validate(content)
    except ValidationError as error:
        raise PresetError("\n".join(_explain(path, e) for e in error.errors())) from None
    if preset.sampled_on:
        sampled = load_preset(preset.sampled_on)
        if not (sampled.random_sample and sampled.equal_cost_sample):
            lack = f"preset {sampled.name} has no random_sample and equal_cost_sample"
            raise PresetError(f"preset {path}: sampled_on: {lack}")
    return preset


def _from_its_folder(content: dict, folder: Path) -> None:
    """Resolve the file names in a preset relative to the preset's own folder."""
    for part in (content, content.get("closeup")):
        dataset = part.get("dataset") if isinstance(part, dict) else None
        if isinstance(dataset, dict) and str(dataset.get("wnids")).endswith(".txt"):
            dataset["wnids"] = str(folder / dataset["wnids"])
    if str(content.get("sampled_on")).endswith((".yaml", ".yml")):
        content["sampled_on"] = str(folder / content["sampled_on"])


def _explain(path: Path, error) -> str:
    """Describe an error in one line: file, key, what is wrong, and the value given."""
    where = [str(part) for part in error["loc"]]
    if "dataset" in where:
        del where[where.index("dataset") + 1 : where.index("dataset") + 2]  # the kind is not a key of the file
    key, message = ".".join(where) or "(whole file)", error["msg"].removeprefix("Value error, ")
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"preset {path}: unknown key {key!r}"
    given = "" if error["type"] in ("missing", "value_error") else f", got {error['input']!r}"
    return f"preset {path}: {key}: {message}{given}"
