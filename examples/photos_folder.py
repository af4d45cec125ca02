"""Your own pictures, 1: photographs. Turned by 90 degrees, which corner is the brightest?

    pip install scikit-image
    python examples/photos_folder.py photos
    python data.py --data photos
    python train.py --data photos --codes 2048

Pieces of five photographs that come with scikit-image. Training sees their left parts, validation
and test the rest, so no pixel of a test picture is in training. Imagination: the piece, turned.
"""
import json
import sys
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

SIDE, MARGIN = 64, 15         # pixels; grey levels between the brightest corner and the next
COUNTS = {"train": 8000, "val": 500, "test": 1000}
PART = {"train": (0, 0.7), "val": (0.7, 0.85), "test": (0.85, 1)}     # of a photograph's width
TURNS = {"left": 1, "right": 3}                                       # quarter turns to the left
CORNERS = "top left", "top right", "bottom left", "bottom right"


def pieces(rng, photos, part):
    """(view, query, imagination, answer) of random squares in a part of the photographs."""
    half = SIDE // 2
    while True:
        photo = photos[rng.integers(len(photos))]
        first, last = (int(photo.shape[1] * end) for end in part)
        row = rng.integers(len(photo) - SIDE + 1)
        column = rng.integers(first, last - SIDE + 1)
        piece = photo[row:row + SIDE, column:column + SIDE]
        way = rng.choice(list(TURNS))
        turned = np.rot90(piece, TURNS[way])
        corners = turned.reshape(2, half, 2, half, 3).mean((1, 3, 4)).flatten()
        second, first = np.sort(corners)[-2:]
        if first - second > MARGIN:
            query = f"turned {way} , which corner is the brightest ?"
            yield piece, query, turned, CORNERS[corners.argmax()]


def write(root):
    rng, lines = np.random.default_rng(0), []
    photos = [getattr(skimage.data, name)() for name in ("astronaut", "cat", "coffee", "rocket")]
    photos.append(skimage.data.stereo_motorcycle()[0])
    root.mkdir(parents=True)
    for split, wanted in COUNTS.items():
        source = pieces(rng, photos, PART[split])
        for number, (view, query, imagination, answer) in zip(range(wanted), source):
            names = f"{split}{number}.png", f"{split}{number}-turned.png"
            Image.fromarray(view.copy()).save(root / names[0])
            Image.fromarray(imagination.copy()).save(root / names[1])
            lines.append(dict(split=split, views=names[:1], query=query, imagination=names[1],
                              answer=answer))
    (root / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
