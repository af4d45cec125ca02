"""Examples -> pixels -> codes -> Data, and what a run or a tokenizer has to agree with."""
import hashlib
import zlib

import numpy as np
import torch

from ipt_mini.own import is_own, source
from ipt_mini.sequence import Data
from ipt_mini.tasks import TASKS, make, splits
from ipt_mini.tasks.grid import render
from ipt_mini.tasks.words import vocabulary

FORMAT = 6                    # of all that is saved; a reader refuses any other


def encode(tokenizer, cells, rng):
    """Cells (..., N, N), drawn as pixels with noise -> codes (..., N, N).
    A thousand at a time: pixels of all examples at once would fill a small machine's memory."""
    parts = np.array_split(cells, -(-len(cells) // 1000))
    return torch.cat([tokenizer.encode(torch.from_numpy(render(part, rng))) for part in parts])


def to_data(examples, tokenizer, rng):
    """The Data of Examples: what the model sees of them, on the tokenizer's device."""
    views = encode(tokenizer, examples.views, rng)
    imagination = encode(tokenizer, examples.imagination, rng)
    pose, query, cot, answer = (torch.from_numpy(part.astype(np.int64)).to(views.device) for part in
                                (examples.pose, examples.query, examples.cot, examples.answer))
    return Data(views, pose, query, imagination, cot, answer)


def prepare(config, task, split, tokenizer, n_examples):
    """(Examples, Data) of one split."""
    examples = make(task, split, n_examples, config.data_seed, config.grid)
    rng = np.random.default_rng([config.data_seed, splits(task).index(split), 1])
    return examples, to_data(examples, tokenizer, rng)


def tokenizer_pixels(config, task, split, n_images):
    """Pictures of all built-in tasks, and of `task`: (cells (M, N, N), and twice pixels
    (M, 8N, 8N, 3), each time with another noise); `n_images` a task."""
    rng = np.random.default_rng([config.data_seed, zlib.crc32(split.encode())])
    cells = []
    own = [task] if task not in TASKS.values() else []
    for shown in [*TASKS.values(), *own]:
        examples = make(shown, split, n_images, config.data_seed, config.grid)
        views = examples.views.reshape(-1, config.grid, config.grid)
        pictures = np.concatenate([views, examples.imagination])
        cells.append(pictures[rng.permutation(len(pictures))[:n_images]])
    cells = np.concatenate(cells)
    pixels, again = (torch.from_numpy(render(cells, rng)) for _ in range(2))
    return cells, pixels, again


def fingerprint(config, task, questions=True):
    """A short digest of what code decides about a run's data, beside its settings: pictures, words
    and questions, and a tokenizer of the user's own. Where it differs, codes or words have another
    meaning. Without the questions: what a tokenizer depends on."""
    name = config.tokenizer.rpartition(":")[2]
    own = name + source(config.tokenizer) if is_own(config.tokenizer) else ""
    digest = hashlib.sha256(f"{FORMAT} {own}".encode())
    _, pixels, _ = tokenizer_pixels(config, task, "train", 16)
    digest.update(pixels.numpy().tobytes())
    if questions:
        digest.update(repr(vocabulary(task)).encode())
        for field in make(task, "train", 16, config.data_seed, config.grid):
            digest.update(field.tobytes())
    return digest.hexdigest()[:8]
