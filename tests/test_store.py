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

from tinynet_core import Experiment, Record, Store, StoreError, UserError, run, sweep
from tinynet_core.cli import tinynet
from tinynet_core.files import write_table
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


@pytest.fixture
def records(make_experiment):
    return [make_record(make_experiment(seed=seed)) for seed in range(5)]


@pytest.fixture
def filled(records, tmp_path):
    """A store of five records, in the order of their seeds."""
    store = Store(tmp_path / "store")
    for record in records:
        store.put(record)
    return store


def file_of(store):
    return store.root / "records.jsonl"


def aside_of(store):
    return store.root / "records.damaged.jsonl"


def lines_of(store):
    return file_of(store).read_bytes().splitlines(keepends=True)


def assert_sound(store, records):
    """A store opened anew holds ``records``, each once, and nothing warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh = Store(store.root)
        assert fresh.records() == sorted(records, key=lambda record: record.key)
    assert sorted(unseal(line)[0] for line in lines_of(store)) == sorted(record.key for record in records)
    assert fresh.check().sound


def forbid_writing(monkeypatch, code=errno.EROFS):
    """What a read-only file system does, to root too."""
    really = os.open

    def deny(path, flags, *rest, **named):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(code, os.strerror(code), path)
        return really(path, flags, *rest, **named)

    monkeypatch.setattr("os.open", deny)


def command(*arguments):
    return CliRunner().invoke(tinynet, ["store", *map(str, arguments)])


def test_records_come_back_as_they_were_put(filled, records):
    assert filled.records() == sorted(records, key=lambda record: record.key)
    for store in (filled, Store(filled.root), pickle.loads(pickle.dumps(filled))):
        assert [store.get(record.experiment) for record in records] == records
        assert all(record.experiment in store for record in records)


def test_the_file_is_checked_json_lines(filled, records):
    """The checksum is over the bytes between its own comma and the newline, whatever writes them."""
    for line, record in zip(file_of(filled).read_text("ascii").splitlines(), records, strict=True):
        first, rest = line.split(",", 1)
        content = json.loads(line)
        assert first == f'{{"sha256":"{hashlib.sha256(rest.encode()).hexdigest()}"'
        assert content.pop("sha256")
        assert content.pop("key") == record.key
        assert Record.model_validate(content) == record


def test_numbers_keep_every_bit(make_experiment, tmp_path):
    rng = np.random.default_rng(0)
    hard = [5e-324, 1.7976931348623157e308, -0.0, 0.1 + 0.2, 1e16, 123456789012345680.0, 2**-1074 * 3]
    values = hard + [float(x) for x in rng.integers(0, 2**64, 3000, np.uint64).view(float) if np.isfinite(x)]
    record = make_record(make_experiment(), metrics={f"m{i}": x for i, x in enumerate(values)})
    Store(tmp_path).put(record)
    read, row = Store(tmp_path).get(record.experiment), Store(tmp_path).frame().iloc[0]
    for i, x in enumerate(values):
        assert np.float64(x).tobytes() == np.float64(read.metrics[f"m{i}"]).tobytes() == row[f"m{i}"].tobytes()


@pytest.mark.parametrize("x", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_not_put(make_experiment, tmp_path, x):
    with pytest.raises(ValueError, match="JSON"):
        Store(tmp_path).put(make_record(make_experiment(), metrics={"top1": x}))
    assert Store(tmp_path).records() == []


def test_any_text_stays_on_its_line(make_experiment, tmp_path):
    reason = 'two\nlines, "quoted", \r\u2028 \x00 \N{GRINNING FACE}'
    record = make_record(make_experiment(), status="failed", reason=reason, metrics={})
    Store(tmp_path).put(record)
    assert Store(tmp_path).get(record.experiment).reason == reason
    assert len(lines_of(Store(tmp_path))) == 1


def test_the_first_record_stays(filled, records):
    before = file_of(filled).read_bytes()
    for store in (filled, Store(filled.root)):
        store.put(records[2].model_copy(update={"wall_s": 99.0}))
        assert store.get(records[2].experiment) == records[2]
    assert file_of(filled).read_bytes() == before


def test_a_store_without_a_folder_is_empty(make_experiment, tmp_path):
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "none", tmp_path / "empty"):
        store = Store(root)
        assert store.records() == []
        assert store.frame().empty
        assert list(store.frame()) == list(COLUMNS)
        assert store.get(make_experiment()) is None
        assert store.missing([make_experiment()]) == [make_experiment()]
        assert not list(tmp_path.rglob("*.*"))


def test_missing_keeps_order_and_drops_doubles(make_experiment, tmp_path):
    store = Store(tmp_path)
    a, b, c = (make_experiment(seed=s) for s in range(3))
    store.put(make_record(b))
    assert store.missing([c, b, a, c]) == [c, a]
    assert a not in store
    assert b in store


def test_a_table_has_a_row_for_every_record(filled, records, make_experiment):
    frame = filled.frame()
    assert list(frame) == list(COLUMNS)
    pd.testing.assert_frame_equal(frame, to_frame(filled.records()))
    assert frame.key.tolist() == sorted(record.key for record in records)
    wanted = [records[3].experiment, make_experiment(seed=77), records[0].experiment, records[3].experiment]
    assert filled.frame(wanted).seed.tolist() == [3, 0, 3]
    row = filled.frame([records[3].experiment]).iloc[0]
    scale = records[3].experiment.scale
    assert (row.network, row.r, row.d, row.w, row.precision) == ("efficientnet_b0", scale.r, scale.d, scale.w, "fp32")
    assert (row.macs, row.top1, row.wall_s) == (123_459, records[3].metrics["top1"], records[3].wall_s)
    assert (row.commit, row["clean"], row.training_version) == ("c" * 40, True, 2)


@pytest.mark.parametrize(
    ("network", "scale"),
    [("tinynet_a", (0.86, 1.2, 1.0)), ("mobilenetv2_100", (None,) * 3), ("resnet50", (1.0, 1.0, 1.0))],
)
def test_scale_of_a_network_that_takes_none(make_experiment, tmp_path, network, scale):
    content = make_experiment().model_dump() | {"network": network, "scale": None, "base": None}
    content["recipe"] |= {"zero_init_residual": False, "zero_init_classifier": False}
    record = make_record(Experiment.model_validate(content))
    Store(tmp_path).put(record)
    frame = Store(tmp_path).frame()
    assert [None if np.isnan(x) else x for x in frame.loc[0, ["r", "d", "w"]]] == list(scale)
    pd.testing.assert_frame_equal(frame, to_frame([record]))


def test_a_failed_record_has_no_metrics_and_a_reason(filled, make_experiment):
    failed = make_record(make_experiment(seed=9), status="failed", reason="diverged", metrics={}, curve=[])
    filled.put(failed)
    row = filled.frame([failed.experiment]).iloc[0]
    assert (row.status, row.reason) == ("failed", "diverged")
    assert row[list(METRICS)].isna().all()
    assert list(filled.frame()) == list(COLUMNS)


# Damage


def damaged(records, lines):
    """The second line damaged in every way that is told apart, with the reason."""
    line, key = lines[1], records[1].key.encode()
    checksum, strange = "its checksum does not match its content", "it is not a line of a store"
    other = seal(records[4].key, unseal(line)[1])
    content = json.loads(records[1].to_json())
    formats = [
        ({"format": 3}, "format: Input should be 2"),
        ({"mood": "good"}, "mood: Extra inputs are not permitted"),
        ({"cost": None}, "cost: Input should be an object"),
        ({"experiment": {"kind": "training", "network": "tinynet_z"}}, "experiment.dataset: Field required"),
        ({"experiment": {"network": "x"}}, "experiment: Unable to extract tag using discriminator 'kind'"),
    ]
    return [
        (b"record\n", strange),
        (b"\n", strange),
        (b"\0" * len(line) + b"\n", strange),
        (line.replace(line[11:75], b"0" * 64), checksum),
        (line.replace(b'"params":7890', b'"params":7891'), checksum),
        (line.replace(key, records[4].key.encode()), checksum),
        (line.replace(b"\n", b"\r\n"), checksum),
        (other, f"its key {records[4].key[:12]} is not the key of its experiment"),
        *[(seal(records[1].key, json.dumps({**content, **change}).encode()), why) for change, why in formats],
    ]


@pytest.mark.parametrize("number", range(13))
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
    (found,) = store.check().damaged
    assert found.startswith(f"line 2: {reason}")
    store.put(records[1])
    assert store.get(records[1].experiment) == records[1]
    done = CliRunner().invoke(tinynet, ["store", "repair", str(store.root)])
    assert done.output == "1 lines moved to records.damaged.jsonl\n"
    assert aside_of(store).read_bytes() == bad
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
    for store in (filled, Store(filled.root)):
        assert store.get(records[2].experiment) == records[2]
        assert len(store.records()) == len(store.frame()) == 5
        assert store.check().doubled == 1
    for gone in (b"gone\n", seal(records[2].key, b'{"format":3}')):
        file_of(filled).write_bytes(b"".join([*lines_of(filled)[:2], gone, *lines_of(filled)[3:]]))
        with pytest.warns(UserWarning, match="is ignored"):
            assert Store(filled.root).get(records[2].experiment).wall_s == 99.0


@pytest.mark.parametrize("left", [1, 100, -2])
def test_a_torn_tail_is_ignored_and_cut_by_the_next_append(filled, records, left):
    whole = b"".join(lines_of(filled)[:-1])
    tail = lines_of(filled)[-1][:left]
    file_of(filled).write_bytes(whole + tail)
    store = Store(filled.root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.missing([r.experiment for r in records]) == [records[4].experiment]
        assert len(store.frame()) == 4
    assert store.check().tail == len(tail)
    with pytest.warns(UserWarning, match=f"records.jsonl ended in {len(tail)} bytes of an unfinished line"):
        store.put(records[4])
    assert_sound(store, records)


def test_a_whole_last_record_without_its_newline_is_used(filled, records, make_experiment):
    file_of(filled).write_bytes(file_of(filled).read_bytes()[:-1])
    store = Store(filled.root)
    assert store.get(records[4].experiment) == records[4]
    assert store.check().sound
    added = make_record(make_experiment(seed=5))
    store.put(added)
    assert_sound(store, [*records, added])


def test_repair_cuts_a_torn_tail_and_leaves_a_sound_store_alone(filled, records):
    before = file_of(filled).read_bytes()
    assert filled.repair() == 0
    assert file_of(filled).read_bytes() == before
    file_of(filled).write_bytes(before + b"torn")
    assert filled.repair() == 1
    assert aside_of(filled).read_bytes() == b"torn\n"
    assert_sound(filled, records)


def test_records_are_set_aside_by_key(filled, records):
    filled.set_aside([records[1].key, records[3].key, "0" * 64])
    assert filled.missing([r.experiment for r in records]) == [records[1].experiment, records[3].experiment]
    assert [unseal(line)[0] for line in aside_of(filled).read_bytes().splitlines(keepends=True)] == [
        records[1].key,
        records[3].key,
    ]
    assert filled.check().set_aside == 2


@pytest.mark.parametrize("how", ["a line less", "reversed", "emptied", "removed", "another store", "edited"])
def test_a_file_changed_under_an_open_store_is_read_anew(filled, records, make_experiment, how):
    assert len(filled.frame()) == 5
    lines, other = lines_of(filled), make_record(make_experiment(seed=50))
    new, kept = {
        "a line less": (lines[1:], records[1:]),
        "reversed": (lines[::-1], records),
        "emptied": ([], []),
        "removed": ([], []),
        "another store": ([seal(other.key, other.to_json().encode())], [other]),
        "edited": ([lines[0].replace(b'"macs":123456', b'"macs":999999'), *lines[1:]], records[1:]),
    }[how]
    file_of(filled).unlink() if how == "removed" else file_of(filled).write_bytes(b"".join(new))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert filled.missing([r.experiment for r in records]) == [r.experiment for r in records if r not in kept]
        assert [filled.get(r.experiment) for r in kept] == kept
        added = make_record(make_experiment(seed=6))
        filled.put(added)
        Store(filled.root).repair()
    assert_sound(filled, [*kept, added])


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


def test_writers_at_once_lose_and_double_nothing(make_experiment, tmp_path):
    records = [make_record(make_experiment(seed=seed)) for seed in range(100)]
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


def test_a_killed_writer_loses_nothing_that_was_put(make_experiment, tmp_path):
    rng, returned = random.Random(1), set()

    def put_on_and_on(report, first):
        warnings.simplefilter("ignore")
        store = Store(tmp_path)
        for seed in itertools.count(first):
            store.put(make_record(make_experiment(seed=seed)))
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
        Store(tmp_path).put(make_record(make_experiment(seed=10**6)))
    seeds = {record.experiment.seed for record in Store(tmp_path).records()}
    assert returned < seeds
    assert_sound(Store(tmp_path), [make_record(make_experiment(seed=seed)) for seed in seeds])


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
    assert {b"damaged\n", b"torn\n"} <= set(aside_of(filled).read_bytes().splitlines(keepends=True))


def test_a_full_disk_leaves_the_store_as_it_was(filled, records, make_experiment):
    """The limit on the size of a file cuts the write half-way, as a full disk does."""
    before = file_of(filled).read_bytes()
    added = make_record(make_experiment(seed=5))

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
    filled.put(added)
    assert_sound(filled, [*records, added])


def test_a_record_that_does_not_reach_the_disk_is_taken_back(filled, records, make_experiment, monkeypatch):
    before, added = file_of(filled).read_bytes(), make_record(make_experiment(seed=5))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(StoreError, match=rf"store {filled.root} cannot be written: No space left on device"):
            filled.put(added)
    assert file_of(filled).read_bytes() == before
    assert added.experiment not in filled
    filled.put(added)
    assert_sound(filled, [*records, added])


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_store_can_be_read(filled, records, make_experiment, monkeypatch, code):
    forbid_writing(monkeypatch, code)
    store = Store(filled.root)
    assert len(store.frame()) == 5
    assert [store.get(r.experiment) for r in records] == records
    message = rf"store {filled.root} cannot be written: {os.strerror(code)}"
    with pytest.raises(StoreError, match=message):
        store.put(make_record(make_experiment(seed=5)))
    with pytest.raises(StoreError, match=message):
        store.check_writable()
    assert store.check().sound


def test_a_store_that_cannot_be_written_says_so_before_any_training(make_experiment, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setattr("tinynet_core.study.sweep.execute", None)
    for root in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreError, match=f"store {root} cannot be written"):
            run(make_experiment(), Store(root))
        with pytest.raises(StoreError, match=f"store {root} cannot be written"):
            sweep([make_experiment()], Store(root), progress=False)
    assert (tmp_path / "file").read_text(encoding="utf-8") == ""


@pytest.fixture
def varied(filled, make_experiment):
    """Records with all that makes a table awkward: failures, empty columns, commas and line breaks."""
    reason = 'ended with "exit status 1",\nas it does'
    filled.put(make_record(make_experiment(seed=8), status="failed", reason=reason, metrics={}, provenance={}))
    return filled


def test_an_exported_table_is_the_table(varied, tmp_path):
    frame = varied.frame()
    for name in ("table.csv", "table.parquet"):
        done = command("export", varied.root, str(tmp_path / name))
        assert (done.exit_code, done.output) == (0, f"6 records written to {tmp_path / name}\n")
    from_parquet = pd.read_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(from_parquet, frame, check_dtype=False, check_exact=True)
    from_csv = pd.read_csv(tmp_path / "table.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(from_csv, frame, check_dtype=False, check_exact=True)
    assert not list(tmp_path.glob("*.tmp"))


def test_an_export_is_whole_or_not_there(varied, tmp_path, monkeypatch):
    target = tmp_path / "table.parquet"
    target.write_text("before", encoding="utf-8")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(UserError, match=f"export file {target} cannot be written: No space left on device"):
        write_table(varied.frame(), target)
    assert target.read_text(encoding="utf-8") == "before"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["table.parquet"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("table.xlsx", "export file must end in .csv or .parquet, got"),
        ("table", "export file must end in .csv or .parquet, got"),
        ("nowhere/table.csv", "there is no folder"),
        ("folder.csv", "is a folder"),
    ],
)
def test_a_bad_export_file_is_refused_by_name(filled, tmp_path, name, message):
    (tmp_path / "folder.csv").mkdir()
    done = command("export", filled.root, str(tmp_path / name))
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
    assert str(tmp_path / name) in str(done.exception)


@pytest.mark.parametrize("command", ["check", "list", "export"])
def test_a_folder_that_is_no_store_is_refused(tmp_path, command):
    rest = [str(tmp_path / "table.csv")] if command == "export" else []
    for folder in (tmp_path, tmp_path / "none"):
        done = CliRunner().invoke(tinynet, ["store", command, str(folder), *rest])
        assert isinstance(done.exception, UserError)
        assert str(done.exception) == f"{folder} is no store: it has no records.jsonl"
    assert list(tmp_path.iterdir()) == []


def test_check_names_what_is_damaged_and_changes_nothing(varied, records):
    lines = lines_of(varied)
    lines[1] = lines[1].replace(b'"params":7890', b'"params":7891')
    lines[3] = seal(records[0].key, unseal(lines[3])[1])
    file_of(varied).write_bytes(b"".join(lines) + b"torn")
    before = {p.name: p.read_bytes() for p in varied.root.iterdir()}
    done = command("check", varied.root)
    assert done.exit_code == 1
    for part in (
        "4 records in",
        "3 done, 1 failed",
        "2 damaged, 0 set aside before",
        "line 2: its checksum does not match its content",
        f"line 4: its key {records[0].key[:12]} is not the key of its experiment, {records[3].key[:12]}",
        "the last line is unfinished, 4 bytes",
        f"What to do: tinynet store repair {varied.root}",
    ):
        assert part in done.output
    assert {p.name: p.read_bytes() for p in varied.root.iterdir()} == before


def test_list_has_a_line_for_every_record(varied, records):
    done = command("list", varied.root)
    assert done.exit_code == 0
    heading, *rows = done.output.splitlines()
    assert heading.split() == [
        *("key", "network", "r", "d", "w", "seed", "status"),
        *("MACs", "(M)", "top-1", "(%)", "wall", "(s)"),
    ]
    by_key = {row.split()[0]: row.split() for row in rows}
    assert len(by_key) == 6
    first = records[0]
    assert by_key[first.key[:12]][1:] == [
        *("efficientnet_b0", "0.12", "0.5", "0.2", "0", "done"),
        *("0.12", f"{100 * first.metrics['top1']:.2f}", f"{first.wall_s:.1f}"),
    ]
    (failed,) = [row for row in by_key.values() if row[6] == "failed"]
    assert failed[8] == "-"
