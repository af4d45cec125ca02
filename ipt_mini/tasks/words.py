"""The words of all queries, answers and chains of thought: one small vocabulary."""
import numpy as np

from ipt_mini.tasks.grid import NAMES, OBJECT, SHAPES

PAD = 0
DIGITS = [str(d) for d in range(10)]
COMPASS = ["north", "east", "south", "west"]
# <answer>, <imagine> and <think> open the segments of that name.
WORDS = ["<pad>", "<answer>", "<imagine>", "<think>", *DIGITS, *COMPASS, "left", "right", "closer",
         "further", "how", "many", "at", "x", "turn", "is", "or", "?", "walk", "to", "look", "mid",
         "row", "column", "heading", "gaze", "see", "ahead", "then", "view", "sees", "new",
         *SHAPES, *NAMES[OBJECT:]]
ID = {word: i for i, word in enumerate(WORDS)}
# The first of a row of words: add a number, a heading, 1 for the second of two options, a shape.
ZERO, NORTH, LEFT, CLOSER, BALL = (ID[w] for w in ("0", "north", "left", "closer", "ball"))
OBJECT_WORD = ID[NAMES[OBJECT]] - OBJECT      # + the cell id of an object = the word that names it


def phrase(*parts):
    """Word ids (B, L): a string part is the same for all rows, an array part is (B,) or (B, k)."""
    b = max(len(part) for part in parts if not isinstance(part, str))
    return np.concatenate([np.tile([ID[word] for word in part.split()], (b, 1))
                           if isinstance(part, str) else part.reshape(b, -1) for part in parts], 1)


def text(ids):
    """One row of word ids as a string, padding left out."""
    return " ".join(WORDS[i] for i in ids if i != PAD)
