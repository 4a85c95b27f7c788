import re

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from fake_study import without

from tinynet_book.dataset.card import FIELDS, data_card
from tinynet_book.dataset.files import release
from tinynet_core import MissingRecords, UserError
from tinynet_core.cli import tinynet
from tinynet_core.files import write_text
from tinynet_core.study.presets import project_root


@pytest.fixture(autouse=True, scope="module")
def _made_up_images():
    """The hashes in made-up records are those of no images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinynet_core.study.record.probe_hash", lambda dataset: dataset.key)
        yield


FILES = [*(f"{name}{suffix}" for name in ("epochs", "models", "runs") for suffix in (".csv", ".parquet"))]


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


def test_the_files(released):
    assert sorted(p.name for p in released[0].iterdir()) == sorted([*FILES, "README.md"])


@pytest.mark.parametrize("name", FIELDS)
def test_csv_and_parquet_hold_the_same(released, name):
    folder, tables = released
    table = pd.read_parquet(folder / f"{name}.parquet")
    text = {"key": str, "model": str, "reason": str, "commit": str}
    csv = pd.read_csv(
        folder / f"{name}.csv", float_precision="round_trip", dtype={k: text[k] for k in text if k in table}
    )
    assert list(table) == list(csv) == list(FIELDS[name])
    pd.testing.assert_frame_equal(
        table.astype(object).where(table.notna(), None), csv.astype(object).where(csv.notna(), None)
    )
    assert len(table) == len(getattr(tables, name))


def test_every_column_is_described_and_nothing_else(released, card):
    for name, fields in FIELDS.items():
        assert set(fields) == set(getattr(released[1], name))
        for column, field in fields.items():
            assert f"| `{column}` | {field.unit} |" in card
            assert field.meaning


def test_the_numbers_of_the_card(study, released, card):
    runs, models = (pd.read_csv(released[0] / f"{name}.csv") for name in ("runs", "models"))
    failed = (runs.status == "failed").sum()
    assert failed == 1
    assert f"| {len(runs)} | a training: {len(runs) - 1} finished, 1 failed |" in card
    assert f"| {len(models)} | a network on a data set" in card
    assert f"took {runs.wall_s.sum() / 3600:.2f} hours" in card
    assert f"{models.latency_ms.notna().sum()} of {len(models)} models have a time" in card
    assert f"{(models.seeds == 1).sum()} of {len(models)} models have one finished training" in card
    assert f"| random sample | {study.preset.random_sample.models} |" in card
    assert f"up to {98 / 500**0.5:.1f} points" in card
    assert f"training version: 2 ({len(runs)} runs)" in card
    assert f"`{study.preset.dataset.key}` |" in card
    assert re.search(r"like `recipe-\w{8}`, but jitter 0.0, rand_augment 9.0", card)


def test_the_card_says_what_it_is_not(card):
    text = " ".join(card.split())
    assert "Every accuracy is that of a proxy task" in text
    assert "There is no ImageNet number in it" in text
    assert "drawn with the DejaVu fonts that matplotlib ships" in text
    assert "released under Apache-2.0" in text
    assert "$" not in text
    paper = yaml.safe_load((project_root() / "CITATION.cff").read_text(encoding="utf-8"))["references"][0]
    assert f"title     = {{{paper['title']}}}" in card


def test_the_front_matter_names_the_files(released, card):
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "apache-2.0"
    assert front["size_categories"] == ["n<1K"]
    assert [c["data_files"] for c in front["configs"]] == ["models.parquet", "runs.parquet", "epochs.parquet"]
    assert all((released[0] / c["data_files"]).is_file() for c in front["configs"])


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
    for name in [*FILES, "README.md"]:
        if name.endswith(".parquet"):
            pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / name), pd.read_parquet(released[0] / name))
        else:
            assert (tmp_path / name).read_bytes() == (released[0] / name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*FILES, "README.md", "mine.txt"])


def test_another_worth_gives_another_card(study, released):
    proxy = data_card(released[1], study.preset)
    trained = data_card(released[1], study.preset.model_copy(update={"dataset": _photographs()}))
    assert "ImageNet's terms apply" in trained
    assert "ImageNet's terms apply" not in proxy


def _photographs():
    from tinynet_core import ImageNetDataset

    return ImageNetDataset(classes=100)


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


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "README.md"
    file.write_text("old", encoding="utf-8")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match=r"README\.md cannot be written: No space left on device"):
        write_text("new", file)
    assert [p.read_text(encoding="utf-8") for p in tmp_path.iterdir()] == ["old"]
