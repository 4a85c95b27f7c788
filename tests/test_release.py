import json
import re

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from fake_study import without

from tinynet_book.dataset import release
from tinynet_core import MissingRecords, UserError
from tinynet_core.cli import tinynet
from tinynet_core.study.presets import project_root


@pytest.fixture(autouse=True, scope="module")
def _made_up_images():
    """The hashes in made-up records are those of no images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinynet_core.study.record.probe_hash", lambda dataset: dataset.key)
        yield


FILES = [f"{name}{suffix}" for name in ("epochs", "models", "runs") for suffix in (".csv", ".parquet")]
FILES += ["README.md", "settings.json"]


@pytest.fixture(scope="module")
def study(made_up_study):
    return made_up_study


@pytest.fixture(scope="module")
def released(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("release") / "new" / "folder"
    return folder, release(study, folder)


@pytest.fixture(scope="module")
def card(released):
    return (released[0] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["models", "runs", "epochs"])
def test_csv_and_parquet_hold_the_same(released, name):
    folder, tables = released
    table = pd.read_parquet(folder / f"{name}.parquet")
    text = {"key": str, "model": str, "reason": str, "commit": str}
    csv = pd.read_csv(
        folder / f"{name}.csv", float_precision="round_trip", dtype={k: text[k] for k in text if k in table}
    )
    assert list(table) == list(csv) == list(getattr(tables, name))
    pd.testing.assert_frame_equal(
        table.astype(object).where(table.notna(), None), csv.astype(object).where(csv.notna(), None)
    )
    assert len(table) == len(getattr(tables, name))


def test_every_column_is_described_and_nothing_else(released, card):
    parts = re.split("^### (?=models|runs|epochs)", card.partition("## Use and limits")[0], flags=re.M)[1:]
    for part in parts:
        described = [x for cell in re.findall(r"^\| (`.*?) \|", part, re.M) for x in re.findall(r"`(\w+)`", cell)]
        assert sorted(described) == sorted(getattr(released[1], part.partition("\n")[0]).columns)
    assert len(parts) == 3


def test_the_settings_are_what_the_tables_name(study, released):
    settings = json.loads((released[0] / "settings.json").read_text(encoding="utf-8"))
    models = released[1].models
    assert (settings["preset"], settings["evidence"]) == ("smoke", "proxy")
    assert set(models.data) == set(settings["data"])
    assert set(models.recipe) == set(settings["recipes"])
    assert study.preset.recipe.model_dump(mode="json") in settings["recipes"].values()
    assert settings["latency"]["device"]


def test_the_readme_says_what_it_is_not(card):
    assert "none is an ImageNet number" in card
    assert "released under Apache-2.0" in card
    paper = yaml.safe_load((project_root() / "CITATION.cff").read_text(encoding="utf-8"))["references"][0]
    assert f"title     = {{{paper['title']}}}" in card


def test_the_code_of_the_card_runs(released, card, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(released[0])
    names = {}
    exec(code, names)
    assert len(names["same"]) == len(names["models"])
    assert names["curves"].shape == (2, 5)
    assert list(names["best"].top1_mean) == sorted(names["best"].top1_mean)


def test_the_same_records_give_the_same_files_and_replace_others(study, released, tmp_path):
    (tmp_path / "models.csv").write_text("other", encoding="utf-8")
    (tmp_path / "mine.txt").write_text("kept", encoding="utf-8")
    release(study, tmp_path)
    for name in FILES:
        if name.endswith(".parquet"):
            pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / name), pd.read_parquet(released[0] / name))
        else:
            assert (tmp_path / name).read_bytes() == (released[0] / name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*FILES, "mine.txt"])


def test_the_command(study, tmp_path):
    result = CliRunner().invoke(tinynet, ["dataset", "smoke", str(tmp_path / "x"), "--store", str(study.store.root)])
    assert result.exit_code == 0, result.output
    assert re.search(r"\d+ models, \d+ trainings \(1 failed\) and \d+ epochs written to", result.output)


def test_a_file_in_the_place_of_the_folder(study, tmp_path):
    (tmp_path / "x").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"x is a file: the dataset needs a folder of its own$"):
        release(study, tmp_path / "x")
    with pytest.raises(UserError, match=r"x/y cannot be made: Not a directory$"):
        release(study, tmp_path / "x" / "y")


def test_without_records_nothing_is_written(study, tmp_path):
    with pytest.raises(MissingRecords, match=r"make them with: tinynet sweep smoke --store"):
        release(without(study, tmp_path / "store", trainings=0), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_stale_records_are_refused(study, tmp_path, monkeypatch):
    monkeypatch.setattr("tinynet_core.training.loop.TRAINING_VERSION", 99)
    with pytest.raises(UserError, match=r"^\d+ records in .* are stale, such as [0-9a-f]{12}: training version was"):
        release(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()
