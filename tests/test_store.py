import errno
import hashlib
import itertools
import json
import os
import pickle
import random
import resource
import signal
import time
import traceback
import warnings

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from small import experiment

from tinynet_core import Experiment, Record, Store, StoreError, run, sweep
from tinynet_core.cli import tinynet
from tinynet_core.study.classify import METRICS
from tinynet_core.study.record import COLUMNS, to_frame
from tinynet_core.study.store import seal, unseal


def make_record(experiment, **change):
    """A record as training gives one, with numbers that follow from the experiment's seed."""
    rng = np.random.default_rng(experiment.seed)
    curve = [{"epoch": epoch, "train_loss": rng.exponential(), "ema_top1": rng.random()} for epoch in (1, 2, 3, 4)]
    content = {
        "status": "done",
        "metrics": dict(zip(METRICS, rng.random(len(METRICS)).tolist(), strict=True)),
        "curve": curve,
        "cost": {"resolution": 26, "macs": 123_456 + experiment.seed, "params": 7890, "activations": 4321},
        "wall_s": round(rng.exponential(), 3),
        "provenance": {"commit": "c" * 40, "clean": True, "device": "cpu (x86_64)", "training_version": 2},
    }
    return Record(experiment=experiment, **{**content, **change})


@pytest.fixture(scope="module")
def records():
    return [make_record(experiment(seed)) for seed in range(5)]


@pytest.fixture
def filled(records, tmp_path):
    """A store of five records, in the order of their seeds."""
    store = Store(tmp_path / "store")
    for record in records:
        store.put(record)
    return store


def file_of(store):
    return store.root / "records.jsonl"


def lines_of(store):
    return file_of(store).read_bytes().splitlines(keepends=True)


def aside_of(store):
    return (store.root / "records.damaged.jsonl").read_bytes()


def assert_sound(store, records):
    """A store opened anew holds ``records``, each once, and nothing warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh = Store(store.root)
        assert fresh.records() == sorted(records, key=lambda record: record.key)
    assert sorted(unseal(line)[0] for line in lines_of(store)) == sorted(record.key for record in records)


def no_space(_descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")


def command(*arguments):
    return CliRunner().invoke(tinynet, ["store", *map(str, arguments)])


def test_records_come_back_as_they_were_put_and_the_first_stays(filled, records):
    before = file_of(filled).read_bytes()
    for store in (filled, Store(filled.root), pickle.loads(pickle.dumps(filled))):
        store.put(records[2].model_copy(update={"wall_s": 99.0}))
        assert [store.get(record.experiment) for record in records] == records
    assert file_of(filled).read_bytes() == before
    assert_sound(filled, records)
    a, b, c = experiment(77), records[1].experiment, experiment(78)
    assert filled.missing([c, b, a, c]) == [c, a]


def test_the_file_is_checked_json_lines(filled, records):
    """The checksum is over the bytes between its own comma and the newline, whatever writes them."""
    for line, record in zip(file_of(filled).read_text("ascii").splitlines(), records, strict=True):
        first, rest = line.split(",", 1)
        content = json.loads(line)
        assert first == f'{{"sha256":"{hashlib.sha256(rest.encode()).hexdigest()}"'
        assert content.pop("sha256")
        assert content.pop("key") == record.key
        assert Record.model_validate(content) == record


def test_numbers_keep_every_bit_and_text_its_line(tmp_path):
    rng = np.random.default_rng(0)
    hard = [5e-324, 1.7976931348623157e308, -0.0, 0.1 + 0.2, 1e16, 123456789012345680.0, 2**-1074 * 3]
    values = hard + [float(x) for x in rng.integers(0, 2**64, 3000, np.uint64).view(float) if np.isfinite(x)]
    reason = 'two\nlines, "quoted", \r\u2028 \x00 \N{GRINNING FACE}'
    record = make_record(experiment(), metrics={f"m{i}": x for i, x in enumerate(values)}, reason=reason)
    Store(tmp_path).put(record)
    read, row = Store(tmp_path).get(record.experiment), Store(tmp_path).frame().iloc[0]
    for i, x in enumerate(values):
        assert np.float64(x).tobytes() == np.float64(read.metrics[f"m{i}"]).tobytes() == row[f"m{i}"].tobytes()
    assert read.reason == reason
    assert len(lines_of(Store(tmp_path))) == 1
    with pytest.raises(ValueError, match="JSON"):
        Store(tmp_path).put(make_record(experiment(1), metrics={"top1": float("nan")}))


def test_a_table_has_a_row_for_every_record(filled, records, tmp_path):
    assert list(Store(tmp_path / "none").frame()) == list(COLUMNS)
    assert not (tmp_path / "none").exists()
    frame = filled.frame()
    assert list(frame) == list(COLUMNS)
    pd.testing.assert_frame_equal(frame, to_frame(filled.records()))
    wanted = [records[3].experiment, experiment(77), records[0].experiment, records[3].experiment]
    assert filled.frame(wanted).seed.tolist() == [3, 0, 3]
    row = filled.frame([records[3].experiment]).iloc[0]
    assert (row.network, row.r, row.d, row.w, row.precision) == ("efficientnet_b0", 0.12, 0.5, 0.2, "fp32")
    assert (row.macs, row.top1, row.wall_s) == (123_459, records[3].metrics["top1"], records[3].wall_s)
    assert (row.commit, row["clean"], row.training_version) == ("c" * 40, True, 2)
    content = experiment().model_dump() | {"network": "tinynet_a", "scale": None, "base": None}
    named = make_record(Experiment.model_validate(content))
    filled.put(named)
    assert filled.frame([named.experiment]).loc[0, ["r", "d", "w"]].tolist() == [0.86, 1.2, 1.0]


# Damage


def damaged(records, lines):
    """The second line damaged in every way that is told apart, with the reason."""
    line, key = lines[1], records[1].key.encode()
    checksum, strange = "its checksum does not match its content", "it is not a line of a store"
    content = json.loads(records[1].to_json())
    formats = [
        ({"format": 3}, "format: Input should be 2"),
        ({"mood": "good"}, "mood: Extra inputs are not permitted"),
        ({"experiment": {"network": "x"}}, "experiment: Unable to extract tag using discriminator 'kind'"),
    ]
    return [
        (b"\n", strange),
        (line.replace(b'"params":7890', b'"params":7891'), checksum),
        (line.replace(key, records[4].key.encode()), checksum),
        (line.replace(b"\n", b"\r\n"), checksum),
        (seal(records[4].key, unseal(line)[1]), f"its key {records[4].key[:12]} is not the key of its experiment"),
        *[(seal(records[1].key, json.dumps({**content, **change}).encode()), why) for change, why in formats],
    ]


@pytest.mark.parametrize("number", range(8))
def test_a_damaged_line_is_ignored_with_one_warning_and_nothing_else_is_lost(filled, records, number):
    """Nothing is moved on reading; the record can be put anew, and ``repair`` moves the line aside."""
    lines = lines_of(filled)
    bad, reason = damaged(records, lines)[number]
    file_of(filled).write_bytes(b"".join([lines[0], bad, *lines[2:]]))
    before = file_of(filled).read_bytes()
    store = Store(filled.root)
    with pytest.warns(UserWarning, match=f"line 2 of {file_of(store)} is ignored: {reason}") as caught:
        left = [store.get(record.experiment) for record in records]
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.missing([record.experiment for record in records]) == [records[1].experiment]
        assert len(store.frame()) == len(store.records()) == 4
    assert left == [records[0], None, *records[2:]]
    assert file_of(filled).read_bytes() == before
    store.put(records[1])
    assert command("repair", store.root).output == "1 lines moved to records.damaged.jsonl\n"
    assert aside_of(store) == bad
    assert_sound(store, records)


def test_one_damaged_byte_costs_one_record(filled, records):
    """Whichever byte of a line is hit, the other records are as they were."""
    intact, lines = file_of(filled).read_bytes(), lines_of(filled)
    start, length = len(lines[0]) + len(lines[1]), len(lines[2])
    rng = random.Random(0)
    for place in [*range(13), *range(70, 90), *range(145, 155), *rng.sample(range(length - 1), 40), length - 2]:
        hit = bytearray(intact)
        hit[start + place] ^= 0x01 << rng.randrange(5)
        file_of(filled).write_bytes(hit)
        with pytest.warns(UserWarning, match=r"line 3 of .*records.jsonl is ignored"):
            assert Store(filled.root).missing([r.experiment for r in records]) == [records[2].experiment]


def test_of_two_lines_with_one_key_the_first_that_can_be_used_counts(filled, records):
    """As when two branches that both trained an experiment are merged."""
    second = seal(records[2].key, records[2].model_copy(update={"wall_s": 99.0}).to_json().encode())
    with file_of(filled).open("ab") as file:
        file.write(second)
    assert Store(filled.root).get(records[2].experiment) == filled.get(records[2].experiment) == records[2]
    assert len(filled.frame()) == len(filled.records()) == 5
    for gone in (b"gone\n", seal(records[2].key, b'{"format":3}')):
        file_of(filled).write_bytes(b"".join([*lines_of(filled)[:2], gone, *lines_of(filled)[3:]]))
        with pytest.warns(UserWarning, match="is ignored"):
            assert Store(filled.root).get(records[2].experiment).wall_s == 99.0


@pytest.mark.parametrize("left", [1, 100, -2, -1])
def test_a_torn_tail_is_ignored_and_cut_by_the_next_append(filled, records, left):
    """One that lacks nothing but its newline is a record."""
    whole, tail = b"".join(lines_of(filled)[:-1]), lines_of(filled)[-1][:left]
    file_of(filled).write_bytes(whole + tail)
    store, added = Store(filled.root), make_record(experiment(5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if left == -1:
            assert store.get(records[4].experiment) == records[4]
            store.put(added)
            assert_sound(store, [*records, added])
            return
        assert store.missing([r.experiment for r in records]) == [records[4].experiment]
    with pytest.warns(UserWarning, match=f"records.jsonl ended in {len(tail)} bytes of an unfinished line"):
        store.put(records[4])
    assert_sound(store, records)


def test_records_are_set_aside_by_key_and_a_torn_tail_by_a_repair(filled, records):
    assert filled.repair() == 0
    filled.set_aside([records[1].key, records[3].key, "0" * 64])
    assert filled.missing([r.experiment for r in records]) == [records[1].experiment, records[3].experiment]
    assert [unseal(x)[0] for x in aside_of(filled).splitlines(keepends=True)] == [records[1].key, records[3].key]
    with file_of(filled).open("ab") as file:
        file.write(b"torn")
    assert filled.repair() == 1
    assert aside_of(filled).endswith(b"\ntorn\n")
    assert_sound(filled, [records[0], records[2], records[4]])


@pytest.mark.parametrize("how", ["a line less", "another store"])
def test_a_file_changed_under_an_open_store_is_read_anew(filled, records, how):
    assert len(filled.frame()) == 5
    other, added = make_record(experiment(50)), make_record(experiment(6))
    kept = records[1:] if how == "a line less" else [other]
    file_of(filled).write_bytes(b"".join(seal(record.key, record.to_json().encode()) for record in kept))
    assert filled.missing([r.experiment for r in records]) == [r.experiment for r in records if r not in kept]
    assert [filled.get(r.experiment) for r in kept] == kept
    filled.put(added)
    assert_sound(filled, [*kept, added])


# Several processes, kills and disks


def in_child(work):
    """Process id of a forked child that runs ``work``, and the end of the pipe that it reports to."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            work(lambda text: os.write(write, text.encode() + b"\n"))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    return child, os.fdopen(read, "r", encoding="utf-8")


def ended(child):
    """Exit status of a child of ``in_child``, and what it reported."""
    number, reports = child
    with reports:
        said = reports.read()
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), said


def test_writers_at_once_lose_and_double_nothing(tmp_path):
    records = [make_record(experiment(seed)) for seed in range(100)]
    shares = [records[:40], records[39::-1], records[20:60], records[60:]]
    ready, go = os.pipe()

    def put_share(share):
        os.close(go)
        os.read(ready, 1)  # ends when the parent closes its end
        store = Store(tmp_path)
        for record in share:
            store.put(record)

    children = [in_child(lambda report, share=share: put_share(share)) for share in shares]
    os.close(go)
    assert [ended(child) for child in children] == [(0, "")] * 4
    os.close(ready)
    assert_sound(Store(tmp_path), records)


def test_a_killed_writer_loses_nothing_that_was_put(tmp_path):
    rng, returned = random.Random(1), set()

    def put_on_and_on(report, first):
        warnings.simplefilter("ignore")
        store = Store(tmp_path)
        for seed in itertools.count(first):
            store.put(make_record(experiment(seed)))
            report(str(seed))

    for number in range(20):
        child, reports = in_child(lambda report, first=1000 * number: put_on_and_on(report, first))
        first = reports.readline() if number % 2 == 0 else ""  # a kill that comes while it is still opening the store
        time.sleep(rng.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        status, said = ended((child, reports))
        assert status == -signal.SIGKILL
        returned |= {int(line) for line in (first + said).splitlines(keepends=True) if line.endswith("\n")}
        assert returned <= set(Store(tmp_path).frame().seed)
    assert len(returned) >= 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Store(tmp_path).put(make_record(experiment(10**6)))
    seeds = {record.experiment.seed for record in Store(tmp_path).records()}
    assert returned < seeds
    assert_sound(Store(tmp_path), [make_record(experiment(seed)) for seed in seeds])


@pytest.mark.parametrize("step", range(1, 5))
def test_a_kill_between_any_two_writes_of_a_repair_loses_nothing(filled, records, step, monkeypatch):
    """A repair syncs four times: the lines set aside, their folder, the new file, its folder."""
    lines = lines_of(filled)
    file_of(filled).write_bytes(b"".join([b"damaged\n", *lines[1:]]) + b"torn")
    really, synced = os.fsync, []

    def sync_or_die(descriptor):
        synced.append(really(descriptor))
        if len(synced) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def repair(_):
        monkeypatch.setattr("os.fsync", sync_or_die)
        filled.repair()

    assert ended(in_child(repair))[0] == -signal.SIGKILL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert Store(filled.root).missing([r.experiment for r in records[1:]]) == []
        filled.repair()
        filled.put(records[0])
    assert_sound(filled, records)
    assert {b"damaged\n", b"torn\n"} <= set(aside_of(filled).splitlines(keepends=True))


def test_a_full_disk_leaves_the_store_as_it_was(filled, records, monkeypatch):
    """A limit on the size of a file cuts the write half-way; a sync that fails takes a whole line back."""
    before, added = file_of(filled).read_bytes(), make_record(experiment(5))

    def put_beyond_the_limit(report):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 700,) * 2)
        try:
            filled.put(added)
        except StoreError as error:
            report(str(error))

    message = f"store {filled.root} cannot be written: File too large\n"
    assert ended(in_child(put_beyond_the_limit)) == (0, message)
    assert file_of(filled).read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", no_space)
        with pytest.raises(StoreError, match=rf"store {filled.root} cannot be written: No space left on device"):
            filled.put(added)
    assert file_of(filled).read_bytes() == before
    filled.put(added)
    assert_sound(filled, [*records, added])


def test_a_store_that_cannot_be_written_says_so_before_any_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setattr("tinynet_core.study.sweep.execute", None)
    root = tmp_path / "file" / "store"
    for train in (run, lambda one, store: sweep([one], store, progress=False)):
        with pytest.raises(StoreError, match=f"store {root} cannot be written"):
            train(experiment(), Store(root))


# The commands


def test_an_exported_table_is_the_table_and_a_list_has_its_rows(filled, tmp_path):
    frame = filled.frame()
    for name in ("table.csv", "table.parquet"):
        done = command("export", filled.root, tmp_path / name)
        assert (done.exit_code, done.output) == (0, f"5 records written to {tmp_path / name}\n")
    for table in (
        pd.read_parquet(tmp_path / "table.parquet"),
        pd.read_csv(tmp_path / "table.csv", float_precision="round_trip"),
    ):
        pd.testing.assert_frame_equal(table, frame, check_dtype=False, check_exact=True)

    heading, *rows = command("list", filled.root).output.splitlines()
    assert heading.split()[:7] == ["key", "network", "r", "d", "w", "seed", "status"]
    assert [row.split()[0] for row in rows] == frame.key.str[:12].tolist()


@pytest.mark.parametrize("name", ["check", "list", "export"])
def test_a_folder_that_is_no_store_is_refused(tmp_path, name):
    done = command(name, tmp_path, *([tmp_path / "table.csv"] if name == "export" else []))
    assert str(done.exception) == f"{tmp_path} is no store: it has no records.jsonl"
    assert list(tmp_path.iterdir()) == []


def test_check_names_what_is_damaged_and_changes_nothing(filled, records):
    lines = lines_of(filled)
    lines[1] = lines[1].replace(b'"params":7890', b'"params":7891')
    lines[3] = seal("f" * 64, unseal(lines[3])[1])
    file_of(filled).write_bytes(b"".join(lines) + b"torn")
    before = {p.name: p.read_bytes() for p in filled.root.iterdir()}
    done = command("check", filled.root)
    assert done.exit_code == 1
    for part in (
        "3 done, 0 failed, 2 lines damaged",
        f"line 2 of {file_of(filled)} is ignored: its checksum does not match its content",
        f"its key {'f' * 12} is not the key of its experiment, {records[3].key[:12]}",
        f"tinynet store repair {filled.root}",
    ):
        assert part in done.output
    assert {p.name: p.read_bytes() for p in filled.root.iterdir()} == before
