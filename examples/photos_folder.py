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


def piece_of(rng, photo, part):
    """A random square of a part of a photograph."""
    height, width, _ = photo.shape
    first, last = (int(width * end) for end in part)
    row = rng.integers(height - SIDE + 1)
    column = rng.integers(first, last - SIDE + 1)
    return photo[row:row + SIDE, column:column + SIDE]


def brightest(picture):
    """(index of the brightest corner, grey levels that it is ahead of the second)."""
    half = SIDE // 2
    corners = picture.reshape(2, half, 2, half, 3).mean((1, 3, 4)).flatten()
    second, first = np.sort(corners)[-2:]
    return corners.argmax(), first - second


def write(root):
    rng, lines = np.random.default_rng(0), []
    photos = [getattr(skimage.data, name)() for name in ("astronaut", "cat", "coffee", "rocket")]
    photos.append(skimage.data.stereo_motorcycle()[0])
    root.mkdir(parents=True)
    for split, count in COUNTS.items():
        made = 0
        while made < count:
            piece = piece_of(rng, photos[rng.integers(len(photos))], PART[split])
            way = rng.choice(list(TURNS))
            turned = np.rot90(piece, TURNS[way])
            corner, ahead = brightest(turned)
            if ahead < MARGIN:
                continue
            names = f"{split}{made}.png", f"{split}{made}-turned.png"
            for name, picture in zip(names, (piece, turned)):
                Image.fromarray(np.ascontiguousarray(picture)).save(root / name)
            lines.append(dict(split=split, views=names[:1], imagination=names[1],
                              query=f"turned {way} , which corner is the brightest ?",
                              answer=CORNERS[corner]))
            made += 1
    (root / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
