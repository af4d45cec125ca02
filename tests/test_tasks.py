"""What the data promises: answers that can be read off the imagination, and no shortcut.

Each guarantee is derived once more with plain loops, example by example. tests/slow repeats the
same tests on many more examples.
"""
import math
from functools import lru_cache

import numpy as np
import pytest
from conftest import EXAMPLES

from ipt_mini.errors import UserError
from ipt_mini.evaluate import other_answers
from ipt_mini.reader import nearest_glyph
from ipt_mini.tasks import TASKS, load_task, make, splits
from ipt_mini.tasks.examples import split_of
from ipt_mini.tasks.grid import (DARK, FLOOR, GLYPHS, MID, NAMES, OBJECT, ONE, ROUTE, TWO, VIEWER,
                                 WALL, X, look, render)
from ipt_mini.tasks.words import (COMPASS, ID, NOTHING, OBJECT_WORD, UNREADABLE, ZERO, text,
                                  vocabulary)

TASKS = {**TASKS, "turn_around": load_task(f"{EXAMPLES}/turn_around.py")}
ALL = [(task, split) for task in TASKS for split in splits(TASKS[task])]
STEPS = [(-1, 0), (0, 1), (1, 0), (0, -1)]             # a step ahead, by heading


def of(task, split="train", n=600, seed=0, grid=5):
    """Examples of a task; of `apart`, where one drawn question in 300 is kept, a fifth."""
    return made(task, split, n // 5 if split == "apart" else n, seed, grid)


@lru_cache(maxsize=64)
def made(task, *key):
    return make(TASKS[task], *key)


# ------------------------------------------------------------------------- all tasks, all splits
@pytest.mark.parametrize("task, split", ALL)
def test_rule_reads_every_answer_off_the_imagination(task, split, n=600):
    """The answers are words of the task, and all of its kinds of question occur."""
    examples, task = of(task, split, n), TASKS[task]
    read = task.rule(examples.views, examples.query, examples.imagination)
    assert (read == examples.answer).all()
    words = vocabulary(task)
    assert {words[a] for a in examples.answer} <= set(task.ANSWERS)
    assert set(examples.kind) == set(range(len(task.KINDS)))


@pytest.mark.parametrize("task, split", ALL)
def test_labels_and_kinds_are_balanced(task, split, n=600):
    """No label and no kind is frequent, and the key that a task is balanced by tells little."""
    examples = of(task, split, n)
    n = len(examples.answer)
    slack = 0.04 + 2 * n ** -0.5                       # two standard errors, and a little
    kinds = np.bincount(examples.kind, minlength=len(TASKS[task].KINDS)) / n
    assert np.abs(kinds - 1 / len(kinds)).max() < slack
    key, label = TASKS[task].balance(examples)
    shares = np.bincount(label) / n
    assert np.abs(shares - 1 / len(shares)).max() < slack
    # Whoever learns the most frequent label of each key from one half is tested on the other.
    half = n // 2
    count = np.zeros((key.max() + 1, label.max() + 1))
    np.add.at(count, (key[:half], label[:half]), 1)
    guess = count.argmax(1)[key[half:]]
    assert (guess == label[half:]).mean() < 0.54 + slack


@pytest.mark.parametrize("task", TASKS)
def test_same_seed_same_data_and_other_seed_other_data(task):
    one, two, other = (make(TASKS[task], "train", 300, seed) for seed in (1, 1, 2))
    for a, b in zip(one, two):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    assert not np.array_equal(one.scene, other.scene)


@pytest.mark.parametrize("task", TASKS)
def test_no_test_scene_in_training_in_any_symmetry(task, n=600):
    """Whatever the seeds of the two sets."""
    test, train = of(task, "test", n, seed=0).scene, of(task, "train", n, seed=3).scene
    assert (split_of(train) == 0).all()
    train = {scene.tobytes() for scene in train}
    for flip in (test, test.transpose(0, 2, 1)):
        for k in range(4):
            turned = np.ascontiguousarray(np.rot90(flip, k, (1, 2)))
            assert (split_of(turned) == 2).all()
            assert not train & {scene.tobytes() for scene in turned}


@pytest.mark.parametrize("task", [name for name in TASKS if name != "turn_around"])
def test_splits_out_of_distribution_are_made_of_test_scenes(task):
    for split in splits(TASKS[task])[3:]:
        assert (split_of(of(task, split).scene) == 2).all()
    assert (split_of(of(task, "val").scene) == 1).all()


def test_the_shares_of_the_splits():
    scenes = np.random.default_rng(0).integers(0, 30, (20000, 5, 5), dtype=np.uint8)
    shares = np.bincount(split_of(scenes)) / 20000
    assert np.abs(shares - [6 / 8, 1 / 8, 1 / 8]).max() < 0.01


@pytest.mark.parametrize("grid", [7, 9])
@pytest.mark.parametrize("task", TASKS)
def test_larger_grids(task, grid):
    examples = of(task, n=60, grid=grid)
    assert examples.views.shape[2:] == examples.imagination.shape[1:] == (grid, grid)
    read = TASKS[task].rule(examples.views, examples.query, examples.imagination)
    assert (read == examples.answer).all()


@pytest.mark.parametrize("task", TASKS)
def test_no_cell_of_the_imagination_is_a_copy_of_one_cell_of_the_views(task, n=1000):
    examples = of(task, n=n)
    views = examples.views.reshape(n, -1)
    for cell in examples.imagination.reshape(n, -1).T:
        if len(np.unique(cell)) > 2:                   # not the viewer's own cell, the compass
            assert ((views == cell[:, None]).mean(0) < 0.95).all()


@pytest.mark.parametrize("task", TASKS)
def test_replacement_by_a_picture_with_another_answer(task):
    """Where one is found, the rule reads a valid answer off it, and not the true one."""
    examples, task = of(task, "test").take(slice(300)), TASKS[task]
    donor, found = other_answers(task, examples, np.random.default_rng(0))
    read = task.rule(examples.views, examples.query, examples.imagination[donor])[found]
    assert found.mean() > 0.9 and (read != examples.answer[found]).all()
    assert {vocabulary(task)[word] for word in read} <= set(task.ANSWERS)


def flipped(name, n=300):
    """(examples, query and imagination after the flip, what the rule reads off them)."""
    examples, task = of(name, "test", n), TASKS[name]
    query, imagination = task.flip(examples)
    return examples, query, imagination, task.rule(examples.views, query, imagination)


@pytest.mark.parametrize("name", ["pet", "pt", "mvc"])
def test_flip_asks_the_opposite_question(name):
    """One word of the query changes. The rule reads a valid answer off the picture that belongs to
    it, mostly another one, and the opposite of the opposite is the question itself (not in MVC,
    where there are four)."""
    before = of(name, "test", 300).query.copy()
    examples, query, imagination, read = flipped(name)
    assert np.array_equal(examples.query, before)
    assert ((query != examples.query).sum(1) == 1).all()
    valid = np.isin(read, [ID[word] for word in TASKS[name].ANSWERS])
    assert (valid & (read != examples.answer)).mean() > 0.25
    if name != "mvc":
        again = TASKS[name].flip(examples._replace(query=query, imagination=imagination))
        assert np.array_equal(again[0], examples.query)
        assert np.array_equal(again[1], examples.imagination)


def test_after_the_flip_pt_shows_the_other_side():
    examples, _, imagination, read = flipped("pt")
    assert np.isin(read, [ID[word] for word in TASKS["pt"].ANSWERS]).all()
    assert (read != examples.answer).all()
    for e in range(100):
        gaze = (examples.imagination[e, 4, 2] - VIEWER + 2) % 4
        mid = place_of(examples.views[e, 0], MID)
        seen = seen_slowly(examples.scene[e], gaze, *mid, camera=True)
        assert np.array_equal(imagination[e], seen)


def test_after_the_flip_pet_shows_the_view_after_the_other_turn():
    examples, query, imagination, _ = flipped("pet")
    for e in range(100):
        observed = examples.views[e, 0].copy()
        x = place_of(observed, X)
        observed[x] = observed[4, 2] = FLOOR
        turn = {"left": 3, "right": 1}[text(query[e]).split()[3]]
        assert np.array_equal(imagination[e], seen_slowly(observed, turn, *x))


def test_after_the_flip_mvc_counts_another_shape_on_the_same_map():
    examples, query, imagination, read = flipped("mvc")
    assert np.array_equal(imagination, examples.imagination)
    for e in range(100):
        shape = text(query[e, 2:3])
        count = sum(NAMES[cell].endswith(f"-{shape}") for cell in imagination[e].flat)
        assert read[e] - ZERO == count or read[e] == UNREADABLE and count == 0


# ------------------------------------------------------------------------------ what can be seen
def seen_slowly(scene, heading, row, col, camera=False):
    """`look` once more, cell by cell, with plain loops."""
    n, scene = len(scene), np.asarray(scene).tolist()
    (d_row, d_col), (r_row, r_col) = STEPS[heading], STEPS[(heading + 1) % 4]

    def at(ahead, right):
        i = row + ahead * d_row + right * r_row
        j = col + ahead * d_col + right * r_col
        return scene[i][j] if 0 <= i < n and 0 <= j < n else DARK

    view = np.zeros((n, n), int)
    for ahead in range(n):
        for right in range(-(n // 2), n // 2 + 1):
            clear = abs(right) <= ahead or not camera
            steps = max(ahead, abs(right))
            for k in range(1, steps):
                up = math.floor(ahead * k / steps + 0.5)
                aside = math.ceil(abs(right) * k / steps - 0.5) * (1 if right > 0 else -1)
                clear = clear and at(up, aside) not in (WALL, DARK)
            view[n - 1 - ahead, n // 2 + right] = at(ahead, right) if clear else DARK
    view[n - 1, n // 2] = VIEWER + heading
    return view


def place_of(cells, thing):
    """(row, column) of the only cell of this kind."""
    (place,) = np.argwhere(cells == thing)
    return tuple(place)


def in_view(view, thing):
    """(ahead, right) of the only cell of this kind in a view."""
    row, col = place_of(view, thing)
    return len(view) - 1 - row, col - len(view) // 2


@pytest.mark.parametrize("n", [5, 7])
@pytest.mark.parametrize("camera", [False, True])
def test_look_against_plain_loops(n, camera):
    rng = np.random.default_rng(0)
    scenes = rng.choice([FLOOR, WALL, OBJECT, OBJECT + 5], (100, n, n), p=[.5, .2, .2, .1])
    heading, (row, col) = rng.integers(0, 4, 100), rng.integers(0, n, (2, 100))
    view, source = look(scenes.astype(np.uint8), (heading * n + row) * n + col, camera)
    for e in range(100):
        slowly = seen_slowly(scenes[e], heading[e], row[e], col[e], camera)
        assert np.array_equal(view[e], slowly)
        for i, j in np.ndindex(n, n):
            if view[e, i, j] == DARK:
                assert source[e, i, j] == n * n
            elif (i, j) != (n - 1, n // 2):
                assert scenes[e].flat[source[e, i, j]] == view[e, i, j]


# ------------------------------------------------------------------------------ perspective taking
@pytest.mark.parametrize("split", ["train", "farther"])
def test_pet_imagination_is_the_observed_view_seen_from_x(split, n=200):
    examples = of("pet", split, n)
    for view, query, imagination, answer in zip(
            examples.views[:, 0], examples.query, examples.imagination, examples.answer):
        words, answer = text(query).split(), vocabulary(TASKS["pet"])[answer]
        assert answer in (words[6], words[8]) and words[:3] == ["at", "x", "turn"]
        x = place_of(view, X)
        observed = view.copy()
        observed[x] = observed[4, 2] = FLOOR
        heading = {"left": 3, "right": 1}[words[3]]
        assert np.array_equal(imagination, seen_slowly(observed, heading, *x))
        thing = query[5] - OBJECT_WORD
        before, after = in_view(view, thing), in_view(imagination, thing)
        if answer in ("closer", "further"):
            gain = math.dist(before, (0, 0)) - math.dist(after, (0, 0))
            assert abs(gain) >= 0.5 and answer == ("closer" if gain > 0 else "further")
        else:
            assert before[1] != 0 and answer == {-1: "left", 1: "right"}[np.sign(after[1])]


def test_pet_chain_of_thought_tells_three_places(n=200):
    examples = of("pet", n=n)
    for e in range(n):
        name = text(examples.query[e, 5:6])
        words = text(examples.cot[e]).split()
        assert [words[0], words[5], words[10]] == [name, "x", "then"] and len(words) == 15
        view, thing = examples.views[e, 0], NAMES.index(name)
        true = in_view(view, thing), in_view(view, X), in_view(examples.imagination[e], thing)
        for (ahead, right), at in zip(true, (1, 6, 11)):
            side = "left" if right < 0 else "right"
            assert words[at:at + 4] == ["ahead", str(ahead), side, str(abs(right))]


# ------------------------------------------------------------------------------------ path tracing
def route_of(drawn):
    """Cells of the drawn route from 1 to 2. There is exactly one way on at every cell."""
    marks = {tuple(cell) for cell in np.argwhere(np.isin(drawn, (ROUTE, ONE, TWO, MID)))}
    route = [place_of(drawn, ONE)]
    while route[-1] != place_of(drawn, TWO):
        (row, col) = route[-1]
        near = {(row + d_row, col + d_col) for d_row, d_col in STEPS}
        (onwards,) = near & marks - set(route)
        route.append(onwards)
    assert set(route) == marks
    return route


@pytest.mark.parametrize("split", ["train", "longer"])
def test_pt_route_side_and_candidates(split, n=200):
    """The way walked gives the gaze. On each side of the route, one candidate is seen from M and
    one is not."""
    examples = of("pt", split, n)
    for e in range(n):
        drawn, scene = examples.views[e, 0], examples.scene[e]
        words = text(examples.query[e]).split()
        route = route_of(drawn)
        middle = len(route) // 2
        mid = route[middle]
        assert len(route) in ((3, 5) if split == "train" else (7,)) and drawn[mid] == MID
        one, two = words[1], words[3]
        assert {one, two} == {"1", "2"}
        if one == "2":
            route.reverse()
        step = tuple(np.subtract(mid, route[middle - 1]))
        assert step == tuple(np.subtract(route[middle + 1], mid))               # straight at M
        heading = STEPS.index(step)
        gaze = (heading + {"left": 3, "right": 1}[words[5]]) % 4
        assert np.array_equal(examples.imagination[e], seen_slowly(scene, gaze, *mid, camera=True))

        candidates = [NAMES.index(name) for name in words[6:10]]
        places = {thing: place_of(drawn, thing) for thing in candidates}
        assert len(places) == 4 and words[10] == "?"
        for side in (gaze, (gaze + 2) % 4):
            view = seen_slowly(scene, side, *mid, camera=True)
            seen, hidden = [], []
            for thing, (row, col) in places.items():
                if (row - mid[0]) * STEPS[side][0] + (col - mid[1]) * STEPS[side][1] > 0:
                    (seen if thing in view else hidden).append(thing)
            assert len(seen) == len(hidden) == 1
            if side == gaze:
                assert seen[0] + OBJECT_WORD == examples.answer[e]


def candidates_by_side(examples, e):
    """For the side asked for and for the other one: [(distance from M, |sideways|, ahead, is it
    seen?)] of the candidates there."""
    drawn, scene = examples.views[e, 0], examples.scene[e]
    mid, gaze = place_of(drawn, MID), examples.imagination[e, 4, 2] - VIEWER
    sides = []
    for side in (gaze, (gaze + 2) % 4):
        view = seen_slowly(scene, side, *mid, camera=True)
        (d_row, d_col), (r_row, r_col) = STEPS[side], STEPS[(side + 1) % 4]
        there = []
        for thing in examples.query[e, 6:10] - OBJECT_WORD:
            row, col = np.subtract(place_of(drawn, thing), mid)
            ahead, right = row * d_row + col * d_col, row * r_row + col * r_col
            if ahead > 0:
                there.append((math.hypot(row, col), abs(right), ahead, thing in view))
        sides.append(there)
    return sides


def test_pt_walls_hide_and_places_tell_nothing(n=1000):
    """A hidden candidate is in the field of view, behind a wall, and as often nearer to M than the
    one that is seen as farther; so for the middle of the view."""
    examples, nearer, straighter = of("pt", n=n), [], []
    for e in range(n):
        for (one, other) in candidates_by_side(examples, e):
            seen, hidden = (one, other) if one[3] else (other, one)
            assert not hidden[3] and seen[3] and hidden[1] <= hidden[2]
            if seen[0] != hidden[0]:
                nearer.append(seen[0] < hidden[0])
            if seen[1] != hidden[1]:
                straighter.append(seen[1] < hidden[1])
    slack = 1.5 * n ** -0.5                            # two standard errors of 2 n sides
    assert abs(np.mean(nearer) - 0.5) < slack and abs(np.mean(straighter) - 0.5) < slack
    assert len(nearer) > 0.3 * n


def test_pt_simple_guesses_are_seldom_right(n=1000):
    """By place in the query; the candidate nearest to M or to an end of the route."""
    examples = of("pt", n=n)
    slots = (examples.query[:, 6:10] == examples.answer[:, None]).mean(0)
    assert slots.max() < 0.25 + 1.5 * n ** -0.5
    for mark in (MID, ONE, TWO):
        right = 0
        for drawn, query, answer in zip(examples.views[:, 0], examples.query, examples.answer):
            mid = place_of(drawn, mark)
            distance = [math.dist(place_of(drawn, c - OBJECT_WORD), mid) for c in query[6:10]]
            right += query[6 + int(np.argmin(distance))] == answer
        assert right < (0.27 + 1.5 * n ** -0.5) * n, (mark, right)


def test_pt_chain_of_thought_tells_midpoint_headings_and_view(n=200):
    examples = of("pt", n=n)
    for e in range(n):
        words, drawn = text(examples.cot[e]).split(), examples.views[e, 0]
        row, col = place_of(drawn, MID)
        assert words[:5] == ["mid", "row", str(row), "column", str(col)]
        route = route_of(drawn)
        if text(examples.query[e, 1:2]) == "2":
            route.reverse()
        middle = len(route) // 2
        heading = STEPS.index(tuple(np.subtract(route[middle], route[middle - 1])))
        gaze = COMPASS[examples.imagination[e, 4, 2] - VIEWER]
        assert words[5:10] == ["heading", COMPASS[heading], "gaze", gaze, "see"]
        seen = [NAMES[cell] for cell in examples.imagination[e].flat if cell >= OBJECT]
        assert words[10:] == seen + ["nothing"] * (len(words) - 10 - len(seen))
        assert len(words) - 10 == TASKS["pt"].WORLDS["train"]["objects"]
        answer = text(examples.answer[e:e + 1])
        assert [word for word in seen if ID[word] in examples.query[e, 6:10]] == [answer]


# ------------------------------------------------------------------------------ multiview counting
def test_mvc_map_is_what_the_cameras_see_and_counts_are_not_a_sum(n=200):
    """The chain of thought gives, for each view, how many it sees and how many are new."""
    examples, sums = of("mvc", n=n), 0
    for e in range(n):
        scene, words = examples.scene[e], text(examples.cot[e]).split()
        shape = text(examples.query[e, 2:3])
        asked = [cell for cell, name in enumerate(NAMES) if name.endswith(f"-{shape}")]
        merged, total = np.full((5, 5), DARK), 0
        for v, (heading, row, col) in enumerate(examples.pose[e] - 1):
            view = seen_slowly(scene, heading, row, col, camera=True)
            assert np.array_equal(examples.views[e, v], view)
            (d_row, d_col), (r_row, r_col) = STEPS[heading], STEPS[(heading + 1) % 4]
            before = np.isin(merged, asked).sum()
            for i, j in np.ndindex(5, 5):
                ahead, right = 4 - i, j - 2
                if view[i, j] != DARK:
                    at = row + ahead * d_row + right * r_row, col + ahead * d_col + right * r_col
                    merged[at] = scene[at]
            sees, new = np.isin(view, asked).sum(), np.isin(merged, asked).sum() - before
            told = " ".join(words[6 * v:6 * v + 6])
            assert told == f"view {v + 1} sees {sees} new {new}"
            total += sees
        assert np.array_equal(merged, examples.imagination[e])
        count = np.isin(merged, asked).sum()
        assert len(asked) == 4 and count == examples.answer[e] - ZERO
        assert len(set(merged.flat) & set(asked)) == 1                         # all look alike
        sums += total == count
    assert sums < 0.6 * n


def test_mvc_cameras_turn_at_one_spot_or_look_in_from_the_rim(n=500):
    examples = of("mvc", n=n)
    for poses, kind in zip(examples.pose - 1, examples.kind):
        assert len({tuple(pose) for pose in poses}) == 3
        if TASKS["mvc"].KINDS[kind] == "rotation":
            assert len({tuple(pose[1:]) for pose in poses}) == 1
            assert ((1 <= poses[:, 1:]) & (poses[:, 1:] <= 3)).all()
        else:
            for heading, row, col in poses:
                back = row - STEPS[heading][0], col - STEPS[heading][1]
                assert not (0 <= back[0] < 5 and 0 <= back[1] < 5)
    assert len({tuple(pose) for pose in examples.pose.reshape(-1, 3)}) > 40


# --------------------------------------------------------------------------- the task in examples/
def test_turn_around_looks_back_from_x(n=200):
    examples, words = of("turn_around", n=n), vocabulary(TASKS["turn_around"])
    for e in range(n):
        view, query = examples.views[e, 0], text(examples.query[e], words).split()
        assert query[:5] == ["at", "x", "turn", "around", "is"]
        assert query[6:] == ["left", "or", "right", "?"]
        x = place_of(view, X)
        observed = view.copy()
        observed[x] = observed[4, 2] = FLOOR
        assert np.array_equal(examples.imagination[e], seen_slowly(observed, 2, *x))
        _, right = in_view(examples.imagination[e], NAMES.index(query[5]))
        side = {-1: "left", 1: "right"}[np.sign(right)]
        assert words[examples.answer[e]] == side and text(examples.cot[e], words) == side


@pytest.mark.parametrize("task", TASKS)
def test_all_queries_and_thoughts_have_one_length(task):
    """No padding: what is missing is the word "nothing", and nothing but a list ends in it."""
    for split in splits(TASKS[task]):
        examples = of(task, split)
        assert examples.query.shape[1] == of(task).query.shape[1]
        if split in ("train", "val", "test"):
            assert examples.cot.shape[1] == of(task).cot.shape[1]
        assert not (examples.query == NOTHING).any()
        assert task == "pt" or not (examples.cot == NOTHING).any()


# ---------------------------------------------------------------------------------------- glyphs
def test_glyphs_are_distinct_and_survive_noise():
    cells = np.arange(len(NAMES)).repeat(100).reshape(50, -1).astype(np.uint8)
    clean, noisy = render(cells), render(cells, np.random.default_rng(0))
    assert np.array_equal(nearest_glyph(clean), cells)
    assert np.array_equal(nearest_glyph(noisy), cells) and (noisy != clean).mean() > 0.8
    assert np.array_equal(noisy, render(cells, np.random.default_rng(0)))
    tiles = GLYPHS.reshape(len(NAMES), -1).astype(int)
    for a in range(len(NAMES)):
        for b in range(a):
            assert ((tiles[a] - tiles[b]) ** 2).sum() > 2e5, (NAMES[a], NAMES[b])


def test_render_puts_each_glyph_where_its_cell_is():
    cells = np.random.default_rng(0).integers(0, len(NAMES), (2, 3, 4)).astype(np.uint8)
    pixels = render(cells)
    assert pixels.shape == (2, 24, 32, 3) and pixels.dtype == np.uint8
    for e, i, j in np.ndindex(2, 3, 4):
        tile = pixels[e, 8 * i:8 * i + 8, 8 * j:8 * j + 8]
        assert np.abs(tile.astype(int) - GLYPHS[cells[e, i, j]]).max() <= 26   # light 0.9, clipped


def test_a_balance_whose_key_tells_the_label_is_refused():
    class Task:
        NAME, WORLDS, questions = "mine", TASKS["pet"].WORLDS, TASKS["pet"].questions
        KINDS = TASKS["pet"].KINDS

        def balance(examples):
            return examples.kind, examples.kind
    with pytest.raises(UserError, match="mine: .*tells the label"):
        make(Task, "train", 10)
