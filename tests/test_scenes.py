import itertools

import numpy as np
import pytest
from PIL import Image

from tinynet_core.data import SceneDataset, scenes
from tinynet_core.data.glyphs import FACES, glyph_mask

SMALL = SceneDataset(classes=3, side=96, train_images=12, val_images=6, most=5, seed=3)


def test_boxes_are_the_bounds_of_what_was_pasted():
    """In the picture itself: without clutter its canvas has one colour, from which letters stand out."""
    for index in range(20):
        scene = scenes.render_scene(SMALL, "train", index)
        light = scene.image @ (0.299, 0.587, 0.114)
        ink = abs(light - np.median(light)) > 15
        for left, top, right, bottom in scene.boxes:
            inside = ink[top:bottom, left:right]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            ink[top:bottom, left:right] = False
        assert not ink.any()


@pytest.mark.parametrize("side", [64, 512])
def test_a_letter_has_the_size_that_it_was_drawn_for(side):
    """Every letter of every face, at both ends of each range, however turned: its class by the area of its box."""
    limits, rng = SMALL.model_copy(update={"side": side}).area_limits, np.random.default_rng(0)
    for intended, extents in enumerate(scenes.SIZES):
        for extent, character, face in itertools.product(extents, scenes.CLASSES, FACES):
            mask = glyph_mask(character, face, side * extent, rng.uniform(-30, 30), 96)
            left, top, right, bottom = mask.getbbox()
            found = np.searchsorted(limits, (right - left) * (bottom - top), side="right")
            assert found == intended, (character, face, extent)


@pytest.mark.parametrize("face", ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSansMono-Bold"])
def test_a_mirrored_letter_keeps_its_class(face):
    """What ``mirror_safe`` says: where strokes have one width, a letter is its own mirror image. A B is 0.2 off."""
    for character in scenes.CLASSES:
        shape = np.asarray(glyph_mask(character, face, 96, 0.0, 96).resize((32, 32), Image.Resampling.BOX)) / 255
        assert abs(shape - shape[:, ::-1]).mean() < 0.12, character
