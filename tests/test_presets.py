import os
import subprocess
import sys

import pytest
import yaml

from tinynet_book import open_notebook
from tinynet_core import Base, Preset, Study, UserError, load_preset
from tinynet_core.data import ImageNetDataset
from tinynet_core.study.pages import check_sources, plan
from tinynet_core.study.presets import PRESETS, PresetError, preset_names
from tinynet_core.study.record import failed


def write(tmp_path, change):
    content = yaml.safe_load((PRESETS / "smoke.yaml").read_text(encoding="utf-8"))
    change(content)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_names_itself(name):
    preset = load_preset(name)
    assert preset.name == name
    if not preset.sampled_on:
        assert len(preset.random_experiments()) == preset.random_sample.models
    for c in preset.equal_costs:
        assert len(preset.equal_cost_experiments(c)) == preset.equal_cost_sample.models
    further = preset.model_copy(update={"networks": ("resnet18",)}).named_experiments()
    assert [(e.network, e.seed) for e in further] == [("resnet18", seed) for seed in range(preset.compared_seeds)]


def test_the_second_world_is_the_same_networks_on_other_data():
    preset = load_preset("creatures")
    here, there = preset.random_experiments(), preset.elsewhere.random_experiments()
    assert len(there) == preset.second_world.models
    for ours, theirs in zip(here, there, strict=False):
        changed = ours.dataset.model_copy(update={"seed": preset.second_world.seed})
        assert theirs == ours.model_copy(update={"dataset": changed}) != ours


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(sede=1), r"mine.yaml: unknown key 'sede'"),
        (lambda c: c["recipe"].update(epochs=0), r"recipe.epochs: Input should be greater than or equal to 1, got 0"),
        (lambda c: c.update(side_seeds=2), "side_seeds 2 must be at most compared_seeds 1"),
        (lambda c: c.update(longer={"times": 2, "c": 0.3}), r"longer.c 0.3 must be one of budgets, \[0.5, 0.25, 0.1"),
        (lambda c: c.update(second_world={"seed": 0, "models": 5}), "must differ from dataset.seed, got 0 twice"),
        (lambda c: c.update(budgets=[0.3]), r"budgets must hold one of \[0.5, 0.25, 0.125, 0.0625\], got \[0.3\]"),
        (lambda c: c["random_sample"].update(frontier=0.25), r"frontier 0.25 keeps fewer than 4 of 12 models"),
        (lambda c: c["closeup"]["recipe"].update(batch_size=5000), r"closeup: recipe.batch_size 5000 is above the 8"),
        (lambda c: c.update(sampled_on="smoke"), r"give either sampled_on or random_sample"),
    ],
)
def test_wrong_keys_are_named(tmp_path, change, message):
    with pytest.raises(PresetError, match=message) as caught:
        load_preset(write(tmp_path, change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("../smoke", "", r"unknown preset '\.\./smoke', known: creatures, imagenet100, imagenet1k, ima"),
        ("none.yaml", "", "none.yaml: cannot be read"),
        ("x.yaml", "- a\n- b\n", "x.yaml: must be a mapping"),
        ("x.yaml", "!!python/object/apply:os.system [ls]\n", "x.yaml: cannot be read"),
        ("x.yaml", "name: a\nname: b\n", "x.yaml: cannot be read: .*the key name is given twice.* line 2"),
    ],
)
def test_what_is_no_preset(tmp_path, monkeypatch, name, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(PresetError, match=message) as caught:
        load_preset(name)
    assert "\n" not in str(caught.value)


def test_a_preset_that_is_not_ascii_in_a_locale_that_is(tmp_path):
    path = write(tmp_path, lambda c: c.update(about="Prüfung"))
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    read = f"from tinynet_core.study.presets import load_preset; print(ascii(load_preset({path!r}).about))"
    done = subprocess.run([sys.executable, "-c", read], env=os.environ | locale, capture_output=True, encoding="utf-8")
    assert done.stdout == ascii("Prüfung") + "\n", done.stderr


def test_failed_runs_stay_in_the_table_and_out_of_the_frontier(tmp_path):
    study = Study("smoke", tmp_path)
    experiments = study.preset.random_experiments()
    for i, experiment in enumerate(experiments):
        record = failed(experiment, "because")
        if i:
            record = record.model_copy(update={"status": "done", "reason": None, "metrics": {"top1": i / 20}})
        study.store.put(record)
    frame = Study("smoke", tmp_path, train=False).random_sample()
    assert len(frame) == 12
    assert frame.status.tolist()[0] == "failed"
    assert not frame.frontier[0]
    assert frame.frontier.sum() == round(0.5 * 11)


def test_notebook_parameters(tmp_path):
    known = {"preset": "smoke", "store": str(tmp_path), "train": False}
    study = open_notebook({**known, "In": ["", "preset = 'reduced'", "# Parameters\npreset = 'smoke'\n"]})
    assert isinstance(study.preset, Preset)
    assert all(open_notebook({**known, "train": text}).train is False for text in ("false", "FALSE"))
    with pytest.raises(UserError, match="unknown notebook parameter 'prest', known: preset, store, train"):
        open_notebook({**known, "In": ["# Parameters\nprest = 'smoke'\n"]})
    with pytest.raises(UserError, match="preset and store must be text and train True or False, got"):
        open_notebook({**known, "train": "no"})


def test_samples_may_be_those_of_another_preset(tmp_path):
    def on(other):
        def change(content):
            for key in ("random_sample", "equal_cost_sample", "second_world", "longer"):
                del content[key]
            content["sampled_on"] = other

        return write(tmp_path, change)

    with pytest.raises(PresetError, match=r"sampled_on: preset imagenet1k has no random_sample"):
        load_preset(on("imagenet1k"))
    study = Study(on("smoke"), tmp_path / "store")
    assert study.sampled.preset == study.sampled.sampled.preset == load_preset("smoke")
    assert study.sampled.store.root == study.store.root


def test_less_than_the_papers_scale_is_a_proxy():
    whole = load_preset("imagenet1k")
    changes = {"base": Base(112)}, {"recipe": load_preset("smoke").recipe}, {"dataset": ImageNetDataset(classes=99)}
    smaller = [whole.model_copy(update=change) for change in changes]
    for evidence, presets in (
        ("proxy", [load_preset("smoke"), load_preset("reduced"), *smaller]),
        ("trained", [load_preset("imagenet100"), whole]),
    ):
        assert {x for preset in presets for x in (preset.evidence, preset.detection_evidence)} == {evidence}


def test_a_missing_folder_of_a_later_stage_is_said_before_any_training(tmp_path, monkeypatch):
    monkeypatch.delenv("TINYNET_COCO", raising=False)
    coco = yaml.safe_load((PRESETS / "imagenet1k.yaml").read_text(encoding="utf-8"))["detection"]
    study = Study(write(tmp_path, lambda c: c.update(detection=coco)), tmp_path / "store")
    with pytest.raises(UserError, match="TINYNET_COCO is not set"):
        check_sources(study, ["table5"])
    check_sources(study, ["table3"])
    assert not study.store.root.exists()


def test_tasks_that_start_with_weights_get_their_training_first(tmp_path):
    study = Study("smoke", tmp_path)
    first, after = plan(study, ["fig5", "table5", "table4"])
    assert {needed for task in after for needed in task.needs} == set(first)
    assert [task.kind for task in after] == ["maps"] * 2 + ["detection"] * 2 + ["latency"]
