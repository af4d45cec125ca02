"""What the data promises: answers readable from the imagination, not from a shortcut."""
import math

import numpy as np
import pytest

from ipt_mini.measure import other_answers
from ipt_mini.tasks import TASKS, make, shortcut_scores, splits
from ipt_mini.tasks.grid import (DARK, FLOOR, GLYPHS, MID, NAMES, OBJECT, ONE, ROUTE, TWO, VIEWER, WALL,
                                 X, look, nearest_glyph, render, split_of)
from ipt_mini.tasks.words import ID, OBJECT_WORD, WORDS, ZERO, text

ALL = [(task, split) for task in TASKS for split in splits(task)]


@pytest.mark.parametrize("task, split", ALL)
def test_rule_reads_every_answer_off_the_imagination(task, split, n=500):
    ex = make(task, split, n)
    assert (TASKS[task].rule(ex.views, ex.query, ex.imagination) == ex.answer).all()
    assert set(np.unique(ex.answer)) <= {ID[w] for w in TASKS[task].ANSWERS}
    assert set(np.unique(ex.kind)) == set(range(len(TASKS[task].KINDS)))


@pytest.mark.parametrize("task", TASKS)
def test_same_seed_same_data_and_other_seed_other_data(task):
    a, b, c = make(task, "train", 300, seed=1), make(task, "train", 300, seed=1), make(task, "train", 300, 2)
    assert all((x == y).all() for x, y in zip(a, b))
    assert (a.scene != c.scene).any()


@pytest.mark.parametrize("task", TASKS)
def test_shortcuts_stay_low(task):
    scores = shortcut_scores(task, make(task, "train", 20000))
    bounds = {"pet": {"question only": .52, "closer/further: object's row": .65,
                      "closer/further: object's distance": .65, "closer/further: place of X": .68,
                      "question and object's place or side": .55},
              "pt": {"nearest candidate to M": .35, "most frequent candidate": .35,
                     "slot in the query": .28, "nearest candidate to the route's end": .36},
              "mvc": {"counts of all views": .60, "counts of all views, in order": .60,
                      "question only": .27, "majority": .27}}[task]
    for name, bound in bounds.items():
        assert scores[name] <= bound, (name, scores[name])


@pytest.mark.parametrize("task", TASKS)
def test_scores_of_very_few_examples(task):
    scores = shortcut_scores(task, make(task, "train", 1))
    assert all(np.isnan(score) for score in scores.values())
    assert scores.keys() == shortcut_scores(task, make(task, "train", 2)).keys()


@pytest.mark.parametrize("task", TASKS)
def test_kinds_and_answers_are_balanced(task, n=8000):
    ex = make(task, "train", n)
    share = np.bincount(ex.kind) / len(ex.kind)
    assert np.abs(share - 1 / len(share)).max() < 0.02
    if task == "mvc":
        share = np.bincount(ex.answer - ZERO - 1, minlength=4) / len(ex.answer)
        assert np.abs(share - 0.25).max() < 0.03


@pytest.mark.parametrize("task", TASKS)
def test_no_test_scene_in_training_in_any_symmetry(task, n=2000):
    test = make(task, "test", n, seed=0).scene
    train = {s.tobytes() for s in make(task, "train", n, seed=3).scene}
    for flip in (test, test.transpose(0, 2, 1)):
        for k in range(4):
            turned = np.ascontiguousarray(np.rot90(flip, k, (1, 2)))
            assert (split_of(turned) == 2).all()
            assert not train & {s.tobytes() for s in turned}


# ------------------------------------------------------------------------------------- sight and views
def seen_slowly(scene, heading, row, col, camera=False):
    """`look` once more, cell by cell, with plain loops."""
    n, scene = len(scene), scene.tolist()
    (dr, dc), (rr, rc) = [(-1, 0), (0, 1), (1, 0), (0, -1)][heading], [(0, 1), (1, 0), (0, -1), (-1, 0)][heading]
    at = lambda f, s: (scene[row + f * dr + s * rr][col + f * dc + s * rc]
                       if 0 <= row + f * dr + s * rr < n and 0 <= col + f * dc + s * rc < n else DARK)
    view = np.zeros((n, n), int)
    for f in range(n):
        for s in range(-(n // 2), n // 2 + 1):
            steps, clear = max(f, abs(s)), not camera or abs(s) <= f
            for k in range(1, steps):
                ff = math.floor(f * k / steps + 0.5)
                ss = math.ceil(abs(s) * k / steps - 0.5) * (1 if s > 0 else -1)
                clear &= at(ff, ss) not in (WALL, DARK)
            view[n - 1 - f, n // 2 + s] = at(f, s) if clear else DARK
    view[n - 1, n // 2] = VIEWER + heading
    return view


@pytest.mark.parametrize("n", [5, 7])
@pytest.mark.parametrize("camera", [False, True])
def test_look_against_plain_loops(n, camera):
    rng = np.random.default_rng(0)
    scenes = rng.choice([FLOOR, WALL, OBJECT, OBJECT + 5], (200, n, n), p=[.5, .2, .2, .1]).astype(np.uint8)
    heading, row, col = rng.integers(0, 4, 200), *rng.integers(0, n, (2, 200))
    view, source = look(scenes, (heading * n + row) * n + col, camera)
    for e in range(200):
        assert (view[e] == seen_slowly(scenes[e], heading[e], row[e], col[e], camera)).all()
    shown = view != DARK
    world = np.take_along_axis(scenes.reshape(200, -1), np.where(shown, source, 0).reshape(200, -1), 1)
    assert ((world.reshape(view.shape) == view) | ~shown | ((view >= VIEWER) & (view < OBJECT))).all()


def test_pet_imagination_is_the_observed_view_seen_from_x(n=400):
    ex = make("pet", "train", n)
    for e in range(n):
        observed = ex.views[e, 0].copy()
        row, col = np.argwhere(observed == X)[0]
        observed[4, 2] = observed[row, col] = FLOOR
        heading = 3 if WORDS[ex.query[e, 3]] == "left" else 1
        assert (ex.imagination[e] == seen_slowly(observed, heading, row, col)).all()
        place = [np.argwhere(v == ex.query[e, 5] - OBJECT_WORD)[0] - (4, 2)
                 for v in (ex.views[e, 0], ex.imagination[e])]
        assert len(place) == 2
        if WORDS[ex.answer[e]] in ("closer", "further"):
            before, after = (np.hypot(*p) for p in place)
            assert abs(before - after) >= 0.5
            assert WORDS[ex.answer[e]] == ("closer" if after < before else "further")
        else:
            assert WORDS[ex.answer[e]] == ("left" if place[1][1] < 0 else "right") and place[0][1] != 0


@pytest.mark.parametrize("split", ["train", "longer"])
def test_pt_route_side_and_candidates(split, n=400):
    ex = make("pt", split, n)
    for e in range(n):
        drawn, query = ex.views[e, 0], ex.query[e]
        cell = {mark: tuple(np.argwhere(drawn == mark)[0]) for mark in (ONE, TWO, MID)}
        route, here = [cell[ONE]], cell[ONE]
        marks = {tuple(c) for c in np.argwhere(np.isin(drawn, (ROUTE, ONE, TWO, MID)))}
        while here != cell[TWO]:                       # exactly one way on at every cell
            (here,) = [c for c in marks - set(route) if abs(c[0] - here[0]) + abs(c[1] - here[1]) == 1]
            route.append(here)
        assert len(route) % 2 == 1 and set(route) == marks
        middle = len(route) // 2
        assert route[middle] == cell[MID]
        if WORDS[query[1]] == "2":
            route = route[::-1]
        step = np.subtract(route[middle], route[middle - 1])
        assert (step == np.subtract(route[middle + 1], route[middle])).all()        # straight at M
        heading = [(-1, 0), (0, 1), (1, 0), (0, -1)].index(tuple(step))
        gaze = (heading + (3 if WORDS[query[5]] == "left" else 1)) % 4
        assert (ex.imagination[e] == seen_slowly(ex.scene[e], gaze, *cell[MID])).all()
        candidates = query[6:10] - OBJECT_WORD
        assert [(drawn == c).sum() for c in candidates] == [1] * 4
        visible = [c for c in candidates if (ex.imagination[e] == c).any()]
        assert visible == [ex.answer[e] - OBJECT_WORD]
        opposite = seen_slowly(ex.scene[e], (gaze + 2) % 4, *cell[MID])[:-1]
        behind = {k for k in np.unique(opposite) if k >= OBJECT} - set(np.unique(ex.imagination[e]))
        chosen = set(candidates) & behind
        assert chosen and (chosen == behind or len(chosen) == 3)     # opposite-side objects first


def test_mvc_map_is_what_the_cameras_see_and_counts_are_not_a_sum(n=400):
    ex = make("mvc", "train", n)
    same = 0
    for e in range(n):
        merged = np.zeros((5, 5), int)
        for view, (heading, row, col) in zip(ex.views[e], ex.pose[e] - 1):
            assert (view == seen_slowly(ex.scene[e], heading, row, col, camera=True)).all()
            shown, source = look(ex.scene[e:e + 1], np.array([(heading * 5 + row) * 5 + col]), camera=True)
            cells = source[0][shown[0] != DARK]
            merged.flat[cells] = ex.scene[e].flat[cells]
        assert (merged == ex.imagination[e]).all()
        named = [cell for cell, name in enumerate(NAMES) if name.endswith(WORDS[ex.query[e, 2]])]
        assert len(named) == 4 and np.isin(merged, named).sum() == ex.answer[e] - ZERO
        assert len(set(merged.ravel()) & set(named)) == 1             # all of them look alike
        same += np.isin(ex.views[e], named).sum() == ex.answer[e] - ZERO
    assert same < 0.6 * n
    poses = {tuple(p) for p in ex.pose.reshape(-1, 3)}
    assert len(poses) > 40                             # rim and inside, in any order


@pytest.mark.parametrize("task", TASKS)
def test_no_map_cell_is_a_copy_of_one_cell_of_the_views(task, n=2000):
    ex = make(task, "train", n)
    views = ex.views.reshape(n, -1)
    for cell in ex.imagination.reshape(n, -1).T:
        if len(np.unique(cell)) > 2:                   # the viewer's own cell is a compass
            assert ((views == cell[:, None]).mean(0) < 0.95).all()


@pytest.mark.parametrize("task", TASKS)
def test_chain_of_thought_holds_the_answer(task, n=200):
    ex = make(task, "train", n)
    for e in range(n):
        words, answer = text(ex.cot[e]).split(), WORDS[ex.answer[e]]
        if task == "mvc":
            new = [int(words[i + 1]) for i, w in enumerate(words) if w == "new"]
            assert sum(new) == int(answer)
        elif task == "pt":
            seen = words[words.index("see") + 1:]
            assert [w for w in seen if ID[w] in ex.query[e, 6:10]] == [answer]
        else:
            there = words[words.index("then"):]
            assert answer in ("closer", "further") or there[3] == answer


# ---------------------------------------------------------------------------------------------- glyphs
def test_glyphs_are_distinct_and_survive_noise():
    cells = np.arange(len(NAMES)).repeat(400).reshape(100, -1).astype(np.uint8)
    pixels = render(cells, np.random.default_rng(0))
    assert (nearest_glyph(pixels) == cells).all()
    assert (pixels != render(cells)).any()
    tiles = GLYPHS.reshape(len(NAMES), -1).astype(int)
    distance = ((tiles[:, None] - tiles[None]) ** 2).sum(-1) + np.eye(len(NAMES)) * 1e9
    assert distance.min() > 2e5


@pytest.mark.parametrize("grid", [7, 9])
@pytest.mark.parametrize("task", TASKS)
def test_larger_grids(task, grid):
    ex = make(task, "train", 100, grid=grid)
    assert ex.imagination.shape == (100, grid, grid)
    assert (TASKS[task].rule(ex.views, ex.query, ex.imagination) == ex.answer).all()


@pytest.mark.parametrize("task", TASKS)
def test_replacement_by_a_picture_with_another_answer(task):
    """Where one is found, the rule reads a valid answer off it, and not the true one."""
    ex = make(task, "test", 500)
    donor, found = other_answers(task, ex, np.random.default_rng(0))
    read = TASKS[task].rule(ex.views, ex.query, ex.imagination[donor])
    assert found.mean() > 0.9
    assert (read != ex.answer)[found].all() and set(read[found]) <= {ID[w] for w in TASKS[task].ANSWERS}
