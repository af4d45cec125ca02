"""The words of all queries, answers and chains of thought: one small vocabulary.

A task may bring words of its own: its OWN_WORDS are appended to WORDS.
"""
import numpy as np

from ipt_mini.tasks.grid import NAMES, OBJECT, SHAPES

OPENERS = ("<answer>", "<imagine>", "<think>")         # each opens a part of the model's sequence
COMPASS = ["north", "east", "south", "west"]
PLAIN = ("nothing left right closer further how many at x turn is or ? walk to look mid row column "
         "heading gaze see ahead then view sees new").split()
WORDS = [*OPENERS, *map(str, range(10)), *COMPASS, *PLAIN, *SHAPES, *NAMES[OBJECT:]]
ID = {word: i for i, word in enumerate(WORDS)}
# The first of a row of words: ZERO + 3 is "3", HEADING_WORD + WEST "west", CLOSER + 1 "further".
ZERO, HEADING_WORD, LEFT, CLOSER, BALL = (ID[w] for w in ("0", "north", "left", "closer", "ball"))
RIGHT = LEFT + 1
NOTHING = ID["nothing"]
OBJECT_WORD = ID[NAMES[OBJECT]] - OBJECT      # + the cell id of an object = the word that names it
UNREADABLE = -1                               # no word: what a rule says of a picture it can't read


def vocabulary(*tasks):
    """All words that the tasks may use; a word's id is its place in this list."""
    return [*WORDS, *(word for task in tasks for word in task.OWN_WORDS)]


def phrase(*parts, own=()):
    """Word ids (B, L): a string part is the same for all rows, an array part is (B,) or (B, k).
    own: the task's OWN_WORDS."""
    ids = {word: i for i, word in enumerate([*WORDS, *own])}
    b = max(len(part) for part in parts if not isinstance(part, str))
    columns = []
    for part in parts:
        if isinstance(part, str):
            part = np.tile([ids[word] for word in part.split()], (b, 1))
        columns.append(part.reshape(b, -1))
    return np.concatenate(columns, 1)


def text(ids, words=WORDS):
    """One row of word ids as a string."""
    return " ".join(words[i] for i in ids)
