import hashlib
import itertools
import multiprocessing
import os
import pickle
import random
import resource
import signal
import time
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from fake_study import trained
from small import experiment

from tinynet_core import Experiment, Store, StoreError, run, sweep
from tinynet_core.cli import tinynet

pytestmark = pytest.mark.filterwarnings("error::UserWarning")
FORK = multiprocessing.get_context("fork")


def sealed(key, content):
    """A line of a store: the checksum is over the bytes between its own comma and the newline."""
    rest = f'"key":"{key}",{content[1:]}'.encode()
    return b'{"sha256":"%s",%s\n' % (hashlib.sha256(rest).hexdigest().encode(), rest)


@pytest.fixture(scope="module")
def records():
    return [trained(experiment(seed)) for seed in range(5)]


@pytest.fixture
def filled(records, tmp_path):
    store = Store(tmp_path / "store")
    for record in records:
        store.put(record)
    return store


def file_of(store):
    return store.root / "records.jsonl"


def lines_of(store):
    return file_of(store).read_bytes().splitlines(keepends=True)


def aside_of(store):
    return (store.root / "records.damaged.jsonl").read_bytes().splitlines(keepends=True)


def missing(store, records):
    lacks = Store(store.root).missing([record.experiment for record in records])
    return [record for record in records if record.experiment in lacks]


def assert_sound(store, records):
    """A store opened anew holds ``records``, each once, and nothing warns."""
    assert Store(store.root).records() == sorted(records, key=lambda record: record.key)
    assert sorted(lines_of(store)) == sorted(sealed(record.key, record.to_json()) for record in records)


def command(*arguments):
    return CliRunner().invoke(tinynet, ["store", *map(str, arguments)])


def test_records_come_back_as_they_were_put_and_the_first_stays(filled, records):
    for store in (filled, Store(filled.root), pickle.loads(pickle.dumps(filled))):
        store.put(records[2].model_copy(update={"wall_s": 99.0}))
        assert [store.get(record.experiment) for record in records] == records
    assert lines_of(filled) == [sealed(record.key, record.to_json()) for record in records]
    a, b, c = experiment(77), records[1].experiment, experiment(78)
    assert filled.missing([c, b, a, c]) == [c, a]
    wanted = [records[3].experiment, a, records[0].experiment, records[3].experiment]
    assert filled.frame(wanted).seed.tolist() == [3, 0, 3]


def test_numbers_keep_every_bit_and_text_its_line(tmp_path):
    rng = np.random.default_rng(0)
    hard = [5e-324, 1.7976931348623157e308, -0.0, 0.1 + 0.2, 1e16, 123456789012345680.0, 2**-1074 * 3]
    values = hard + [float(x) for x in rng.integers(0, 2**64, 3000, np.uint64).view(float) if np.isfinite(x)]
    reason = 'two\nlines, "quoted", \r\u2028 \x00 \N{GRINNING FACE}'
    numbers = {f"m{i}": x for i, x in enumerate(values)}
    record = trained(experiment()).model_copy(update={"metrics": numbers, "reason": reason})
    Store(tmp_path).put(record)
    read, row = Store(tmp_path).get(record.experiment), Store(tmp_path).frame().iloc[0]
    for i, x in enumerate(values):
        assert np.float64(x).tobytes() == np.float64(read.metrics[f"m{i}"]).tobytes() == row[f"m{i}"].tobytes()
    assert read.reason == reason
    assert len(lines_of(Store(tmp_path))) == 1
    with pytest.raises(ValueError, match="JSON"):
        Store(tmp_path).put(record.model_copy(update={"experiment": experiment(1), "metrics": {"top1": float("nan")}}))


def test_a_table_has_a_row_for_every_record(filled, records, tmp_path):
    frame = filled.frame()
    assert list(Store(tmp_path / "none").frame()) == list(frame)
    assert frame.key.tolist() == sorted(record.key for record in records)
    row = filled.frame([records[3].experiment]).iloc[0]
    assert (row.network, row.r, row.d, row.w, row.precision) == ("efficientnet_b0", 0.12, 0.5, 0.2, "fp32")
    assert (row.macs, row.top1) == (experiment().spec().complexity().macs, records[3].metrics["top1"])
    assert (row.commit, row["clean"], row.wall_s) == ("c0ffee", True, records[3].wall_s)
    content = experiment().model_dump() | {"network": "tinynet_a", "scale": None, "base": None}
    named = trained(Experiment.model_validate(content))
    filled.put(named)
    assert filled.frame([named.experiment]).loc[0, ["r", "d", "w"]].tolist() == [0.86, 1.2, 1.0]


# Damage


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda records: b"\n", "it is not a line of a store"),
        (lambda records: sealed(records[4].key, records[1].to_json()), "its key .* is not the key of its experiment"),
        (lambda records: sealed(records[1].key, records[1].to_json().replace('"format":2', '"format":3')), "format: "),
    ],
)
def test_a_damaged_line_is_ignored_with_one_warning_and_nothing_else_is_lost(filled, records, bad, reason):
    """Nothing is moved on reading; the record can be put anew, and ``repair`` moves the line aside."""
    lines, bad = lines_of(filled), bad(records)
    before = b"".join([lines[0], bad, *lines[2:]])
    file_of(filled).write_bytes(before)
    store = Store(filled.root)
    with pytest.warns(UserWarning, match=f"line 2 of {file_of(store)} is ignored: {reason}"):
        assert [store.get(record.experiment) for record in records] == [records[0], None, *records[2:]]
    assert store.missing([record.experiment for record in records]) == [records[1].experiment]
    assert len(store.frame()) == len(store.records()) == 4
    checked = command("check", filled.root)
    assert (checked.exit_code, f"line 2 of {file_of(filled)} is ignored: " in checked.output) == (1, True)
    assert file_of(filled).read_bytes() == before
    store.put(records[1])
    assert command("repair", store.root).exit_code == 0
    assert aside_of(store) == [bad]
    assert_sound(store, records)


def test_one_damaged_byte_costs_one_record(filled, records):
    lines, rng = lines_of(filled), random.Random(0)
    length = len(lines[2])
    for place in [*range(13), *range(70, 90), *range(145, 155), *rng.sample(range(length - 1), 40), length - 2]:
        hit = bytearray(lines[2])
        hit[place] ^= 0x01 << rng.randrange(5)
        file_of(filled).write_bytes(b"".join([*lines[:2], hit, *lines[3:]]))
        with pytest.warns(UserWarning, match=r"line 3 of .*records.jsonl is ignored"):
            assert missing(filled, records) == [records[2]]


def test_of_two_lines_with_one_key_the_first_that_can_be_used_counts(filled, records):
    """As when two branches that both trained an experiment are merged."""
    second, lines = records[2].model_copy(update={"wall_s": 99.0}), lines_of(filled)
    lines.append(sealed(second.key, second.to_json()))
    file_of(filled).write_bytes(b"".join(lines))
    assert Store(filled.root).get(records[2].experiment) == filled.get(records[2].experiment) == records[2]
    assert len(filled.frame()) == len(filled.records()) == 5
    for gone in (b"gone\n", sealed(second.key, '{"format":3}')):
        file_of(filled).write_bytes(b"".join([*lines[:2], gone, *lines[3:]]))
        with pytest.warns(UserWarning, match="is ignored"):
            assert Store(filled.root).get(records[2].experiment).wall_s == 99.0


@pytest.mark.parametrize("left", [1, 100, -2])
def test_a_torn_tail_is_ignored_and_cut_by_the_next_append_unless_it_lacks_nothing_but_its_newline(
    filled, records, left
):
    whole, tail, added = b"".join(lines_of(filled)[:-1]), lines_of(filled)[-1], trained(experiment(5))
    file_of(filled).write_bytes(whole + tail[:left])
    assert missing(filled, records) == [records[4]]
    with pytest.warns(UserWarning, match=f"records.jsonl ended in {len(tail[:left])} bytes of an unfinished line"):
        Store(filled.root).put(records[4])
    file_of(filled).write_bytes(whole + tail[:-1])
    Store(filled.root).put(added)
    assert_sound(filled, [*records, added])


def test_records_are_set_aside_by_key_and_a_torn_tail_by_a_repair(filled, records):
    assert filled.repair() == 0
    lines = lines_of(filled)
    filled.set_aside([records[1].key, records[3].key, "0" * 64])
    assert filled.missing([r.experiment for r in records]) == [records[1].experiment, records[3].experiment]
    assert aside_of(filled) == [lines[1], lines[3]]
    with file_of(filled).open("ab") as file:
        file.write(b"torn")
    assert filled.repair() == 1
    assert aside_of(filled)[2:] == [b"torn\n"]
    assert_sound(filled, [records[0], records[2], records[4]])


def test_a_file_changed_under_an_open_store_is_read_anew(filled, records):
    assert len(filled.frame()) == 5
    kept, added = records[3:], trained(experiment(6))
    file_of(filled).write_bytes(b"".join(lines_of(filled)[3:]))
    assert filled.missing([r.experiment for r in records]) == [record.experiment for record in records[:3]]
    filled.put(added)
    assert_sound(filled, [*kept, added])


# Several processes, kills and disks


def forked(work, *arguments):
    child = FORK.Process(target=work, args=arguments)
    child.start()
    return child


def test_writers_at_once_lose_and_double_nothing(tmp_path):
    records, start = [trained(experiment(seed)) for seed in range(100)], FORK.Barrier(4)

    def put_all(share):
        start.wait()
        store = Store(tmp_path)
        for record in share:
            store.put(record)

    children = [forked(put_all, share) for share in (records[:40], records[39::-1], records[20:60], records[60:])]
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert_sound(Store(tmp_path), records)


def test_a_killed_writer_loses_nothing_that_was_put(tmp_path):
    rng, said, store = random.Random(1), tmp_path / "said", Store(tmp_path / "store")
    said.touch()

    def put_on_and_on(first):
        warnings.simplefilter("ignore")
        with said.open("ab", buffering=0) as report:
            for seed in itertools.count(first):
                store.put(trained(experiment(seed)))
                report.write(b"%d\n" % seed)

    for number in range(20):
        child, before = forked(put_on_and_on, 1000 * number), said.stat().st_size
        while number % 2 and said.stat().st_size == before:  # others are killed while they still open the store
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert set(map(int, said.read_text("ascii").split())) <= set(Store(store.root).frame().seed)
    returned = set(map(int, said.read_text("ascii").split()))
    assert len(returned) >= 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.put(trained(experiment(10**6)))
    seeds = set(store.frame().seed)
    assert returned < seeds
    assert_sound(store, [trained(experiment(int(seed))) for seed in seeds])


@pytest.mark.parametrize("step", range(1, 5))
def test_a_kill_between_any_two_writes_of_a_repair_loses_nothing(filled, records, step):
    """A repair syncs four times: the lines set aside, their folder, the new file, its folder."""
    file_of(filled).write_bytes(b"".join([b"damaged\n", *lines_of(filled)[1:]]) + b"torn")

    def repair():
        really, synced = os.fsync, []

        def sync_or_die(descriptor):
            synced.append(really(descriptor))
            if len(synced) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = sync_or_die
        filled.repair()

    child = forked(repair)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert missing(filled, records[1:]) == []
        filled.repair()
        filled.put(records[0])
    assert_sound(filled, records)
    assert {b"damaged\n", b"torn\n"} <= set(aside_of(filled))


def test_a_full_disk_leaves_the_store_as_it_was(filled, records):
    """A limit on the size of a file cuts the write half-way."""
    before, added = file_of(filled).read_bytes(), trained(experiment(5))

    def put_beyond_the_limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 700,) * 2)
        with pytest.raises(StoreError, match=f"store {filled.root} cannot be written: File too large"):
            filled.put(added)

    child = forked(put_beyond_the_limit)
    child.join()
    assert child.exitcode == 0
    assert file_of(filled).read_bytes() == before

    filled.put(added)
    assert_sound(filled, [*records, added])


def test_a_store_that_cannot_be_written_says_so_before_any_training(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(Experiment, "perform", None)
    root = tmp_path / "file" / "store"
    for train in (run, lambda one, store: sweep([one], store, progress=False)):
        with pytest.raises(StoreError, match=f"store {root} cannot be written"):
            train(experiment(), Store(root))


# The commands


def test_an_exported_table_is_the_table_and_a_list_has_its_rows(filled, tmp_path):
    frame = filled.frame()
    for name, read in (("t.csv", partial(pd.read_csv, float_precision="round_trip")), ("t.parquet", pd.read_parquet)):
        assert command("export", filled.root, tmp_path / name).exit_code == 0
        pd.testing.assert_frame_equal(read(tmp_path / name), frame, check_dtype=False, check_exact=True)
    _, *rows = command("list", filled.root).output.splitlines()
    assert [row.split()[0] for row in rows] == frame.key.str[:12].tolist()


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    done = command("export", tmp_path, tmp_path / "table.csv")
    assert str(done.exception) == f"{tmp_path} is no store: it has no records.jsonl"
    assert list(tmp_path.iterdir()) == []
