"""Presets: everything that differs between machines and budgets, validated on load."""

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tinynet_core.data import Dataset, GlyphDataset
from tinynet_core.errors import UserError
from tinynet_core.experiments import Experiment
from tinynet_core.networks import Head, Network, network
from tinynet_core.networks.efficientnet import TINYNETS
from tinynet_core.resources import Resources
from tinynet_core.scale import Base, Scale
from tinynet_core.shrinking import Method, shrink, solve_width
from tinynet_core.sweeps import sample_scales, sample_scales_at
from tinynet_core.training.recipe import Recipe

BASELINE = "efficientnet_b0"


class PresetError(UserError):
    """A preset that does not exist or does not validate; says which key, what it holds and what is allowed."""


class RandomSample(BaseModel):
    """The random candidates of Figures 1 and 3 (paper, section 4.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    models: int = Field(ge=5, le=10_000)
    seed: int = Field(0, ge=0)
    low: float = Field(0.03, gt=0, description="smallest MACs as a fraction of the baseline's")
    high: float = Field(1.05, gt=0, description="largest")
    frontier: float = Field(0.2, gt=0, le=1, description="share of the models kept as the frontier")

    @property
    def window(self) -> tuple[float, float]:
        return self.low, self.high


class EqualCostSample(BaseModel):
    """The random candidates of Figure 2, all at one cost (paper, section 3.1)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    models: int = Field(ge=3, le=10_000)
    seed: int = Field(1, ge=0)
    c: float = Field(0.5, gt=0, le=1, description="MACs as a fraction of the baseline's")
    tolerance: float = Field(0.03, gt=0, lt=0.5)


class Preset(BaseModel):
    """One way to run the whole study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern="^[a-z0-9_-]+$")
    about: str
    base: Base
    dataset: Dataset
    recipe: Recipe
    random_sample: RandomSample | None = None
    equal_cost_sample: EqualCostSample | None = None
    networks: tuple[str, ...] = Field((), description="further networks to train, by name")
    compared_seeds: int = Field(1, ge=1, le=100, strict=True, description="seeds of each network compared by name")
    resources: Resources = Resources()

    @field_validator("base", mode="before")
    @classmethod
    def _base_keys(cls, value):
        if isinstance(value, dict) and (unknown := set(value) - set(Base.__slots__)):
            raise ValueError(f"unknown key {min(unknown)!r}, known: {', '.join(Base.__slots__)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "Preset":
        sample = self.random_sample
        if sample and not sample.low < sample.high:
            raise ValueError(f"random_sample.low {sample.low:g} must be below random_sample.high {sample.high:g}")
        if sample and round(sample.frontier * sample.models) < 3:
            raise ValueError(f"random_sample.frontier {sample.frontier:g} keeps fewer than 3 of {sample.models} models")
        try:
            self.experiment(Scale())
            self.named_experiments()
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self

    @property
    def evidence(self) -> Literal["trained", "proxy"]:
        """What an accuracy under this preset is worth: glyphs are a proxy."""
        return "proxy" if isinstance(self.dataset, GlyphDataset) else "trained"

    @property
    def c0(self) -> int:
        """MACs of the unscaled baseline, the paper's C0."""
        return self.spec(Scale()).complexity().macs

    def spec(self, scale: Scale, head: Head | None = None) -> Network:
        """The baseline network at ``scale``, at this preset's base size and class count."""
        return network(BASELINE, scale, self.dataset.classes, head, self.base)

    def experiment(self, scale: Scale, seed: int = 0, head: Head | None = None) -> Experiment:
        """Training of the baseline network at ``scale`` under this preset."""
        return self.named(BASELINE, scale, seed, head)

    def named(self, name: str, scale: Scale | None = None, seed: int = 0, head: Head | None = None) -> Experiment:
        """Training of the network called ``name`` under this preset; of the baseline's family at this preset's base."""
        return Experiment(
            network=name,
            scale=scale,
            head=head,
            base=self.base if name == BASELINE else None,
            dataset=self.dataset,
            recipe=self.recipe,
            seed=seed,
        )

    def named_experiments(self) -> list[Experiment]:
        """The networks of ``networks``, ``compared_seeds`` times each."""
        return [self.named(name, seed=seed) for name in self.networks for seed in range(self.compared_seeds)]

    def random_experiments(self) -> list[Experiment]:
        """The random sample inside the MACs window, one experiment each; raises ``PresetError`` where there is none."""
        s = self._sample("random_sample")
        scales = sample_scales(BASELINE, s.models, s.window, s.seed, self.base, self.dataset.classes)
        return [self.experiment(scale) for scale in scales]

    def equal_cost_experiments(self) -> list[Experiment]:
        """The random sample at one cost, one experiment each; raises ``PresetError`` where there is none."""
        s = self._sample("equal_cost_sample")
        scales = sample_scales_at(BASELINE, s.models, s.c, s.tolerance, s.seed, self.base, self.dataset.classes)
        return [self.experiment(scale) for scale in scales]

    def _sample(self, key: str):
        if (sample := getattr(self, key)) is None:
            raise PresetError(
                f"preset {self.name} has no {key}: this page needs a preset that has one, such as reduced"
            )
        return sample

    def shrunk(self, c: float, method: Method, formula=None, head: Head | None = None) -> Scale:
        """The scale of the baseline at ``c`` times its MACs by ``method``."""
        return shrink(BASELINE, c * self.c0, method, formula, head, self.base, self.dataset.classes)

    def released_tinynet(self, name: str, c: float) -> Scale:
        """A released TinyNet's r and d, with the width solved anew for ``c`` times this preset's baseline."""
        released = TINYNETS[name]
        width = solve_width(BASELINE, c * self.c0, released.r, released.d, None, self.base, self.dataset.classes)
        return Scale(released.r, released.d, width.x)


def project_root() -> Path:
    """The checkout that the package runs from, or the package's own folder where it is installed."""
    package = Path(__file__).resolve().parent
    return package if (package / "presets").is_dir() else package.parent


def preset_names() -> list[str]:
    return sorted(path.stem for path in (project_root() / "presets").glob("*.yaml"))


@cache
def load_preset(name: str) -> Preset:
    """The preset called ``name``, or the one in the file ``name`` where it ends in .yaml.

    Raises ``PresetError`` with one line per wrong key.
    """
    is_file = str(name).endswith((".yaml", ".yml"))
    if not is_file and name not in preset_names():
        raise PresetError(f"unknown preset {name!r}, known: {', '.join(preset_names())}, or a path to a .yaml file")
    path = Path(name) if is_file else project_root() / "presets" / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PresetError(f"preset {path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise PresetError(f"preset {path}: must be a mapping of keys, got {type(content).__name__}")
    dataset = content.get("dataset")
    if isinstance(dataset, dict) and isinstance(dataset.get("wnids"), str):
        dataset["wnids"] = str(path.parent / dataset["wnids"])
    try:
        return Preset.model_validate(content)
    except ValidationError as error:
        raise PresetError("\n".join(_explain(path, e) for e in error.errors())) from None


def _explain(path: Path, error) -> str:
    """One line: file, key, what is wrong, what was given, and the nearest thing to what is allowed."""
    where = [str(part) for part in error["loc"]]
    if where[0:1] == ["dataset"]:
        del where[1:2]  # the kind, which is no key of the file
    key = ".".join(where) or "(whole file)"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"preset {path}: unknown key {key!r}"
    given = "" if error["type"] in ("missing", "value_error") else f", got {error['input']!r}"
    return f"preset {path}: {key}: {message}{given}"
