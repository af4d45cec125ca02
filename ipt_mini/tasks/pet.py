"""PET, perspective taking: move to the X you see, turn left or right, and look again.

Query: "at x turn left is red-ball closer or further ?" (or "left or right"). The imagination is
the view from the new pose, made only of cells that the first view shows. Answer: one of 4 words.
"""
import numpy as np

from ipt_mini.tasks.examples import Examples
from ipt_mini.tasks.grid import (EAST, FLOOR, WEST, X, distinct_objects, from_viewer, look, pick,
                                 scatter, shows, viewer_cell)
from ipt_mini.tasks.words import CLOSER, LEFT, OBJECT_WORD, RIGHT, UNREADABLE, ZERO, phrase

NAME = "perspective taking"
ANSWERS = ("left", "right", "closer", "further")
# The answer, or the object's side here and there, in the order of `fitting`.
KINDS = ("closer", "further", "left>left", "left>right", "right>left", "right>right")
CHANCE = 0.5
OWN_WORDS = ()
MAPS = ()                       # fields that are seen from above, in first person too
STEPS = {"cells": 1000, "first-person": 3000}    # of the model's training, by recipe
CURRICULUM = CURRICULUM_STEPS = None    # shares of the kinds early in training; None: even
# Terms of the loss and their weights: that of the answer is 0.2 up to 20% of the steps and rises to
# 5 at 30%: first imagine, then answer. A run leaves out terms that it does not train. In first
# person imagining takes longer, and beside a weight of 5 it is never learnt.
LOSS = {"cells": "answer=0.2@0.2:5@0.3,imagination=1,cot=1",
        "first-person": "answer=0.2@0.5:1@0.7,imagination=1,cot=1"}
WORLDS = {  # walls and objects per 25 cells; steps from the viewer to X, as a part of the side
    "train": dict(walls=(2, 4), objects=6, steps=(0.2, 0.8)),
    "dense": dict(walls=(4, 6), objects=9, steps=(0.2, 0.8)),
    "farther": dict(walls=(2, 4), objects=6, steps=(0.9, 1.5)),
}
TURN, THING, OPTION = 3, 5, 6   # their places in the query


def questions(rng, b, n, walls, objects, steps):
    """The fair ones of `b` random questions: Examples."""
    rows = np.arange(b)
    start = np.full(b, viewer_cell(n))                   # heading north
    things = distinct_objects(rng, b, n, objects)
    scene = scatter(rng, n, things, walls, taken=start[:, None])
    observed, _ = look(scene, start)

    free = observed.reshape(b, -1) == FLOOR
    may_be_x = free & reachable(n, steps)
    x = pick(rng, may_be_x)
    turn = rng.integers(0, 2, b)                         # 0 left, 1 right
    imagination = from_x(observed, x, turn)
    observed.reshape(b, -1)[rows, x] = X

    # The kind is drawn first, then an object that both views show and for which it is true.
    kind = rng.integers(0, len(KINDS), b)
    ahead, right = find(observed, things)                # (B, k) each
    new_ahead, new_right = find(imagination, things)
    fits = fitting(kind[:, None], ahead, right, new_ahead, new_right)
    fits &= shows(observed, things) & shows(imagination, things)
    chosen = rows, pick(rng, fits)
    name = things[chosen] + OBJECT_WORD
    option = np.where(kind < 2, CLOSER, LEFT)            # the other one is the next word
    examples = Examples(
        views=observed[:, None],
        pose=np.zeros((b, 1, 3), int),
        query=phrase("at x turn", LEFT + turn, "is", name, option, "or", option + 1, "?"),
        imagination=imagination,
        answer=option + kind % 2,
        # Three steps: the object from here, X from here, the object from there.
        cot=phrase(name, place(ahead[chosen], right[chosen]), "x", place(*from_viewer(x, n)),
                   "then", place(new_ahead[chosen], new_right[chosen])),
        kind=kind,
        scene=scene)
    return examples.take(fits.any(1) & may_be_x.any(1))


def from_x(observed, x, turn):
    """What a viewer sees who walks to cell x (B,) of the observed views and turns: (B, N, N)."""
    b, n, _ = observed.shape
    empty = observed.reshape(b, -1).copy()
    empty[:, viewer_cell(n)] = FLOOR                     # the viewer has left
    np.put_along_axis(empty, x[:, None], FLOOR, 1)       # and stands where the X was
    heading = np.where(turn == 0, WEST, EAST)
    return look(empty.reshape(b, n, n), heading * n * n + x)[0]


def fitting(kind, ahead, right, new_ahead, new_right):
    """(B, k) bool: is `kind` the kind of a clear question about an object at these places?"""
    gain = np.hypot(ahead, right) - np.hypot(new_ahead, new_right)
    distance_kind = np.where(np.abs(gain) >= 0.5, gain < 0, -1)
    sideways = (right != 0) & (new_right != 0)
    side_kind = np.where(sideways, 2 + 2 * (right > 0) + (new_right > 0), -1)
    return np.where(kind < 2, distance_kind, side_kind) == kind


def reachable(n, steps):
    """(P,) bool: the cells at a walking distance within `steps`, in parts of the grid's side."""
    ahead, right = from_viewer(np.arange(n * n), n)
    walk = (ahead + np.abs(right)) / n
    return (walk >= steps[0]) & (walk <= steps[1])


def place(ahead, right):
    """"ahead 2 left 1": words for a place as the viewer sees it, (B, 4)."""
    return phrase("ahead", ahead + ZERO, LEFT + (right >= 0), np.abs(right) + ZERO)


def find(cells, things):
    """(ahead, right) of the first cell with each of `things` (B,) or (B, k) in views (B, N, N), or
    of cell 0 if there is none."""
    b, n, _ = cells.shape
    there = cells.reshape(b, 1, n * n) == things.reshape(b, -1, 1)   # (B, k, P)
    return from_viewer(there.argmax(2).reshape(things.shape), n)


def rule(views, query, imagination):
    """The answer read off the imagination (B,), UNREADABLE where it cannot be read.

    Left or right needs nothing else; closer or further compares with the distance seen in `views`.
    """
    thing = query[:, THING] - OBJECT_WORD
    option = query[:, OPTION]
    ahead, right = find(imagination, thing)
    old_ahead, old_right = find(views[:, 0], thing)
    farther = np.hypot(ahead, right) >= np.hypot(old_ahead, old_right)
    second = np.where(option == LEFT, right > 0, farther)
    readable = (imagination == thing[:, None, None]).sum((1, 2)) == 1
    readable &= (option == CLOSER) | (right != 0)
    return np.where(readable, option + second, UNREADABLE)


def flip(examples):
    """(query, imagination) of the same questions with the other turn at X."""
    observed = examples.views[:, 0]
    query = examples.query.copy()
    query[:, TURN] = LEFT + RIGHT - query[:, TURN]
    x = (observed == X).reshape(len(observed), -1).argmax(1)
    return query, from_x(observed, x, query[:, TURN] - LEFT)


def balance(examples):
    """(key, label): the label's distribution is evened out for each key.
    For left or right: the object's side and the turn. For the distance: the object's place."""
    n = examples.views.shape[-1]
    query = examples.query
    ahead, right = find(examples.views[:, 0], query[:, THING] - OBJECT_WORD)
    side_and_turn = (right > 0) * 2 + query[:, TURN] - LEFT          # 0 .. 3
    seen_at = 4 + ahead * n + right + n // 2
    key = np.where(query[:, OPTION] == LEFT, side_and_turn, seen_at)
    return key, examples.answer - query[:, OPTION]
