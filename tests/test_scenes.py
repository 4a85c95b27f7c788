import itertools

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt

from tinynet_core.data import SceneDataset, scenes
from tinynet_core.data.glyphs import FACES, glyph_mask

SMALL = SceneDataset(classes=3, side=96, train_images=12, val_images=6, most=5, seed=3)


def test_boxes_are_the_bounds_of_what_was_pasted(monkeypatch):
    """Without noise and clutter a scene differs from its bare canvas exactly where letters were pasted."""
    pasted = []
    real = scenes._place

    def place(rng, mask, side, taken):
        box = real(rng, mask, side, taken)
        pasted.append((mask, box))
        return box

    monkeypatch.setattr(scenes, "_place", place)
    for index in range(20):
        pasted.clear()
        scene = scenes.render_scene(SMALL, "train", index)
        ink = np.zeros((SMALL.side, SMALL.side), bool)
        for mask, box in pasted:
            if box is not None:
                ink[box[1] : box[3], box[0] : box[2]] |= np.asarray(mask) > 0
        for left, top, right, bottom in scene.boxes:
            inside = ink[top:bottom, left:right]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            ink[top:bottom, left:right] = False
        assert not ink.any()


@pytest.mark.parametrize(("side", "difficulty"), [(64, 1.0), (128, 0.25), (512, 1.0)])
def test_a_letter_has_the_size_that_it_was_drawn_for(side, difficulty):
    """Every letter of every face, at both ends of each range and between: its class by the area of its annotation."""
    dataset = SMALL.model_copy(update={"side": side})
    rng = np.random.default_rng(0)
    wrong, drawn = [], 0
    for intended, (low, high) in enumerate(scenes.SIZES):
        for extent in (low, high, *rng.uniform(low, high, 2)):
            for character, face in itertools.product(scenes.CLASSES, FACES):
                mask = glyph_mask(character, face, side * extent, rng.uniform(-1, 1) * 30 * difficulty, scenes._FONT)
                mask = mask.crop(mask.getbbox())
                found = np.searchsorted(dataset.area_limits, mask.width * mask.height, side="right")
                drawn += 1
                if found != intended:
                    wrong.append((character, face, extent, mask.size, int(found)))
    assert drawn == 3 * 4 * 10 * 12
    assert not wrong, wrong[:5]


SLANT = np.tan(np.radians(11))
"""By how much the oblique and italic faces lean, as their files say."""


def leaning(mask, by):
    """``mask`` sheared to the right by ``by`` of its height."""
    room = int(abs(by) * mask.height) + 2
    wide = Image.new("L", (mask.width + 2 * room, mask.height))
    wide.paste(mask, (room, 0))
    shear = (1, by, -by * mask.height / 2, 0, 1, 0)
    return wide.transform(wide.size, Image.Transform.AFFINE, shear, Image.Resampling.BICUBIC)


def ink(mask):
    return np.asarray(mask.crop(mask.getbbox()).resize((32, 32), Image.Resampling.BOX)) > 127


def chamfer(one, other):
    """Mean distance from the ink of each of two letters to that of the other."""
    return distance_transform_edt(~one)[other].mean() + distance_transform_edt(~other)[one].mean()


@pytest.mark.parametrize("face", FACES[::3])
def test_a_mirrored_letter_keeps_its_class(face):
    """What ``mirror_safe`` says. A slanted letter is made to lean to the right again first; then of all letters of all
    faces the nearest is one of its own class."""
    drawn = {(o, f): ink(glyph_mask(o, f, 96, 0.0, 96)) for o in scenes.CLASSES for f in FACES}
    slanted = face.endswith(("Oblique", "Italic"))
    for character in scenes.CLASSES:
        mirrored = glyph_mask(character, face, 96, 0.0, 96).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        seen = ink(leaning(mirrored, 2 * SLANT) if slanted else mirrored)
        distance = {key: chamfer(seen, other) for key, other in drawn.items()}
        assert min(distance, key=distance.get)[0] == character
