"""One model for several tasks: they take turns in training, and each has figures of its own."""
import json

import pytest
import torch
from conftest import EXAMPLES, TINY, call, refused, stopped_at_save
from test_model import training_for

from ipt_mini.checkpoint import load
from ipt_mini.config import Config
from ipt_mini.run import load_run
from ipt_mini.tasks import TASKS, load_tasks, make
from ipt_mini.training import completed, get_batch, loss_terms, named, train_step, turns_of

OWN = f"{EXAMPLES}/turn_around.py"
JOINT = f"train.py --task mvc,{OWN} {TINY}"
FOLDER = "runs/mvc-turn_around-mixed-tiny-s0"


def test_tasks_take_turns_each_with_its_own_loss():
    training = training_for(Config(steps=13, n_layer=1, n_embd=32), task="pt,mvc")
    assert [len(data.pose[0]) for data in training.sets] == [1, 3]         # views
    weights = [data.terms["answer"].weight(0) for data in training.sets]
    assert weights == [0.3, 1.0]
    for optimizer in training.optimizers:
        optimizer.step = lambda: None                  # the weights stay
    for step, (number, turn) in enumerate(training.turns[:4]):
        data = training.sets[number]
        rows = get_batch(turn, training.run.config, data)
        expected = loss_terms(training, data, rows, step).detach()
        assert torch.equal(train_step(training, step), expected)


def test_turns_are_as_frequent_as_the_tasks_need_and_evenly_spread():
    assert turns_of([1800], 3) == [(0, 0), (0, 1), (0, 2)]
    turns = turns_of([1000, 1800, 800], 3600)
    for task, share in enumerate((1000, 1800, 800)):
        mine = [turn for number, turn in turns if number == task]
        assert mine == list(range(share))
        when = [step for step, (number, _) in enumerate(turns) if number == task]
        apart = [b - a for a, b in zip(when, when[1:])]
        assert max(apart) - min(apart) <= 2 and abs(max(apart) - 3600 / share) < 2
    few = turns_of([1000, 1800, 800], 36)
    assert [sum(number == task for number, _ in few) for task in range(3)] == [10, 18, 8]


def test_a_term_of_one_task_weighs_nothing_in_the_others():
    config = Config(task="pet,pt,mvc")
    terms, _ = named(config, load_tasks(config.task))
    assert len({tuple(of_task) for of_task in terms.values()}) == 1      # in one order
    weights = {name: of_task["compass"].weight(0.5) for name, of_task in terms.items()}
    assert weights["pet"] == weights["mvc"] == 0 < weights["pt"]


def test_steps_are_the_sum_and_the_loss_stays_open():
    tasks = load_tasks("pet,pt,mvc")
    config = completed(Config(task="pet,pt,mvc"), tasks)
    assert config.steps == sum(task.STEPS["cells"] for task in TASKS.values()) and config.loss == ""


def test_trained_resumed_evaluated_and_asked(world, quick):
    """One task is the user's own. Killed before its last checkpoint and resumed, the run ends with
    the same weights as an unbroken one."""
    code, out, err = call(JOINT)
    assert code == 0, err
    metrics = json.loads((world / FOLDER / "metrics.json").read_text())
    assert "test-mvc imagine" in out and "test-turn_around direct" in out
    assert set(metrics["test-mvc"]) == set(metrics["test-turn_around"]) == {
        "direct", "imagine", "oracle"}
    assert set(metrics["log"][0]["val"]) == {f"{name}-{task}" for task in ("mvc", "turn_around")
                                             for name in ("direct", "imagine", "oracle", "codes",
                                                          "nats")}
    assert {path.name for path in (world / FOLDER).glob("*.png")} == {
        "curve.png", "tokenizer.png", "samples-mvc.png", "samples-turn_around.png"}

    with stopped_at_save(3):
        assert call(f"{JOINT} --out runs/killed")[0] == 130
    assert call(f"{JOINT} --out runs/killed")[0] == 0
    once, twice = (load(world / folder / "checkpoint.pt", "")["parts"][0]
                   for folder in (FOLDER, "runs/killed"))
    assert all(torch.equal(once[name], twice[name]) for name in once)

    refused(f"eval.py {FOLDER}", 2, "a file of your own", OWN)
    code, out, err = call(f"eval.py {FOLDER} --task mvc,{OWN} --splits test --n 20")
    assert code == 0 and "turn_around, mixed" in out, err
    for name in ("mvc", "turn_around"):
        assert json.loads((world / FOLDER / f"eval-{name}.json").read_text())["test"]
    assert call(f"eval.py {FOLDER} --task mvc,{OWN} --replace --n 20")[0] == 0
    assert (world / FOLDER / "replace-mvc.json").exists()
    for one in load_run(FOLDER, task=f"mvc,{OWN}").for_each_task():
        answer = one.ask(make(one.task, "test", 1))
        assert answer.answer in one.task.ANSWERS and answer.picture.shape == (40, 40, 3)


@pytest.mark.parametrize("tasks, words", [
    ("pt,pt", "pt is named twice"), ("pt,", "there is pet"), ("pt,walk", "there is pet"),
    (",", "there is pet"), ("pet, pt", "there is pet"), ("pt,nothing.py", "no file"),
    ("{one},{two}", "one task at most may have OWN_WORDS")])
def test_wrong_lists_of_tasks(tmp_path, monkeypatch, tasks, words):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        own = (EXAMPLES / "turn_around.py").read_text()
        (tmp_path / f"{name}.py").write_text(f"{own}\nOWN_WORDS = ('{name}',)\n")
    refused(f"train.py --task '{tasks.format(one='one.py', two='two.py')}'", 2, words)
    assert not (tmp_path / "runs").exists()
