"""Photographs: the files and pixels that torchvision and Pillow give, cached or streamed, and what may go wrong."""

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
import torch
from conftest import ROOT
from jpegs import picture, wnid, write_image_folder
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from torchvision.datasets import ImageFolder

from tinynet_core.data import Dataset, ImageNetDataset, load_imagenet
from tinynet_core.data.imagenet import decode, select
from tinynet_core.files import UserError
from tinynet_core.training.augment import Source

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, wherever a test itself decodes

SIDE = 24
ALL = ImageNetDataset(classes=4, side=SIDE)
STREAMED = ImageNetDataset(classes=4, side=SIDE, stream=True)


@pytest.fixture
def root(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("TINYNET_IMAGENET", str(tmp_path / "images"))
    return write_image_folder(tmp_path / "images")


@pytest.fixture
def odd_root(root):
    """Every kind of file that must be read, and neighbours that must not."""
    folder, square = root / "train" / wnid(1), picture(1, 40, 30, np.random.default_rng(1))
    modes = {"cmyk.jpg": "CMYK", "grey.JPG": "L", "palette.png": "P", "bits.PNG": "1"}
    for name, mode in modes.items():
        square.convert(mode).save(folder / name)
    square.save(folder / "a png in disguise.JPEG", "PNG")
    turned = Image.Exif()
    turned[0x0112] = 6
    square.save(folder / "turned.jpeg", exif=turned)
    square.save(folder / "bad exif.jpeg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x1a\x01")
    (root.parent / "elsewhere" / "deeper").mkdir(parents=True)
    square.save(root.parent / "elsewhere" / "deeper" / "linked.jpeg")
    (folder / "link").symlink_to(root.parent / "elsewhere")
    square.putalpha(90)
    square.save(folder / "clear.Png")
    (folder / "notes.txt").touch()
    (root / "train" / "notes.txt").touch()
    return root


def listing(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.iterdir() if p.suffix != ".lock") if cache.exists() else []


def silent(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_imagenet(*arguments)


def test_cache_and_stream_give_torchvisions_files_with_pillows_pixels(odd_root, cache):
    streamed = silent(STREAMED)
    assert not any(file.stat().st_size for file in cache.rglob("*_pixels"))
    stored = silent(ALL)
    assert stored.content_hash == streamed.content_hash
    assert ALL.key == STREAMED.key
    for split in ("train", "val"):
        peer = ImageFolder(str(odd_root / split))
        files, pixels = getattr(streamed, f"{split}_images"), getattr(stored, f"{split}_images")
        assert [str(files.path(i)) for i in range(len(files))] == [path for path, _ in peer.samples]
        for images in (streamed, stored):
            assert getattr(images, f"{split}_labels").tolist() == peer.targets
        for i, aspect in enumerate(getattr(stored, f"{split}_aspects")):
            original = Image.open(files.path(i))
            expected = original.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            assert np.array_equal(pixels[i], np.asarray(expected)), files.path(i)
            assert np.array_equal(pixels[i], files[i])
            assert aspect == np.float32(original.width / original.height)


def test_a_training_sees_the_same_batches_of_cache_and_stream(root):
    """Ten batches, more than are decoded ahead, with the classes that the labels say."""
    indices = torch.randperm(24, generator=torch.Generator().manual_seed(0))[:20].split(2)
    sources = []
    for images in (load_imagenet(ALL), load_imagenet(STREAMED)):
        parts = images.train_images, images.train_labels, images.train_aspects, torch.device("cpu")
        sources.append(Source(*parts).batches(indices))
    for index, stored, streamed in zip(indices, *sources, strict=True):
        torch.testing.assert_close(tuple(streamed), tuple(stored), atol=0, rtol=0)
        assert stored.labels.tolist() == (index // 6).tolist()


def test_unreadable_images_are_left_out_and_reported_once(root, cache):
    """With two workers, and what is left is, byte for byte, what one worker makes of the clean folder."""
    load_imagenet(ALL)
    files = {p.name: p.read_bytes() for p in cache.rglob("*") if p.name.endswith(("_pixels", ".npy"))}
    shutil.rmtree(cache)
    one, other = root / "train" / wnid(0), root / "train" / wnid(2)
    broken = [one / "0 empty.jpeg", one / "cut.JPEG", one / "text.jpg", other / "deep.png", other / "gif.jpg"]
    broken[0].touch()
    broken[1].write_bytes((one / f"{wnid(0)}_0.JPEG").read_bytes()[:-200])
    broken[2].write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", encoding="utf-8")
    Image.fromarray(np.full((30, 30), 9999, np.uint16)).save(broken[3])
    Image.new("RGB", (9, 9)).save(broken[4], "GIF")
    with pytest.warns(UserWarning, match=r"unreadable images left out: 5 \(") as caught:
        load_imagenet(ALL, workers=2)
    report = next(cache.rglob("meta.json"))
    assert str(report) in str(caught[0].message)
    lines = json.loads(report.read_text(encoding="utf-8"))["dataset"]["unreadable"]
    assert [line.partition(": ")[0] for line in lines] == [str(file) for file in broken]
    assert {name: next(cache.rglob(name)).read_bytes() for name in files} == files
    silent(ALL)


def test_content_hash_follows_names_labels_bytes_and_size_alone(root, tmp_path, monkeypatch):
    hashes = {load_imagenet(ALL).content_hash}
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)
    monkeypatch.setenv("TINYNET_IMAGENET", str(moved))
    assert load_imagenet(ALL).content_hash in hashes
    hashes.add(load_imagenet(ImageNetDataset(classes=4, side=25)).content_hash)
    file = moved / "val" / wnid(2) / "ILSVRC2012_val_00000001.JPEG"
    file.write_bytes(file.read_bytes() + b"\0")
    hashes.add(silent(ALL).content_hash)
    other = file.rename(file.with_name("other.JPEG"))
    hashes.add(silent(ALL).content_hash)
    other.rename(moved / "val" / wnid(3) / "other.JPEG")
    hashes.add(silent(ALL).content_hash)
    assert len(hashes) == 5


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size_and_hardly_differs(tmp_path):
    picture(3, 1003, 1201, np.random.default_rng(0)).save(tmp_path / "large.jpeg", quality=92)
    opened = Image.open(tmp_path / "large.jpeg").convert("RGB")
    for side, exact in ((64, False), (250, False), (251, True)):
        pixels, aspect = decode((tmp_path / "large.jpeg").read_bytes(), side)
        difference = np.abs(pixels - np.asarray(opened.resize((side, side), Image.Resampling.BICUBIC)).astype(int))
        assert (difference.max() == 0) == exact, side
        assert difference.max() <= 6, side
        assert aspect == 1003 / 1201


def test_drawn_classes_and_images_follow_the_seeds_and_not_the_order_of_a_listing(tmp_path, monkeypatch):
    """Nor what programs leave in a folder."""
    for label in range(30):
        for split, count in (("train", 20), ("val", 2)):
            (tmp_path / split / wnid(label)).mkdir(parents=True)
            for i in range(count):
                (tmp_path / split / wnid(label) / f"{i}.jpeg").touch()
    dataset = ImageNetDataset(classes=10, class_seed=3, train_per_class=7)

    def drawn(**change):
        """The names of the training images by class."""
        images = {}
        for name, _ in select(dataset.model_copy(update=change), tmp_path)[0]["train"]:
            images.setdefault(Path(name).parts[0], []).append(Path(name).name)
        return images

    chosen, images, other = select(dataset, tmp_path), drawn(), drawn(class_seed=4)
    assert [*images] == sorted(wnid(i) for i in np.random.default_rng(3).choice(30, 10, replace=False))
    for split, each in (("train", 7), ("val", 2)):
        assert np.bincount([label for _, label in chosen[0][split]]).tolist() == [each] * 10
    assert len(set(map(tuple, images.values()))) > 5  # not one draw for all
    assert 0 < len(other.keys() & images.keys()) < 10
    assert {w: images[w] for w in images.keys() & other.keys()}.items() <= other.items()  # whatever the neighbours
    assert drawn(image_seed=1) != images
    walked = os.walk
    with monkeypatch.context() as patched:
        patched.setattr(os, "walk", lambda *a, **k: [(d, s[::-1], f[::-1]) for d, s, f in walked(*a, **k)][::-1])
        assert select(dataset, tmp_path) == chosen
    for folder in (tmp_path / "train", tmp_path / "train" / next(iter(images))):
        for place in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
            (folder / place).mkdir()
            (folder / place / "000.jpeg").touch()
        (folder / "._000.jpeg").touch()
    assert select(dataset, tmp_path) == chosen


def test_classes_by_name(root, tmp_path, monkeypatch):
    dataset = ImageNetDataset(classes=2, side=SIDE, wnids=[wnid(3), wnid(1)])
    assert dataset == ImageNetDataset.model_validate_json(dataset.model_dump_json())
    (tmp_path / "two.txt").write_text(f"# two classes\n{wnid(3)}\n\n  {wnid(1)}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert ImageNetDataset(classes=2, side=SIDE, wnids="two.txt") == dataset
    assert ImageNetDataset(classes=10, wnids="imagenette").wnids[::9] == ("n01440764", "n03888257")
    images = load_imagenet(dataset.model_copy(update={"stream": True}))
    assert images.train_labels.tolist() == [0] * 6 + [1] * 6
    assert [images.train_images.path(i).parent.name for i in (0, 6)] == [wnid(1), wnid(3)]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"classes": 2, "wnids": ["a", "b"], "class_seed": 0}, "either class_seed, .*, or wnids"),
        ({"classes": 3, "wnids": ["a", "b"]}, "wnids names 2 classes, but classes is 3"),
        ({"kind": "cifar"}, "dataset_kind"),
        ({"classes": 2, "wnids": ["a", "../b"]}, "should match pattern"),
        ({"classes": 2, "wnids": "missing.txt"}, "there is no file missing.txt"),
    ],
)
def test_bad_configurations(bad, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Dataset).validate_python({"kind": "imagenet"} | bad)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_per_class": 7}, "holds 6 .* files, must hold at least 7"),
        ({"classes": 3}, "holds 4 class folders, classes asks for 3: give class_seed .* or wnids"),
        ({"classes": 2, "wnids": (wnid(0), "n99")}, r"train/n99 holds 0"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_in_one_line(root, cache, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        load_imagenet(ImageNetDataset(**{"classes": 4} | changes))
    assert "\n" not in str(caught.value)
    assert listing(cache) == []


def test_a_class_without_a_readable_image_is_named(root, cache):
    for file in (root / "val" / wnid(1)).iterdir():
        file.write_bytes(b"x")
    with pytest.raises(UserError, match=rf"a class has no readable image \(.*/val/{wnid(1)}/.*\.JPEG: neither"):
        load_imagenet(ALL)
    assert listing(cache) == []


def test_a_full_disk_is_told_before_any_work(root, cache, monkeypatch):
    usage = shutil.disk_usage(root)._replace(free=36 * SIDE * SIDE * 3 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=rf"the cache of 36 images at {SIDE} px needs 0.0 GB .* larger disk, or stream"):
        load_imagenet(ALL)
    assert listing(cache) == []


LOAD = f"""
from tinynet_core.data import ImageNetDataset, load_imagenet
if __name__ == "__main__":
    load_imagenet(ImageNetDataset(classes=4, side={SIDE}), workers=2)
"""


def test_a_killed_build_leaves_no_process_and_the_next_one_cleans_up(root, cache):
    first = root / "train" / wnid(0) / "large.png"  # enough decoding for a signal to arrive in the middle
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)).save(first)
    for i in range(80):
        os.link(first, first.with_name(f"large{i}.png"))
    process = subprocess.Popen(
        [sys.executable, "-c", LOAD],
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    deadline = time.monotonic() + 60
    while not any(p.stat().st_size for p in cache.glob(".building-*/train_pixels")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)  # ends when every worker has closed its end of the pipes
    (left,) = listing(cache)
    assert left.startswith(".building-imagenet-")
    assert len(silent(ALL).train_images) == 24 + 81
    assert listing(cache) == [left.removeprefix(".building-")]
