import numpy as np
import pytest

from tinynet_core.data import creature_scenes, portrait
from tinynet_core.data.creature_scenes import CreatureSceneDataset, render_scene
from tinynet_core.data.probe import probe_hash

SMALL = CreatureSceneDataset(classes=3, side=96, train_images=12, val_images=6, most=5, seed=3, difficulty=0.4)
PROBES = "fc122dae6b4da94318a0e3ce9d46576a9b68893ba98a5d83a06fddddd71b25c1"
"""Of ``SMALL``, on every machine; ``test_creatures`` draws the same parts on others."""


def changed(**values):
    return CreatureSceneDataset(**{**SMALL.model_dump(), **values})


def areas_of(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def test_the_bytes_are_those_of_every_machine():
    assert probe_hash(SMALL) == PROBES


def test_boxes_are_the_bounds_of_what_was_painted(monkeypatch):
    """In the picture itself: what differs from the same picture without one of its creatures."""
    real = portrait.finished
    pictures = []

    def finished(canvas, dice, creatures, noise):
        for creature in creatures:
            mask = (canvas.numbers >= creature.first) & (canvas.numbers < creature.end)
            pictures.append(mask.reshape(96, 2, 96, 2).sum((1, 3)) >= 2)
        return real(canvas, dice, creatures, noise)

    monkeypatch.setattr(creature_scenes, "finished", finished)
    for index in range(20):
        pictures.clear()
        scene = render_scene(SMALL, "train", index)
        assert len(pictures) == len(scene.boxes)
        for mask, (left, top, right, bottom) in zip(pictures, scene.boxes, strict=True):
            inside = mask[top:bottom, left:right]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            assert mask.sum() == inside.sum()


@pytest.mark.parametrize("side", [96, 160])
@pytest.mark.parametrize("kind", [0, 1, 2], ids=["small", "medium", "large"])
def test_a_creature_has_the_size_that_it_was_drawn_for(side, kind):
    """By the area of its box, for many species and poses."""
    shares = tuple(float(i == kind) for i in range(3))
    sizes = []
    for seed in range(3):
        dataset = changed(side=side, classes=20, most=3, seed=seed, shares=shares, difficulty=0.1)
        limits = dataset.area_limits
        assert limits == pytest.approx(((side / 16) ** 2, (side * 3 / 16) ** 2))
        boxes = np.concatenate([render_scene(dataset, "train", i).boxes for i in range(20)])
        sizes += np.searchsorted(limits, areas_of(boxes), side="right").tolist()
    assert set(sizes) == {kind}
    assert len(sizes) > 60


def test_a_creature_that_finds_no_place_is_left_out():
    crowded = changed(most=20, shares=(0.0, 0.0, 1.0))
    counts = [len(render_scene(crowded, "train", i).boxes) for i in range(10)]
    assert min(counts) >= 1
    assert max(counts) < 10
