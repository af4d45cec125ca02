"""The same views in first person: a camera draws egocentric cells as a picture in perspective.

The camera stands far behind and above the viewer. From the viewer's eyes far things would be a few
pixels, or hidden: even a true picture would be hard to read. Walls and objects stand upright,
shrink with distance and hide what is behind them. The X lies on the floor, and the floor of a DARK
cell is dark. At the bottom is the compass, as in the cells.
On the screen, `aside` and `down` are 0 straight ahead: a point that is `far` from the camera,
`right` of it and `height` above the floor is at aside = right / far, down = (eye - height) / far.
Shape letters: B pictures, N cells a side of a view, P = N * N, S = 8 (N + 1) pixels a side of a
picture. That is N + 1 codes: the compass has a row of its own, and the picture stays a square.
"""
from functools import lru_cache

import numpy as np

from ipt_mini.tasks.grid import DARK, FLOOR, GLYPHS, OBJECT, WALL, X, lit, viewer_cell

BACK, EYE = 2.0, 1.6          # of the camera: steps behind the viewer, height; in parts of N
WIDE = 0.5 / BACK             # half the width of the screen, as `aside`: the viewer's row fills it
CLEAR = 255                   # no colour: what is behind shows


def compass_at(n):
    """The rows and columns of pixels that show the compass: those of one code in the last row, just
    to the right of the middle."""
    left = (n + 1) // 2 * 8
    return slice(8 * n, 8 * n + 8), slice(left, left + 8)


@lru_cache
def screen(n):
    """(down, aside), each (S,): of the pixels' rows and columns. From the top of a wall in the
    farthest row to the near edge of the viewer's cell; the compass's 8 rows of pixels lie below."""
    top = (EYE * n - 1) / (BACK * n + n - 1)
    bottom = EYE * n / (BACK * n - 0.5)
    size = 8 * (n + 1)
    middle = np.arange(size) + 0.5
    return top + middle * (bottom - top) / (size - 8), (2 * middle / size - 1) * WIDE


@lru_cache
def _layers(n):
    """What a pixel may show, from back to front: the floor, then what stands upright, row by row.
    A layer is (cell (S, S), P where it has none, texel (S, S): row * 8 + column in its glyph)."""
    back, eye = BACK * n, EYE * n
    down, aside = np.meshgrid(*screen(n), indexing="ij")            # (S, S) each
    far = eye / down                                     # of the floor's points
    ahead = far - back
    row_ahead = np.round(ahead)
    layers = [_layer(n, row_ahead, far * aside, row_ahead - ahead)]
    for row_ahead in range(n - 1, -1, -1):               # of what stands there
        far = row_ahead + back
        height = eye - down * far
        layers.append(_layer(n, row_ahead, far * aside, 0.5 - height))
    return layers


def _layer(n, row_ahead, right, below):
    """For each pixel the cell at (row_ahead, right) from the viewer, and the texel.
    below: from the middle of the glyph down; on the floor, towards the viewer."""
    column = np.round(right)
    inside = (row_ahead >= 0) & (row_ahead < n) & (np.abs(column) <= n // 2) & (np.abs(below) < 0.5)
    cell = np.where(inside, (n - 1 - row_ahead) * n + n // 2 + column, n * n)
    row, col = (np.floor(8 * (part + 0.5)).clip(0, 7) for part in (below, right - column))
    return cell.astype(int), (row * 8 + col).astype(int)


def _paint():
    """(palette (colours, 3), lying, standing). The last two (kinds, 64): a colour of the palette
    for each pixel of a glyph."""
    palette, colour = np.unique(GLYPHS.reshape(-1, 3), axis=0, return_inverse=True)
    colour = colour.reshape(-1, 64).astype(np.uint8)
    paper = colour[FLOOR, 0]
    kind = np.arange(len(colour))[:, None]
    lying = np.where((kind == X) | (kind == DARK), colour, paper)
    standing = np.where((kind == WALL) | (kind >= OBJECT), colour, CLEAR)
    standing[standing == paper] = CLEAR                  # paper is transparent
    standing[WALL] = colour[WALL, 0]                     # far away, bricks are noise
    return palette, lying, standing


PALETTE, LYING, STANDING = _paint()


def draw(views, rng=None):
    """Draw egocentric views (..., N, N) of cells as pictures (..., S, S, 3) uint8.
    rng: for light and noise, see `grid.lit`."""
    *lead, n, _ = views.shape
    views = views.reshape(-1, n * n)
    outside = np.full((len(views), 1), DARK, np.uint8)
    cells = np.concatenate([views, outside], 1)                      # (B, P + 1)
    floor, *upright = _layers(n)
    cell, texel = floor
    colour = LYING[cells[:, cell], texel]                            # (B, S, S)
    for cell, texel in upright:
        there = STANDING[cells[:, cell], texel]
        colour = np.where(there == CLEAR, colour, there)
    picture = PALETTE[colour]
    rows, columns = compass_at(n)
    picture[:, rows, columns] = GLYPHS[cells[:, viewer_cell(n)]]
    return lit(picture, rng).reshape(*lead, *picture.shape[1:])
