import pytest
import yaml

from tinynet_book import open_notebook
from tinynet_core import Base, MissingRecords, Preset, Study, UserError, load_preset
from tinynet_core.data import ImageNetDataset
from tinynet_core.networks import base_of
from tinynet_core.study.pages import check_sources, plan
from tinynet_core.study.presets import PRESETS, PresetError, preset_names
from tinynet_core.study.record import failed


def write(tmp_path, change):
    content = yaml.safe_load((PRESETS / "smoke.yaml").read_text(encoding="utf-8"))
    change(content)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_names_itself(name):
    preset = load_preset(name)
    assert preset.name == name
    if preset.random_sample:
        assert len(preset.random_experiments()) == preset.random_sample.models
    if preset.equal_cost_sample:
        for c in preset.equal_cost_sample.c:
            assert len(preset.equal_cost_experiments(c)) == preset.equal_cost_sample.models
    assert [e.network for e in preset.named_experiments()] == list(preset.networks) * preset.compared_seeds


def test_the_second_world_is_the_same_networks_on_other_data():
    preset = load_preset("creatures")
    here, there = preset.random_experiments(), preset.elsewhere.random_experiments()
    assert len(there) == preset.second_world.models
    for ours, theirs in zip(here, there, strict=False):
        changed = ours.dataset.model_copy(update={"seed": preset.second_world.seed})
        assert theirs == ours.model_copy(update={"dataset": changed}) != ours


def test_a_key_that_is_given_twice_is_refused_by_its_line(tmp_path):
    path = tmp_path / "mine.yaml"
    text = (PRESETS / "smoke.yaml").read_text(encoding="utf-8")
    path.write_text(text + "base: {resolution: 32, width: 0.2}\n", encoding="utf-8")
    last = len(text.splitlines()) + 1
    with pytest.raises(PresetError, match=rf"mine.yaml: .*the key base is given twice.* line {last},") as caught:
        load_preset(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(sede=1), r"mine.yaml: unknown key 'sede'"),
        (lambda c: c["recipe"].update(epoch=1), r"unknown key 'recipe.epoch'"),
        (lambda c: c["recipe"].update(epochs=0), r"recipe.epochs: Input should be greater than or equal to 1, got 0"),
        (lambda c: c["dataset"].update(classes=101), r"dataset.classes: .*100, got 101"),
        (lambda c: c.pop("dataset"), r"dataset: Field required"),
        (lambda c: c["equal_cost_sample"].update(c=[0.5, 2]), r"equal_cost_sample.c.1: .*or equal to 1, got 2"),
        (lambda c: c.update(side_seeds=2), "side_seeds 2 must be at most compared_seeds 1"),
        (lambda c: c.update(longer={"times": 2, "c": 0.3}), r"longer.c 0.3 must be one of budgets, \[0.5, 0.25, 0.1"),
        (lambda c: c.update(second_world={"seed": 0, "models": 5}), "must differ from dataset.seed, got 0 twice"),
        (lambda c: c.update(second_world={"seed": 1, "models": 13}), "second_world.models must be at most .*, got 13"),
        (lambda c: c.update(name="../x"), r"name: .*, got '../x'"),
        (lambda c: c["random_sample"].update(low=2.0, high=1.0), r"low 2 must be below random_sample.high 1"),
        (lambda c: c["random_sample"].update(frontier=0.25), r"frontier 0.25 keeps fewer than 4 of 12 models"),
        (lambda c: c["recipe"].update(batch_size=4000), r"batch_size 4000 is above the 1500 training images"),
        (lambda c: c.update(budgets=[0.3]), r"budgets must hold one of \[0.5, 0.25, 0.125, 0.0625\], got \[0.3\]"),
        (lambda c: c["closeup"]["recipe"].update(batch_size=5000), r"closeup: recipe.batch_size 5000 is above the 12"),
        (lambda c: c.update(sampled_on="smoke"), r"give either sampled_on or random_sample"),
    ],
)
def test_wrong_keys_are_named(tmp_path, change, message):
    with pytest.raises(PresetError, match=message) as caught:
        load_preset(write(tmp_path, change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smok", "unknown preset 'smok', known: creatures, imagenet100, imagenet1k, imagenette, reduced, smoke"),
        ("nowhere.yaml", "nowhere.yaml: cannot be read"),
        ("../smoke", "unknown preset"),
        ("- a\n- b\n", r"x\.yaml: must be a mapping"),
        ("!!python/object/apply:os.system [ls]\n", r"x\.yaml: cannot be read"),
    ],
)
def test_unknown_presets_and_files_that_are_none(tmp_path, name, message):
    if "\n" in name:
        (tmp_path / "x.yaml").write_text(name, encoding="utf-8")
        name = str(tmp_path / "x.yaml")
    with pytest.raises(PresetError, match=message):
        load_preset(name)


def test_missing_records_are_listed_with_the_command_that_makes_them(tmp_path):
    study = Study("smoke", tmp_path, train=False)
    with pytest.raises(MissingRecords) as caught:
        study.random_sample()
    lines = str(caught.value).splitlines()
    assert lines[0] == f"12 of 12 records are not in {tmp_path} and train is false:"
    assert len(lines) == 14
    assert lines[-1] == f"make them with: tinynet sweep smoke --store {tmp_path}"
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("bad", [{"train": "no"}, {"train": 0}, {"store": 5}, {"preset": None}])
def test_parameters_of_a_wrong_type(tmp_path, bad):
    with pytest.raises(UserError, match="preset and store must be text and train True or False, got"):
        open_notebook({"preset": "smoke", "store": str(tmp_path), "train": True, **bad})


def test_samples_may_be_those_of_another_preset(tmp_path):
    content = yaml.safe_load((PRESETS / "smoke.yaml").read_text(encoding="utf-8"))
    (tmp_path / "hundred.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    thousand = {k: v for k, v in content.items() if k not in ("random_sample", "equal_cost_sample")}
    thousand |= {"name": "thousand", "sampled_on": "hundred.yaml"}
    (tmp_path / "thousand.yaml").write_text(yaml.safe_dump(thousand), encoding="utf-8")
    study = Study(str(tmp_path / "thousand.yaml"), tmp_path / "store")
    assert study.sampled.preset == load_preset("smoke")
    assert study.sampled.store.root == study.store.root
    assert study.sampled.sampled.preset == study.sampled.preset
    thousand["sampled_on"] = "thousand.yaml"
    (tmp_path / "itself.yaml").write_text(yaml.safe_dump(thousand), encoding="utf-8")
    with pytest.raises(PresetError, match=r"sampled_on: preset thousand has no random_sample"):
        load_preset(str(tmp_path / "itself.yaml"))


def test_other_families_are_scaled_as_the_baseline_is():
    preset = load_preset("reduced")
    assert preset.base_for("efficientnet_b0") == preset.base
    assert preset.base_for("ghostnet_a") == Base(60, 1.75 * 0.25, 2)
    assert preset.base_for("ghostnet_050") == Base(56, 0.125, 2)
    assert preset.base_for("mobilenetv2_100") is None
    paper = load_preset("imagenet100")
    for name in ("efficientnet_b0", "tinynet_c", "ghostnet_a", "ghostnet_150", "resnet50"):
        assert paper.base_for(name) == base_of(name)


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
