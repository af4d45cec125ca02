"""PT, path tracing: from a map with a route 1 -> 2, imagine the side view at its midpoint M.

Query: "walk 1 to 2 look left red-ball blue-box green-cone pink-star ?", with four objects of the
map of which exactly one can be seen on that side. The imagination is the first-person view at M,
facing sideways (not a drawing of the route). Answer: the object's name.
"""
from functools import lru_cache
from itertools import product

import numpy as np

from ipt_mini.tasks.grid import (MID, OBJECT, ONE, ROUTE, TWO, distinct_objects, in_world, look,
                                 scatter, shows)
from ipt_mini.tasks.words import ID, LEFT, NORTH, OBJECT_WORD, PAD, ZERO, phrase

NAME = "path tracing"
ANSWERS = tuple(w for w in ID if "-" in w)
KINDS = ("forward left", "forward right", "reverse left", "reverse right")
FIRST = (0.72, 0.13, 0.13, 0.02)        # shares of the kinds early in training, see train.py
CHANCE = 0.25
STEPS = 1000                    # of the model's training, by default
ANSWER_WEIGHT = "0.2@0.5:1@0.7"      # first imagine, then answer: 0.2 early on
WORLD = {  # walls and objects per 25 cells; route lengths in cells, ends included
    "train": dict(walls=(2, 4), objects=6, lengths=(3, 5)),
    "dense": dict(walls=(4, 6), objects=8, lengths=(3, 5)),
    "longer": dict(walls=(2, 4), objects=6, lengths=(7,)),
}
CANDIDATES = slice(6, 10)                                # their place in the query


@lru_cache
def _routes(lengths):
    """All routes straight through M, heading north: (R, longest, 3) of (ahead, right, mark).
    Cells run from 1 to 2 with M in the middle; a shorter route repeats its ends. No cell touches
    another but its neighbours on the route, so the drawn route can be read in one way only."""
    moves, routes = ((1, 0), (0, 1), (-1, 0), (0, -1)), []
    for half in (length // 2 for length in lengths):
        marks = [ONE, *[ROUTE] * (half - 1), MID, *[ROUTE] * (half - 1), TWO]
        for to_two, to_one in product(product(moves, repeat=half - 1), repeat=2):
            one, two = np.cumsum([(-1, 0), *to_one], 0), np.cumsum([(1, 0), *to_two], 0)
            route = np.concatenate([one[::-1], [(0, 0)], two])
            touching = np.abs(route[:, None] - route).sum(-1) <= 1
            if touching.sum() == 3 * len(route) - 2:     # itself and its neighbours, nothing else
                rest = max(lengths) // 2 - half
                routes.append(np.pad(np.c_[route, marks], ((rest, rest), (0, 0)), mode="edge"))
    return np.array(routes)


def draw(rng, b, n, walls, objects, lengths):
    """All that is random in at most `b` questions, as a dict of arrays; the highest lot wins."""
    routes = _routes(lengths)
    ahead, right, marks = np.moveaxis(routes[rng.integers(0, len(routes), b)], 2, 0)     # (B, L)
    row, col = rng.integers(0, n, (b, 2)).T
    at_mid = rng.integers(0, 4, b) * n * n + row * n + col                       # pose, 1 to 2
    route = in_world(at_mid[:, None], ahead, right, n)
    things = distinct_objects(rng, b, n, objects)
    scene = scatter(rng, n, things, walls, taken=route)
    reverse, turn = rng.integers(0, 2, (2, b))           # turn: 0 left, 1 right
    drawn = dict(scene=scene, things=things, route=route, marks=marks, at_mid=at_mid,
                 reverse=reverse, turn=turn, answer_lots=rng.random(things.shape, np.float32),
                 other_lots=rng.random(things.shape, np.float32),
                 slot_lots=rng.random((b, 4), np.float32))
    inside = (route < n * n).all(1)
    return {name: values[inside] for name, values in drawn.items()}


def ask(scene, things, route, marks, at_mid, reverse, turn, answer_lots, other_lots, slot_lots):
    """The examples that follow, as a dict of arrays; `ok` marks the fair ones."""
    b, n, _ = scene.shape
    heading, mid = np.divmod(at_mid, n * n)
    heading = (heading + 2 * reverse) % 4
    gaze = (heading + np.where(turn == 0, 3, 1)) % 4
    imagination, _ = look(scene, gaze * n * n + mid)
    opposite, _ = look(scene, (gaze + 2) % 4 * n * n + mid)
    # The own row of a view lies on neither side: an answer must be ahead, a distractor unseen.
    seen, ahead = shows(imagination, things), shows(imagination[:, :-1], things)
    behind = shows(opposite[:, :-1], things)
    answer = things[np.arange(b), (answer_lots * ahead).argmax(1)]
    order = other_lots + ~behind + 9 * seen              # opposite side first
    others = np.take_along_axis(things, np.argpartition(order, 2, axis=1)[:, :3], 1)
    candidates = np.take_along_axis(np.c_[answer, others], slot_lots.argsort(1), 1) + OBJECT_WORD
    drawn = scene.reshape(b, -1).copy()
    np.put_along_axis(drawn, route, marks, 1)
    # What is seen, in the reading order of the picture; the rest of the chain is padding.
    words = np.where(imagination >= OBJECT, imagination + OBJECT_WORD, PAD).reshape(b, -1)
    order = np.argsort(words == PAD, 1, kind="stable")[:, :things.shape[1]]
    return dict(
        views=drawn.reshape(b, 1, n, n), pose=np.zeros((b, 1, 3), np.int64),
        query=phrase("walk", ZERO + 1 + reverse, "to", ZERO + 2 - reverse, "look", LEFT + turn,
                     candidates, "?"),
        imagination=imagination, answer=answer + OBJECT_WORD,
        cot=phrase("mid row", mid // n + ZERO, "column", mid % n + ZERO, "heading", heading + NORTH,
                   "gaze", gaze + NORTH, "see", np.take_along_axis(words, order, 1)),
        kind=2 * reverse + turn, scene=scene,
        ok=ahead.any(1) & behind.any(1) & ((~seen).sum(1) >= 3))


def rule(views, query, imagination):
    """The one candidate that the imagination shows, as a word (B,); PAD if not exactly one."""
    candidates = query[:, CANDIDATES]
    shown = shows(imagination, candidates - OBJECT_WORD)
    return np.where(shown.sum(1) == 1, (candidates * shown).sum(1), PAD)


def shortcuts(ex):
    """name -> (key, label): lookups that need no imagination. The first is balanced.
    The label is which of the four candidates is the answer, once they are sorted by something."""
    b, _, n, _ = ex.views.shape
    drawn, candidates = ex.views.reshape(b, 1, -1), ex.query[:, CANDIDATES]
    hit = drawn == (candidates - OBJECT_WORD)[..., None]                         # (B, 4, P)
    where, (one, two, mid) = hit.argmax(2), ((drawn == m).argmax(2) for m in (ONE, TWO, MID))
    end = np.where(ex.kind[:, None] < 2, two, one)
    distance = lambda a, b: np.hypot(a // n - b // n, a % n - b % n)
    slot = (candidates == ex.answer[:, None]).argmax(1)
    rank = lambda score: (np.argsort(score, 1, kind="stable") == slot[:, None]).argmax(1)
    # Candidates at the same distance come in an order that says nothing.
    near = distance(where, mid) + (candidates * 61 + mid * 7 + where * 37) % 97 / 1e4
    labels = {"nearest candidate to M": rank(near),
              "nearest candidate to the route's end": rank(distance(where, end)),
              "most frequent candidate": rank(-hit.sum(2)),
              "slot in the query": slot}
    return {name: (0 * slot, label) for name, label in labels.items()}
