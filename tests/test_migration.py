"""Records whose keys were of multipliers get those of their networks, with nothing else changed."""

import hashlib
import json
import shutil

import pytest
from click.testing import CliRunner

from tinynet_core import Scale, Store, UserError, run
from tinynet_core.data.probe import probe_hash
from tinynet_core.store_commands import store as commands
from tinynet_core.study.journal import seal, unseal
from tinynet_core.study.migration import migrate
from tinynet_core.study.staleness import outdated
from tinynet_core.study.store import StoreError


def old_line(record, **change):
    """The line that a record had before: format 1, under the hash of its whole experiment."""
    content = record.model_dump(mode="json", exclude={"migrated"}) | {"format": 1} | change
    content["provenance"] = {k: v for k, v in content["provenance"].items() if k != "probe_sha256"}
    canonical = json.dumps(content["experiment"], sort_keys=True, separators=(",", ":"))
    key = hashlib.sha256(canonical.encode()).hexdigest()
    return seal(key, json.dumps(content, separators=(",", ":")).encode())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A trained record."""
    from tinynet_core import Experiment, GlyphDataset, Recipe

    data = GlyphDataset(classes=4, resolution=32, train_images=256, val_images=64, difficulty=0.0)
    recipe = Recipe(epochs=1, warmup_epochs=0.5, batch_size=32)
    experiment = Experiment(network="efficientnet_b0", scale=Scale(0.12, 0.5, 0.2), dataset=data, recipe=recipe)
    return run(experiment, Store(tmp_path_factory.mktemp("made")), device="cpu")


def relabelled(record, **scale):
    """The record as another triple asked for it."""
    experiment = record.experiment.model_copy(update={"scale": Scale(**scale)})
    return record.model_copy(update={"experiment": experiment})


def test_a_record_keeps_everything_but_its_key(made, tmp_path):
    (tmp_path / "records.jsonl").write_bytes(line := old_line(made))
    old_key, before = unseal(line)
    assert migrate(tmp_path).moved == 1
    key, after = unseal((tmp_path / "records.jsonl").read_bytes())
    assert key == made.key != old_key
    before, after = json.loads(before), json.loads(after)
    probes = [probe_hash(made.experiment.dataset)]
    assert after.pop("migrated") == {"key": old_key, "probe_sha256": probes, "twins": []}
    assert (tmp_path / "records.format1.jsonl").read_bytes() == line
    assert (before.pop("format"), after.pop("format")) == (1, 2)
    assert json.dumps(after) == json.dumps(before)
    assert outdated(Store(tmp_path).get(made.experiment)) == ""


def test_of_two_triples_of_one_network_one_record_stays(made, tmp_path):
    twin = relabelled(made, r=0.1201, d=0.51, w=0.2001)
    (tmp_path / "records.jsonl").write_bytes(old_line(made) + old_line(twin))
    done = migrate(tmp_path)
    assert (done.moved, len(done.repeated), done.refused) == (1, 1, [])
    (record,) = Store(tmp_path).records()
    (left_out,) = record.migrated["twins"]
    assert left_out["experiment"]["scale"] == {"r": 0.1201, "d": 0.51, "w": 0.2001}
    assert left_out["provenance"].items() <= twin.provenance.items()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cost": {"resolution": 26, "macs": 1, "params": 1, "activations": 1}}, "the network cost"),
        ({"provenance": {"dataset_sha256": "ab" * 32}}, "its images had the hash abababababab, today"),
    ],
)
def test_what_the_code_would_make_otherwise_is_refused_by_name(made, tmp_path, change, reason):
    (tmp_path / "records.jsonl").write_bytes(lines := old_line(made, **change))
    done = CliRunner().invoke(commands, ["migrate", str(tmp_path)])
    assert done.exit_code == 2
    assert f"{unseal(lines)[0][:12]} {made.experiment.label}: {reason}" in done.output
    assert (tmp_path / "records.jsonl").read_bytes() == lines


def test_two_results_of_one_network_are_refused(made, tmp_path):
    twin = relabelled(made, r=0.1201, d=0.51, w=0.2001)
    other = twin.model_copy(update={"metrics": {**made.metrics, "top1": 0.125}})
    (tmp_path / "records.jsonl").write_bytes(lines := old_line(made) + old_line(other))
    assert "has the same network and another result" in migrate(tmp_path).refused[0]
    assert (tmp_path / "records.jsonl").read_bytes() == lines


def test_files_that_cannot_be_migrated_are_named(made, tmp_path):
    with pytest.raises(UserError, match=r"is no store: it has no records\.jsonl"):
        migrate(tmp_path)
    file = tmp_path / "records.jsonl"
    file.write_bytes(old_line(made)[:-9] + b"\n")
    with pytest.raises(UserError, match="line 1: its checksum does not match its content"):
        migrate(tmp_path)
    file.write_bytes(old_line(made) + old_line(made)[:-9])  # as a killed process leaves it
    assert migrate(tmp_path).moved == 1
    file.unlink()
    Store(tmp_path).put(made)
    with pytest.raises(UserError, match="line 1: format 2, only 1 can be migrated"):
        migrate(tmp_path)


def test_a_store_that_was_not_migrated_is_refused_with_the_command(made, tmp_path):
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "records.jsonl").write_bytes(lines := old_line(made))
    store = Store(folder)
    for use in (store.records, lambda: store.missing([made.experiment]), lambda: store.put(made), store.check):
        with pytest.raises(StoreError, match=f"tinynet store migrate '{folder}'"):
            use()
    assert (folder / "records.jsonl").read_bytes() == lines
    shutil.copytree(folder, tmp_path / "copy")
    assert CliRunner().invoke(commands, ["migrate", str(tmp_path / "copy")]).exit_code == 0
    assert Store(tmp_path / "copy").get(made.experiment).metrics == made.metrics
