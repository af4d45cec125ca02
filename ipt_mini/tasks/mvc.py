"""MVC, multiview counting: merge several egocentric views into one map, then count.

Query: "how many ball ?"; all balls of one scene look alike, so that nothing tells one from another.
Half of the examples turn at one spot, half use several cameras on the rim of the scene; every
camera's pose is given. Objects recur across views, so adding up what each view shows is wrong.
The imagination is the merged top-down map. Answer: "1" to "4".
"""
from functools import lru_cache

import numpy as np

from ipt_mini.tasks.grid import (COLOURS, DARK, OBJECT, SHAPES, look, pose_index, scaled, scatter,
                                 with_walls)
from ipt_mini.tasks.words import PAD, SHAPE_WORD, ZERO, phrase

NAME = "multiview counting"
VIEWS = 3
ANSWERS = ("1", "2", "3", "4")
KINDS = ("rotation", "cameras")
FIRST = None                    # shares of the kinds early in training: even
CHANCE = 0.25
STEPS = 1300                    # of the model's training, by default
ANSWER_WEIGHT = "0.2@0.15:5@0.3"     # first imagine, then answer: 0.2 early on
WORLD = {  # walls and objects per 25 cells; cells seen, views added up, per cell of the map
    "train": dict(walls=(1, 3), objects=8, overlap=(1.0, 9.0)),
    "dense": dict(walls=(3, 5), objects=11, overlap=(1.0, 9.0)),
    "apart": dict(walls=(1, 3), objects=8, overlap=(1.0, 1.5)),
}


@lru_cache
def _rim(n):
    """Poses (R, 3) of (heading, row, column) on the outer cells, those that face inwards."""
    heading, row, col = (a.ravel() for a in np.indices((4, n, n)))
    faces = [row == n - 1, col == 0, row == 0, col == n - 1]
    return np.stack([heading, row, col], 1)[np.choose(heading, faces)]


def propose(rng, b, n, walls, objects, overlap):
    """`b` random questions as a dict of arrays; `ok` marks the fair ones."""
    cameras = rng.integers(0, 2, b)                      # 0: turning at one spot, 1: on the rim
    rim = _rim(n)
    some = rim[np.argpartition(rng.random((b, len(rim))), VIEWS - 1, axis=1)[:, :VIEWS]]
    spot = np.repeat(rng.integers(1, n - 1, (b, 1, 2)), VIEWS, 1)
    turned = np.concatenate([np.argsort(rng.random((b, 4)), 1)[:, :VIEWS, None], spot], 2)
    poses = np.where(cameras[:, None, None] == 1, some, turned)                  # (B, V, 3)
    pose = pose_index(*np.moveaxis(poses, 2, 0), n)
    free = np.ones((b, n * n), bool)
    np.put_along_axis(free, pose % (n * n), False, 1)
    k = scaled(n, objects)
    # Three shapes, each in a colour of its own. The first has 1 to 5 objects, the others the rest.
    shapes = np.argsort(rng.random((b, len(SHAPES))), 1)[:, :3]
    kinds = OBJECT + shapes * len(COLOURS) + shapes
    count = rng.integers(1, 6, (b, 1))
    which = np.where(np.arange(k) < count, 0, rng.integers(1, 3, (b, k)))
    things = np.take_along_axis(kinds, which, 1)
    scene, ok = scatter(rng, free.reshape(b, n, n), with_walls(rng, things, n, *walls))
    views, sources = zip(*(look(scene, pose[:, v], camera=True) for v in range(VIEWS)))
    views = np.stack(views, 1)
    seen = np.zeros((b, VIEWS, n * n + 1), bool)         # which cells each view shows
    np.put_along_axis(seen, np.stack(sources, 1).reshape(b, VIEWS, n * n), True, 2)
    seen = seen[..., :-1]
    imagination = np.where(seen.any(1), scene.reshape(b, -1), DARK).astype(np.uint8)
    hit = (scene.reshape(b, 1, -1) == kinds[:, :1, None]) & seen
    per_view = hit.sum(2)
    first = hit & (np.cumsum(hit, 1) == 1)               # cells that no earlier view showed
    answer = hit.any(1).sum(1)
    share = seen.sum((1, 2)) / seen.any(1).sum(1)
    told = [part for v in range(VIEWS) for part in (
        f"view {v + 1} sees", per_view[:, v] + ZERO, "new", first.sum(2)[:, v] + ZERO)]
    return dict(
        scene=scene, views=views, pose=1 + poses,
        query=phrase(b, "how many", shapes[:, 0] + SHAPE_WORD, "?"),
        imagination=imagination.reshape(b, n, n), answer=answer + ZERO, cot=phrase(b, *told),
        kind=cameras,
        ok=ok & (answer >= 1) & (answer <= 4) & (share >= overlap[0]) & (share <= overlap[1]))


def has_shape(cells, query):
    """Which cells (B, ...) show an object of the shape that the query (B, Q) asks for."""
    shape = (query[:, 2] - SHAPE_WORD).reshape(-1, *[1] * (cells.ndim - 1))
    return (cells >= OBJECT) & ((cells.astype(int) - OBJECT) // len(COLOURS) == shape)


def rule(views, query, imagination):
    """How many cells of the map show the kind asked for, as a word (B,); PAD if none or over 9."""
    count = has_shape(imagination, query).sum((1, 2))
    return np.where((count > 0) & (count < 10), count + ZERO, PAD)


def shortcuts(ex):
    """name -> (key, label, chosen rows): lookups that need no merging. The first is balanced."""
    per_view = np.minimum(has_shape(ex.views, ex.query).sum((2, 3)), 5)          # (B, V)
    ordered = np.sort(per_view, 1)
    label = ex.answer - ZERO - 1
    base = 6 ** np.arange(VIEWS)
    return {
        "counts of all views": ((ordered * base).sum(1), label, slice(None)),
        "counts of all views, in order": ((per_view * base).sum(1), label, slice(None)),
        "counts, in order, and kind of camera": (
            (per_view * base).sum(1) * 2 + ex.kind, label, slice(None)),
        "sum of the counts": (per_view.sum(1), label, slice(None)),
        "largest count": (per_view.max(1), label, slice(None)),
    }
