"""A small data set in COCO's layout: JPEGs with coloured rectangles, category ids with gaps, and a crowd."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

CATEGORIES = ({"id": 3, "name": "red"}, {"id": 17, "name": "blue"}, {"id": 90, "name": "absent"})
COLOURS = {3: (220, 30, 30), 17: (30, 30, 220)}


def write_coco(root: Path) -> Path:
    """``root`` with one to three rectangles an image; every second one has a crowd, the last of train has nothing."""
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    for split, count in (("train2017", 10), ("val2017", 4)):
        (root / split).mkdir()
        images, annotations = [], []
        for i in range(count):
            width, height = rng.integers(90, 161, 2).tolist()
            pixels = np.full((height, width, 3), 120, np.uint8) + rng.integers(0, 20, (height, width, 1), np.uint8)
            name, image_id = f"{i:012d}.jpg", 1000 + 7 * i
            if split == "val2017" or i < count - 1:
                annotations += _rectangles(rng, pixels, image_id, len(annotations))
            Image.fromarray(pixels).save(root / split / name, quality=95)
            images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        content = {"images": images, "annotations": annotations, "categories": list(CATEGORIES)}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def _rectangles(rng, pixels, image_id, first):
    height, width, _ = pixels.shape
    found = []
    for _ in range(int(rng.integers(1, 4))):
        w, h = rng.integers(20, 60, 2).tolist()
        left, top = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
        category = int(rng.choice(list(COLOURS)))
        pixels[top : top + h, left : left + w] = COLOURS[category]
        found.append({"category_id": category, "bbox": [left, top, w, h], "area": w * h * 0.9, "iscrowd": 0})
    if image_id % 2:
        found.append({"category_id": 3, "bbox": [0, 0, width, 10], "area": width * 9, "iscrowd": 1})
    return [{"id": first + i, "image_id": image_id, **about} for i, about in enumerate(found, 1)]
