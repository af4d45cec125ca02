"""The words of all queries, answers and chains of thought: one small vocabulary."""
import numpy as np

from ipt_mini.tasks.grid import NAMES, OBJECT, SHAPES

PAD, ANSWER, IMAGINE, THINK = range(4)        # <answer>, <imagine> and <think> open their segment
DIGITS = [str(d) for d in range(10)]
COMPASS = ["north", "east", "south", "west"]
WORDS = ["<pad>", "<answer>", "<imagine>", "<think>", *DIGITS, *COMPASS, "left", "right", "closer",
         "further", "how", "many", "at", "x", "turn", "is", "or", "?", "walk", "to", "look", "mid",
         "row", "column", "heading", "gaze", "see", "ahead", "then", "view", "sees", "new",
         *SHAPES, *NAMES[OBJECT:]]
ID = {word: i for i, word in enumerate(WORDS)}
ZERO, NORTH, LEFT, RIGHT = ID["0"], ID["north"], ID["left"], ID["right"]
SHAPE_WORD = ID["ball"]                        # + the index of a shape
OBJECT_WORD = ID[NAMES[OBJECT]] - OBJECT      # + the cell id of an object = the word that names it


def phrase(n, *parts):
    """Word ids (n, L): a string part is the same for all rows, an array part is (n,) or (n, k)."""
    columns = []
    for part in parts:
        if isinstance(part, str):
            part = np.broadcast_to([ID[w] for w in part.split()], (n, len(part.split())))
        columns.append(part.reshape(n, -1))
    return np.concatenate(columns, 1).astype(np.int64)


def text(ids):
    """One row of word ids as a string, padding left out."""
    return " ".join(WORDS[i] for i in ids if i != PAD)
