"""The records that the checkout comes with: whole, from clean trees, and made by the training of now."""

import json
import re
import warnings

import numpy as np
import pytest
from scipy.special import logit

from tinynet_book.analysis.spread import study_spread
from tinynet_core import MissingRecords, Store, Study
from tinynet_core.study.pages import behind, repeated, series
from tinynet_core.study.pages import stale as stale_of
from tinynet_core.study.presets import preset_names, project_root
from tinynet_core.training.loop import TRAINING_VERSION

STORES = sorted((project_root() / "results").glob("*/records.jsonl"))


def test_each_store_is_of_a_preset_and_sound_and_made_from_a_clean_commit_by_the_present_training():
    """``study`` is what the plan's study has so far, before it is published.

    The calibration does not say that its tree was clean: its own file, which is tracked, counted as a change then.
    """
    assert {path.parent.name for path in STORES} <= {*preset_names(), "calibration", "study"}
    for path in STORES:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            records = Store(path.parent).records()
        assert len(records) == len(path.read_bytes().splitlines())
        for record in records:
            assert re.fullmatch(r"[0-9a-f]{40}", record.provenance["commit"])
            assert record.provenance["clean"] is True or path.parent.name == "calibration"
            assert record.provenance["training_version"] == TRAINING_VERSION
            assert record.done or record.reason


def test_the_spread_between_seeds_is_that_of_the_records(tmp_path):
    """Counted from the file; and where the giant formula's networks alone are trained, it is theirs."""
    study = Study("reduced", train=False)
    lines = (study.store.root / "records.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    runs = {run["key"]: run for run in map(json.loads, lines)}
    networks = {tuple(e.key for e in experiments) for experiments in repeated(study).values()}
    odds = [logit([runs[key]["metrics"]["top1"] for key in keys]) for keys in networks]
    freedom = sum(len(x) - 1 for x in odds)
    found = study_spread(study)
    assert found.sd == pytest.approx(np.sqrt(sum(x.var() * len(x) for x in odds) / freedom))
    assert (found.networks, found.freedom) == (len(odds), freedom)
    giants = {e.key for e in series(study, "fig1").all()}
    kept = [line for key, line in zip(runs, lines, strict=True) if key in giants]
    (tmp_path / "records.jsonl").write_text("".join(kept), encoding="utf-8")
    alone = study_spread(Study("reduced", tmp_path, train=False))
    assert (alone.networks, alone.runs) == (5, len(giants))


def test_a_missing_record_ends_nothing_and_is_named(tmp_path):
    """What rests on the record is not known; the rest of the published study is read as before."""
    study = Study("reduced", train=False)
    gone = study.preset.random_experiments()[7]
    lines = (study.store.root / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(b"".join(x for x in lines if json.loads(x)["key"] != gone.key))
    lacking = Study("reduced", tmp_path, train=False)
    assert stale_of(lacking) == []
    assert len(behind(lacking, "table3")) == len(behind(study, "table3"))
    with pytest.raises(MissingRecords, match=f"{re.escape(gone.label)}: {gone.key[:12]}"):
        lacking.sample()
    assert lacking.command == f"tinynet sweep reduced --store {tmp_path}"
    assert study.command == "tinynet sweep reduced"
    assert Study("smoke").store.root == project_root() / "runs" / "smoke"  # nothing of it is published
