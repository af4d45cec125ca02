"""The first-person world from end to end, with the whole reader and tokenizer."""
import json
from functools import partial

import numpy as np
import pytest
from conftest import EXAMPLES, TINY, call, stopped_at_save

from ipt_mini.checkpoint import load
from ipt_mini.config import Config
from ipt_mini.dataset import tokenizer_pictures
from ipt_mini.evaluate import decibels
from ipt_mini.reader import nearest_glyph, train_reader
from ipt_mini.tasks import TASKS, make
from ipt_mini.tasks.camera import draw
from ipt_mini.tasks.grid import render
from ipt_mini.tokenizer import TOKENIZER_STEPS, Tokenizer, train_tokenizer

CONFIG = Config(views="first-person")


@pytest.mark.long
def test_the_tokenizer_draws_pictures_and_maps():
    train = [*tokenizer_pictures(CONFIG, [TASKS["pt"]], "train", 2000).values()]
    tokenizer = train_tokenizer(partial(Tokenizer, "first-person"), train, 0,
                                TOKENIZER_STEPS["first-person"])
    held_out = tokenizer_pictures(CONFIG, [TASKS["pt"]], "val", 500)
    drawn = {paint: tokenizer.decode(tokenizer.encode(pictures.pixels))
             for paint, pictures in held_out.items()}
    assert decibels(drawn[draw], draw(held_out[draw].cells)) > 24.5
    assert (nearest_glyph(drawn[render]) == held_out[render].cells).mean() > 0.999


@pytest.mark.slow
def test_the_reader_reads_true_pictures():
    """What is left are objects that others hide."""
    reader = train_reader(tokenizer_pictures(CONFIG, [TASKS["pt"]], "train", 4000)[draw])
    for name, wanted in (("pet", 0.99), ("pt", 0.995)):
        task = TASKS[name]
        examples = make(task, "val", 1000)
        read = reader.read(draw(examples.imagination, np.random.default_rng(0)))
        answer = task.rule(examples.views, examples.query, read)
        assert (answer == examples.answer).mean() > wanted, name


@pytest.mark.slow
@pytest.mark.parametrize("task", [*TASKS, f"{EXAMPLES}/turn_around.py"])
def test_train_resume_evaluate_and_replace(tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    command = f"train.py --task {task} {TINY} --views first-person --out runs/camera"
    with stopped_at_save(3):                             # the tokenizer, a checkpoint, the next
        assert call(command)[0] == 130
    assert load(tmp_path / "runs/camera/checkpoint.pt", "")["step"] == 2
    code, out, err = call(command)
    assert code == 0 and "test imagine" in out, err
    own = f"--task {task}" if task.endswith(".py") else ""
    for flags, file in (("", "eval.json"), ("--replace", "replace.json")):
        code, _, err = call(f"eval.py runs/camera --n 20 {flags} {own}")
        assert code == 0 and (tmp_path / "runs/camera" / file).exists(), err
    report = json.loads((tmp_path / "runs/camera/metrics.json").read_text())
    assert report["tokenizer"]["pictures_psnr"] > 10
    assert report["test"]["imagine"]["imagination"]["psnr"] > 0
    assert call(command)[0] == 0                         # finished: it is printed again
    code, _, err = call(f"train.py --task {task} {TINY} --out runs/camera")
    assert code == 2 and "views 'first-person' there" in err
