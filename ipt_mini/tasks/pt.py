"""PT, path tracing: from a map with a route 1 -> 2, imagine the side view at its midpoint M.

Query: "walk 1 to 2 look left red-ball blue-box green-cone pink-star ?", with four objects of the
map of which exactly one can be seen on that side. The imagination is the first-person view at M,
facing sideways (not a drawing of the route). Answer: the object's name.
"""
from functools import lru_cache
from itertools import product

import numpy as np

from ipt_mini.tasks.grid import (MID, N_KINDS, ONE, ROUTE, TWO, distinct_objects, look,
                                 pick, pose_index, scaled, scatter, with_walls)
from ipt_mini.tasks.words import ID, LEFT, NORTH, OBJECT_WORD, PAD, RIGHT, ZERO, phrase

NAME = "path tracing"
VIEWS = 1
ANSWERS = tuple(w for w in ID if "-" in w)
KINDS = ("forward left", "forward right", "reverse left", "reverse right")
FIRST = (0.72, 0.13, 0.13, 0.02)        # shares of the kinds early in training, see train.py
CHANCE = 0.25
STEPS = 2600                    # of the model's training, by default
ANSWER_WEIGHT = "0.2@0.4:1@0.6"      # first imagine, then answer: 0.2 early on
WORLD = {  # walls and objects per 25 cells; route lengths in cells, ends included
    "train": dict(walls=(2, 4), objects=6, lengths=(3, 5)),
    "dense": dict(walls=(4, 6), objects=8, lengths=(3, 5)),
    "longer": dict(walls=(2, 4), objects=6, lengths=(7, 7)),
}
CANDIDATES = slice(6, 10)                                # their place in the query


@lru_cache
def _routes(lengths):
    """All routes that run straight through M, heading north: (R, longest, 2) of (ahead, right).

    Cells run from 1 to 2 with M in the middle; a shorter route repeats its ends. No cell touches
    another but its neighbours on the route, so the drawn route can be read in one way only.
    """
    longest, routes = max(lengths) // 2, []
    for half in {length // 2 for length in lengths}:
        for steps in product(product(range(4), repeat=half - 1), repeat=2):
            arms = []
            for sign, turns in zip((1, -1), steps):      # the way ahead to 2, the way back to 1
                arm = [(sign, 0)]
                for t in turns:
                    move = ((1, 0), (0, 1), (-1, 0), (0, -1))[t]
                    arm.append((arm[-1][0] + move[0], arm[-1][1] + move[1]))
                arms.append(arm + arm[-1:] * (longest - half))
            cells = np.array(arms[1][half - 1::-1] + [(0, 0)] + arms[0][:half])
            touching = np.abs(cells[:, None] - cells[None]).sum(-1) <= 1
            if touching.sum() == 3 * len(cells) - 2:     # itself and its neighbours, nothing else
                routes.append(arms[1][::-1] + [(0, 0)] + arms[0])
    return np.array(routes)


def propose(rng, b, n, walls, objects, lengths):
    """`b` random questions as a dict of arrays; `ok` marks the fair ones."""
    rows = np.arange(b)
    routes = _routes(tuple(lengths))
    route = routes[rng.integers(0, len(routes), b)]                              # (B, L, 2)
    mid, heading = rng.integers(0, n, (b, 2)), rng.integers(0, 4, b)
    d_row, d_col = np.array([-1, 0, 1, 0])[heading, None], np.array([0, 1, 0, -1])[heading, None]
    r = mid[:, :1] + route[..., 0] * d_row + route[..., 1] * d_col               # (B, L)
    c = mid[:, 1:] + route[..., 0] * d_col - route[..., 1] * d_row
    inside = ((r >= 0) & (r < n) & (c >= 0) & (c < n)).all(1)
    cells = np.where(inside[:, None], r * n + c, 0)
    free = np.ones((b, n * n), bool)
    np.put_along_axis(free, cells, False, 1)
    things = distinct_objects(rng, b, min(scaled(n, objects), N_KINDS))
    scene, ok = scatter(rng, free.reshape(b, n, n), with_walls(rng, things, n, *walls))
    drawn = scene.copy().reshape(b, -1)
    np.put_along_axis(drawn, cells, np.uint8(ROUTE), 1)
    for mark, place in ((MID, cells.shape[1] // 2), (ONE, 0), (TWO, -1)):
        drawn[rows, cells[:, place]] = mark
    reverse, turn = rng.integers(0, 2, (2, b))           # turn: 0 left, 1 right
    facing = (heading + 2 * reverse + np.where(turn == 0, 3, 1)) % 4
    imagination, _ = look(scene, pose_index(facing, *mid.T, n))
    opposite, _ = look(scene, pose_index((facing + 2) % 4, *mid.T, n))
    has = lambda v: (v.reshape(b, 1, -1) == things[..., None]).any(2)            # (B, k)
    # The own row of a view lies on neither side: an answer must be ahead, a distractor unseen.
    ahead, seen, behind = has(imagination[:, :-1]), has(imagination), has(opposite[:, :-1])
    answer = things[rows, pick(rng, ahead)]
    order = rng.random(things.shape, dtype=np.float32) + ~behind + 9 * seen  # opposite side first
    distractors = np.take_along_axis(things, np.argpartition(order, 2, axis=1)[:, :3], 1)
    slots = np.argsort(rng.random((b, 4), dtype=np.float32), 1)
    candidates = np.take_along_axis(np.c_[answer, distractors], slots, 1)
    ends = np.where(reverse[:, None], phrase(b, "2 to 1"), phrase(b, "1 to 2"))
    side = np.where(turn == 0, LEFT, RIGHT)
    # What is seen, in the reading order of the picture; the rest of the chain is padding.
    place = (imagination.reshape(b, 1, -1) == things[..., None]).argmax(2) + n * n * ~seen
    listed = np.take_along_axis(np.where(seen, things + OBJECT_WORD, PAD), place.argsort(1), 1)
    return dict(
        scene=scene, views=drawn.reshape(b, 1, n, n), pose=np.zeros((b, 1, 3), np.int64),
        query=phrase(b, "walk", ends, "look", side, candidates + OBJECT_WORD, "?"),
        imagination=imagination, answer=answer + OBJECT_WORD,
        cot=phrase(b, "mid row", mid[:, 0] + ZERO, "column", mid[:, 1] + ZERO, "heading",
                   (heading + 2 * reverse) % 4 + NORTH, "gaze", facing + NORTH, "see", listed),
        kind=2 * reverse + turn,
        ok=ok & inside & ahead.any(1) & behind.any(1) & ((~seen).sum(1) >= 3))


def rule(views, query, imagination):
    """The one candidate that the imagination shows, as a word (B,); PAD if not exactly one."""
    b = len(query)
    candidates = query[:, CANDIDATES]
    shown = (imagination.reshape(b, 1, -1) == (candidates - OBJECT_WORD)[..., None]).any(2)
    return np.where(shown.sum(1) == 1, candidates[np.arange(b), shown.argmax(1)], PAD)


def shortcuts(ex):
    """name -> (key, label, chosen rows): lookups that need no imagination. The first is balanced.

    The label is which of the four candidates is the answer, once they are sorted by something.
    """
    b, _, n, _ = ex.views.shape
    flat = ex.views.reshape(b, 1, n * n)
    candidates = ex.query[:, CANDIDATES]
    place = (flat == (candidates - OBJECT_WORD)[..., None]).argmax(2)            # (B, 4)
    mid, one, two = ((flat[:, 0] == mark).argmax(1)[:, None] for mark in (MID, ONE, TWO))
    distance = lambda a, b: np.hypot(a // n - b // n, a % n - b % n)
    correct = candidates == ex.answer[:, None]
    nothing = np.zeros(b, int)
    right = correct.argmax(1)[:, None]
    rank = lambda score: (np.argsort(score, 1, kind="stable") == right).argmax(1)
    # Candidates at the same distance come in an order that says nothing.
    near = distance(place, mid) + (candidates * 61 + mid * 7 + place * 37) % 97 / 1e4
    return {
        "nearest candidate to M": (nothing, rank(near), slice(None)),
        "nearest candidate to the route's end": (
            nothing, rank(distance(place, np.where(ex.kind[:, None] < 2, two, one))), slice(None)),
        "most frequent candidate": (
            nothing, rank(-(flat == (candidates - OBJECT_WORD)[..., None]).sum(2)), slice(None)),
        "slot in the query": (nothing, correct.argmax(1), slice(None)),
    }
