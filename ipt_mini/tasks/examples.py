"""What an example is, and how a balanced data set of them is made.

A task is a module. What it has:
    NAME                  in full
    ANSWERS, KINDS        words that may answer; kinds of question, which are equally frequent
    CHANCE                share of right answers of one who guesses
    OWN_WORDS             words beyond the common vocabulary
    MAPS                  fields of Examples that are drawn from above, in first person too
    STEPS, LOSS           {"cells": .., "first-person": ..}, see Config.recipe: steps, loss
    CURRICULUM            shares of the KINDS early in training, or None: even
    CURRICULUM_STEPS      for how many steps at most
    SHUFFLED              worlds in which cells are imagined in a random order; may be left out
    WORLDS                {split: arguments of `questions`}; val and test take those of "train"
and four functions:
    questions(rng, b, n, **world) -> Examples on n x n cells: the fair, unambiguous, ones of b
    rule(views, query, imagination) -> the answer (B,) that the imagination shows
    flip(examples) -> (query, imagination): the opposite question, and what is to be imagined for it
    balance(examples) -> (key, label), each (B,): no key shall tell the label
A Folder is a task whose examples are fixed: it has `examples` instead of `questions` and `balance`;
its rule and flip are None.
"""
import zlib
from typing import NamedTuple

import numpy as np

from ipt_mini.errors import UserError

SPLITS = ("train", "val", "test")
CHUNK, BLOCK = 16384, 2048    # questions drawn at a time; fewest fair ones balanced together


class Examples(NamedTuple):
    """B examples of one task as arrays. Cells are ids of `grid.NAMES`, words of `words.WORDS`."""
    views: np.ndarray         # (B, V, N, N) uint8: what is observed
    pose: np.ndarray          # (B, V, 3) heading, row, column of each camera, + 1; 0: not given
    query: np.ndarray         # (B, Q) words
    imagination: np.ndarray   # (B, N, N) uint8: the view that is not there
    answer: np.ndarray        # (B,) word
    cot: np.ndarray           # (B, C) words: the same reasoning as text
    kind: np.ndarray          # (B,) index into the task's KINDS
    scene: np.ndarray         # (B, N, N) uint8: all cells, seen or not; for the split and tests

    def take(self, rows):
        return Examples(*(field[rows] for field in self))


def splits(task):
    """Names of the data sets of a task: train, val, test and those out of distribution."""
    return (*SPLITS, *(world for world in task.WORLDS if world != "train"))


def make(task, split, n_examples, seed=0, grid=5):
    """Examples of `task` for `split`, the same for the same arguments.
    Questions are drawn, kept if their scene belongs to the split, and then thinned so that what the
    task is balanced by tells little about the answer."""
    if hasattr(task, "examples"):
        return task.examples(split, n_examples, seed)
    assert grid >= 5 and grid % 2, f"grid {grid}: it must be odd and at least 5"
    world = task.WORLDS.get(split, task.WORLDS["train"])
    part = SPLITS.index(split) if split in SPLITS else SPLITS.index("test")
    rng = np.random.default_rng([seed, zlib.crc32(f"{task.NAME} {split}".encode())])
    result, waiting, drawn = [], [], 0
    while count(result) < n_examples:
        examples = task.questions(rng, CHUNK, grid, **world)
        waiting.append(examples.take(split_of(examples.scene) == part))
        drawn += CHUNK
        if drawn > 100 * CHUNK and not count(result + waiting):
            raise UserError(f"{task.NAME}, {split}: no fair question among {drawn:,} drawn", code=1)
        if count(waiting) >= BLOCK:
            result.append(balanced(rng, task, joined(waiting)))
            waiting = []
    return joined(result).take(slice(n_examples))


def count(parts):
    return sum(len(examples.answer) for examples in parts)


def joined(parts):
    return Examples(*(np.concatenate(field) for field in zip(*parts)))


def split_of(scene):
    """Index into SPLITS for each scene (B, N, N), equal for all 8 symmetries of one scene.
    A hash of the scene decides, 6 : 1 : 1. So no test scene occurs in training, whatever the seed,
    the size or the order in which the sets were made."""
    b, n, _ = scene.shape
    weights = np.random.default_rng(0).integers(0, 2 ** 63, (n, n), dtype=np.uint64)
    turned = [np.rot90(w, k) for w in (weights, weights.T) for k in range(4)]
    numbers = scene.reshape(b, n * n) @ np.reshape(turned, (8, n * n)).T          # mod 2 ** 64
    lowest = numbers.min(1)                            # the same for all symmetries
    # The lowest of eight is small: xor and a large odd factor (Fibonacci hashing) spread it over
    # 64 bits. The top three are the bucket.
    mixed = (lowest ^ (lowest >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    bucket = (mixed >> np.uint64(61)).astype(int)      # 0 .. 7
    return np.where(bucket < 6, 0, bucket - 5)


def balanced(rng, task, examples):
    """Thin the examples: for each key the most frequent label falls to the count of the second,
    then all labels to equal shares; twice more, because one disturbs the other. At last the kinds
    fall to equal shares."""
    for _ in range(3):
        key, label = task.balance(examples)
        n_labels = label.max() + 1
        pair = key * n_labels + label                  # a number for each pair of the two
        by_key = np.bincount(pair, minlength=(key.max() + 1) * n_labels).reshape(-1, n_labels)
        second = np.sort(by_key, 1)[:, -2]
        examples = thinned(rng, examples, pair, second[key])
        if not len(examples.answer):
            raise UserError(f"{task.NAME}: balanced, no question is left: the key that `balance` "
                            "gives tells the label", code=1)
        label = task.balance(examples)[1]
        examples = thinned(rng, examples, label, np.bincount(label).min())
    kinds = np.bincount(examples.kind, minlength=len(task.KINDS))
    return thinned(rng, examples, examples.kind, kinds.min())


def thinned(rng, examples, group, wanted):
    """About so many examples of each group of equal integers (B,), drawn at random. wanted: one
    number, or (B,) that of each example's group."""
    size = np.bincount(group)[group]
    return examples.take(rng.random(len(group)) * size < wanted)     # chance: wanted / size
