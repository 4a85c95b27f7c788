"""The data card of the released tables, in the style of the Hugging Face hub, written from the records alone.

Its prose is ``card.md``, in which ``string.Template`` replaces what depends on the records.
"""

from collections import Counter
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel

from tinynet_book.dataset.fields import ACCURACY, EPOCHS, MODELS, RUNS, Field
from tinynet_book.dataset.tables import JOINT, Tables
from tinynet_book.measure.latencies import ModelLatencies
from tinynet_core.data import GlyphDataset
from tinynet_core.study.presets import Preset

FIELDS = {"models": MODELS, "runs": RUNS, "epochs": EPOCHS}
"""The tables by the stem of their files, with their columns in order."""
LOADING = """import pandas as pd

models = pd.read_parquet("models.parquet")
runs = pd.read_parquet("runs.parquet")
epochs = pd.read_parquet("epochs.parquet")
same = pd.read_csv("models.csv", float_precision="round_trip")

sample = models[models.roles.str.split("; ").map(lambda roles: "random sample" in roles)]
best = sample.sort_values("top1_mean").tail(5)[["model", "r", "d", "w", "macs", "top1_mean"]]
curves = epochs.merge(best[["model"]], on="model").pivot(index="epoch", columns="key", values="ema_top1")"""
"""How to read them, in the folder of the files."""
WORTH = {
    "proxy": "**Every accuracy is that of a proxy task at a small size. There is no ImageNet number in it.**",
    "trained": "Accuracies are of photographs of ImageNet classes, under the recipes below.",
}
NOT_FOR = {
    "proxy": "Not to predict an accuracy on ImageNet or on photographs at all, and not to rank published networks:\n"
    "small inputs, few classes and a short schedule change what resolution, depth and width are worth.",
    "trained": "Not to compare with numbers of other data, recipes or schedules.",
}
GLYPHS = (
    "The images are not part of it; they are drawn with the\n"
    "DejaVu fonts that matplotlib ships, under the licence of these fonts."
)
PHOTOGRAPHS = "The images are not part of it; ImageNet's terms apply to\nwhoever trains anew."
PROVENANCE = {
    "commit": "code, commit",
    "clean": "checkout without changes",
    "training_version": "training version",
    "device": "trained on",
    "torch": "torch",
    "pillow": "Pillow",
}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


def data_card(tables: Tables, preset: Preset) -> str:
    """The text of README.md; the same records give the same text."""
    template = Template((Path(__file__).parent / "card.md").read_text(encoding="utf-8"))
    return template.substitute(
        front_matter=yaml.safe_dump(_front_matter(tables, preset), sort_keys=False),
        preset=preset.name,
        evidence=preset.evidence,
        worth=WORTH[preset.evidence],
        not_for=NOT_FOR[preset.evidence],
        images=GLYPHS if isinstance(preset.dataset, GlyphDataset) else PHOTOGRAPHS,
        loading=LOADING,
        roles=_roles(tables.models),
        provenance="\n".join(f"- {name}: {_counted(tables.runs[key])}" for key, name in PROVENANCE.items()),
        data=_data(tables),
        recipes=_recipes(tables),
        fields=_fields(preset.evidence),
        **_counts(tables),
        **_latency(tables),
    )


def _front_matter(tables: Tables, preset: Preset) -> dict[str, Any]:
    size = next((text for most, text in SIZES if len(tables.models) < most), "100K<n<1M")
    files = [{"config_name": name, "data_files": f"{name}.parquet", "default": name == "models"} for name in FIELDS]
    return {
        "license": "apache-2.0",
        "pretty_name": f"Small networks at many resolutions, depths and widths ({preset.name})",
        "task_categories": ["image-classification", "tabular-regression"],
        "tags": ["model-scaling", "tinynet", "efficientnet", "ghostnet", "latency", "learning-curves"],
        "size_categories": [size],
        "configs": files,
    }


def _counts(tables: Tables) -> dict[str, str]:
    models, runs = tables.models, tables.runs
    first, dataset = next(iter(tables.data.items()))
    validation = dataset.model_dump()["val_images"]
    failed = int((runs.status == "failed").sum())
    return {
        "models": f"{len(models):,}",
        "runs": f"{len(runs):,}",
        "epochs": f"{len(tables.epochs):,}",
        "failed": f"{failed:,}",
        "done": f"{len(runs) - failed:,}",
        "hours": f"{runs.wall_s.sum() / 3600:.2f}",
        "single": f"{(models.seeds == 1).sum():,}",
        "first": first,
        "validation": f"{validation:,}",
        "half": f"{100 * 1.96 * (0.25 / validation) ** 0.5:.1f}",
    }


def _latency(tables: Tables) -> dict[str, str]:
    made, task = tables.latencies.provenance, tables.latencies.experiment
    assert isinstance(task, ModelLatencies)
    return {
        "timed": f"{tables.models.latency_ms.notna().sum():,}",
        "networks": f"{len(task.networks):,}",
        "onnxruntime": made["onnxruntime"],
        "threads": f"{task.threads} thread{'s' * (task.threads > 1)}",
        "processor": made["device"],
        "processors": str(made["processors"]),
        "rounds": f"{task.runs:,}",
        "warmup": str(task.warmup),
        "busy": "not known" if made["others_busy"] is None else f"{made['others_busy']:.2f}",
    }


def _roles(models: pd.DataFrame) -> str:
    """A line for each page and sample with the number of its models."""
    pages = Counter(page for roles in models.roles for page in {role.split(":")[0]: 0 for role in roles.split(JOINT)})
    return "\n".join(f"| {page} | {n:,} |" for page, n in pages.items())


def _data(tables: Tables) -> str:
    lines = ["| data | classes | train | validation | settings | SHA-256 |", "|---|---:|---:|---:|---|---|"]
    shown = ("classes", "train_images", "val_images")
    model_data = tables.models.set_index("model").data
    for name, dataset in tables.data.items():
        content = dataset.model_dump(mode="json")
        settings = ", ".join(
            f"{key} {value}" for key, value in content.items() if key not in shown and value is not None
        )
        hashes = tables.runs.dataset_sha256[tables.runs.model.map(model_data) == name].dropna().unique()
        counts = " | ".join(f"{content[key]:,}" for key in shown)
        lines.append(f"| `{name}` | {counts} | {settings} | {', '.join(f'`{x}`' for x in hashes) or 'not known'} |")
    return "\n".join(lines)


def _recipes(tables: Tables) -> str:
    """The first recipe in full, the others by what differs from it."""
    used = tables.models.recipe.value_counts()
    (first, main), *others = tables.recipes.items()
    whole = yaml.safe_dump(main.model_dump(mode="json"), sort_keys=False).strip()
    lines = [f"- `{name}` ({used[name]} models): like `{first}`, but {_changes(main, x)}" for name, x in others]
    return "\n\n".join(
        [f"`{first}` ({used[first]} models):", f"```yaml\n{whole}\n```", *(["\n".join(lines)] * bool(lines))]
    )


def _changes(main: BaseModel, other: BaseModel) -> str:
    before, after = main.model_dump(mode="json"), other.model_dump(mode="json")
    return ", ".join(f"{key} {value}" for key, value in after.items() if before[key] != value)


def _counted(column: pd.Series) -> str:
    """Its values with the number of their runs, the most frequent first."""
    counts = Counter(sorted(column.dropna().astype(str)))
    return ", ".join(f"{value} ({n:,} runs)" for value, n in counts.most_common()) or "not known"


def _fields(accuracy: str) -> str:
    parts = []
    for table, fields in FIELDS.items():
        lines = [f"| `{name}` | {x.unit} | {_evidence(x, accuracy)} | {x.meaning} |" for name, x in fields.items()]
        parts.append(f"### {table}\n\n| column | unit | evidence | meaning |\n|---|---|---|---|\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _evidence(field: Field, accuracy: str) -> str:
    return accuracy if field.evidence == ACCURACY else field.evidence
