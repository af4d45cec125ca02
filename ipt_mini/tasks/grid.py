"""The tiny world: kinds of cell, their 8 x 8 pixel glyphs, and what a viewer sees.

A scene is an N x N grid of cells (N odd). A view is N x N as well and egocentric, as in MiniGrid:
the viewer stands at the bottom centre and looks up the picture; what is hidden, outside the scene
or unobserved is DARK. The viewer's own cell is a compass: its needle points north.
Shape letters here and in the tasks: B examples, N cells a side, P = N * N.
Headings: 0 north (up), 1 east, 2 south, 3 west; a turn right is +1.
"""
from functools import lru_cache

import numpy as np

# ---------------------------------------------------------------- kinds of cell and their glyphs
SHAPES = {  # one hex byte a row, one bit a pixel
    "ball": "003c7e7e7e7e3c00", "box": "007e424242427e00",
    "cone": "0018183c3c7e7e00", "star": "1818ff7e3c7e6642",
}
COLOURS = {"red": (214, 48, 49), "green": (0, 148, 82), "blue": (35, 99, 235),
           "pink": (222, 80, 205)}
NAMES = ["dark", "floor", "wall", "x", "route", "one", "two", "mid",
         "north", "east", "south", "west"]             # the last four: where the viewer looks
DARK, FLOOR, WALL, X, ROUTE, ONE, TWO, MID, VIEWER = range(9)
OBJECT = len(NAMES)                                    # ids from here on are objects
NAMES += [f"{colour}-{shape}" for shape in SHAPES for colour in COLOURS]
N_KINDS = len(NAMES) - OBJECT
MARKS = {"wall": "fb00df00fb00df00", "north": "183c7effdb181800", "x": "c3e77e3c3c7ee7c3",
         "route": "0000181818180000", "one": "1838781818187e00", "two": "3c660c1830607e00",
         "mid": "c3e7ffdbc3c3c300"}
INK, PAPER, BRICK, NIGHT = (30, 30, 40), (236, 229, 214), (148, 112, 92), (24, 25, 34)
NOISE, BRIGHTNESS = 8, 0.1                             # +- grey levels a pixel; +- share a cell


def _glyphs():
    """The clean picture of every kind of cell: (kinds, 8, 8, 3) uint8."""
    glyphs = np.empty((len(NAMES), 8, 8, 3), np.uint8)
    glyphs[:] = PAPER
    glyphs[DARK] = NIGHT
    for cell, name in enumerate(NAMES):
        colour, _, shape = name.rpartition("-")
        bits = MARKS.get(name) or SHAPES.get(shape)
        if bits:
            mask = np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8)).reshape(8, 8) > 0
            glyphs[cell][mask] = BRICK if cell == WALL else COLOURS.get(colour, INK)
    for heading in range(1, 4):                        # the needle points north
        glyphs[VIEWER + heading] = np.rot90(glyphs[VIEWER], heading)
    return glyphs


GLYPHS = _glyphs()
_LIT = np.stack([np.clip(GLYPHS * gain, NOISE, 255 - NOISE).astype(np.uint8)    # every brightness
                 for gain in np.linspace(1 - BRIGHTNESS, 1 + BRIGHTNESS, 16)])


def render(cells, rng=None):
    """Draw cells (..., H, W) as pixels (..., 8H, 8W, 3) uint8.

    With a Generator every cell gets its own brightness and every pixel its own noise, so that the
    tokenizer has something to be robust to; without one the glyphs are clean.
    """
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
@lru_cache
def _between(n):
    """(P, P) float32: 1 where view cell i lies on the line of sight from the viewer to cell j."""
    between = np.zeros((n * n, n * n), np.float32)
    for forward in range(n):
        for side in range(-(n // 2), n // 2 + 1):
            target = (n - 1 - forward) * n + n // 2 + side
            steps = max(forward, abs(side))
            for s in range(1, steps):
                # Half cells round towards the middle line: left and right stay mirror images.
                f = (2 * forward * s + steps) // (2 * steps)
                r = (2 * abs(side) * s + steps - 1) // (2 * steps)
                between[(n - 1 - f) * n + n // 2 + (r if side > 0 else -r), target] = 1
    return between


@lru_cache
def _crop(n, camera):
    """(4 * P, P) world cell under each view cell, for each pose; P (one past the end) is unseen."""
    heading, row, col = np.indices((4, n, n))
    i, j = np.indices((n, n))
    forward, right = n - 1 - i, j - n // 2
    d_row, d_col = np.array([-1, 0, 1, 0])[heading], np.array([0, 1, 0, -1])[heading]
    # The direction to the right of (d_row, d_col) is (d_col, -d_row).
    rows = row[..., None, None] + forward * d_row[..., None, None] + right * d_col[..., None, None]
    cols = col[..., None, None] + forward * d_col[..., None, None] - right * d_row[..., None, None]
    seen = (rows >= 0) & (rows < n) & (cols >= 0) & (cols < n)
    if camera:
        seen &= np.abs(right) <= forward
    return np.where(seen, rows * n + cols, n * n).reshape(4 * n * n, n * n)


def pose_index(heading, row, col, n):
    """One integer for a camera pose, 0 .. 4 * N * N - 1."""
    return (heading * n + row) * n + col


def look(scene, pose, camera=False):
    """What a viewer at `pose` (B,) sees of `scene` (B, N, N): (view, source), each (B, N, N).

    Walls and DARK cells block the sight, objects do not. The viewer's own cell shows a
    compass: VIEWER + heading.
    A viewer sees everything ahead and beside it; a `camera` has a field of view of 90 degrees.
    `source` is the world cell (row * N + col) that each view cell shows, N * N where it is DARK.
    """
    b, n, _ = scene.shape
    source = _crop(n, camera)[pose]                                              # (B, P)
    padded = np.concatenate([scene.reshape(b, n * n), np.zeros((b, 1), scene.dtype)], 1)
    view = np.take_along_axis(padded, source, 1)
    opaque = (view == WALL) | (view == DARK)
    view[opaque.astype(np.float32) @ _between(n) > 0.5] = DARK
    view[:, (n - 1) * n + n // 2] = VIEWER + pose // (n * n)
    source = np.where(view == DARK, n * n, source)
    return view.reshape(b, n, n), source.reshape(b, n, n)


# -------------------------------------------------------------------- random scenes and their split
def scatter(rng, free, things):
    """Put `things` (B, k) on distinct random cells of `free` (B, N, N) bool, FLOOR everywhere else.

    Returns (scene (B, N, N), ok (B,)); ok is False where there were fewer than k free cells.
    """
    b, k = things.shape
    flat = free.reshape(b, -1)
    order = rng.random(flat.shape, dtype=np.float32) + ~flat         # free cells come first
    cells = np.argpartition(order, k - 1, axis=1)[:, :k]
    scene = np.full(flat.shape, FLOOR, np.uint8)
    np.put_along_axis(scene, cells, things.astype(np.uint8), 1)
    return scene.reshape(free.shape), flat.sum(1) >= k


def with_walls(rng, objects, n, low, high):
    """Append to `objects` (B, k) between `low` and `high` walls per 25 cells; FLOOR fills up."""
    low, high = scaled(n, low), scaled(n, high)
    count = rng.integers(low, high + 1, (len(objects), 1))
    return np.concatenate([objects, np.where(np.arange(high) < count, WALL, FLOOR)], 1)


def distinct_objects(rng, b, k):
    """(B, k) object ids, no two alike in a row."""
    order = rng.random((b, N_KINDS), dtype=np.float32)
    return OBJECT + np.argpartition(order, k - 1, axis=1)[:, :k]


def pick(rng, allowed):
    """One random index per row among the True entries of `allowed` (B, k); 0 if there is none."""
    return (rng.random(allowed.shape, dtype=np.float32) * allowed).argmax(1)


def scaled(n, per_25_cells):
    """A density, given per 25 cells, as a count on an N x N grid."""
    return round(per_25_cells * n * n / 25)


@lru_cache
def _symmetries(n):
    """(8, P): where each cell goes under the 8 rotations and reflections of the square."""
    cells = np.arange(n * n).reshape(n, n)
    turned = [np.rot90(c, k) for c in (cells, cells.T) for k in range(4)]
    return np.stack([t.ravel() for t in turned])


SPLITS = ("train", "val", "test")


def split_of(scene):
    """Index into SPLITS for each scene (B, N, N), equal for all 8 symmetries of one scene.

    A hash of the scene decides, 6 : 1 : 1. So no test scene occurs in training, whatever the seed,
    the size or the order in which the sets were made. (Zobrist hashing, lowest of 8 symmetries.)
    """
    b, n, _ = scene.shape
    table = np.random.default_rng(0).integers(0, 2 ** 63, (n * n, len(NAMES)), dtype=np.uint64)
    flat = scene.reshape(b, -1)
    codes = [table[np.arange(n * n), flat[:, s]].sum(1, dtype=np.uint64) for s in _symmetries(n)]
    lowest = np.minimum.reduce(codes)
    bucket = (lowest ^ (lowest >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(61)
    return np.where(bucket < 6, 0, bucket.astype(np.int64) - 5)


def balance(rng, key, answer):
    """Indices of a subset in which `key` says little of `answer` (both (B,) integers).

    Inside each key the most frequent answer is cut down to the count of the second; then the
    answers are cut to equal shares overall. Twice more, because the second cut disturbs the first.
    """
    keep, n_answers = rng.permutation(len(key)), answer.max(initial=0) + 1
    for _ in range(3):
        k, a = key[keep], answer[keep]
        table = np.zeros((key.max(initial=0) + 1, n_answers), np.int64)
        np.add.at(table, (k, a), 1)
        quota = np.minimum(table, np.sort(table, 1)[:, -2:-1])
        keep = keep[_rank(k * n_answers + a) < quota[k, a]]
        a = answer[keep]
        keep = keep[_rank(a) < np.bincount(a, minlength=n_answers).min()]
    return keep


def _rank(group):
    """0, 1, 2, ... counted inside each group of equal integers, in order of appearance: (B,)."""
    order = np.argsort(group, kind="stable")
    size = np.bincount(group)
    first = np.repeat(np.cumsum(size) - size, size)      # where each group starts in that order
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - first
    return rank
