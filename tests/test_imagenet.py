import json
import os
import shutil
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

from tinynet_core.data import Dataset, GlyphDataset, ImageNetDataset, imagenet, load_imagenet, load_images
from tinynet_core.data.imagefolder import decode
from tinynet_core.data.imagenet import select
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


def test_the_stream_gives_what_the_cache_gives_and_keeps_no_pixels(odd_root, cache):
    streamed = load_imagenet(STREAMED)
    assert not any(file.stat().st_size for file in cache.rglob("*_pixels"))
    stored = load_imagenet(ALL)
    assert stored.content_hash == streamed.content_hash
    assert ALL.key == STREAMED.key
    for split in ("train", "val"):
        pixels, files = getattr(stored, f"{split}_images"), getattr(streamed, f"{split}_images")
        assert len(files) == len(pixels)
        assert all(np.array_equal(a, b) for a, b in zip(files, pixels, strict=True))
        for part in ("labels", "aspects"):
            assert np.array_equal(getattr(stored, f"{split}_{part}"), getattr(streamed, f"{split}_{part}"))


def break_files(root: Path) -> dict[str, str]:
    """Add files that cannot be decoded to two classes; their names below ``root`` and the reason each."""
    good = next((root / "train" / wnid(0)).glob("*.JPEG")).read_bytes()
    a, b = root / "train" / wnid(0), root / "train" / wnid(2)
    (a / "0 empty.jpeg").write_bytes(b"")
    (a / "cut.JPEG").write_bytes(good[:-200])
    (a / "text.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", encoding="utf-8")
    Image.fromarray(np.full((30, 30), 9999, np.uint16)).save(b / "deep.png")
    Image.new("RGB", (9, 9)).save(b / "gif.jpg", "GIF")
    return {
        f"train/{wnid(0)}/0 empty.jpeg": "neither JPEG nor PNG",
        f"train/{wnid(0)}/cut.JPEG": "truncated",
        f"train/{wnid(0)}/text.jpg": "neither JPEG nor PNG",
        f"train/{wnid(2)}/deep.png": "more than 8 bits a channel",
        f"train/{wnid(2)}/gif.jpg": "neither JPEG nor PNG",
    }


@pytest.mark.parametrize("dataset", [ALL, STREAMED])
def test_unreadable_images_are_left_out_and_reported_once(root, cache, dataset):
    """With two workers, and what is left is, byte for byte, what one worker makes of the clean folder."""
    clean = load_imagenet(dataset)
    files = {p.name: p.read_bytes() for p in cache.rglob("*") if p.name.endswith(("_pixels", ".npy"))}
    assert {"train_pixels", "val_labels.npy"} <= files.keys()
    shutil.rmtree(cache)
    broken = break_files(root)
    with pytest.warns(UserWarning, match=r"unreadable images left out: 5 \(") as caught:
        images = load_imagenet(dataset, workers=2)
    assert len(caught) == 1
    report = next(cache.rglob("meta.json"))
    assert str(report) in str(caught[0].message)
    lines = json.loads(report.read_text(encoding="utf-8"))["dataset"]["unreadable"]
    for line, (name, reason) in zip(lines, broken.items(), strict=True):
        assert line.startswith(f"{root / name}: ")
        assert reason in line
    assert {name: next(cache.rglob(name)).read_bytes() for name in files} == files
    assert images.content_hash == silent(load_imagenet, dataset).content_hash == clean.content_hash


def test_a_file_that_cannot_be_opened_stops_everything(root, cache):
    (root / "train" / wnid(0) / "later.jpg").symlink_to(root / "nowhere")
    with pytest.raises(UserError, match=r"later.jpg: cannot be listed: No such file"):
        load_imagenet(ALL)


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

    plain_walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: [(d, s[::-1], f[::-1]) for d, s, f in plain_walk(*a, **k)][::-1])
    assert select(dataset, tmp_path) == chosen


def test_classes_by_name(root, tmp_path, monkeypatch):
    named = {"kind": "imagenet", "classes": 2, "side": SIDE, "wnids": [wnid(3), wnid(1)]}
    dataset = TypeAdapter(Dataset).validate_python(named)
    assert dataset == ImageNetDataset.model_validate(json.loads(dataset.model_dump_json()))
    (tmp_path / "two.txt").write_text(f"# two classes\n{wnid(3)}\n\n  {wnid(1)}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert ImageNetDataset(classes=2, side=SIDE, wnids="two.txt") == dataset
    listed = ImageNetDataset(classes=10, wnids="imagenette").wnids
    assert (len(listed), listed[0], listed[-1]) == (10, "n01440764", "n03888257")
    images = load_images(dataset.model_copy(update={"stream": True}))
    assert images.train_labels.tolist() == [0] * 6 + [1] * 6
    assert [wnid(label) in str(images.train_images.path(i)) for label, i in ((1, 0), (3, 6))] == [True, True]


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
        ({"class_seed": True}, "class_seed"),
        ({"clases": 3}, "clases"),
        ({"classes": 2, "wnids": ["a", "b"], "class_seed": 0}, "either class_seed, .*, or wnids, .*, not both"),
        ({"classes": 3, "wnids": ["a", "b"]}, "wnids names 2 classes and classes is 3"),
        ({"classes": 2, "wnids": ["a", "a"]}, "class a is listed twice"),
        ({"classes": 2, "wnids": ["a", "../b"]}, "'../b' is not the name of a class folder"),
        ({"classes": 2, "wnids": ["a", ""]}, "'' is not the name of a class folder"),
        ({"classes": 2, "wnids": ["a", 3]}, "valid string"),
        (
            {"classes": 2, "wnids": "n01440764"},
            "a .txt file .* or imagenette, got 'n01440764'",
        ),
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
        (ALL, flatten, r"images/val holds no class folders: sort its images into one folder a class"),
        (ALL, lambda r: [shutil.rmtree(p) for p in (r / "train").iterdir()], "images/train holds no class folders"),
        (ALL, lambda r: shutil.rmtree(r / "val" / wnid(2)), f"val has no class folder {wnid(2)} .1 of 4 are missing"),
        (
            ALL,
            lambda r: [p.unlink() for p in (r / "train" / wnid(1)).iterdir()],
            rf"class folder .*/train/{wnid(1)} holds 0 \.jpeg, \.jpg or \.png files, must hold at least 1",
        ),
        (ALL, spoil_class, rf"class folder .*/val/{wnid(1)} has no readable image \(.*_00000000\.JPEG: neither"),
        (ImageNetDataset(classes=4, train_per_class=7), None, "holds 6 .* files, must hold at least 7"),
        (ImageNetDataset(classes=5), None, "train holds 4 class folders, fewer than the 5 that classes asks for"),
        (ImageNetDataset(classes=3), None, "holds 4 class folders, classes asks for 3: give class_seed .* or wnids"),
        (
            ImageNetDataset(classes=2, wnids=(wnid(0), "n99")),
            None,
            r"train has no class folder n99 \(1 of 2 are missing\)",
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


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("train_pixels", "mmap length is greater than file size"),
        ("train_labels.npy", "content hash"),
        ("val_names.npy", "content hash"),
        ("val_file_sha256.npy", "No such file"),
        ("meta.json", r"line \d+ column"),
        ("the folder", "the images below .* changed since it was made"),
    ],
)
def test_a_cache_that_does_not_fit_is_rebuilt_and_said_so(root, cache, damage, said):
    good = load_imagenet(ALL)
    pixels = np.array(good.val_images)
    stamps = {p: p.stat().st_mtime_ns for p in cache.rglob("*.*")}
    silent(load_imagenet, ALL)
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*.*")} == stamps
    if damage == "the folder":
        shutil.copy(root / "train" / wnid(3) / f"{wnid(3)}_0.JPEG", root / "train" / wnid(3) / "more.JPEG")
    else:
        file = next(cache.rglob(damage))
        content = file.read_bytes()
        if "sha256" in damage:
            file.unlink()
        elif said == "content hash":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        else:
            file.write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match=rf"dataset cache .* cannot be used .*{said}.* rebuilding it"):
        again = load_imagenet(ALL)
    assert len(again.train_images) == 24 + (damage == "the folder")
    assert np.array_equal(again.val_images, pixels)
    assert len(listing(cache)) == 1


def test_a_streamed_file_that_breaks_later_is_named(root):
    images = load_imagenet(STREAMED).train_images
    images.path(3).write_bytes(b"gone bad")
    images.path(4).unlink()
    for i, reason in ((3, "neither JPEG nor PNG"), (4, "No such file")):
        with pytest.raises(UserError, match=rf"{wnid(0)}_{i}.JPEG could be read .* cannot any more: .*{reason}"):
            images[i]


def test_a_full_disk_is_told_before_any_work(root, cache, monkeypatch):
    need = 36 * SIDE * SIDE * 3
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=need - 1))
    with pytest.raises(UserError, match=rf"the cache of 36 images at {SIDE} px needs 0.0 GB .* larger disk, or stream"):
        load_imagenet(ALL)
    assert listing(cache) == []
    assert len(load_imagenet(STREAMED).train_images) == 24
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=need))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(imagenet, "_read_split", full)  # it fills up in the middle
        with pytest.raises(
            UserError, match=r"cache folder .* cannot be written .No space left on device.: set TINYNET_"
        ):
            load_imagenet(ALL)
    assert not any(name.startswith(".building") for name in listing(cache))
    assert len(load_imagenet(ALL).train_images) == 24


def run_script(tmp_path: Path, body: str, **options) -> subprocess.Popen:
    """A fresh process, with its own group, that loads images as ``body`` says."""
    script = tmp_path / "load.py"
    script.write_text(
        f'from tinynet_core.data import ImageNetDataset, load_imagenet\nif __name__ == "__main__":\n    {body}\n',
        encoding="utf-8",
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    return subprocess.Popen([sys.executable, script], start_new_session=True, env=environment, **pipes)


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


def test_a_killed_build_leaves_no_process_and_the_next_one_cleans_up(slow_root, cache, tmp_path):
    process = run_script(tmp_path, f"load_imagenet(ImageNetDataset(classes=4, side={SIDE}), workers=2)")
    deadline = time.monotonic() + 60
    while not any(p.stat().st_size for p in cache.glob(".building-*/train_pixels")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)  # ends when every worker has closed its end of the pipes
    assert [name.startswith(".building-") for name in listing(cache)] == [True]
    for file in list((slow_root / "train" / wnid(0)).glob("large*.png"))[2:]:
        file.unlink()
    assert len(silent(load_imagenet, ALL).train_images) == 26
    assert [name.startswith("imagenet-") for name in listing(cache)] == [True]
