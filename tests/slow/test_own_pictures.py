"""Folders of pictures in earnest: an export is as good as its task, and pictures of other libraries
become codes that are good enough. Half an hour; tests of a library that is not there are skipped.
"""
import importlib.util
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import EXAMPLES, script

from ipt_mini.checkpoint import get_tokenizer, tokenizer_maker
from ipt_mini.config import Config
from ipt_mini.dataset import tasks_of
from ipt_mini.evaluate import decibels
from ipt_mini.tasks import make

pytestmark = pytest.mark.long
PET = "--steps 1000 --loss answer=0.2@0.2:5@0.3,imagination=1 --device cpu"
COUNTS = {"train": 2000, "val": 20, "test": 300}
LIBRARIES = {"photos_folder.py": "skimage", "mazes_folder.py": "maze_dataset",
             "minigrid_folder.py": "minigrid"}


def test_training_on_an_export_is_as_good_as_the_task(tmp_path):
    script("data.py --task pet --export pet-folder --n 20000", tmp_path, timeout=900)
    script(f"train.py --task pet {PET} --name built-in", tmp_path, timeout=1800)
    script(f"train.py --data pet-folder {PET} --codes 32 --tokenizer-steps 400", tmp_path,
           timeout=1800)
    there, here = (json.loads((tmp_path / f"runs/{name}-s0/metrics.json").read_text())["test"]
                   for name in ("pet-mixed-built-in", "pet-folder-mixed"))
    for decode in ("imagine", "oracle", "direct"):
        assert abs(there[decode]["accuracy"] - here[decode]["accuracy"]) < 2, decode
    assert here["imagine"]["imagination"]["exact_images"] > 97


def folder_by(name, monkeypatch, tmp_path):
    """The folder that an example writes, a small one."""
    pytest.importorskip(LIBRARIES[name])
    spec = importlib.util.spec_from_file_location("example", EXAMPLES / name)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example, "COUNTS", COUNTS)
    example.write(tmp_path / "pictures")
    return tmp_path / "pictures"


@pytest.mark.parametrize("name", LIBRARIES)
def test_an_example_writes_a_folder_without_doubles(name, monkeypatch, tmp_path):
    folder = folder_by(name, monkeypatch, tmp_path)
    out = script(f"data.py --data {folder}", tmp_path).stdout
    assert "train: 2000 examples" in out and "test: 300 examples" in out
    for line in out.splitlines():
        if "views that training has" in line:
            assert float(line.split()[-1].rstrip("%")) < 1, line
        if "the question alone" in line:                     # the question alone tells nothing
            majority, guessed = (float(part.split("%")[0]) for part in line.split(": ")[1:])
            assert guessed < 1.6 * majority, line


def quality(folder, codes):
    """(PSNR of held-out pictures, of the same with each patch in its mean colour)."""
    torch.set_num_threads(2)
    config = Config(data=str(folder), codes=codes)
    tasks = tasks_of(config)
    task, = tasks.values()
    tokenizer = get_tokenizer(config, tasks.values(), Path(folder / "run"),
                              tokenizer_maker(config))
    pixels = torch.from_numpy(task.paint(make(task, "test", 300, 0).imagination))
    means = F.avg_pool2d(pixels.permute(0, 3, 1, 2).float(), tokenizer.patch)
    means = F.interpolate(means, scale_factor=tokenizer.patch).permute(0, 2, 3, 1)
    drawn = tokenizer.decode(tokenizer.encode(pixels))
    return decibels(drawn, pixels.numpy()), decibels(means.numpy(), pixels.numpy())


def test_photographs_are_3_dB_above_the_mean_of_each_patch(monkeypatch, tmp_path):
    psnr, mean = quality(folder_by("photos_folder.py", monkeypatch, tmp_path), 2048)
    assert psnr > mean + 3, (psnr, mean)


def test_renders_of_minigrid_have_30_dB(monkeypatch, tmp_path):
    psnr, _ = quality(folder_by("minigrid_folder.py", monkeypatch, tmp_path), 0)
    assert psnr > 30
