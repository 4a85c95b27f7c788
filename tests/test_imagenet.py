import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from jpegs import picture, wnid, write_image_folder
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from torchvision.datasets import ImageFolder

from tinynet_core.data import Dataset, GlyphDataset, ImageNetDataset, load_imagenet, load_images
from tinynet_core.data import imagefolder as folders
from tinynet_core.data.imagefolder import UnreadableImage, decode
from tinynet_core.data.imagenet import select
from tinynet_core.data.processes import in_processes
from tinynet_core.files import UserError

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, wherever a test itself decodes

SIDE = 24
ALL = ImageNetDataset(classes=4, side=SIDE)
STREAMED = ImageNetDataset(classes=4, side=SIDE, stream=True)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("TINYNET_IMAGENET", str(tmp_path / "images"))
    return write_image_folder(tmp_path / "images")


@pytest.fixture
def odd_root(root):
    """Every kind of file that must be read, and neighbours that must not."""
    rng = np.random.default_rng(1)
    folder = root / "train" / wnid(1)
    square = picture(1, 40, 30, rng)
    square.convert("CMYK").save(folder / "cmyk.jpg")
    square.convert("L").save(folder / "grey.JPG")
    square.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.png")
    square.convert("1").save(folder / "bits.PNG")
    clear = square.convert("RGBA")
    clear.putalpha(90)
    clear.save(folder / "clear.Png")
    square.save(folder / "a png in disguise.JPEG", "PNG")
    turned = Image.Exif()
    turned[0x0112] = 6
    square.save(folder / "turned.jpeg", exif=turned)
    square.save(folder / "bad exif.jpeg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x1a\x01")
    (folder / "deep" / "deeper").mkdir(parents=True)
    square.save(folder / "deep" / "deeper" / "z.jpeg")
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    square.save(elsewhere / "linked.jpeg")
    (folder / "link").symlink_to(elsewhere)
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    (root / "train" / "notes.txt").write_text("no class", encoding="utf-8")
    (root / "train" / ".hidden").mkdir()
    return root


def paths(images) -> list[str]:
    return [str(images.path(i)) for i in range(len(images))]


def listing(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.iterdir() if p.suffix != ".lock") if cache.exists() else []


def silent(load, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load(*arguments, **options)


def test_files_and_labels_are_those_of_torchvision(odd_root):
    (odd_root / "train" / ".hidden").rmdir()  # torchvision takes it for a class
    images = silent(load_imagenet, STREAMED)
    for split in ("train", "val"):
        peer = ImageFolder(str(odd_root / split))
        assert paths(getattr(images, f"{split}_images")) == [path for path, _ in peer.samples]
        labels = getattr(images, f"{split}_labels")
        assert labels.dtype == np.int64
        assert labels.tolist() == peer.targets


@pytest.mark.parametrize("side", [24, 50])
def test_pixels_are_those_of_pillow_and_aspects_those_of_the_originals(odd_root, side):
    dataset = ImageNetDataset(classes=4, side=side)
    images = silent(load_imagenet, dataset)
    files = paths(load_imagenet(dataset.model_copy(update={"stream": True})).train_images)
    assert len(files) == len(images.train_images) == 24 + 10
    assert images.train_images.dtype == np.uint8
    for file, pixels, aspect in zip(files, images.train_images, images.train_aspects, strict=True):
        original = Image.open(file)
        expected = original.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        assert np.array_equal(pixels, np.asarray(expected)), file
        assert aspect == np.float32(original.width / original.height)
    assert 40 / 30 in [pytest.approx(a) for a, f in zip(images.train_aspects, files, strict=True) if "turned" in f]


def test_the_stream_gives_what_the_cache_gives(odd_root):
    stored, streamed = load_imagenet(ALL), load_imagenet(STREAMED)
    assert stored.content_hash == streamed.content_hash
    assert ALL.key == STREAMED.key
    for split in ("train", "val"):
        pixels, files = getattr(stored, f"{split}_images"), getattr(streamed, f"{split}_images")
        assert len(files) == len(pixels)
        assert all(np.array_equal(a, b) for a, b in zip(files, pixels, strict=True))
        for part in ("labels", "aspects"):
            assert np.array_equal(getattr(stored, f"{split}_{part}"), getattr(streamed, f"{split}_{part}"))


def test_a_stream_keeps_no_pixels(root, cache):
    streamed = load_imagenet(STREAMED)
    assert not list(cache.rglob("*pixels.npy"))
    stored = silent(load_imagenet, ALL)
    assert stored.content_hash == streamed.content_hash
    assert np.array_equal(stored.val_images[2], streamed.val_images[2])


def test_streamed_images_travel_between_processes_as_paths(root):
    images = load_imagenet(STREAMED).train_images
    first = images[0]
    packed = pickle.dumps(images)
    assert len(packed) < 1000
    assert np.array_equal(pickle.loads(packed)[0], first)
    assert np.array_equal(images[-1], images[len(images) - 1])
    with pytest.raises(IndexError):
        images[len(images)]


def test_two_workers_write_the_same_bytes_as_one(odd_root, cache):
    (odd_root / "train" / wnid(0) / f"{wnid(0)}_1.JPEG").write_bytes(b"broken")
    some = ALL.model_copy(update={"train_per_class": 5})
    found = []
    for workers in (1, 2):
        with pytest.warns(UserWarning, match="unreadable images left out: 1 "):
            load_imagenet(some, workers)
        found.append({p.name: p.read_bytes() for p in next(cache.glob("imagenet-*/")).iterdir()})
        shutil.rmtree(cache)
    assert found[0] == found[1]
    assert {"train_pixels.npy", "val_labels.npy", "meta.json", "unreadable.txt"} <= set(found[0])


def test_content_hash_follows_names_labels_bytes_and_size_alone(root, tmp_path, monkeypatch):
    first = load_imagenet(ALL).content_hash
    assert load_imagenet(ALL.model_copy(update={"side": 25})).content_hash != first
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)
    monkeypatch.setenv("TINYNET_IMAGENET", str(moved))
    assert load_imagenet(ALL).content_hash == first
    hashes = {first}
    file = moved / "val" / wnid(2) / "ILSVRC2012_val_00000001.JPEG"
    changes = [
        lambda: file.write_bytes(file.read_bytes() + b"\0"),
        lambda: file.rename(file.with_name("other.JPEG")),
        lambda: file.with_name("other.JPEG").rename(moved / "val" / wnid(3) / "other.JPEG"),
    ]
    for change in changes:
        change()
        with pytest.warns(UserWarning, match="changed since it was made"):
            hashes.add(load_imagenet(ALL).content_hash)
    assert len(hashes) == 4


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size_and_hardly_differs(tmp_path):
    rng = np.random.default_rng(0)
    large = np.asarray(picture(3, 1003, 1201, rng)).astype(int) + rng.integers(-25, 26, (1201, 1003, 3))
    Image.fromarray(np.clip(large, 0, 255).astype(np.uint8)).save(tmp_path / "large.jpeg", quality=92)
    data = (tmp_path / "large.jpeg").read_bytes()
    opened = Image.open(tmp_path / "large.jpeg")
    for side, exact in ((64, False), (125, False), (250, False), (251, True), (256, True)):
        pixels, aspect = decode(data, side)
        peer = np.asarray(opened.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)).astype(int)
        difference = np.abs(pixels - peer)
        assert difference.mean() < 0.8, side
        assert difference.max() <= 6, side
        assert (difference.max() == 0) == exact, side
        assert aspect == 1003 / 1201


def break_files(root: Path) -> dict[str, str]:
    """Add files that cannot be read to two classes; their names below ``root`` and the reason each."""
    good = next((root / "train" / wnid(0)).glob("*.JPEG"))
    picture(0, 60, 60, np.random.default_rng(5)).save(root / "whole.png")
    whole = (root / "whole.png").read_bytes()
    (root / "whole.png").unlink()
    a, b, v = root / "train" / wnid(0), root / "train" / wnid(2), root / "val" / wnid(2)
    (a / "0 empty.jpeg").write_bytes(b"")
    (a / "cut.JPEG").write_bytes(good.read_bytes()[:-200])
    (a / "text.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", encoding="utf-8")
    (b / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.full((30, 30), 9999, np.uint16)).save(b / "deep.png")
    Image.new("RGB", (9, 9)).save(b / "gif.jpg", "GIF")
    (b / "nowhere.jpg").symlink_to(root / "nowhere")
    os.mkfifo(v / "pipe.jpg")
    return {
        f"train/{wnid(0)}/0 empty.jpeg": "empty file",
        f"train/{wnid(0)}/cut.JPEG": "truncated",
        f"train/{wnid(0)}/text.jpg": "neither JPEG nor PNG",
        f"train/{wnid(2)}/cut.png": "truncated",
        f"train/{wnid(2)}/deep.png": "more than 8 bits a channel",
        f"train/{wnid(2)}/gif.jpg": "neither JPEG nor PNG",
        f"train/{wnid(2)}/nowhere.jpg": "leads nowhere",
        f"val/{wnid(2)}/pipe.jpg": "not a regular file",
    }


@pytest.mark.parametrize("dataset", [ALL, STREAMED])
def test_unreadable_images_are_left_out_counted_and_reported_once(root, cache, dataset):
    clean = load_imagenet(dataset)
    clean_pixels = [np.array(image) for image in clean.train_images]
    clean_files = {p.name: p.read_bytes() for p in cache.rglob("*.npy")}
    shutil.rmtree(cache)
    broken = break_files(root)
    with pytest.warns(UserWarning, match="unreadable") as caught:
        images = load_imagenet(dataset)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "left out: 8 (" in message
    assert [str(root / name) in message for name in broken] == [True] * 5 + [False] * 3
    report = next(cache.glob("imagenet-*/unreadable.txt"))
    assert str(report) in message
    rows = dict(line.split("\t") for line in report.read_text(encoding="utf-8").splitlines())
    assert rows.keys() == broken.keys()
    assert all(reason in rows[name] for name, reason in broken.items())
    # what is left is what was there before
    assert {p.name: p.read_bytes() for p in cache.rglob("*.npy")} == clean_files
    assert images.content_hash == clean.content_hash
    assert np.array_equal(images.train_labels, clean.train_labels)
    assert all(np.array_equal(a, b) for a, b in zip(images.train_images, clean_pixels, strict=True))
    assert silent(load_imagenet, dataset).content_hash == clean.content_hash


def test_small_classes_give_all_they_have_and_are_counted_in_one_warning(root, cache):
    for label, kept in ((1, 5), (3, 2)):
        for i in range(kept, 6):
            (root / "train" / wnid(label) / f"{wnid(label)}_{i}.JPEG").unlink()
    with pytest.warns(UserWarning, match="fewer than") as caught:
        images = load_imagenet(ALL.model_copy(update={"train_per_class": 6}))
    assert len(caught) == 1
    assert "2 of 4 classes" in str(caught[0].message)
    assert f"{wnid(3)} the fewest with 2" in str(caught[0].message)
    assert np.bincount(images.train_labels).tolist() == [6, 5, 6, 2]
    silent(load_imagenet, ALL.model_copy(update={"train_per_class": 6}))


def draws(chosen):
    """The names of the training images of each class."""
    found = {wnid: set() for wnid in chosen.wnids}
    for name in map(Path, chosen.names["train"]):
        found[name.parts[0]].add(name.name)
    return found


def test_drawn_classes_and_images_follow_the_seeds_and_not_the_order_of_a_listing(tmp_path, monkeypatch):
    for label in range(30):
        for split, count in (("train", 20), ("val", 2)):
            (tmp_path / split / wnid(label)).mkdir(parents=True)
            for i in range(count):
                (tmp_path / split / wnid(label) / f"{i}.jpeg").touch()
    dataset = ImageNetDataset(classes=10, class_seed=3, train_per_class=7)
    chosen = select(dataset, tmp_path)
    assert list(chosen.wnids) == sorted(set(chosen.wnids))
    assert len(chosen.wnids) == 10
    rng = np.random.default_rng(3)
    assert set(chosen.wnids) == {wnid(i) for i in rng.choice(30, 10, replace=False)}
    assert np.bincount(chosen.labels["train"]).tolist() == [7] * 10
    assert np.bincount(chosen.labels["val"]).tolist() == [2] * 10
    drawn = draws(chosen)
    assert all(draw < {f"{i}.jpeg" for i in range(20)} for draw in drawn.values())
    assert len({frozenset(draw) for draw in drawn.values()}) > 5  # not one draw for all

    other_seed = select(dataset.model_copy(update={"class_seed": 4}), tmp_path)
    assert other_seed.wnids != chosen.wnids
    shared = sorted(set(other_seed.wnids) & set(chosen.wnids))
    assert shared
    for w in shared:  # a class's images do not depend on its neighbours
        assert draws(other_seed)[w] == drawn[w]
    assert draws(select(dataset.model_copy(update={"image_seed": 1}), tmp_path)) != drawn

    plain_scan, plain_walk = folders._scan, os.walk
    monkeypatch.setattr(folders, "_scan", lambda folder: reversed(list(plain_scan(folder))))
    monkeypatch.setattr(os, "walk", lambda *a, **k: [(d, s[::-1], f[::-1]) for d, s, f in plain_walk(*a, **k)][::-1])
    assert select(dataset, tmp_path) == chosen


def test_classes_by_name_from_a_list_or_a_file(root, tmp_path, monkeypatch):
    (tmp_path / "two.txt").write_text(f"# two classes\n{wnid(3)}\n\n  {wnid(1)}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    by_file = ImageNetDataset(classes=2, side=SIDE, wnids="two.txt")
    by_list = TypeAdapter(Dataset).validate_python(
        {"kind": "imagenet", "classes": 2, "side": SIDE, "wnids": [wnid(1), wnid(3)]}
    )
    assert by_file == by_list == ImageNetDataset.model_validate(json.loads(by_file.model_dump_json()))
    assert by_file.key == by_list.key
    named = ImageNetDataset(classes=10, wnids="imagenette").wnids
    assert (len(named), named[0], named[-1]) == (10, "n01440764", "n03888257")
    images = load_images(by_file)
    assert images.train_labels.tolist() == [0] * 6 + [1] * 6
    streamed = load_images(by_list.model_copy(update={"stream": True})).train_images
    assert wnid(1) in str(streamed.path(0))
    assert wnid(3) in str(streamed.path(6))


def test_links_back_up_are_not_followed(root):
    before = folders.image_files(root / "train" / wnid(0))
    (root / "train" / wnid(0) / "self").symlink_to(root / "train" / wnid(0))
    (root / "train" / wnid(0) / "up").symlink_to(root)
    assert folders.image_files(root / "train" / wnid(0)) == before


def test_data_sets_are_told_apart_by_their_kind():
    adapter = TypeAdapter(Dataset)
    assert adapter.validate_python({"classes": 3}) == GlyphDataset(classes=3)
    assert adapter.validate_python({"kind": "glyphs"}) == GlyphDataset()
    assert adapter.validate_python({"kind": "imagenet"}) == ImageNetDataset()
    assert adapter.validate_python(STREAMED) is STREAMED
    for bad in ({"kind": "cifar"}, {"kind": None}, 3, None, [], {"kind": []}):
        with pytest.raises(ValidationError, match="'glyphs', as it is where left out, 'creatures' or 'imagenet'"):
            adapter.validate_python(bad)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"classes": 1}, "classes"),
        ({"side": 8}, "side"),
        ({"train_per_class": 0}, "train_per_class"),
        ({"class_seed": -1}, "class_seed"),
        ({"class_seed": True}, "class_seed"),
        ({"clases": 3}, "clases"),
        ({"classes": 2, "wnids": ["a", "b"], "class_seed": 0}, "either class_seed, .*, or wnids, .*, not both"),
        ({"classes": 3, "wnids": ["a", "b"]}, "wnids names 2 classes and classes is 3"),
        ({"wnids": ["a", "b"]}, "wnids names 2 classes and classes is 1000"),
        ({"classes": 2, "wnids": ["a", "a"]}, "class a is listed twice"),
        ({"classes": 2, "wnids": ["a", "../b"]}, "'../b' is not the name of a class folder"),
        ({"classes": 2, "wnids": ["a", ".."]}, "'..' is not the name of a class folder"),
        ({"classes": 2, "wnids": ["a", ""]}, "'' is not the name of a class folder"),
        ({"classes": 2, "wnids": ["a", 3]}, "valid string"),
        ({"classes": 2, "wnids": "n01440764"}, "must be a list of class folders, or a .txt file .* got 'n01440764'"),
        ({"classes": 2, "wnids": "missing.txt"}, "missing.txt cannot be read: .*No such file"),
    ],
)
def test_bad_configurations(bad, message):
    with pytest.raises(ValidationError, match=message):
        ImageNetDataset(**bad)


def flatten(root: Path) -> None:
    for file in list((root / "val").rglob("*.JPEG")):
        file.rename(root / "val" / f"{file.parent.name}{file.name}")
    for folder in (root / "val").glob("n*/"):
        folder.rmdir() if folder.is_dir() else None


def spoil_class(root: Path) -> None:
    for file in (root / "val" / wnid(1)).iterdir():
        file.write_bytes(b"x")


@pytest.mark.parametrize(
    ("dataset", "spoil", "message"),
    [
        (ALL, lambda r: shutil.rmtree(r), r"TINYNET_IMAGENET: .*images is not a folder"),
        (ALL, lambda r: shutil.rmtree(r / "train"), r"TINYNET_IMAGENET: .*images has no folder train/; .*<class>"),
        (ALL, lambda r: shutil.rmtree(r / "val"), r"has no folder val/"),
        (ALL, flatten, r"images/val holds images and no class folders: sort the flat set into one folder per class"),
        (ALL, lambda r: [shutil.rmtree(p) for p in (r / "train").iterdir()], "images/train holds no class folders"),
        (ALL, lambda r: shutil.rmtree(r / "val" / wnid(2)), f"val has no class folder {wnid(2)} .1 of 4 are missing"),
        (
            ALL,
            lambda r: [p.unlink() for p in (r / "train" / wnid(1)).iterdir()],
            rf"class folder .*/train/{wnid(1)} holds no \.jpeg, \.jpg or \.png files",
        ),
        (ALL, spoil_class, rf"class folder .*/val/{wnid(1)} has no readable image \(.*_00000000\.JPEG: neither"),
        (ImageNetDataset(classes=5), None, "train holds 4 class folders, fewer than the 5 that classes asks for"),
        (ImageNetDataset(classes=3), None, "holds 4 class folders, classes asks for 3: give class_seed .* or wnids"),
        (
            ImageNetDataset(classes=2, wnids=(wnid(0), "n99")),
            None,
            r"wnids: .*train has no class folder n99 \(1 of 2 are missing\)",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_in_one_line(root, cache, dataset, spoil, message):
    if spoil is not None:
        spoil(root)
    with pytest.raises(UserError, match=message) as caught:
        load_imagenet(dataset)
    assert "\n" not in str(caught.value)
    assert listing(cache) == []


def test_an_unset_variable_is_explained(cache, monkeypatch):
    monkeypatch.delenv("TINYNET_IMAGENET", raising=False)
    with pytest.raises(UserError, match=r"TINYNET_IMAGENET is not set: .* as in: export TINYNET_IMAGENET="):
        load_imagenet(ALL)


def test_the_cache_is_read_back_and_not_written_again(root, cache):
    first = load_imagenet(ALL)
    stamps = {p: p.stat().st_mtime_ns for p in cache.rglob("*.*")}
    second = silent(load_imagenet, ALL)
    assert np.array_equal(first.train_images, second.train_images)
    assert isinstance(second.train_images, np.memmap)
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*.*")} == stamps


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


INDEX = ["train_names.npy", "train_labels.npy", "val_aspects.npy", "val_file_sha256.npy"]


@pytest.mark.parametrize("damage", ["cut off", "empty", "other shape", "no file", "no meta", "text", "a list", *INDEX])
def test_a_damaged_cache_is_rebuilt_and_said_so(root, cache, damage):
    good = load_imagenet(ALL)
    pixels = np.array(good.val_images)
    folder = next(cache.glob("imagenet-*/"))
    file, meta = folder / "val_pixels.npy", folder / "meta.json"
    if damage == "cut off":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "other shape":
        np.save(file, pixels[:-1])
    elif damage in INDEX:
        flip(folder / damage)
    elif damage == "no file":
        file.unlink()
    elif damage == "no meta":
        meta.unlink()
    else:
        meta.write_text("[]" if damage == "a list" else "{", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"dataset cache .* cannot be used .* rebuilding it"):
        again = load_imagenet(ALL)
    assert again.content_hash == good.content_hash
    assert np.array_equal(again.val_images, pixels)
    assert len(listing(cache)) == 1


@pytest.mark.parametrize("change", ["one more", "one fewer", "another size"])
def test_a_changed_folder_is_indexed_again(root, cache, change):
    load_imagenet(ALL)
    file = root / "train" / wnid(2) / f"{wnid(2)}_0.JPEG"
    if change == "one more":
        shutil.copy(file, file.with_name("more.JPEG"))
    elif change == "one fewer":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes() + b"\0")
    with pytest.warns(UserWarning, match=r"the images below .* changed since it was made.*rebuilding"):
        images = load_imagenet(ALL)
    assert len(images.train_images) == 24 + {"one more": 1, "one fewer": -1, "another size": 0}[change]
    silent(load_imagenet, ALL)


def test_a_streamed_file_that_breaks_later_is_named(root):
    images = load_imagenet(STREAMED).train_images
    images.path(3).write_bytes(b"gone bad")
    images.path(4).unlink()
    for i, reason in ((3, "neither JPEG nor PNG"), (4, "No such file")):
        with pytest.raises(UserError, match=rf"{wnid(0)}_{i}.JPEG could be read .* cannot any more: .*{reason}"):
            images[i]


def test_a_file_that_may_not_be_opened_is_left_out_and_one_that_vanishes_stops_everything(root, cache, monkeypatch):
    victim = root / "train" / wnid(0) / f"{wnid(0)}_2.JPEG"
    plain, code = Path.read_bytes, errno.EACCES

    def read_bytes(path):
        if path == victim:
            raise OSError(code, os.strerror(code), str(path))
        return plain(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.warns(UserWarning, match=rf"left out: 1 \({victim}\)"):
        assert len(load_imagenet(ALL).train_images) == 23
    shutil.rmtree(cache)
    for code in (errno.ENOENT, errno.ESTALE):
        with pytest.raises(UserError, match=f"{victim} was there .* and cannot be read: {os.strerror(code)}"):
            load_imagenet(ALL)
        assert listing(cache) == []


def test_a_bomb_is_left_out(monkeypatch, root):
    data = next((root / "train" / wnid(0)).glob("*.JPEG")).read_bytes()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImage, match="decompression bomb"):
        decode(data, SIDE)


def test_a_full_disk_is_told_before_any_work(root, cache, monkeypatch):
    need = 36 * SIDE * SIDE * 3
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=need - 1))
    with pytest.raises(UserError, match=rf"the cache of 36 images at {SIDE} px needs 0.0 GB .* larger disk, or stream"):
        load_imagenet(ALL)
    assert listing(cache) == []
    assert len(load_imagenet(STREAMED).train_images) == 24
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=need))
    assert len(load_imagenet(ALL).train_images) == 24


def run_script(tmp_path: Path, body: str, **options) -> subprocess.Popen:
    """A fresh process, with its own group, that loads images as ``body`` says."""
    script = tmp_path / "load.py"
    script.write_text(
        "import resource\n"
        "from tinynet_core.data import ImageNetDataset, load_imagenet\n"
        f'if __name__ == "__main__":\n    {body}\n',
        encoding="utf-8",
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    return subprocess.Popen([sys.executable, script], start_new_session=True, env=environment, **pipes)


def test_a_disk_that_fills_up_in_the_middle_leaves_nothing(root, cache, tmp_path):
    """A limit on the size of files stands for the full disk: the system refuses the write in the same way."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    process = run_script(tmp_path, f"{limit}; load_imagenet(ImageNetDataset(classes=4, side={SIDE}), workers=2)")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.strip().splitlines()[-1].endswith("train_pixels.npy: cannot be written: File too large")
    assert "UserError" in errors
    assert listing(cache) == []


def test_a_cache_folder_that_cannot_be_written_is_told(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("TINYNET_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"the cache folder .* cannot be written .*: set TINYNET_CACHE"):
        load_imagenet(ALL)


def test_a_worker_that_dies_is_told():
    with pytest.raises(UserError, match=r"ended abruptly: it was killed, memory ran out"):
        list(in_processes(os._exit, [9, 9, 9], 2))


def test_two_processes_build_one_cache(root, cache, tmp_path):
    (root / "train" / wnid(0) / "bad.JPEG").write_bytes(b"")
    body = f"print(load_imagenet(ImageNetDataset(classes=4, side={SIDE})).content_hash)"
    processes = [run_script(tmp_path, body) for _ in range(2)]
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert results[0][0] == results[1][0]
    assert sorted("unreadable images left out" in errors for _, errors in results) == [False, True]


@pytest.fixture
def slow_root(root):
    """Enough decoding for a signal to arrive in the middle: links to one large file."""
    pixels = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    Image.fromarray(pixels).save(root / "train" / wnid(0) / "large.png")
    for i in range(300):
        os.link(root / "train" / wnid(0) / "large.png", root / "train" / wnid(0) / f"large{i}.png")
    return root


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_build_leaves_no_process_and_no_cache_behind(slow_root, cache, tmp_path, stop):
    process = run_script(tmp_path, f"load_imagenet(ImageNetDataset(classes=4, side={SIDE}), workers=2)")
    deadline = time.monotonic() + 60
    while not list(cache.glob(".building-*/train_pixels.npy")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    while not any(p.stat().st_size for p in cache.glob(".building-*/train_pixels.npy")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if stop == signal.SIGINT:
        os.killpg(process.pid, stop)  # as a terminal does it
    else:
        process.kill()
    _, errors = process.communicate(timeout=60)  # ends when every worker has closed its end of the pipes
    assert process.returncode in (-stop, 1)
    if stop == signal.SIGINT:
        assert errors.strip().endswith("KeyboardInterrupt")
        assert errors.count("Traceback (most recent call last)") == 1
        assert listing(cache) == []
    else:
        assert [name.startswith(".building-") for name in listing(cache)] == [True]
        for file in list((slow_root / "train" / wnid(0)).glob("large*.png"))[2:]:
            file.unlink()
        assert len(silent(load_imagenet, ALL).train_images) == 26
        assert [name.startswith("imagenet-") for name in listing(cache)] == [True]
