import hashlib

import numpy as np
import pytest
from pydantic import ValidationError

from tinynet_core import Experiment, GlyphDataset, Recipe
from tinynet_core.data import glyphs

SMALL = GlyphDataset(classes=6, resolution=24, train_images=600, val_images=60)


def test_a_hundred_classes_that_every_face_can_draw():
    assert len(set(glyphs.CLASSES)) == 100
    for face in glyphs.FACES:
        font = glyphs._font(face, 64)
        unknown = font.getmask("\U0010fffd").getbbox(), bytes(font.getmask("\U0010fffd"))
        pictures = {c: (font.getmask(c).size, bytes(font.getmask(c))) for c in glyphs.CLASSES}
        assert unknown[1] not in [p[1] for p in pictures.values()], face
        assert len(set(pictures.values())) == 100, face


def test_nothing_changes_where_the_extent_is_left_out():
    """Of images rendered, and keys given, before data sets had one."""
    assert SMALL.key == "7d69e04b6aa5a41f0b646eb54b8884919c7e0ab1feece0b062ab4b94bb517583"
    pixels = b"".join(glyphs.render_image(SMALL, "val", i).tobytes() for i in range(20))
    assert hashlib.sha256(pixels).hexdigest() == "0a6106d422abd916ad1bd72f3d1f34226bd76b8efd80fd7f5132442bef316219"


@pytest.mark.parametrize("extent", [None, (0.2, 0.6), (1.0, 1.0)])
def test_the_region_is_where_the_ink_is_and_its_longer_side_the_extent(extent):
    """On easy images a pixel is ink where its lightness is nearer to the ink's than to the ground's."""
    dataset, longest = GlyphDataset(resolution=96, difficulty=0.0, extent=extent), []
    for i in range(40):
        region = glyphs.glyph_region(dataset, "val", i)
        light = glyphs.render_image(dataset, "val", i) @ np.array([0.299, 0.587, 0.114])
        assert region.shape == (96, 96)
        assert region.dtype == bool
        ink, ground = np.median(light[region]), np.median(light[~region])
        assert abs(ink - ground) > 100
        nearer = abs(light - ink) < abs(light - ground)
        assert (nearer != region).mean() < 0.005
        longest.append(1 + max(np.ptp(places) for places in np.nonzero(region)))
    low, high = extent or (0.55, 0.9)
    assert 96 * low - 2 <= min(longest) <= 96 * low + 9
    assert 96 * high - 9 <= max(longest) <= 96 * high + 1


def test_a_recipe_that_mirrors_letters_is_refused():
    with pytest.raises(ValidationError, match=r"recipe\.mirror must be 0"):
        Experiment(network="tinynet_e", dataset=SMALL, recipe=Recipe(epochs=2, mirror=0.5))
