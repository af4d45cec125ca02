"""The tiny world: kinds of cell, their 8 x 8 pixel glyphs, and what a viewer sees.

A scene is an N x N grid of cells (N odd). A viewer's view is N x N as well and egocentric, as in
MiniGrid: the viewer stands at the bottom centre and looks up the picture; what is hidden, outside
the scene or unobserved is DARK. The viewer's own cell is a compass: its needle points north.
Shape letters here and in the tasks: B examples, N cells a side, P = N * N.
A cell as a number is row * N + column, a pose heading * P + cell.
A heading is one of NORTH (up), EAST, SOUTH, WEST; a turn right is +1.
"""
from functools import lru_cache

import numpy as np

# ---------------------------------------------------------------- kinds of cell and their glyphs
MARKS = {  # a hex byte a row, a bit a pixel. The last four are the compass of a viewer who faces
    # north, east, south, west: the needle points to the map's north, left for one who faces east
    "dark": "ffffffffffffffff", "floor": "0000000000000000",
    "wall": "fb00df00fb00df00", "x": "c3e77e3c3c7ee7c3",
    "route": "0000181818180000", "one": "1838781818187e00",
    "two": "3c660c1830607e00", "mid": "c3e7ffdbc3c3c300",
    "north": "183c7effdb181800", "east": "183870fefe703818",
    "south": "001818dbff7e3c18", "west": "181c0e7f7f0e1c18"}
SHAPES = {"ball": "003c7e7e7e7e3c00", "box": "ffffc3c3c3c3ffff",
          "cone": "0018183c3c7e7e00", "star": "1818ff7e3c7e6642"}
COLOURS = {"red": (214, 48, 49), "green": (0, 148, 82),
           "blue": (35, 99, 235), "pink": (222, 80, 205)}
NAMES = [*MARKS, *(f"{colour}-{shape}" for shape in SHAPES for colour in COLOURS)]
DARK, FLOOR, WALL, X, ROUTE, ONE, TWO, MID, VIEWER = range(9)      # ids: places in NAMES
NORTH, EAST, SOUTH, WEST = range(4)
OBJECT = len(MARKS)                                    # ids from here on are objects
N_KINDS = len(NAMES) - OBJECT
PAINT = {**COLOURS, "dark": (24, 25, 34), "wall": (148, 112, 92)}
INK, PAPER = (30, 30, 40), (236, 229, 214)             # of what has no paint; the background
NOISE, BRIGHTNESS = 8, 0.1   # -8 to 7 grey levels a channel; 10% brighter or darker a cell


def _glyph(name):
    """The clean picture of a kind of cell: (8, 8, 3) uint8."""
    colour, _, shape = name.rpartition("-")
    drawing = {**MARKS, **SHAPES}[shape]
    rows = np.frombuffer(bytes.fromhex(drawing), np.uint8)
    inked = np.unpackbits(rows).reshape(8, 8, 1)
    ink = PAINT.get(colour or shape, INK)
    return np.where(inked, ink, PAPER).astype(np.uint8)


GLYPHS = np.stack([_glyph(name) for name in NAMES])    # (kinds, 8, 8, 3)
# Every grey level at 16 degrees of brightness; the noise fits into what clip leaves free.
_GAINS = np.linspace(1 - BRIGHTNESS, 1 + BRIGHTNESS, 16)[:, None]
_LIT = np.clip(np.arange(256) * _GAINS, NOISE, 255 - NOISE).astype(np.uint8)


def render(cells, rng=None):
    """Draw cells (..., H, W) as pixels (..., 8H, 8W, 3) uint8, see `lit`."""
    tiles = np.moveaxis(GLYPHS[cells], -3, -4)                       # (..., H, 8, W, 8, 3)
    *lead, h, _, w, _, _ = tiles.shape
    return lit(tiles.reshape(*lead, 8 * h, 8 * w, 3), rng)


def lit(pixels, rng):
    """Clean pixels (..., 8H, 8W, 3) in changing light: every 8 x 8 of them with a brightness of its
    own, every one with its own noise, so that the tokenizer has something to be robust to.
    rng: a Generator, or None for no light and no noise."""
    if rng is None:
        return pixels
    *lead, height, width, _ = pixels.shape
    h, w = height // 8, width // 8
    tiles = pixels.reshape(*lead, h, 8, w, 8, 3)
    gain = rng.integers(0, len(_LIT), (*lead, h, 1, w, 1, 1), np.uint8)
    tiles = _LIT[gain, tiles]
    noise = np.frombuffer(rng.bytes(tiles.size), np.uint8)
    noise = noise.reshape(tiles.shape) % (2 * NOISE)
    tiles = tiles + noise - np.uint8(NOISE)              # over 255 wraps to 0, and back here
    return tiles.reshape(pixels.shape)


# ------------------------------------------------------------------------------- what can be seen
def viewer_cell(n):
    """The viewer's own cell in every view: bottom centre."""
    return n * n - 1 - n // 2


def in_world(pose, ahead, right, n):
    """The world cell so many steps ahead and to the right of a pose; P where there is none."""
    heading, cell = np.divmod(pose, n * n)
    row, col = np.divmod(cell, n)
    # One step ahead is (d_row, d_col), one step to the right (d_col, -d_row).
    d_row = np.array([-1, 0, 1, 0])[heading]
    d_col = np.array([0, 1, 0, -1])[heading]
    row = row + ahead * d_row + right * d_col
    col = col + ahead * d_col - right * d_row
    inside = (row >= 0) & (row < n) & (col >= 0) & (col < n)
    return np.where(inside, row * n + col, n * n)


def from_viewer(cell, n):
    """(ahead, right): steps from the viewer to a cell of its own view."""
    row, col = np.divmod(cell, n)
    return n - 1 - row, col - n // 2


@lru_cache
def _between(n):
    """(P, P) float32: 1 where view cell i lies on the line of sight from the viewer to cell j."""
    between = np.zeros((n, n, n * n), np.float32)
    for target in range(n * n):
        ahead, right = from_viewer(target, n)
        steps = max(ahead, abs(right))
        for s in range(1, steps):
            # ahead * s / steps and |right| * s / steps, rounded: a half goes (by choice) up in the
            # first, down in the second. The sign comes later: left and right are mirror images.
            up = (2 * ahead * s + steps) // (2 * steps)
            aside = (2 * abs(right) * s + steps - 1) // (2 * steps)
            row, col = n - 1 - up, n // 2 + aside * np.sign(right)
            between[row, col, target] = 1
    return between.reshape(n * n, n * n)


@lru_cache
def _source(n, narrow):
    """(4P, P): the world cell under each cell of a view, for each pose; P where there is none."""
    ahead, right = from_viewer(np.arange(n * n), n)
    poses = np.arange(4 * n * n)[:, None]
    source = in_world(poses, ahead, right, n)
    if narrow:
        source = np.where(np.abs(right) <= ahead, source, n * n)
    return source


def look(scene, pose, narrow=False):
    """What a viewer at `pose` (B,) sees of `scene` (B, N, N): (view, source), each (B, N, N).

    Walls and DARK cells block the sight, objects do not. The viewer's own cell shows a
    compass: VIEWER + heading.
    A viewer sees everything ahead and beside it; a `narrow` view has a field of 90 degrees.
    `source` is the world cell that each view cell shows, P where it is DARK."""
    b, n, _ = scene.shape
    source = _source(n, narrow)[pose]                                # (B, P)
    outside = np.full((b, 1), DARK, np.uint8)
    world = np.concatenate([scene.reshape(b, -1), outside], 1)       # (B, P + 1)
    view = np.take_along_axis(world, source, 1)
    opaque = (view == WALL) | (view == DARK)
    obstacles = opaque.astype(np.float32) @ _between(n)              # on the line to each cell
    view[obstacles > 0] = DARK
    source = np.where(view == DARK, n * n, source)
    view[:, viewer_cell(n)] = VIEWER + pose // (n * n)
    return view.reshape(b, n, n), source.reshape(b, n, n)


def marked(numbers, size):
    """(B, size) bool: which of 0 .. size - 1 occur in each row of `numbers` (B, ...)?"""
    numbers = numbers.reshape(len(numbers), -1)
    there = np.zeros((len(numbers), size), bool)
    np.put_along_axis(there, numbers.astype(np.int64), True, 1)
    return there


def shows(cells, things):
    """(B, k) bool: which of `things` (B, k) occur in `cells` (B, ...)?"""
    return np.take_along_axis(marked(cells, len(NAMES)), things, 1)


# ------------------------------------------------------------------------------------ random scenes
def pick(rng, allowed):
    """Index (B,) of a random True in each row of `allowed` (B, k); 0 if there is none."""
    return (rng.random(allowed.shape, np.float32) * allowed).argmax(1)


def scaled(n, per_25_cells):
    """A density, given per 25 cells, as a count on an N x N grid."""
    return round(per_25_cells * n * n / 25)


def distinct_objects(rng, b, n, per_25_cells):
    """(B, k) object ids, all different in each row."""
    k = min(scaled(n, per_25_cells), N_KINDS)
    order = rng.random((b, N_KINDS), np.float32).argsort(1)
    return OBJECT + order[:, :k]


def scatter(rng, n, things, walls, taken):
    """Scenes (B, N, N): `things` (B, k) and walls on distinct random cells, FLOOR everywhere else.

    There are between walls[0] and walls[1] walls per 25 cells. The cells `taken` (B, m) stay FLOOR.
    """
    b = len(things)
    low, high = (scaled(n, count) for count in walls)
    n_walls = rng.integers(low, high + 1, (b, 1))
    bricks = np.where(np.arange(high) < n_walls, WALL, FLOOR)
    things = np.concatenate([things, bricks], 1)
    k = things.shape[1]
    assert k + taken.shape[1] <= n * n, f"{k} things do not fit into a grid of {n}"
    blocked = marked(taken, n * n)
    lots = rng.random((b, n * n), np.float32) + blocked              # drawn: the k lowest win
    scene = np.full((b, n * n), FLOOR, np.uint8)
    lowest = np.argpartition(lots, k - 1, 1)[:, :k]
    np.put_along_axis(scene, lowest, things, 1)
    return scene.reshape(b, n, n)
