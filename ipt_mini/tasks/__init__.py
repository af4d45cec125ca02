"""The three tasks and how a data set of one is made."""
from typing import NamedTuple

import numpy as np

from ipt_mini.tasks import mvc, pet, pt
from ipt_mini.tasks.grid import SPLITS, split_of

# A task is a module with NAME, ANSWERS, KINDS, FIRST, CHANCE, STEPS, ANSWER_WEIGHT, WORLD (settings
# by split), draw (all that is random), ask (what follows: the examples), rule (imagination ->
# answer) and shortcuts (lookups to keep low).
TASKS = {"pet": pet, "pt": pt, "mvc": mvc}
CHUNK = 16384                 # questions drawn at a time


class Examples(NamedTuple):
    """B examples of one task as arrays. Cells are ids of `grid.NAMES`, words of `words.WORDS`."""
    views: np.ndarray         # (B, V, N, N) uint8: what is observed
    pose: np.ndarray          # (B, V, 3) heading, row, column of each camera, + 1; 0: not given
    query: np.ndarray         # (B, Q) words
    imagination: np.ndarray   # (B, N, N) uint8: the view that is not there
    answer: np.ndarray        # (B,) word
    cot: np.ndarray           # (B, C) words, PAD at the end: the same reasoning as text
    kind: np.ndarray          # (B,) index into the task's KINDS
    scene: np.ndarray         # (B, N, N) uint8: the world itself; for the split and for tests

    def take(self, rows):
        return Examples(*(field[rows] for field in self))


def splits(task):
    """Names of the data sets of a task: train, val, test and those out of its domain."""
    return (*SPLITS, *(world for world in TASKS[task].WORLD if world != "train"))


def make(task, split, n_examples, seed=0, grid=5):
    """Examples of `task` for `split`, the same for the same arguments.
    Scenes are drawn, kept if they belong to the split (`split_of`) and if the question is
    fair, and then thinned until the task's main shortcut is of little use (`balanced_rows`)."""
    assert grid >= 5 and grid % 2, f"grid {grid}: it must be odd and at least 5"
    module = TASKS[task]
    world = module.WORLD.get(split, module.WORLD["train"])
    part = SPLITS.index(split if split in SPLITS else "test")
    rng = np.random.default_rng([seed, splits(task).index(split), list(TASKS).index(task)])
    found, total = [], 0
    while total < n_examples:
        drawn = module.draw(rng, CHUNK, grid, **world)
        rows = np.flatnonzero(split_of(drawn["scene"]) == part)
        asked = module.ask(**{name: values[rows] for name, values in drawn.items()})
        rows = np.flatnonzero(asked.pop("ok"))
        examples = Examples(**asked).take(rows)
        found.append(examples.take(balanced_rows(rng, task, examples)))
        total += len(found[-1].answer)
    return Examples(*(np.concatenate(f)[:n_examples] for f in zip(*found)))


# ----------------------------------------------------------------- shortcuts, kept low and measured
def balanced_rows(rng, task, examples):
    """Indices of examples that the first shortcut says little of, every kind equally often.
    Inside each of its keys the most frequent label is cut down to the count of the second; then
    the labels are cut to equal shares. Twice more, because the second cut disturbs the first."""
    key, label = next(iter(TASKS[task].shortcuts(examples).values()))
    shape = key.max(initial=0) + 1, label.max(initial=1) + 1
    cell, keep = key * shape[1] + label, rng.permutation(len(key))
    for _ in range(3):
        count = np.bincount(cell[keep], minlength=shape[0] * shape[1]).reshape(shape)
        second = np.sort(count, 1)[:, -2]
        keep = keep[_rank(cell[keep]) < second[key[keep]]]
        keep = keep[_rank(label[keep]) < np.bincount(label[keep], minlength=shape[1]).min()]
    kind = examples.kind[keep]
    count = np.bincount(kind, minlength=len(TASKS[task].KINDS))
    return keep[rng.random(len(keep)) < count.min() / count[kind]]


def _rank(group):
    """0, 1, 2, ... counted inside each group of equal integers below 2 ** 16, in order of
    appearance: (B,)."""
    order = np.argsort(group.astype(np.uint16), kind="stable")     # of 16 bits: a radix sort
    ordered, rank = group[order], np.empty_like(order)
    rank[order] = np.arange(len(group)) - np.searchsorted(ordered, ordered)
    return rank


def shortcut_scores(task, examples):
    """name -> accuracy of the best lookup table that does not imagine."""
    tables = TASKS[task].shortcuts(examples)
    if task != "pt":              # there the question names candidates: see its slot in the query
        answer = np.unique(examples.answer, return_inverse=True)[1]
        query = np.unique(examples.query, axis=0, return_inverse=True)[1].ravel()
        tables |= {"question only": (query, answer), "majority": (0 * answer, answer)}
    return {name: lookup(*table) for name, table in tables.items()}


def lookup(key, label):
    """Accuracy of `most frequent label per key`, fitted on even rows and scored on odd ones.
    Rows with a key below 0 do not count. NaN if there are none."""
    key, label = key[key >= 0], label[key >= 0]
    table = np.zeros((key.max(initial=0) + 1, label.max(initial=0) + 1))
    np.add.at(table, (key[::2], label[::2]), 1)
    right = table.argmax(1)[key[1::2]] == label[1::2]
    return float(right.mean()) if len(right) else float("nan")
