"""The tiny world: kinds of cell, their 8 x 8 pixel glyphs, and what a viewer sees.

A scene is an N x N grid of cells (N odd). A view is N x N as well and egocentric, as in MiniGrid:
the viewer stands at the bottom centre and looks up the picture; what is hidden, outside the scene
or unobserved is DARK. The viewer's own cell is a compass: its needle points north.
Shape letters here and in the tasks: B examples, N cells a side, P = N * N.
A cell as a number is row * N + column, a pose heading * P + cell.
Headings: 0 north (up), 1 east, 2 south, 3 west; a turn right is +1.
"""
from functools import lru_cache

import numpy as np

# ---------------------------------------------------------------- kinds of cell and their glyphs
MARKS = {  # one hex byte a row, one bit a pixel; the last four are the viewer's compass
    "dark": "ffffffffffffffff", "floor": "0000000000000000", "wall": "fb00df00fb00df00",
    "x": "c3e77e3c3c7ee7c3", "route": "0000181818180000", "one": "1838781818187e00",
    "two": "3c660c1830607e00", "mid": "c3e7ffdbc3c3c300", "north": "183c7effdb181800",
    "east": "183870fefe703818", "south": "001818dbff7e3c18", "west": "181c0e7f7f0e1c18"}
SHAPES = {"ball": "003c7e7e7e7e3c00", "box": "007e424242427e00",
          "cone": "0018183c3c7e7e00", "star": "1818ff7e3c7e6642"}
COLOURS = {"red": (214, 48, 49), "green": (0, 148, 82), "blue": (35, 99, 235),
           "pink": (222, 80, 205)}
NAMES = [*MARKS, *(f"{colour}-{shape}" for shape in SHAPES for colour in COLOURS)]
DARK, FLOOR, WALL, X, ROUTE, ONE, TWO, MID, VIEWER = range(9)
OBJECT = len(MARKS)                                    # ids from here on are objects
N_KINDS = len(NAMES) - OBJECT
PAINT = {**COLOURS, "dark": (24, 25, 34), "wall": (148, 112, 92)}
INK, PAPER = (30, 30, 40), (236, 229, 214)             # of all others, and below the paint
SPLITS = ("train", "val", "test")
NOISE, BRIGHTNESS = 8, 0.1                             # +- grey levels a pixel; +- share a cell


def _glyph(name):
    """The clean picture of a kind of cell: (8, 8, 3) uint8."""
    colour, _, shape = name.rpartition("-")
    bits = np.frombuffer(bytes.fromhex({**MARKS, **SHAPES}[shape]), np.uint8)
    inked = np.unpackbits(bits).reshape(8, 8, 1)
    return np.where(inked, PAINT.get(colour or shape, INK), PAPER).astype(np.uint8)


GLYPHS = np.stack([_glyph(name) for name in NAMES])    # (kinds, 8, 8, 3)
_LIT = np.stack([np.clip(GLYPHS * gain, NOISE, 255 - NOISE).astype(np.uint8)    # every brightness
                 for gain in np.linspace(1 - BRIGHTNESS, 1 + BRIGHTNESS, 16)])


def render(cells, rng=None):
    """Draw cells (..., H, W) as pixels (..., 8H, 8W, 3) uint8.
    With a Generator every cell gets its own brightness and every pixel its own noise, so that the
    tokenizer has something to be robust to; without one the glyphs are clean."""
    if rng is None:
        tiles = GLYPHS[cells]                                        # (..., H, W, 8, 8, 3)
    else:
        tiles = _LIT[rng.integers(0, len(_LIT), cells.shape, dtype=np.uint8), cells]
        noise = np.frombuffer(rng.bytes(tiles.size), np.uint8).reshape(tiles.shape)
        tiles = tiles + noise % (2 * NOISE) - np.uint8(NOISE)        # _LIT leaves room: no overflow
    tiles = np.moveaxis(tiles, -3, -4)                               # (..., H, 8, W, 8, 3)
    *lead, h, _, w, _, _ = tiles.shape
    return tiles.reshape(*lead, 8 * h, 8 * w, 3)


def nearest_glyph(pixels):
    """Read pixels (..., 8H, 8W, 3) as cells (..., H, W): the glyph at least squared distance."""
    *lead, h, w, _ = pixels.shape
    tiles = pixels.reshape(*lead, h // 8, 8, w // 8, 8, 3)
    tiles = np.moveaxis(tiles, -4, -3).reshape(*lead, h // 8, w // 8, 192).astype(np.float32) / 255
    glyphs = GLYPHS.reshape(len(GLYPHS), 192).astype(np.float32) / 255
    # |a - b|^2 = |a|^2 - 2ab + |b|^2, and |a|^2 does not depend on the glyph.
    return ((glyphs ** 2).sum(1) - 2 * tiles @ glyphs.T).argmin(-1).astype(np.uint8)


# ------------------------------------------------------------------------------- what can be seen
def from_viewer(cell, n):
    """(ahead, right): steps from the viewer to a cell of its view."""
    row, col = np.divmod(cell, n)
    return n - 1 - row, col - n // 2


def in_world(pose, ahead, right, n):
    """The world cell so many steps ahead and to the right of a pose; P where there is none."""
    heading, cell = np.divmod(pose, n * n)
    d_row, d_col = np.array([-1, 0, 1, 0])[heading], np.array([0, 1, 0, -1])[heading]
    # The direction to the right of (d_row, d_col) is (d_col, -d_row).
    row = cell // n + ahead * d_row + right * d_col
    col = cell % n + ahead * d_col - right * d_row
    inside = (np.minimum(row, col) >= 0) & (np.maximum(row, col) < n)
    return np.where(inside, row * n + col, n * n)


@lru_cache
def _between(n):
    """(P, P) float32: 1 where view cell i lies on the line of sight from the viewer to cell j."""
    between = np.zeros((n, n, n * n), np.float32)
    for target in range(n * n):
        ahead, right = from_viewer(target, n)
        steps = max(ahead, abs(right))
        for s in range(1, steps):
            # Half cells round towards the middle line: left and right stay mirror images.
            up = (2 * ahead * s + steps) // (2 * steps)
            aside = (2 * abs(right) * s + steps - 1) // (2 * steps) * np.sign(right)
            between[n - 1 - up, n // 2 + aside, target] = 1
    return between.reshape(n * n, n * n)


@lru_cache
def _crop(n, camera):
    """(4 * P, P): the world cell under each view cell, for each pose; P where it is unseen."""
    ahead, right = from_viewer(np.arange(n * n), n)
    source = in_world(np.arange(4 * n * n)[:, None], ahead, right, n)
    return np.where(np.abs(right) <= ahead, source, n * n) if camera else source


def look(scene, pose, camera=False):
    """What a viewer at `pose` (B,) sees of `scene` (B, N, N): (view, source), each (B, N, N).

    Walls and DARK cells block the sight, objects do not. The viewer's own cell shows a
    compass: VIEWER + heading.
    A viewer sees everything ahead and beside it; a `camera` has a field of view of 90 degrees.
    `source` is the world cell that each view cell shows, P where it is DARK."""
    b, n, _ = scene.shape
    source = _crop(n, camera).take(pose, 0)                                      # (B, P)
    padded = np.pad(scene.reshape(b, -1), ((0, 0), (0, 1)), constant_values=DARK)
    view = padded.take(source + (n * n + 1) * np.arange(b)[:, None])
    opaque = (view == WALL) | (view == DARK)
    view *= opaque.astype(np.float32) @ _between(n) < 0.5        # DARK is 0
    view, source = view.reshape(b, n, n), source.reshape(b, n, n)
    view[:, -1, n // 2] = VIEWER + pose // (n * n)
    return view, np.maximum(source, n * n * (view == DARK))


def marked(numbers, size):
    """(B, size) bool: which of 0 .. size - 1 occur in each row of `numbers` (B, ...)?"""
    there = np.zeros((len(numbers), size), bool)
    rows = size * np.arange(len(numbers))[:, None]
    there.reshape(-1)[numbers.reshape(len(numbers), -1) + rows] = True
    return there


def shows(cells, things):
    """(B, k) bool: which of `things` (B, k) occur in `cells` (B, ...)?"""
    return np.take_along_axis(marked(cells, len(NAMES)), things, 1)


# -------------------------------------------------------------------- random scenes and their split
def scaled(n, per_25_cells):
    """A density, given per 25 cells, as a count on an N x N grid."""
    return round(per_25_cells * n * n / 25)


def distinct_objects(rng, b, n, per_25_cells):
    """(B, k) object ids, no two alike in a row."""
    k = min(scaled(n, per_25_cells), N_KINDS)
    order = rng.random((b, N_KINDS), dtype=np.float32)
    return OBJECT + np.argpartition(order, k - 1, axis=1)[:, :k]


def scatter(rng, n, things, walls, taken):
    """Scenes (B, N, N): `things` (B, k) and walls on distinct random cells, FLOOR everywhere else.

    There are between walls[0] and walls[1] walls per 25 cells. The cells `taken` (B, m) stay FLOOR.
    """
    low, high = (scaled(n, count) for count in walls)
    count = rng.integers(low, high + 1, (len(things), 1))
    things = np.concatenate([things, np.where(np.arange(high) < count, WALL, FLOOR)], 1)
    k = things.shape[1]
    assert k + taken.shape[1] <= n * n, f"{k} things do not fit into a grid of {n}"
    blocked = marked(taken, n * n + 1)[:, :-1]
    order = rng.random((len(things), n * n), dtype=np.float32) + blocked             # free first
    scene = np.full(order.shape, FLOOR, np.uint8)
    np.put_along_axis(scene, np.argpartition(order, k - 1, axis=1)[:, :k], things, 1)
    return scene.reshape(-1, n, n)


def split_of(scene):
    """Index into SPLITS for each scene (B, N, N), equal for all 8 symmetries of one scene.
    A hash of the scene decides, 6 : 1 : 1. So no test scene occurs in training, whatever the seed,
    the size or the order in which the sets were made. (Zobrist hashing, lowest of 8 symmetries.)"""
    n = scene.shape[1]
    table = np.random.default_rng(0).integers(0, 2 ** 63, (n, n, len(NAMES)), dtype=np.uint64)
    turned = [np.rot90(t, k) for t in (table, table.swapaxes(0, 1)) for k in range(4)]
    cells = zip(np.stack(turned, -1).reshape(n * n, len(NAMES), 8), scene.reshape(-1, n * n).T)
    lowest = sum(numbers.take(kind, 0) for numbers, kind in cells).min(1)
    bucket = (lowest ^ (lowest >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(61)
    return np.where(bucket < 6, 0, bucket.astype(np.int64) - 5)
