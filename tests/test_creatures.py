"""Creatures: the same bytes on every machine, and pictures that show what their labels and boxes say."""

import os
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from tinynet_core.data import creatures, drawing, portrait
from tinynet_core.data.creatures import CreatureDataset, CreatureSceneDataset
from tinynet_core.data.drawn import probe_hash

SMALL = CreatureDataset(genera=3, species=2, habitats=4, resolution=24, train_images=120, val_images=30)
SCENE = CreatureSceneDataset(classes=3, side=96, train_images=12, val_images=6, most=5, seed=3, difficulty=0.4)
PROBED = CreatureDataset(resolution=48, train_images=192, val_images=64)
PROBES = "892ac828a74c96e4a18aa7dc6bd5f491b891a101b266ac4584f5002697189084"
"""Content hash of the 256 images of ``PROBED`` and their labels, on every machine."""
CODE = f"""
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from tinynet_core.data.creatures import CreatureDataset
from tinynet_core.data.drawn import render
from tinynet_core.data.sets import content_hash
print(content_hash(render(CreatureDataset.model_validate_json({PROBED.model_dump_json()!r}))))
print(sum(__cpu_features__[name] for name in __cpu_dispatch__))
"""


EXACT = {
    *("sqrt", "floor", "ceil", "maximum", "minimum", "clip", "where", "copyto", "take", "arange", "array", "zeros"),
    *("ascontiguousarray", "float64", "uint8", "uint16", "int8", "int16", "int64", "ndarray", "random", "flatnonzero"),
}


def changed(dataset, **values):
    return dataset.model_copy(update=values)


def test_the_same_bytes_on_every_machine():
    """In a process without vector units and with another BLAS, and the scenes in this one."""
    vectors = " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name])
    other = {"NPY_DISABLE_CPU_FEATURES": vectors, "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2,-AVX512F"}
    other |= {"OPENBLAS_CORETYPE": "Prescott", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, env=os.environ | other, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split() == [PROBES, "0"]  # the vector units are switched off indeed
    assert probe_hash(SCENE) == "fc122dae6b4da94318a0e3ce9d46576a9b68893ba98a5d83a06fddddd71b25c1"


@pytest.mark.parametrize("module", [creatures, drawing, portrait])
def test_only_exact_arithmetic_is_used(module):
    """A call that another processor may round in another way does not come in unseen."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r"\b(?:np|math)\.(\w+)", source)) <= EXACT
    assert not re.search(r"\w @ \w|\.(dot|sum|mean|std|normal|standard_normal)\b", source)


def without_creature(monkeypatch, dataset, index):
    """The image from the same random numbers, with its creature left out."""

    def elsewhere(canvas, *about):
        painted = portrait.Painted(deepcopy(canvas), *about)
        painted.first = painted.end = 0
        return painted

    with monkeypatch.context() as patched:
        patched.setattr(creatures, "Painted", elsewhere)
        return dataset.draw("val", index)[0]


def test_the_region_is_where_the_creature_is(monkeypatch):
    dataset, shares = changed(SMALL, resolution=64, occlusion=1.0), []
    for i in range(15):
        region = dataset.region("val", i)
        assert (region.shape, region.dtype) == ((64, 64), bool)
        differs = (dataset.draw("val", i)[0] != without_creature(monkeypatch, dataset, i)).any(2)
        assert (region & ~differs).mean() < 0.01  # a creature of the colour of the ground, or clipped
        assert (differs & ~region).mean() < 0.04  # pixels less than half covered
        shares.append(region.mean())
    assert 0.1 < min(shares) < max(shares) < 0.8


def test_a_mirrored_image_is_as_likely():
    """What ``mirror_safe`` says: the mean image of a class is its own mirror image, but for chance.

    Where neither creatures nor grounds are ever mirrored, some pixel is more than 7 standard errors off.
    """
    dataset, n = changed(SMALL, resolution=16, occlusion=0.0), 100
    for label in (0, 2):
        images = np.stack([dataset.draw("train", label + 6 * i)[0] for i in range(n)]).astype(float)
        difference = images - images[:, :, ::-1]
        assert np.abs(difference.mean(0) / (difference.std(0) / np.sqrt(n))).max() < 5


def test_boxes_are_the_bounds_of_what_was_painted(monkeypatch):
    """In the picture itself: the pixels at least half of which show the creature."""
    real, masks = portrait.finished, []

    def finished(canvas, dice, painted, noise):
        for creature in painted:
            mask = (canvas.numbers >= creature.first) & (canvas.numbers < creature.end)
            masks.append(mask.reshape(96, 2, 96, 2).sum((1, 3)) >= 2)
        return real(canvas, dice, painted, noise)

    monkeypatch.setattr(creatures, "finished", finished)
    for index in range(15):
        masks.clear()
        scene = SCENE.draw("train", index)
        for mask, (left, top, right, bottom) in zip(masks, scene.boxes, strict=True):
            inside = mask[top:bottom, left:right]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            assert mask.sum() == inside.sum()
