"""The cube explorer shows what the package gives."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from click.testing import CliRunner
from fake_study import trained

import tinynet_core as tn
from tinynet_book.analysis.models import classifiers
from tinynet_book.explorer import trained_models, write_explorer
from tinynet_book.explorer.data import sizes
from tinynet_book.tables import millions
from tinynet_core import Study, TinyFormula
from tinynet_core.cli import tinynet
from tinynet_core.study.presets import PRESETS
from tinynet_core.study.record import failed

EVIL = "</script><script>alert('x')</script> & \"more\""


@pytest.fixture(scope="module")
def page(made_up_study, tmp_path_factory):
    return write_explorer(made_up_study, tmp_path_factory.mktemp("site") / "explorer")


@pytest.fixture(scope="module")
def data(page):
    return embedded(page)


def embedded(page):
    return json.loads(read(page).find(id="data").get_text())


def read(page):
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def models(page):
    """The texts of the cells of the table of models, row by row."""
    return [[cell.get_text() for cell in row(["td", "th"])] for row in read(page).find(id="models")("tr")]


def printed(command, capsys):
    """The whole numbers that come of what the page tells a reader to run."""
    if command.startswith("tinynet"):
        output = CliRunner().invoke(tinynet, command.split()[1:], catch_exceptions=False).output
    else:
        exec(command, {})
        output = capsys.readouterr().out
    return {*map(int, re.findall(r"\d+", output.replace(",", "")))}


@pytest.mark.filterwarnings("ignore::tinynet_core.scaling.shrink.BudgetWarning")
def test_every_position_is_what_formula_and_solver_give_and_the_commands_print(made_up_study, page, data, capsys):
    preset, formula = made_up_study.preset, made_up_study.formula()
    budgets = pd.read_csv(page.with_name("budgets.csv")).c.unique()
    families = [preset.family(), *map(tn.family, ("efficientnet_b0", "resnet50", "ghostnet_a"))]
    for i in np.linspace(0, len(budgets) - 1, 5).astype(int):
        c, step = budgets[i], data["steps"][i]
        (mean,), (std,) = formula.predict([c], return_std=True)
        for k, name in enumerate("rd"):
            assert step[name] == f"{mean[k]:.3f}"
            assert step[f"{name}_band"] == f"{mean[k] - 1.96 * std[k]:.2f} to {mean[k] + 1.96 * std[k]:.2f}"
        for shown, family in zip(step["networks"], families, strict=True):
            whole = family.at().complexity().macs
            scale = tn.shrink(family, c * whole, formula=formula).scale
            net = tn.network(family.name, scale, family.classes, "fixed", family.base)
            cost, rows = net.complexity(), dict(shown["rows"])
            off = float(rows.pop("off budget").replace("−", "-").removesuffix("%"))
            assert off == pytest.approx(100 * (cost.macs / (c * whole) - 1), abs=0.051)
            assert rows == {
                "width w": f"{scale.w:.3f}",
                "input (px)": str(net.resolution),
                "MACs (M)": millions(cost.macs),
                "params (M)": millions(cost.params),
            }
            assert {net.resolution, cost.macs, cost.params} <= printed(shown["command"], capsys)
        own = float(dict(step["networks"][0]["rows"])["width w"])
        assert step["at"] == pytest.approx([*mean, own], abs=6e-4)


def test_the_slider_covers_the_fitted_range_in_log_steps_with_the_budgets_of_the_preset(made_up_study, page, data):
    c, fitted = pd.read_csv(page.with_name("budgets.csv")).c.unique(), made_up_study.formula().c_
    assert fitted.min() <= c[0]
    assert c[-1] == pytest.approx(fitted.max())
    assert 60 <= len(c) == len({step["c"] for step in data["steps"]}) <= 100  # no two look the same
    inside = {b for b in made_up_study.preset.budgets if fitted.min() <= b <= fitted.max()}
    assert set() < inside < set(c)
    assert np.diff(np.log([x for x in c if x not in inside])).max() < 1.01 * np.log(fitted.max() / fitted.min()) / 40
    assert data["steps"][data["start"]]["c"] == "50%"


def test_a_size_that_cannot_meet_a_budget_says_why(made_up_study, tmp_path, monkeypatch):
    formula = TinyFormula(restarts=0).fit([0.12, 0.6, 1.0], [0.9, 0.95, 1.0], [0.9, 0.95, 1.0])
    shown = replace(trained_models(made_up_study), formula=formula)
    own, full, *_ = sizes(made_up_study.preset).items()
    monkeypatch.setattr("tinynet_book.explorer.trained_models", lambda study: shown)
    monkeypatch.setattr("tinynet_book.explorer.data.sizes", lambda preset: dict([full, own]))
    monkeypatch.setattr("tinynet_book.explorer.data.BUDGETS", 3)
    reaches, does_not = embedded(write_explorer(made_up_study, tmp_path))["steps"][0]["networks"]
    assert "rows" in reaches  # the full size, 12% of its MACs
    assert "below the smallest reachable cost" in does_not["reason"]


def test_all_models_are_in_the_table_and_in_the_cube(made_up_study, page, data):
    """All of the baseline's networks that are trained as the random sample is."""
    preset, rows = made_up_study.preset, models(page)
    sample = made_up_study.random_sample()
    alike = ("efficientnet_b0", preset.base, preset.recipe, preset.dataset)
    compared = (e for page in classifiers(made_up_study).values() for row in page.values() for e in row)
    wanted = {e.key for e in compared if (e.network, e.base, e.recipe, e.dataset) == alike}
    assert {e.key for e in [*preset.random_experiments(), *preset.equal_cost_experiments()]} < wanted
    assert {row[-1] for row in rows[1:]} == {key[:12] for key in wanted}
    failures = sum(row[7].startswith("failed") for row in rows)
    assert len(data["models"]) + failures == len(rows) - 1 == len(wanted)
    shown = {m["key"]: m for m in data["models"]}
    for row in sample.itertuples():
        model = shown[row.key[:12]]
        assert model["at"] == [row.r, row.d, row.w]
        assert model["top1"] == pytest.approx(100 * row.top1)
        assert model["group"] == ("frontier of the random sample" if row.frontier else "random sample")
        half = 196 * np.sqrt(row.top1 * (1 - row.top1) / preset.dataset.val_images)
        costs = [f"{x:,}" for x in (row.resolution, row.macs, row.params)]
        assert model["cells"][4:9] == [*costs, f"{100 * row.top1:.1f}", f"{half:.1f}"]
        assert all(text in model["hover"] for text in model["cells"])


def test_without_all_models_there_is_no_formula_and_a_failed_one_has_its_reason_which_stays_text(tmp_path):
    """8 of the 12 models of the random sample, one failed with a reason that is HTML."""
    study = Study("smoke", tmp_path / "store", train=False)
    sample = study.preset.random_experiments()
    for experiment in sample[1:8]:
        study.store.put(trained(experiment))
    study.store.put(failed(sample[0], EVIL))
    page = write_explorer(study, tmp_path / "explorer")
    text, data = page.read_text(encoding="utf-8"), embedded(page)
    assert "No budget can be chosen here: 4 of the 12 models of the random sample have no record yet." in text
    assert data["steps"] == []
    assert not page.with_name("budgets.csv").exists()
    assert re.search(r" \d+ more are not trained yet\.", text)
    assert "1 of 8 models failed" in text
    assert {(m["key"], m["group"]) for m in data["models"]} == {(e.key[:12], "random sample") for e in sample[1:8]}
    (row,) = (row for row in models(page) if row[-1] == sample[0].key[:12])
    assert row[7] == f"failed: {EVIL}"
    assert len(read(page)("script")) == 3


def test_a_study_without_samples_or_with_too_few_models_has_a_reason(tmp_path):
    content = yaml.safe_load((PRESETS / "smoke.yaml").read_text(encoding="utf-8"))
    kept = content.keys() - {"random_sample", "equal_cost_sample", "second_world", "longer"}
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump({key: content[key] for key in kept}), encoding="utf-8")
    page = write_explorer(Study(str(tmp_path / "bare.yaml"), tmp_path / "none", train=False), tmp_path / "explorer")
    assert embedded(page)["models"] == []
    assert "the preset has no random sample" in page.read_text(encoding="utf-8")
    study = Study("smoke", tmp_path / "few", train=False)
    for experiment in study.preset.random_experiments():
        study.store.put(failed(experiment, "loss is nan"))
    found = trained_models(study)
    assert (found.formula, len(found.frame)) == (None, 12)
    assert "too few models" in found.reason


def test_the_same_records_give_the_same_bytes(made_up_study, tmp_path, monkeypatch):
    monkeypatch.setattr("tinynet_book.explorer.data.BUDGETS", 3)
    first, second = (write_explorer(made_up_study, tmp_path / name).parent for name in "ab")
    assert {x.name: x.read_bytes() for x in first.iterdir()} == {x.name: x.read_bytes() for x in second.iterdir()}
