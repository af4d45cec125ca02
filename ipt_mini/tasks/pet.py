"""PET, perspective taking: move to the X you see, turn left or right, and look again.

Query: "at x turn left is red-ball closer or further ?" (or "left or right"). The imagination is
the view from the new pose, made only of cells that the first view shows. Answer: one of 4 words.
"""
import numpy as np

from ipt_mini.tasks.grid import (FLOOR, N_KINDS, X, distinct_objects, look, pick, pose_index,
                                 scaled, scatter, with_walls)
from ipt_mini.tasks.words import ID, LEFT, OBJECT_WORD, PAD, RIGHT, ZERO, phrase

NAME = "perspective taking"
VIEWS = 1
ANSWERS = ("left", "right", "closer", "further")
KINDS = ("closer", "further", "left>left", "left>right", "right>left", "right>right")
FIRST = None                    # shares of the kinds early in training: even
CHANCE = 0.5
STEPS = 2000                    # of the model's training, by default
ANSWER_WEIGHT = "0.2@0.2:5@0.3"      # first imagine, then answer: 0.2 early on
WORLD = {  # walls and objects per 25 cells; steps from the viewer to X, in parts of the grid's side
    "train": dict(walls=(2, 4), objects=6, steps=(0.2, 0.8)),
    "dense": dict(walls=(4, 6), objects=9, steps=(0.2, 0.8)),
    "farther": dict(walls=(2, 4), objects=6, steps=(0.9, 1.5)),
}


def find(cells, kind):
    """(forward, right, found) of the one cell of `kind` (B,) in egocentric views (B, N, N)."""
    n = cells.shape[1]
    hit = (cells == kind[:, None, None]).reshape(len(cells), -1)
    row, col = np.divmod(hit.argmax(1), n)
    return n - 1 - row, col - n // 2, hit.sum(1) == 1


def side_word(right):
    """The word for a signed offset to the right (B,)."""
    return np.where(right < 0, LEFT, RIGHT)


def propose(rng, b, n, walls, objects, steps):
    """`b` random questions as a dict of arrays; `ok` marks the fair ones."""
    rows = np.arange(b)
    free = np.ones((b, n, n), bool)
    free[:, n - 1, n // 2] = False                       # the viewer stands here
    things = distinct_objects(rng, b, min(scaled(n, objects), N_KINDS))
    scene, ok = scatter(rng, free, with_walls(rng, things, n, *walls))
    observed, _ = look(scene, np.full(b, pose_index(0, n - 1, n // 2, n)))
    empty = observed.copy()
    empty[:, n - 1, n // 2] = FLOOR                      # the same, once the viewer has left
    row, col = np.indices((n, n))
    walk = (n - 1 - row + np.abs(col - n // 2)) / n
    near = (walk >= steps[0]) & (walk <= steps[1])
    spot = pick(rng, ((empty == FLOOR) & near).reshape(b, -1))
    observed.reshape(b, -1)[rows, spot] = X
    turn = rng.integers(0, 2, b)                         # 0 left, 1 right
    imagination, _ = look(empty, pose_index(np.where(turn == 0, 3, 1), *np.divmod(spot, n), n))
    shown = [(v.reshape(b, 1, -1) == things[..., None]).any(2) for v in (observed, imagination)]
    kind = things[rows, pick(rng, shown[0] & shown[1])]  # asked for: an object that both views show
    (f0, r0, in0), (f1, r1, in1), (fx, rx, x_ok) = (
        find(observed, kind), find(imagination, kind), find(observed, np.full(b, X)))
    gain = np.hypot(f0, r0) - np.hypot(f1, r1)           # how much closer the move brings it
    ask_side = rng.random(b) < 2 / 3                     # left or right; otherwise the distance
    fair = np.where(ask_side, (r0 != 0) & (r1 != 0), np.abs(gain) >= 0.5)
    options = np.where(ask_side[:, None], phrase(b, "left or right"),
                       phrase(b, "closer or further"))
    name = kind + OBJECT_WORD
    place = lambda f, r: phrase(b, "ahead", f + ZERO, side_word(r), np.abs(r) + ZERO)
    return dict(
        scene=scene, views=observed[:, None], pose=np.zeros((b, 1, 3), np.int64),
        query=phrase(b, "at x turn", side_word(turn - 0.5), "is", name, options, "?"),
        imagination=imagination,
        answer=np.where(ask_side, side_word(r1), np.where(gain > 0, ID["closer"], ID["further"])),
        # Four steps: the object from here, X from here, the object from there, the answer.
        cot=phrase(b, name, place(f0, r0), "x", place(fx, rx), "then", place(f1, r1)),
        kind=np.where(ask_side, 2 + 2 * (r0 > 0) + (r1 > 0), gain < 0),
        ok=ok & fair & x_ok & in0 & in1)


def rule(views, query, imagination):
    """The answer read off the imagination (B,), PAD where it cannot be read.

    Left or right needs nothing else; closer or further compares with the distance seen in `views`.
    """
    kind = query[:, 5] - OBJECT_WORD
    f0, r0, _ = find(views[:, 0], kind)
    f1, r1, found = find(imagination, kind)
    side = query[:, 6] == LEFT
    nearer = np.hypot(f1, r1) < np.hypot(f0, r0)
    answer = np.where(side, side_word(r1), np.where(nearer, ID["closer"], ID["further"]))
    return np.where(found & ~(side & (r1 == 0)), answer, PAD)


def shortcuts(ex):
    """name -> (key, label, chosen rows): lookups that need no imagination. The first is balanced.

    Left or right is, by geometry, the sign of (row of X - row of the object) times the turn: a
    lookup from one of the two rows and the turn must be right above chance.
    """
    n = ex.views.shape[-1]
    kind = ex.query[:, 5] - OBJECT_WORD
    forward, right, _ = find(ex.views[:, 0], kind)
    xf, xr, _ = find(ex.views[:, 0], np.full(len(kind), X))
    turn, side = ex.query[:, 3] == RIGHT, ex.query[:, 6] == LEFT
    place, x_place = forward * n + right + n // 2, xf * n + xr + n // 2
    distance = forward ** 2 + right ** 2
    label = np.isin(ex.answer, (RIGHT, ID["further"])).astype(int)
    asked = np.where(side, (right > 0) * 2 + turn, 4 + place)
    return {
        "question and object's place or side": (asked, label, slice(None)),
        "closer/further: object's row": (forward, label, ~side),
        "closer/further: object's distance": (distance, label, ~side),
        "closer/further: place of X": (x_place, label, ~side),
        "left/right: object's row and turn": (forward * 2 + turn, label, side),
        "left/right: place of X and turn": (x_place * 2 + turn, label, side),
    }
