"""PET, perspective taking: move to the X you see, turn left or right, and look again.

Query: "at x turn left is red-ball closer or further ?" (or "left or right"). The imagination is
the view from the new pose, made only of cells that the first view shows. Answer: one of 4 words.
"""
import numpy as np

from ipt_mini.tasks.grid import FLOOR, X, distinct_objects, from_viewer, look, scatter, shows
from ipt_mini.tasks.words import CLOSER, LEFT, OBJECT_WORD, PAD, ZERO, phrase

NAME = "perspective taking"
ANSWERS = ("left", "right", "closer", "further")
KINDS = ("closer", "further", "left>left", "left>right", "right>left", "right>right")
FIRST = None                    # shares of the kinds early in training: even
CHANCE = 0.5
STEPS = 1000                    # of the model's training, by default
ANSWER_WEIGHT = "0.2@0.2:5@0.3"      # first imagine, then answer: 0.2 early on
WORLD = {  # walls and objects per 25 cells; steps from the viewer to X, in parts of the grid's side
    "train": dict(walls=(2, 4), objects=6, steps=(0.2, 0.8)),
    "dense": dict(walls=(4, 6), objects=9, steps=(0.2, 0.8)),
    "farther": dict(walls=(2, 4), objects=6, steps=(0.9, 1.5)),
}


def draw(rng, b, n, walls, objects, steps):
    """All that is random in `b` questions, as a dict of arrays; the highest lot wins."""
    start = np.full((b, 1), n * n - 1 - n // 2)          # bottom centre, looking north
    things = distinct_objects(rng, b, n, objects)
    ahead, right = from_viewer(np.arange(n * n), n)
    walk = (ahead + np.abs(right)) / n
    return dict(
        start=start[:, 0], things=things, scene=scatter(rng, n, things, walls, taken=start),
        x_lots=rng.random((b, n * n), np.float32) * ((walk >= steps[0]) & (walk <= steps[1])),
        turn=rng.integers(0, 2, b),                      # 0 left, 1 right
        thing_lots=rng.random(things.shape, np.float32),
        ask_side=rng.random(b) < 2 / 3)                  # left or right; otherwise the distance


def ask(start, things, scene, x_lots, turn, thing_lots, ask_side):
    """The examples that follow, as a dict of arrays; `ok` marks the fair ones."""
    b, n, _ = scene.shape
    rows = np.arange(b)
    observed, _ = look(scene, start)
    empty = observed.copy()
    empty[:, -1, n // 2] = FLOOR                         # the same, once the viewer has left
    x_lots = x_lots * (empty == FLOOR).reshape(b, -1)    # X stands on floor that is seen
    x = x_lots.argmax(1)
    observed.reshape(b, -1)[rows, x] = X
    imagination, _ = look(empty, (3 - 2 * turn) * n * n + x)
    both = shows(observed, things) & shows(imagination, things)
    thing = things[rows, (thing_lots * both).argmax(1)]
    ahead, right = find(observed, thing)
    new_ahead, new_right = find(imagination, thing)
    gain = np.hypot(ahead, right) - np.hypot(new_ahead, new_right)
    fair = np.where(ask_side, (right != 0) & (new_right != 0), np.abs(gain) >= 0.5)
    option = np.where(ask_side, LEFT, CLOSER)            # the other one is the next word
    second = np.where(ask_side, new_right > 0, gain < 0)
    name = thing + OBJECT_WORD
    place = lambda ahead, right: phrase("ahead", ahead + ZERO, LEFT + (right >= 0),
                                        np.abs(right) + ZERO)
    return dict(
        views=observed[:, None], pose=np.zeros((b, 1, 3), np.int64),
        query=phrase("at x turn", LEFT + turn, "is", name, option, "or", option + 1, "?"),
        imagination=imagination, answer=option + second,
        # Four steps: the object from here, X from here, the object from there, the answer.
        cot=phrase(name, place(ahead, right), "x", place(*from_viewer(x, n)),
                   "then", place(new_ahead, new_right)),
        kind=np.where(ask_side, 2 + 2 * (right > 0), 0) + second,
        scene=scene, ok=fair & both.any(1) & x_lots.any(1))


def find(cells, kind):
    """(ahead, right) of the first cell of `kind` (B,) in egocentric views (B, N, N)."""
    b, n, _ = cells.shape
    return from_viewer((cells.reshape(b, -1) == kind[:, None]).argmax(1), n)


def rule(views, query, imagination):
    """The answer read off the imagination (B,), PAD where it cannot be read.

    Left or right needs nothing else; closer or further compares with the distance seen in `views`.
    """
    thing, option = query[:, 5] - OBJECT_WORD, query[:, 6]
    right = find(imagination, thing)[1]
    farther = np.hypot(*find(imagination, thing)) >= np.hypot(*find(views[:, 0], thing))
    readable = (imagination == thing[:, None, None]).sum((1, 2)) == 1
    readable &= (option == CLOSER) | (right != 0)
    return np.where(readable, option + np.where(option == LEFT, right > 0, farther), PAD)


def shortcuts(ex):
    """name -> (key, label): lookups that need no imagination. The first is balanced.
    Left or right is, by geometry, the sign of (row of X - row of the object) times the turn: a
    lookup from one of the two rows and the turn must be right above chance."""
    n, view, option = ex.views.shape[-1], ex.views[:, 0], ex.query[:, 6]
    row, right = find(view, ex.query[:, 5] - OBJECT_WORD)
    x = (view == X).reshape(len(view), -1).argmax(1)
    turn, side, label = ex.query[:, 3] - LEFT, option == LEFT, ex.answer - option
    distance = lambda key: (np.where(side, -1, key), label)
    sideways = lambda key: (np.where(side, key * 2 + turn, -1), label)
    return {
        "question and object's place or side": (
            np.where(side, (right > 0) * 2 + turn, 4 + row * n + right + n // 2), label),
        "closer/further: object's row": distance(row),
        "closer/further: object's distance": distance(row ** 2 + right ** 2),
        "closer/further: place of X": distance(x),
        "left/right: object's row and turn": sideways(row),
        "left/right: place of X and turn": sideways(x),
    }
