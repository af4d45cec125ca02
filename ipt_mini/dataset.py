"""Examples -> pixels -> codes -> Data, which `sequence` defines: what the model sees."""
import zlib
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from ipt_mini.errors import UserError
from ipt_mini.sequence import THINK, Data, imagining_order
from ipt_mini.tasks import TASKS, load_tasks, make, splits
from ipt_mini.tasks.camera import draw
from ipt_mini.tasks.folder import Folder
from ipt_mini.tasks.grid import render

FIELDS = "views", "imagination"      # of Examples that are pictures


class Pictures(NamedTuple):
    """What a tokenizer learns from: M pictures of one size, each drawn twice."""
    cells: np.ndarray          # (M, N, N)
    pixels: torch.Tensor       # (M, H, W, 3) uint8
    again: torch.Tensor        # the same in another light


def tasks_of(config):
    """{name: task} that a run learns: those of --task, or the folder of --data."""
    if not config.data:
        tasks = load_tasks(config.task)
        for name, task in tasks.items():
            if not (config.recipe in task.STEPS and config.recipe in task.LOSS):
                raise UserError(f"--task {name}: it gives no STEPS or LOSS for {config.recipe}, "
                                "the recipe of --views first-person and of any --grid above 5")
        return tasks
    folder = Folder(config.data, config.size, config.patch)
    training = folder.of("train")
    if len(training) < config.batch_size:
        raise UserError(f"--batch-size {config.batch_size}: {config.data} has {len(training)} "
                        "training examples")
    if any(THINK in branch for branch in config.branches) and not all(
            line.cot for line in training):
        raise UserError(f"--supervision {config.supervision}: in {config.data}, training examples "
                        'lack "cot"')
    return {folder.root.name: folder}


def painter(config, task, field):
    """What draws the cells of one of the FIELDS of Examples: `render` draws maps, and everything in
    the world of cells, `draw` what a viewer sees in first person. A folder has its own."""
    if isinstance(task, Folder):
        return task.painters[field]
    return draw if config.views == "first-person" and field not in task.MAPS else render


def encode(tokenizer, cells, paint, rng):
    """Cells (..., N, N), drawn as pixels with noise -> codes (..., h, w).
    A thousand at a time: pixels of all examples at once would fill a small machine's memory."""
    parts = np.array_split(cells, -(-len(cells) // 1000))            # divided, rounded up
    parts = tqdm(parts, "pictures", delay=3, leave=False, disable=None)
    return torch.cat([tokenizer.encode(torch.from_numpy(paint(part, rng))) for part in parts])


def is_shuffled(config, task):
    """Do the cells of an imagination come in a random order?"""
    return config.world in getattr(task, "SHUFFLED", ())


def to_data(config, task, examples, tokenizer, rng):
    """The Data of Examples: what the model sees of them, on the tokenizer's device."""
    views, imagination = (
        encode(tokenizer, getattr(examples, field), painter(config, task, field), rng)
        for field in FIELDS)
    pose, query, cot, answer = (torch.from_numpy(part.astype(np.int64)).to(views.device) for part in
                                (examples.pose, examples.query, examples.cot, examples.answer))
    order = imagining_order(*imagination.shape[1:], is_shuffled(config, task))
    return Data(views, pose, query, imagination, cot, answer, order.to(views.device))


def prepare(config, task, split, tokenizer, n_examples):
    """(Examples, Data) of one split."""
    examples = make(task, split, n_examples, config.data_seed, config.grid)
    rng = np.random.default_rng([config.data_seed, splits(task).index(split), 1])
    return examples, to_data(config, task, examples, tokenizer, rng)


def tokenizer_pictures(config, tasks, split, n_images):
    """What a tokenizer learns from: {painter: Pictures}, `n_images` a task and painter.
    One tokenizer serves all built-in tasks of a world and what `tasks` adds; a folder has its own.
    The order is for `train_tokenizer`: first person, then maps; of a folder imaginations, views."""
    rng = np.random.default_rng([config.data_seed, zlib.crc32(split.encode())])
    own = [task for task in tasks if task not in TASKS.values()]
    own_painters = [painter(config, task, field) for task in own for field in reversed(FIELDS)]
    parts_of = {paint: [] for paint in (draw, render, *own_painters)}
    for task in own if config.data else [*TASKS.values(), *own]:
        examples = make(task, split, n_images, config.data_seed, config.grid)
        for paint, parts in parts_of.items():
            arrays = [getattr(examples, field) for field in FIELDS
                      if painter(config, task, field) == paint]      # not `is`: methods
            if arrays:
                drawn_so = np.concatenate([part.reshape(-1, *part.shape[-2:]) for part in arrays])
                parts.append(drawn_so[rng.permutation(len(drawn_so))[:n_images]])
    groups = {paint: np.concatenate(parts) for paint, parts in parts_of.items() if parts}
    return {paint: Pictures(group, *(torch.from_numpy(paint(group, rng)) for _ in range(2)))
            for paint, group in groups.items()}
