"""MVC, multiview counting: merge several egocentric views into one map, then count.

Query: "how many ball ?"; all balls of one scene look alike, so that nothing tells one from another.
Half of the examples turn at one spot, half use several cameras on the rim of the scene; every
camera's pose is given. Objects recur across views, so adding up what each view shows is wrong.
The imagination is the merged top-down map. Answer: "1" to "4".
"""
import numpy as np

from ipt_mini.tasks.grid import (COLOURS, DARK, OBJECT, SHAPES, in_world, look, marked, scaled,
                                 scatter)
from ipt_mini.tasks.words import BALL, PAD, ZERO, phrase

NAME = "multiview counting"
VIEWS = 3
ANSWERS = ("1", "2", "3", "4")
KINDS = ("rotation", "cameras")
FIRST = None                    # shares of the kinds early in training: even
CHANCE = 0.25
STEPS = 800                     # of the model's training, by default
ANSWER_WEIGHT = "1"             # of the answer's loss, throughout
WORLD = {  # walls and objects per 25 cells; how many views show a cell of the map, on average
    "train": dict(walls=(1, 3), objects=8, overlap=3.0),
    "dense": dict(walls=(3, 5), objects=11, overlap=3.0),
    "apart": dict(walls=(1, 3), objects=8, overlap=1.5),
}


def draw(rng, b, n, walls, objects, overlap):
    """All that is random in `b` questions, as a dict of arrays."""
    cameras = rng.integers(0, 2, b)                      # 0: turning at one spot, 1: on the rim
    rim = np.flatnonzero(in_world(np.arange(4 * n * n), -1, 0, n) == n * n)      # none behind
    on_rim = rim[np.argpartition(rng.random((b, len(rim))), VIEWS - 1, axis=1)[:, :VIEWS]]
    row, col = rng.integers(1, n - 1, (b, 2)).T
    headings = np.argsort(rng.random((b, 4)), 1)[:, :VIEWS]
    turning = headings * n * n + (row * n + col)[:, None]
    pose = np.where(cameras[:, None] == 1, on_rim, turning)                      # (B, V)
    # Three shapes, each in a colour of its own. The first has 1 to 5 objects, the others the rest.
    shapes = np.argsort(rng.random((b, len(SHAPES))), 1)[:, :3]
    count, k = rng.integers(1, 6, (b, 1)), scaled(n, objects)
    which = np.where(np.arange(k) < count, 0, rng.integers(1, 3, (b, k)))
    things = OBJECT + np.take_along_axis(shapes, which, 1) * (len(COLOURS) + 1)
    return dict(scene=scatter(rng, n, things, walls, taken=pose % (n * n)), pose=pose,
                shape=shapes[:, 0], cameras=cameras, overlap=np.full(b, overlap))


def ask(scene, pose, shape, cameras, overlap):
    """The examples that follow, as a dict of arrays; `ok` marks the fair ones."""
    b, n, _ = scene.shape
    flat = scene.reshape(b, -1)
    wanted = flat == OBJECT + shape[:, None] * (len(COLOURS) + 1)
    views, told, known, n_seen = [], [], np.zeros(flat.shape, bool), np.zeros(b)
    # How many are True in each row of (B, P). NumPy's sum of short rows takes four times as long.
    count = lambda marks: np.einsum("bp->b", marks.view(np.uint8)).astype(np.int64)
    for v in range(VIEWS):
        view, source = look(scene, pose[:, v], camera=True)
        seen = marked(source, n * n + 1)[:, :-1]         # which cells of the map this view shows
        hit = wanted & seen
        told += [f"view {v + 1} sees", count(hit) + ZERO, "new", count(hit & ~known) + ZERO]
        views.append(view)
        known |= seen
        n_seen += count(seen)
    answer = count(wanted & known)
    return dict(
        scene=scene, views=np.stack(views, 1),
        pose=1 + np.stack(np.unravel_index(pose, (4, n, n)), 2),
        query=phrase("how many", shape + BALL, "?"),
        imagination=np.where(known, flat, np.uint8(DARK)).reshape(b, n, n),
        answer=answer + ZERO, cot=phrase(*told), kind=cameras,
        ok=(answer >= 1) & (answer <= 4) & (n_seen <= overlap * count(known)))


def has_shape(cells, query):
    """Which cells (B, ...) show an object of the shape that the query (B, Q) asks for."""
    shape = (query[:, 2] - BALL).reshape(-1, *[1] * (cells.ndim - 1))
    return (cells.astype(np.int8) - OBJECT) // len(COLOURS) == shape


def rule(views, query, imagination):
    """How many cells of the map show the kind asked for, as a word (B,); PAD if none or over 9."""
    count = has_shape(imagination, query).sum((1, 2))
    return np.where((count > 0) & (count < 10), count + ZERO, PAD)


def shortcuts(ex):
    """name -> (key, label): lookups that need no merging. The first is balanced.
    Sum or largest of the counts, or any other function of them, is no better than the second."""
    per_view = np.minimum(has_shape(ex.views, ex.query).sum((2, 3)), 5)          # (B, V)
    key = lambda counts: counts @ 6 ** np.arange(VIEWS)
    label = ex.answer - ZERO - 1
    return {
        "counts of all views": (key(np.sort(per_view, 1)), label),
        "counts of all views, in order": (key(per_view), label),
        "counts, in order, and kind of camera": (key(per_view) * 2 + ex.kind, label),
    }
