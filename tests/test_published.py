"""The records that the checkout comes with: whole, from clean trees, and made by the training of now."""

import json
import re
import warnings

import numpy as np
import pytest

from tinynet_book.analysis.spread import study_spread
from tinynet_core import MissingRecords, Store, Study
from tinynet_core.study.pages import behind, repeated, series
from tinynet_core.study.pages import stale as stale_of
from tinynet_core.study.presets import preset_names, project_root
from tinynet_core.training.loop import TRAINING_VERSION

STORES = sorted((project_root() / "results").glob("*/records.jsonl"))


def test_each_store_is_of_a_preset_and_sound():
    """``study`` is what the plan's study has so far, before it is published."""
    assert {path.parent.name for path in STORES} <= {*preset_names(), "calibration", "study"}
    for path in STORES:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(Store(path.parent).records()) == len(path.read_bytes().splitlines())


def test_published_records_come_from_clean_trees():
    """Those of the calibration do not say so: their own file, which is tracked, counted as a change then."""
    for path in (path for path in STORES if path.parent.name != "calibration"):
        assert all(record.provenance["clean"] is True for record in Store(path.parent).records())


def test_the_records_come_from_commits_and_the_present_training():
    for record in (record for path in STORES for record in Store(path.parent).records()):
        assert re.fullmatch(r"[0-9a-f]{40}", record.provenance["commit"])
        assert record.provenance["training_version"] == TRAINING_VERSION
        assert record.done or record.reason


def test_the_spread_between_seeds_is_that_of_the_records(tmp_path):
    """Counted from the file; and where the giant formula's networks alone are trained, it is theirs."""
    study = Study("reduced", train=False)
    runs = [json.loads(line) for line in (study.store.root / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    top1 = {run["key"]: run["metrics"].get("top1") for run in runs}
    networks = {tuple(e.key for e in experiments) for experiments in repeated(study).values()}
    runs_of = (np.array([top1[key] for key in keys]) for keys in networks)
    odds = [np.log(x / (1 - x)) for x in runs_of]
    squares = sum(((x - x.mean()) ** 2).sum() for x in odds)
    freedom = sum(len(x) - 1 for x in odds)
    assert study_spread(study).sd == pytest.approx(np.sqrt(squares / freedom))
    assert (study_spread(study).networks, study_spread(study).freedom) == (len(odds), freedom)
    giants = {e.key for e in series(study, "fig1").all()}
    lines = (study.store.root / "records.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_text(
        "".join(x for x in lines if json.loads(x)["key"] in giants), encoding="utf-8"
    )
    alone = study_spread(Study("reduced", tmp_path, train=False))
    assert (alone.networks, alone.runs) == (5, len(giants))


def test_no_path_of_a_machine_is_in_them():
    for path in STORES:
        assert not re.search(r"/(home|root|work|Users|tmp)/", path.read_text(encoding="utf-8"))


def test_a_missing_record_ends_nothing_and_is_named(tmp_path):
    """What rests on the record is not known; the rest of the published study is read as before."""
    study = Study("reduced", train=False)
    gone = study.preset.random_experiments()[7]
    lines = (study.store.root / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(b"".join(x for x in lines if json.loads(x)["key"] != gone.key))
    lacking = Study("reduced", tmp_path, train=False)
    assert stale_of(lacking) == []
    assert len(behind(lacking, "table3")) == len(behind(study, "table3"))
    with pytest.raises(MissingRecords) as raised:
        lacking.sample()
    assert str(raised.value).splitlines()[0] == f"1 of 100 records are not in {tmp_path} and train is false:"
    assert f"{gone.label}: {gone.key[:12]}" in str(raised.value)
    assert str(raised.value).splitlines()[-1] == f"make them with: tinynet sweep reduced --store {tmp_path}"
    assert lacking.command == f"tinynet sweep reduced --store {tmp_path}"
    assert study.command == "tinynet sweep reduced"
