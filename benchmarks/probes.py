"""Shortcuts, by probes that learn: how well is a task answered without what it is about?

    python benchmarks/probes.py        about five minutes, on one thread

Boosted trees and logistic regression answer from the raw cells and words, and from hand-made
features: first all that is needed, then with a part left out.
Shape letters: B examples, N cells a side, F features.
"""
import os

os.environ["OMP_NUM_THREADS"] = "1"

from report import arguments, need, run_main, write  # noqa: E402: after the line above

import numpy as np

from ipt_mini.evaluate import proportion
from ipt_mini.tasks import TASKS, make, mvc, pet, pt
from ipt_mini.tasks.grid import MID, VIEWER, X, look, shows
from ipt_mini.tasks.words import CLOSER, LEFT, OBJECT_WORD, ZERO

RAW = "raw cells and words"
NOTES = [
    "Chance: PET 50, PT 25, MVC 25.",
    "PET has a closed formula. With the object at (ahead a, right r) and X at (A, R), a turn to "
    "the right at X puts the object r - R ahead and A - a to the right. With all features the "
    "probes are given this place.",
    "PT: the candidates are sorted by side and distance; the label is a place in this order.",
    "MVC: with all features the probes are given the count on the merged map."]


def raw(examples):
    """(B, F) all cells of the views, poses, and words of the question."""
    b = len(examples.answer)
    return np.hstack([examples.views.reshape(b, -1), examples.pose.reshape(b, -1), examples.query])


def seen_from(pose, cell, n):
    """(ahead, right): steps from a pose to a world cell. The inverse of grid.in_world."""
    heading, here = np.divmod(pose, n * n)
    d_row, d_col = np.array([-1, 0, 1, 0])[heading], np.array([0, 1, 0, -1])[heading]
    down, east = cell // n - here // n, cell % n - here % n
    return down * d_row + east * d_col, down * d_col - east * d_row


# Each of the following: {what is known: (features, each (B,) or (B, k); label (B,))}.
def pet_features(examples):
    view, query = examples.views[:, 0], examples.query
    a, r = pet.find(view, query[:, pet.THING] - OBJECT_WORD)
    way = pet.find(view, np.full(len(view), X))
    turn = query[:, 3] - LEFT
    thing = [a, r, np.hypot(a, r), query[:, pet.OPTION] == CLOSER]
    sign = 2 * turn - 1
    new_a, new_r = sign * (r - way[1]), sign * (way[0] - a)
    new_place = [new_a, new_r, np.hypot(new_a, new_r) - thing[2]]
    known = {
        "all": [*thing, *way, turn, *new_place],
        "without the way to X": [*thing, turn],
        "without left or right": [*thing, *way],
        "without either": thing,
        RAW: [raw(examples)],
    }
    return {name: (features, examples.answer) for name, features in known.items()}


def pt_features(examples):
    b, _, n, _ = examples.views.shape
    things = examples.query[:, pt.CANDIDATES].astype(int) - OBJECT_WORD                  # (B, 4)
    cells = examples.views.reshape(b, -1)
    where = (cells[:, None] == things[:, :, None]).argmax(2)
    mid = (cells == MID).argmax(1)
    gaze = examples.imagination[:, -1, n // 2].astype(int) - VIEWER
    reverse, turn = examples.query[:, 1] - ZERO - 1, examples.query[:, 5] - LEFT
    side = reverse ^ turn                          # asked for, on the way from 1 to 2: 0 left
    heading = (gaze + 1 - 2 * side) % 4            # at M, on the way from 1 to 2
    right_slot = things + OBJECT_WORD == examples.answer[:, None]

    def in_frame(heading):
        """(features without walls, is it seen from M? (B, 4), label), on the way to `heading`."""
        along, across = seen_from((heading * n * n + mid)[:, None], where, n)
        distance, on_right = np.hypot(along, across), across > 0
        in_field = np.abs(along) <= np.abs(across)
        seen = np.zeros_like(in_field)
        for way in (1, 3):
            pose = (heading + way) % 4 * n * n + mid
            seen |= shows(look(examples.scene, pose, narrow=True)[0], things)
        order = np.lexsort((distance, on_right))   # left near, left far, right near, right far
        parts = (on_right, along, np.abs(across), distance, in_field, seen, right_slot)
        *places, seen, right = (np.take_along_axis(part, order, 1) for part in parts)
        return places, seen, right.argmax(1)

    # The side is known if the frame turns with the question: what is asked for is then on the left.
    places, seen, label = in_frame(heading)
    turned, turned_seen, turned_label = in_frame((gaze + 1) % 4)
    return {
        "all": ([*turned, turned_seen], turned_label),
        "without walls": (turned, turned_label),
        "without the way walked": ([*places, seen, turn], label),
        "without left or right": ([*places, seen, reverse], label),
        "without either": ([*places, seen], label),
        "without either, without walls": (places, label),
        RAW: ([raw(examples)], right_slot.argmax(1)),
    }


def mvc_features(examples):
    per_view = mvc.has_shape(examples.views, examples.query).sum((2, 3))                 # (B, V)
    counts = [per_view, per_view.sum(1), np.sort(per_view, 1)]
    cameras = [examples.pose.reshape(len(per_view), -1), examples.kind]
    on_map = mvc.has_shape(examples.imagination, examples.query).sum((1, 2))
    known = {
        "all": [*counts, *cameras, on_map],
        "counts of the views and cameras": [*counts, *cameras],
        "counts of the views": counts,
        "cameras": cameras,
        RAW: [raw(examples)],
    }
    return {name: (features, examples.answer) for name, features in known.items()}


FEATURES = {"pet": pet_features, "pt": pt_features, "mvc": mvc_features}


def classifiers(is_raw):
    """{name: untrained classifier}; raw numbers are names of things, so they become one-hot."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    prepare = OneHotEncoder(handle_unknown="ignore") if is_raw else StandardScaler()
    return {"trees": HistGradientBoostingClassifier(random_state=0),
            "linear": make_pipeline(prepare, LogisticRegression(max_iter=1000))}


def columns(features):
    """Features, each (B,) or (B, k) -> (B, F)."""
    return np.hstack([part.reshape(len(part), -1) for part in features]).astype(np.float32)


def probed(task, n_train, n_test):
    """Rows dict(task, known, trees, linear); each probe: accuracy with its interval, in percent."""
    train, test = make(TASKS[task], "train", n_train), make(TASKS[task], "test", n_test)
    train_sets, test_sets = FEATURES[task](train), FEATURES[task](test)
    rows = []
    for known, (features, label) in train_sets.items():
        test_features, test_label = test_sets[known]
        row = dict(task=task, known=known)
        for name, probe in classifiers(is_raw=known == RAW).items():
            probe.fit(columns(features), label)
            row[name] = proportion(probe.predict(columns(test_features)) == test_label)
        print(task, known, row["trees"]["accuracy"], row["linear"]["accuracy"], flush=True)
        rows.append(row)
    return rows


def main():
    options = arguments(__doc__)
    need("sklearn")
    n_train, n_test = (400, 100) if options.quick else (20000, 4000)
    rows = [row for task in TASKS for row in probed(task, n_train, n_test)]
    shown = [[r["task"].upper(), r["known"],
              *(f"{r[p]['accuracy']} [{r[p]['low']}, {r[p]['high']}]" for p in ("trees", "linear"))]
             for r in rows]
    note = f"Accuracy in % on {n_test:,} test questions, after training on {n_train:,}."
    write("probes", options, [(["task", "known", "boosted trees", "linear"], shown)], rows,
          [note, *NOTES], of="data")


if __name__ == "__main__":
    run_main(main)
