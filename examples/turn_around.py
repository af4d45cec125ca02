"""A task of your own: walk to the X, turn around, and is the object on your left or right?

    python data.py --task examples/turn_around.py
    python train.py --task examples/turn_around.py
    python eval.py runs/turn_around-mixed-s0 --task examples/turn_around.py

Query: "at x turn around is red-ball left or right ?". The imagination is the view back from X.
"""
import numpy as np

from ipt_mini.tasks.examples import Examples
from ipt_mini.tasks.grid import FLOOR, X, distinct_objects, look, pick, scatter, shows, viewer_cell
from ipt_mini.tasks.pet import find
from ipt_mini.tasks.words import LEFT, OBJECT_WORD, UNREADABLE, phrase

NAME = "turning around"
ANSWERS = KINDS = ("left", "right")
CHANCE = 0.5
OWN_WORDS = ("around",)
MAPS = ()
STEPS = {"cells": 600, "first-person": 2000}
CURRICULUM = CURRICULUM_STEPS = None
LOSS = dict.fromkeys(("cells", "first-person"), "answer=1,imagination=1,cot=1")
WORLDS = {"train": dict(walls=(2, 4), objects=8), "dense": dict(walls=(4, 6), objects=10)}


def questions(rng, b, n, walls, objects):
    rows, start = np.arange(b), np.full(b, viewer_cell(n))
    things = distinct_objects(rng, b, n, objects)
    scene = scatter(rng, n, things, walls, taken=start[:, None])
    observed, _ = look(scene, start)
    empty = observed.copy()
    empty[:, -1, n // 2] = FLOOR                         # once the viewer has left
    floor = (empty == FLOOR).reshape(b, -1)
    x = pick(rng, floor)
    observed.reshape(b, -1)[rows, x] = X
    imagination, _ = look(empty, 2 * n * n + x)          # facing south
    seen = shows(imagination, things)
    thing = things[rows, pick(rng, seen)]
    _, right = find(imagination, thing)
    query = phrase("at x turn around is", thing + OBJECT_WORD, "left or right ?", own=OWN_WORDS)
    side = (right > 0).astype(int)
    return Examples(observed[:, None], np.zeros((b, 1, 3), int), query, imagination, LEFT + side,
                    phrase(LEFT + side), side, scene).take(seen.any(1) & (right != 0))


def rule(views, query, imagination):
    """The side on which the imagination shows the object."""
    _, right = find(imagination, query[:, 5] - OBJECT_WORD)
    shown = shows(imagination, query[:, 5:6] - OBJECT_WORD)[:, 0]
    return np.where(shown & (right != 0), LEFT + (right > 0), UNREADABLE)


def flip(examples):
    """(query, imagination): there is nothing to swap in this question."""
    return examples.query, examples.imagination


def balance(examples):
    """(key, label): the side seen from X is evened out for each column of the observed view."""
    n = examples.views.shape[-1]
    _, right = find(examples.views[:, 0], examples.query[:, 5] - OBJECT_WORD)
    return right + n // 2, examples.answer - LEFT
