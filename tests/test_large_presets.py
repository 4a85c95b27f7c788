"""The notebooks that branch on photographs, under the large presets and on folders of a few small images."""

import warnings

import matplotlib
import nbformat
import pytest
import yaml
from coco import write_coco
from fake_study import trained
from IPython.core.interactiveshell import InteractiveShell
from jpegs import write_image_folder

from tinynet_book.paper.claims import claims, ledger
from tinynet_core import Study
from tinynet_core.study.pages import series
from tinynet_core.study.presets import PRESETS, project_root

BRANCH = ("12", "13", "14", "16", "18")
"""Pages that do something else where the images are a user's photographs, or the sample is of another preset: released
weights, close-ups that are the networks themselves, pictures without outlines, COCO, and a formula from elsewhere."""
NOTEBOOKS = [p for p in sorted((project_root() / "notebooks").glob("*.ipynb")) if p.name.startswith(BRANCH)]
SMALL = {
    "base": {"resolution": 32, "width": 0.2, "divisor": 2},
    "dataset": {"classes": 3, "side": 32},
    "recipe": {"epochs": 1, "batch_size": 16, "norm_batch": 8, "warmup_epochs": 0.2, "precision": "fp32"},
    "compared_seeds": 1,
    "resources": {"workers": 1, "gpus": 0, "cpus": 1},
}


def shrunk(name, **change):
    """The preset ``name`` with everything in it that costs time made small."""
    content = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    for key, value in {**SMALL, **change}.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    return content


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """``imagenet1k`` on three classes, its samples on two of them as ``imagenet100`` has a hundred of a thousand.

    The trainings of pages that only read are made up; close-ups and detectors are trained.
    """
    folder = tmp_path_factory.mktemp("large")
    write_image_folder(folder / "imagenet", classes=3, train=12, val=6)
    write_coco(folder / "coco")
    hundred = shrunk(
        "imagenet100",
        random_sample={"models": 5, "frontier": 0.8},
        resnet_recipe={**SMALL["recipe"], "warmup_epochs": 0},
        dataset={"classes": 2, "side": 32, "train_per_class": 10},
    )
    (folder / "imagenet100.yaml").write_text(yaml.safe_dump(hundred), encoding="utf-8")
    thousand = shrunk("imagenet1k", sampled_on="imagenet100.yaml", budgets=[0.5])
    detection = thousand["detection"]
    detection["recipe"] |= SMALL["recipe"] | {"batch_size": 4, "norm_batch": 2}
    thousand["detection"] = detection | {"resolution": 128, "dataset": {"kind": "coco", "side": 128, "classes": 3}}
    (folder / "imagenet1k.yaml").write_text(yaml.safe_dump(thousand), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYNET_IMAGENET", str(folder / "imagenet"))
        patch.setenv("TINYNET_COCO", str(folder / "coco"))
        patch.setenv("TINYNET_CACHE", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        found = str(folder / "imagenet1k.yaml"), str(folder / "store")
        study = Study(*found, train=False)
        for experiment in [*study.sampled.preset.random_experiments(), *series(study, "table3").all()]:
            study.store.put(trained(experiment))
        for experiment in series(study, "fig6").all():  # once there is a sample with a formula
            study.store.put(trained(experiment))
        yield found


def run_cells(path, preset, store):
    """Run the code cells of a notebook in this process, as a kernel would but faster."""
    shell = InteractiveShell()
    try:
        for cell in nbformat.read(path, as_version=4).cells:
            source = cell.source if cell.cell_type == "code" else ""
            if "parameters" in cell.metadata.get("tags", []):
                source = f"preset, store, train = {preset!r}, {store!r}, True"
            shell.run_cell(source, store_history=True).raise_error()
    finally:
        matplotlib.pyplot.close("all")
        InteractiveShell.clear_instance()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook(preset, path, capsys):
    matplotlib.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tiny networks are far from their budgets
        run_cells(path, *preset)
    assert "Error" not in capsys.readouterr().err


def test_every_claim_was_answered_and_none_as_if_at_full_scale(preset):
    table = ledger(Study(*preset).store)
    assert table.id.nunique() == len(claims())
    table = table[table.notebook.isin(p.stem for p in NOTEBOOKS)]
    assert len(table) > 40
    assert not (table.note == "its notebook was not run").any()
    assert set(table.evidence) == {"proxy", "recomputed", "quoted", ""}  # the last: no weights here
