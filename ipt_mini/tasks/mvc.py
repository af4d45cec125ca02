"""MVC, multiview counting: merge several egocentric views into one map, then count.

Query: "how many ball ?"; all balls of one scene look alike, so that nothing tells one from another.
Half of the examples turn at one spot, half use several cameras on the rim of the scene; every
camera's pose is given. Objects recur across views, so adding up what each view shows is wrong.
The imagination is the merged top-down map. Answer: "1" to "4".
"""
import numpy as np

from ipt_mini.tasks.examples import Examples
from ipt_mini.tasks.grid import (COLOURS, DARK, OBJECT, SHAPES, in_world, look, marked, scaled,
                                 scatter)
from ipt_mini.tasks.words import BALL, UNREADABLE, ZERO, phrase

NAME = "multiview counting"
N_VIEWS = 3
ANSWERS = ("1", "2", "3", "4")
KINDS = ("rotation", "cameras")
CHANCE = 0.25
OWN_WORDS = ()
MAPS = ("imagination",)         # fields that are seen from above, in first person too
STEPS = {"cells": 1000, "first-person": 1200}    # of the model's training, by recipe
CURRICULUM = CURRICULUM_STEPS = None    # shares of the kinds early in training; None: even
# Terms of the loss and their weights, see PET.
LOSS = dict.fromkeys(("cells", "first-person"), "answer=1,imagination=1,cot=1")
WORLDS = {  # walls and objects per 25 cells; overlap: views that show one known cell, mean at most
    "train": dict(walls=(1, 3), objects=8, overlap=3.0),
    "dense": dict(walls=(3, 5), objects=11, overlap=3.0),
    "apart": dict(walls=(1, 3), objects=8, overlap=1.5),
}
ASKED = 2                       # place of the shape in the query


def questions(rng, b, n, walls, objects, overlap):
    """The fair ones of `b` random questions: Examples."""
    rim = rng.integers(0, 2, b) == 1                     # else turning at one spot
    pose = np.where(rim[:, None], rim_poses(rng, b, n), turning_poses(rng, b, n))     # (B, V)
    # Three shapes, each in a colour of its own. The first has 1 to 5 objects, the others the rest.
    shapes = rng.random((b, len(SHAPES))).argsort(1)[:, :3]
    asked = shapes[:, 0]
    k = scaled(n, objects)
    is_asked = np.arange(k) < rng.integers(1, 6, (b, 1))
    which = np.where(is_asked, 0, rng.integers(1, 3, (b, k)))
    things = object_of(np.take_along_axis(shapes, which, 1))
    scene = scatter(rng, n, things, walls, taken=pose % (n * n))

    looks = [look(scene, one, narrow=True) for one in pose.T]
    seen = [marked(source, n * n + 1)[:, :-1] for _, source in looks]     # (B, P) a view
    flat = scene.reshape(b, -1)
    wanted = flat == object_of(asked)[:, None]
    known = np.any(seen, 0)                              # cells of the map that some view shows
    imagination = np.where(known, flat, np.uint8(DARK)).reshape(b, n, n)
    count = (wanted & known).sum(1)
    fair = (count >= 1) & (count <= 4)
    fair &= np.sum(seen, (0, 2)) <= overlap * known.sum(1)
    heading, row, col = np.unravel_index(pose, (4, n, n))
    examples = Examples(
        views=np.stack([view for view, _ in looks], 1),
        pose=1 + np.stack([heading, row, col], 2),
        query=phrase("how many", asked + BALL, "?"),
        imagination=imagination,
        answer=count + ZERO,
        cot=counted(wanted, seen),
        kind=rim.astype(int),
        scene=scene)
    return examples.take(fair)


def counted(wanted, seen):
    """"view 1 sees 2 new 2 view 2 sees 1 new 0 ...": words (B, C). wanted (B, P): the cells to be
    counted; seen: those that each view shows."""
    parts, known = [], np.zeros_like(wanted)
    for v, cells in enumerate(seen):
        sees = (wanted & cells).sum(1)
        new = (wanted & cells & ~known).sum(1)
        parts += [f"view {v + 1} sees", sees + ZERO, "new", new + ZERO]
        known |= cells
    return phrase(*parts)


def rim_poses(rng, b, n):
    """(B, V) different poses on the rim of the scene, looking inwards."""
    poses = np.arange(4 * n * n)
    rim = poses[in_world(poses, -1, 0, n) == n * n]      # no cell behind
    return rim[rng.random((b, len(rim))).argsort(1)[:, :N_VIEWS]]


def turning_poses(rng, b, n):
    """(B, V) poses on one inner cell with different headings."""
    row, col = rng.integers(1, n - 1, (2, b, 1))
    headings = rng.random((b, 4)).argsort(1)[:, :N_VIEWS]
    return headings * n * n + row * n + col


def object_of(shape):
    """The cell id of a shape in its own colour: shape 0 in colour 0, shape 1 in colour 1, ..."""
    return OBJECT + shape * (len(COLOURS) + 1)


def has_shape(cells, query):
    """Which cells (B, ...) show an object of the shape that the query (B, Q) asks for."""
    shape = query[:, ASKED] - BALL
    shapes = (cells.astype(int) - OBJECT) // len(COLOURS)
    return (shapes.T == shape).T                         # (..., B) == (B,), turned back


def rule(views, query, imagination):
    """How many cells of the map show the shape asked for, as a word (B,); UNREADABLE if none or
    over 9."""
    count = has_shape(imagination, query).sum((1, 2))
    return np.where((count > 0) & (count < 10), count + ZERO, UNREADABLE)


def flip(examples):
    """(query, imagination) of the same maps, asked about the next shape."""
    query = examples.query.copy()
    query[:, ASKED] = BALL + (query[:, ASKED] - BALL + 1) % len(SHAPES)
    return query, examples.imagination


def balance(examples):
    """(key, label): for each key at least two labels are the most frequent.
    The key holds the counts of all views, sorted: whoever only adds them up learns little."""
    per_view = has_shape(examples.views, examples.query).sum((2, 3))                     # (B, V)
    counts = np.sort(np.minimum(per_view, 5), 1)
    key = counts @ 6 ** np.arange(N_VIEWS)               # as digits of one number
    return key, examples.answer - ZERO - 1
