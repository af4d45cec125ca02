"""The three tasks and how a data set of one is made."""
from typing import NamedTuple

import numpy as np

from ipt_mini.tasks import mvc, pet, pt
from ipt_mini.tasks.grid import SPLITS, balance, split_of

# A task is a module with NAME, VIEWS, ANSWERS, KINDS, FIRST, CHANCE, STEPS, ANSWER_WEIGHT, WORLD
# (settings by split), propose (random questions), rule (imagination -> answer), shortcuts (lookups
# to keep low).
TASKS = {"pet": pet, "pt": pt, "mvc": mvc}


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


def make(task, split, n_examples, seed=0, grid=5, chunk=16384):
    """Examples of `task` for `split`, the same for the same arguments.

    Scenes are drawn, kept if they belong to the split (see `split_of`) and if the question is
    fair, and then thinned until the task's main shortcut is of little use (see `balance`).
    """
    module = TASKS[task]
    world = module.WORLD.get(split, module.WORLD["train"])
    part = SPLITS.index(split) if split in SPLITS else SPLITS.index("test")
    rng = np.random.default_rng([seed, splits(task).index(split), list(TASKS).index(task)])
    found, total = [], 0
    while total < n_examples:
        drawn = module.propose(rng, chunk, grid, **world)
        rows = np.flatnonzero(drawn.pop("ok"))
        rows = rows[split_of(drawn["scene"][rows]) == part]
        examples = Examples(**drawn).take(rows)
        examples = examples.take(balanced_rows(rng, task, examples))
        found.append(examples)
        total += len(examples.answer)
        if len(found) == 50 and total < 50:
            raise ValueError(f"grid {grid} leaves no room for {task} ({module.NAME}) questions")
    return Examples(*(np.concatenate(f)[:n_examples] for f in zip(*found)))


def balanced_rows(rng, task, examples):
    """Rows to keep: the first shortcut balanced, then every kind of question equally often."""
    key, label, _ = next(iter(TASKS[task].shortcuts(examples).values()))
    rows = balance(rng, key, label)
    count = np.bincount(examples.kind[rows], minlength=len(TASKS[task].KINDS))
    share = count.min() / count[examples.kind[rows]]
    return rows[rng.random(len(rows)) < share]


def shortcut_scores(task, examples):
    """name -> accuracy of the best lookup table: fitted on one half, scored on the other."""
    words = {word: i for i, word in enumerate(np.unique(examples.answer))}
    answer = np.array([words[w] for w in examples.answer])
    tables = dict(TASKS[task].shortcuts(examples))
    if task != "pt":
        query = np.unique(examples.query, axis=0, return_inverse=True)[1].ravel()
        tables |= {"question only": (query, answer, slice(None)),
                   "majority": (0 * answer, answer, slice(None))}
    return {name: lookup(key[rows], label[rows]) for name, (key, label, rows) in tables.items()}


def lookup(key, label):
    """Accuracy of `most frequent label per key`, fitted on even rows and scored on odd ones."""
    table = np.zeros((key.max() + 1, label.max() + 1))
    np.add.at(table, (key[::2], label[::2]), 1)
    return float((table.argmax(1)[key[1::2]] == label[1::2]).mean())
