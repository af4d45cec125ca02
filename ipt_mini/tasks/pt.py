"""PT, path tracing: from a map with a route 1 -> 2, imagine the side view at its midpoint M.

Query: "walk 1 to 2 look left red-ball blue-box green-cone pink-star ?" with four objects of the
map. On each side of the route one of them can be seen from M and a wall hides one. The answer is
the one that is seen on the side asked for: two are seen and two are on that side, so neither fact
alone is enough. The imagination is the egocentric view at M, facing sideways (not a drawing of the
route). Answer: the object's name.
"""
from functools import lru_cache
from itertools import product

import numpy as np

from ipt_mini.tasks.examples import Examples
from ipt_mini.tasks.grid import (FLOOR, MID, OBJECT, ONE, ROUTE, TWO, VIEWER, WALL,
                                 distinct_objects, from_viewer, in_world, look, marked, pick,
                                 scatter, shows)
from ipt_mini.tasks.words import (HEADING_WORD, ID, LEFT, NOTHING, OBJECT_WORD, RIGHT, UNREADABLE,
                                  ZERO, phrase)

NAME = "path tracing"
ANSWERS = tuple(word for word in ID if "-" in word)
KINDS = ("forward left", "forward right", "reverse left", "reverse right")
CHANCE = 0.25
OWN_WORDS = ()
MAPS = ("views",)               # fields that are seen from above, in first person too
STEPS = {"cells": 1800, "first-person": 3000}    # of the model's training, by recipe
# Shares of the kinds early in training. Which side to look at is a parity of three facts: where 1
# lies, the way walked, left or right. Evenly drawn, none of them alone tells anything about it, and
# gradient descent, in batches of 64, hardly finds a beginning.
CURRICULUM = (0.72, 0.13, 0.13, 0.02)
CURRICULUM_STEPS = 2000         # at this step even shares begin at the latest
# Terms and their weights, see PET. In cells, with less weight for the answer, the direct answer
# does not learn from what imagining has learnt.
LOSS = {"cells": "answer=0.3@0.15:4@0.25,imagination=1,compass=1,cot=1",
        "first-person": "answer=0.02@0.4:2@0.5,imagination=1,compass=1,cot=1"}
# In first person a code shows parts of several cells. From near to far, two seeds of five never
# found all of these on the map; in a random order all five did.
SHUFFLED = ("first-person",)
WORLDS = {  # walls (and up to 2 next to M), objects per 25 cells; a route has one of these lengths
    "train": dict(walls=(2, 4), objects=8, lengths=(3, 5)),
    "dense": dict(walls=(4, 6), objects=9, lengths=(3, 5)),
    "longer": dict(walls=(2, 4), objects=8, lengths=(7,)),
}
TURN, CANDIDATES = 5, slice(6, 10)   # their places in the query


@lru_cache
def _routes(lengths):
    """All routes straight through M, heading north: (R, max(lengths), 3) of (ahead, right, mark).
    Cells run from 1 to 2 with M in the middle; a shorter route repeats its ends."""
    moves = ((1, 0), (0, 1), (-1, 0), (0, -1))
    longest_half = max(lengths) // 2
    routes = []
    for half in (length // 2 for length in lengths):
        between = [ROUTE] * (half - 1)
        marks = [ONE, *between, MID, *between, TWO]
        ways = list(product(moves, repeat=half - 1))     # on from the cell next to M
        for to_one, to_two in product(ways, ways):
            one = np.cumsum([(-1, 0), *to_one], 0)[::-1]
            two = np.cumsum([(1, 0), *to_two], 0)
            route = np.concatenate([one, [(0, 0)], two])
            if _readable(route):
                rest = longest_half - half
                with_marks = np.column_stack([route, marks])
                routes.append(np.pad(with_marks, ((rest, rest), (0, 0)), mode="edge"))
    return np.array(routes)


def _readable(route):
    """Can the drawn route be read in one way only? Then each cell touches itself and its
    neighbours on the route, and no other."""
    steps_apart = np.abs(route[:, None] - route).sum(-1)
    return (steps_apart <= 1).sum() == 3 * len(route) - 2            # 3 each, 2 at the two ends


def questions(rng, b, n, walls, objects, lengths):
    """The fair ones of `b` random questions: Examples."""
    route, marks, at_mid = random_routes(rng, b, n, lengths)
    heading, mid = np.divmod(at_mid, n * n)
    gaze = (heading + [[3], [1]]) % 4                    # (2, B): left and right, walking 1 to 2
    poses = gaze * n * n + mid
    scene = walls_around(rng, n, walls, route, poses)

    # On each side a place that is seen and one that is hidden.
    sides = [two_places(rng, scene, route, pose) for pose in poses]
    seen_at, hidden_at, fair = (np.stack(part) for part in zip(*sides))
    fair = fair.all(0)
    route, marks, scene = route[fair], marks[fair], scene[fair]
    heading, mid, gaze = heading[fair], mid[fair], gaze[:, fair]
    at = np.concatenate([seen_at, hidden_at])[:, fair].T     # (B, 4): seen left, right; hidden ...
    b = len(scene)
    rows = np.arange(b)
    things = distinct_objects(rng, b, n, objects)
    put(rng, scene, things, at, route)
    drawn = scene.reshape(b, -1).copy()
    np.put_along_axis(drawn, route, marks, 1)

    candidates = rng.permuted(things[:, :4], axis=1)
    reverse, turn = rng.integers(0, 2, (2, b))           # turn: 0 left, 1 right
    side = turn ^ reverse                                # walking 2 to 1 swaps the sides
    gaze = gaze[side, rows]
    imagination, _ = look(scene, gaze * n * n + mid, narrow=True)
    return Examples(
        views=drawn.reshape(b, 1, n, n),
        pose=np.zeros((b, 1, 3), int),
        query=phrase("walk", ZERO + 1 + reverse, "to", ZERO + 2 - reverse,
                     "look", LEFT + turn, candidates + OBJECT_WORD, "?"),
        imagination=imagination,
        answer=things[rows, side] + OBJECT_WORD,
        cot=phrase("mid row", mid // n + ZERO, "column", mid % n + ZERO,
                   "heading", (heading + 2 * reverse) % 4 + HEADING_WORD,
                   "gaze", gaze + HEADING_WORD,
                   "see", names_in(imagination, things.shape[1])),
        kind=2 * reverse + turn,
        scene=scene)


def random_routes(rng, b, n, lengths):
    """At most `b` routes inside the scene: (cells (B, L), their marks (B, L), pose (B,) at M on the
    way from 1 to 2). On either side M has two cells or more."""
    routes = _routes(lengths)
    chosen = routes[rng.integers(0, len(routes), b)]     # (B, L, 3)
    ahead, right, marks = np.moveaxis(chosen, 2, 0)
    poses = np.arange(4 * n * n)
    two_aside = in_world(poses, 0, np.array([[2], [-2]]), n)
    has_room = (two_aside < n * n).all(0)
    at_mid = rng.choice(poses[has_room], b)
    cells = in_world(at_mid[:, None], ahead, right, n)
    inside = (cells < n * n).all(1)
    return cells[inside], marks[inside], at_mid[inside]


def walls_around(rng, n, walls, route, poses):
    """Scenes (B, N, N) of random walls. On each side of M one is next to it and hides much, unless
    the route is there."""
    b = len(route)
    scene = scatter(rng, n, np.zeros((b, 0), int), walls, taken=route)
    for pose in poses:
        aside = rng.integers(-1, 2, b)
        cell = in_world(pose, 1, aside, n)               # inside: at M the route is straight
        rows = np.flatnonzero((cell[:, None] != route).all(1))
        scene.reshape(b, -1)[rows, cell[rows]] = WALL
    return scene


def two_places(rng, scene, route, pose):
    """Two free cells on one side of the route: (one that is seen from M, one that a wall hides, are
    there both?), each (B,).
    The places themselves tell nothing: a pair is as frequent as the same two places swapped."""
    b, n, _ = scene.shape
    rows = np.arange(b)
    ahead, right = from_viewer(np.arange(n * n), n)
    may_be = (ahead > 1) & (np.abs(right) <= ahead)      # nothing can hide what is next to M
    ahead, right = ahead[may_be], right[may_be]          # (k,)
    cells = in_world(pose[:, None], ahead, right, n)     # (B, k)
    here = rows[:, None], cells
    _, source = look(scene, pose, narrow=True)
    seen = marked(source, n * n + 1)[here]
    free = free_cells(scene, route)[here]
    shown = pick(rng, free & seen)
    hidden = pick(rng, free & ~seen)
    fair = (free & seen).any(1) & (free & ~seen).any(1)

    place = ahead * n + np.abs(right)                    # left and right count alike
    pair = place[shown] * n * n + place[hidden]
    swapped = place[hidden] * n * n + place[shown]
    count = np.bincount(pair[fair], minlength=n ** 4)
    fair &= rng.random(b) * count[pair] < count[swapped]     # chance: count[swapped] / count[pair]
    return cells[rows, shown], cells[rows, hidden], fair


def free_cells(scene, taken):
    """(B, P + 1) bool: floor, and none of the cells `taken` (B, m). The last one is outside."""
    outside = np.zeros((len(scene), 1), bool)
    floor = scene.reshape(len(scene), -1) == FLOOR
    return np.concatenate([floor, outside], 1) & ~marked(taken, floor.shape[1] + 1)


def put(rng, scene, things, at, route):
    """Put the first four of the `things` (B, k) on the cells `at` (B, 4), the others anywhere else:
    objects do not block the sight."""
    free = free_cells(scene, np.concatenate([route, at], 1))
    others = things.shape[1] - at.shape[1]
    lots = rng.random(free.shape, np.float32) + ~free                # free cells first
    elsewhere = np.argpartition(lots, others, 1)[:, :others]
    cells = np.concatenate([at, elsewhere], 1)
    np.put_along_axis(scene.reshape(len(scene), -1), cells, things, 1)


def names_in(view, k):
    """The objects in view (B, N, N) in reading order, as k words (B, k): "nothing" for the rest."""
    cells = view.reshape(len(view), -1)
    words = np.where(cells >= OBJECT, cells + OBJECT_WORD, NOTHING)
    objects_first = np.argsort(words == NOTHING, 1, kind="stable")[:, :k]
    return np.take_along_axis(words, objects_first, 1)


def rule(views, query, imagination):
    """The candidate that the imagination shows, as a word (B,). UNREADABLE if it shows none or
    several, or one next to M, where no question puts any."""
    candidates = query[:, CANDIDATES]
    shown = shows(imagination, candidates - OBJECT_WORD)
    next_to_m = shows(imagination[:, -2:], candidates - OBJECT_WORD).any(1)
    readable = (shown.sum(1) == 1) & ~next_to_m
    return np.where(readable, (candidates * shown).sum(1), UNREADABLE)


def flip(examples):
    """(query, imagination) of the same questions with left and right swapped."""
    query = examples.query.copy()
    query[:, TURN] = LEFT + RIGHT - query[:, TURN]       # left for right, right for left
    b, _, n, _ = examples.views.shape
    mid = (examples.views.reshape(b, -1) == MID).argmax(1)               # M on the map
    gaze = examples.imagination[:, -1, n // 2].astype(int) - VIEWER      # the compass
    opposite = (gaze + 2) % 4
    return query, look(examples.scene, opposite * n * n + mid, narrow=True)[0]


def balance(examples):
    """(key, label): `two_places` has balanced all but the answer's place among the candidates."""
    label = (examples.query[:, CANDIDATES] == examples.answer[:, None]).argmax(1)
    return np.zeros_like(label), label
