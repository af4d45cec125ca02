"""A folder of your own pictures as a task: PNG or JPEG files, and examples.jsonl with lines like

    {"split": "train", "views": ["a.png"], "query": "turned right , which corner is bright ?",
     "imagination": "b.png", "answer": "top left"}

split: train, val, test, or any name of a test out of distribution. To the model an answer is one
word, whatever is in it. Optional: "cot", the reasoning as text, and "pose", for each view the
[heading 0..3, row, column] of its camera, -1 if not known.

A Folder has what a task module has, see `examples`, but it draws no questions and has no rule. Its
Examples hold numbers of pictures instead of cells, and `paint` reads those files: in memory are
paths and words, no pixels.
"""
import hashlib
import json
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps   # comes with torchvision and matplotlib
from tqdm import tqdm

from ipt_mini.errors import UserError, blame
from ipt_mini.tasks.examples import SPLITS, Examples
from ipt_mini.tasks.words import NOTHING, WORDS, vocabulary

TYPES = {"split": str, "views": list, "query": str, "imagination": str, "answer": str,
         "cot": str, "pose": list}
UNKNOWN = "<unknown>"         # any word that training lacks
MOST_CODES, MOST_WORDS, MOST_VIEWS = 16, 256, 16    # a side of a picture; in a text; a line
LARGEST, LARGE = 4096, 128           # pixels a side: of a file; of what the tokenizer reads
Image.MAX_IMAGE_PIXELS = None        # LARGEST is stricter, and needs no warning of Pillow's own


class Line(NamedTuple):
    """A line of examples.jsonl, once it is checked."""
    split: str
    views: list               # numbers of pictures
    pose: list                # of each view, + 1; 0: not known
    query: list               # words
    imagination: int          # number of a picture
    answer: str
    cot: list                 # words


class Folder:
    """The examples of a folder. Every file is read and checked here, before any training."""
    MAPS = ()
    CURRICULUM = CURRICULUM_STEPS = rule = flip = None
    STEPS = {"pictures": 1500}
    LOSS = {"pictures": "answer=0.2@0.5:1@0.7,imagination=1,cot=1"}

    def __init__(self, path, size=0, patch=8):
        """size: pixels a side that pictures are resized to; 0: as they are. patch: of a code."""
        self.NAME, self.file = str(path), Path(path) / "examples.jsonl"
        self.root, self.size, self.patch = Path(path).resolve(), size, patch
        if not self.file.is_file():
            raise UserError(f"--data {path}: no folder with a file examples.jsonl in it")
        if size:
            self.check([size])
        self.numbers, self.hashes, self.sides = {}, [], []     # of pictures: by path; by number
        self.sides_of = {}                                     # by field
        self.lines, digest = [], hashlib.sha256()
        with open(self.file, "rb") as file:
            for number, text in enumerate(tqdm(file, "checking", delay=3, disable=None), 1):
                digest.update(text)
                with blame(f"{self.file}, line {number}"):
                    self.lines.append(self.parsed(text))
        digest.update(b"".join(self.hashes))
        self.DIGEST, self.paths = digest.digest(), [*self.numbers]
        self.ANSWERS = self.KINDS = self.answers()
        self.CHANCE = 1 / len(self.ANSWERS)
        same = self.sides_of["views"] == self.sides_of["imagination"]
        self.painters = dict(views=self.paint, imagination=self.paint if same else
                             partial(self.paint))    # another one: another group of pictures
        known = {word for line in self.of("train") for word in line.query + line.cot}
        own = known.union(self.ANSWERS).difference(WORDS, [UNKNOWN])
        self.OWN_WORDS = (UNKNOWN, *sorted(own))
        self.WORLDS = {line.split: {} for line in self.lines if line.split not in SPLITS[1:]}

    def of(self, split):
        return [line for line in self.lines if line.split == split]

    # ------------------------------------------------------------------------------ checks
    def parsed(self, text):
        """A line of the file as a Line."""
        record = json.loads(text)
        if not isinstance(record, dict):
            raise UserError("no JSON object")
        record = {"cot": "", "pose": [], **record}
        for name, kind in TYPES.items():
            if not isinstance(record.get(name), kind):
                raise UserError(f'"{name}" has to be a {"text" if kind is str else "list"}')
        views = [self.picture("views", name) for name in record["views"]]
        imagination = self.picture("imagination", record["imagination"])
        query, answer = self.words_of(record["query"]), self.words_of(record["answer"])
        cot = self.words_of(record["cot"], MOST_WORDS - 1)     # <think> takes a place, too
        before = self.lines[0].views if self.lines else views
        if not 0 < len(views) == len(before) <= MOST_VIEWS:
            raise UserError(f"{len(views)} views, before {len(before)}: each example needs as "
                            f"many, 1 to {MOST_VIEWS}")
        if not answer or not record["split"]:
            raise UserError('an empty "split" or "answer"')
        pose = pose_of(record["pose"], len(views))
        return Line(record["split"], views, pose, query, imagination, " ".join(answer), cot)

    def words_of(self, text, most=MOST_WORDS):
        """The words of a text."""
        words = [sys.intern(word) for word in text.lower().split()]     # many are alike
        if len(words) > most:
            raise UserError(f"a text of {len(words)} words, and {most} fit")
        return words

    def picture(self, field, name):
        """The number of the picture that a line names. At first sight, its file is checked."""
        path = (self.root / str(name)).resolve()
        if not path.is_relative_to(self.root):
            raise UserError(f"{name} leaves the folder")
        if path not in self.numbers:
            pixels = self.read(path)
            self.hashes.append(hashlib.sha256(pixels).digest()[:8])
            self.sides.append(pixels.shape[:2])
            self.numbers[path] = len(self.numbers)
        number = self.numbers[path]
        sides = self.sides[number]
        if self.sides_of.setdefault(field, sides) != sides:
            raise UserError(f"{name} has {sides[0]} x {sides[1]} pixels, {field} before it "
                            "{} x {}: give --size".format(*self.sides_of[field]))
        return number

    def read(self, path):
        """The pixels (H, W, 3) of a file, a read-only array."""
        if not path.is_file():
            raise UserError(f"there is no picture {path}")
        with blame(path), Image.open(path, formats=("PNG", "JPEG")) as image:
            self.check(image.size[::-1])             # from the header: nothing is decoded yet
            if image.mode.startswith(("I", "F")):    # else all that is over 255 would be white
                raise UserError("a grey picture of 16 or more bits a pixel; save it with 8")
            image = ImageOps.exif_transpose(image).convert("RGB")
            return np.asarray(image.resize((self.size, self.size)) if self.size else image)

    def check(self, sides):
        """UserError if pictures of these sides, height and width in pixels, can't be read."""
        size = " x ".join(map(str, sides))
        if max(sides) > LARGEST:
            raise UserError(f"{size} pixels, and at most {LARGEST} a side are read")
        most = min(LARGE, MOST_CODES * self.patch)
        wanted = [self.size] if self.size else sides
        if max(wanted) > most or any(side % self.patch for side in wanted):
            raise UserError(f"{size} pixels: --size or each side has to be a multiple of "
                            f"{self.patch}, the --patch, up to {most}")

    def answers(self):
        """The answers of training, which are those that there are."""
        for split in SPLITS:
            if not self.of(split):
                raise UserError(f"{self.file}: no line has the split {split}", 1)
        answers = {line.answer for line in self.of("train")}
        if len(answers) < 2:
            raise UserError(f"{self.file}: training has one answer only, {answers.pop()!r}", 1)
        for number, line in enumerate(self.lines, 1):
            if line.answer not in answers:
                raise UserError(f"{self.file}, line {number}: training has no example with "
                                f"the answer {line.answer!r}", 1)
        return tuple(sorted(answers))

    # ---------------------------------------------------------------------- examples, pictures
    def examples(self, split, n, seed):
        """Examples of a split: a random n of them, or all if there are fewer."""
        lines = self.of(split)
        order = np.random.default_rng([seed, zlib.crc32(split.encode())]).permutation(len(lines))
        chosen = Line(*zip(*(lines[i] for i in order[:n])))
        ids = {word: i for i, word in enumerate(vocabulary(self))}
        query, cot = (padded(getattr(chosen, name), ids, self.longest(name))
                      for name in ("query", "cot"))
        imagination = np.array(chosen.imagination)[:, None, None]
        return Examples(np.array(chosen.views)[..., None, None], np.array(chosen.pose), query,
                        imagination, np.array([ids[answer] for answer in chosen.answer]), cot,
                        np.array([self.ANSWERS.index(answer) for answer in chosen.answer]),
                        scene=imagination)

    def longest(self, name):
        """Words in the longest query or cot of all splits."""
        return max(len(getattr(line, name)) for line in self.lines)

    def paint(self, numbers, rng=None):
        """Pixels (..., H, W, 3) of the pictures with these numbers (..., 1, 1), as they are."""
        pixels = np.stack([self.read(self.paths[number]) for number in numbers.flat])
        return pixels.reshape(*numbers.shape[:-2], *pixels.shape[1:])


def padded(texts, ids, length):
    """Texts as word ids (B, length), with "nothing" behind the shorter ones."""
    rows = [[ids.get(word, ids[UNKNOWN]) for word in text] + [NOTHING] * (length - len(text))
            for text in texts]
    return np.array(rows, int).reshape(len(rows), length)


def pose_of(pose, n_views):
    """The poses (V, 3) of the views, counted from 1; zeros if there are none."""
    pose = np.array(pose or [[-1, -1, -1]] * n_views)
    fits = pose.shape == (n_views, 3) and pose.dtype.kind == "i"
    if not fits or (pose < -1).any() or (pose > [3, MOST_CODES - 1, MOST_CODES - 1]).any():
        raise UserError('"pose" has to be [heading -1..3, row, column] for each view, row and '
                        f"column -1..{MOST_CODES - 1}")
    return (pose + 1).tolist()
