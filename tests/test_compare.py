"""Comparisons: what is compared, when they stop, how often they are wrong, what they see."""
import functools
import math
import json
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import EXAMPLES, ROOT, TINY, refused

from ipt_mini.checkpoint import CODE, MADE_BY, code_now, get_tokenizer, identity
from ipt_mini.compare import (by_tests, compare, compare_settings, metric_of, pairs_in,
                              planned_once, score, settings_of, short_run, steps_of_second,
                              with_seed)
from ipt_mini.config import Config
from ipt_mini.dataset import tasks_of
from ipt_mini.errors import UserError
from ipt_mini.losses import LOSSES, from_notebook, parse_loss
from ipt_mini.sequential import FIRST, MOST, Comparison, boundaries
from ipt_mini.tokenizer import Tokenizer
from ipt_mini.training import Learnt

pytestmark = pytest.mark.usefixtures("quick")


def log_of(values, metric="codes"):
    return [dict(step=step, val={metric: value, "imagine": 0.0})
            for step, value in enumerate(values, 1)]


def compared_with(differences, planned=MOST, metric="codes"):
    """The Comparison of logs whose scores differ by so much."""
    def learn_both(seed):
        logs = log_of([0, 0.5], metric), log_of([0, 0.5 + differences[seed]], metric)
        return [Learnt(None, None, log, dict(training=60.0)) for log in logs], 1.0
    said = []
    return compare(learn_both, metric, planned, said.append), said


# ------------------------------------------------------------------------------- two settings
def test_the_second_setting_differs_by_the_text():
    first, second = settings_of(Config(), "loss=+mine=0.5 n_layer=3 answer_sees_views=True")
    assert first == Config(steps=200, eval_every=33)
    assert second == Config(steps=200, eval_every=33, loss="+mine=0.5", n_layer=3,
                            answer_sees_views=True)
    assert settings_of(Config(views="first-person"), "adam_lr=0.01")[0].steps == 300
    assert settings_of(Config(steps=7), "adam_lr=0.01")[1].steps == 7
    assert settings_of(Config(), "supervision='imagine answer'")[1].supervision == "imagine answer"
    assert settings_of(Config(), "answer_sees_views=true")[1].answer_sees_views


@pytest.mark.parametrize("text, word", [
    ("mine", "SETTING=VALUE"), ("nothing=1", "SETTING=VALUE"), ("n_layer=two", "type int"),
    ("n_layer=3 n_layer=4", "each SETTING once"), ("n_layer=2", "nothing differs"),
    ("n_layer=99", "from 1 to 48"), ("name=other", "a flag"), ("seed=1", "a flag"),
    ("steps=9", "a flag"), ("task=mvc", "a flag"), ("codes=9", "a flag"),
    ("answer_sees_views=yes", "type bool"), ("loss='answer=1", "No closing quotation"),
    ("answer_sees_views=false", "nothing differs")])
def test_wrong_changes_are_refused(text, word):
    with pytest.raises(UserError, match=word):
        settings_of(Config(), text)


def test_the_same_settings_share_a_folder_and_others_do_not():
    config = Config(steps=200)
    assert with_seed(config, 1).out == with_seed(Config(steps=200, seed=5), 1).out
    folders = {with_seed(one, seed).out for seed in (0, 1)
               for one in (config, Config(steps=201), Config(steps=200, n_layer=3))}
    assert len(folders) == 6 and all(folder.startswith("runs/compare/") for folder in folders)


def test_what_the_user_changes_is_trained_anew(tmp_path, monkeypatch):
    """The verdict on a term shall not be the one on how it was before."""
    file, config = tmp_path / "mine.py", Config(steps=200)
    changed = replace(config, loss=f"+{file}:mine=1")
    folders = []
    for factor in (1, 2):
        file.write_text(f"def mine(batch):\n    return {factor} * batch.logits.mean()\n")
        folders.append(with_seed(changed, 0).out)
    by_name = replace(config, loss="+mine=1")

    def mine(batch):
        return batch.logits.mean()
    monkeypatch.setitem(LOSSES, "mine", mine)
    monkeypatch.setitem(LOSSES, "other", mine)
    assert from_notebook("+mine=1,imagination=1") == {"mine": mine}
    folders.append(with_seed(by_name, 0).out)
    alone = with_seed(config, 0).out

    def mine(batch):  # noqa: F811: as in a notebook, where a cell is edited and run again
        return batch.logits.square().mean()
    monkeypatch.setitem(LOSSES, "mine", mine)
    folders.append(with_seed(by_name, 0).out)
    assert len(set(folders)) == 4
    assert with_seed(config, 0).out == alone


def test_forked_code_and_devices_do_not_share_runs(monkeypatch, tmp_path):
    config = Config(steps=200, device="cpu")
    before = with_seed(config, 0).out
    monkeypatch.setattr("ipt_mini.compare.pick_device", lambda device: "mps")
    assert with_seed(config, 0).out != before
    monkeypatch.undo()
    assert code_now() == CODE
    package = shutil.copytree(ROOT / "ipt_mini", tmp_path / "ipt_mini")
    monkeypatch.setattr("ipt_mini.checkpoint.PACKAGE", package)
    assert code_now() == CODE
    (package / "losses.py").write_text("# forked")
    assert code_now() != CODE                             # a comparison that runs ends
    monkeypatch.setattr("ipt_mini.compare.CODE", code_now())
    assert with_seed(config, 0).out != before


def test_an_own_task_that_is_edited_is_another_run(tmp_path):
    """Its steps and its curriculum are no part of the settings."""
    file = tmp_path / "turn_around.py"
    file.write_text((EXAMPLES / "turn_around.py").read_text())
    config = Config(task=str(file), steps=200)
    before, known = with_seed(config, 0).out, identity(config, tasks_of(config).values())
    file.write_text(file.read_text() + "\nCURRICULUM_STEPS = 7\n")
    assert with_seed(config, 0).out != before
    assert identity(config, tasks_of(config).values()) != known


def test_a_tokenizer_of_other_code_is_trained_anew(monkeypatch, tmp_path):
    assert MADE_BY["tokenizer"] == zlib.crc32((ROOT / "ipt_mini/tokenizer.py").read_bytes())
    trained = []

    def train(make, *_):
        trained.append(make())
        return trained[-1]
    monkeypatch.setattr("ipt_mini.checkpoint.train_tokenizer", train)
    config = Config()

    def get():
        return get_tokenizer(config, tasks_of(config).values(), tmp_path / "run", Tokenizer)
    assert torch.equal(get().encoder[0].weight, get().encoder[0].weight) and len(trained) == 1
    monkeypatch.setitem(MADE_BY, "tokenizer", 7)
    assert get() is trained[1]


def test_a_term_of_a_notebook_is_a_function(monkeypatch):
    monkeypatch.setitem(LOSSES, "mine", functools.partial(max, 0))
    with pytest.raises(UserError, match="--loss mine: write it as a function"):
        with_seed(Config(loss="+mine=1"), 0)
    monkeypatch.setitem(LOSSES, "answer", lambda batch: batch.logits.mean())
    with pytest.raises(UserError, match="a name other than answer"):
        parse_loss("answer=1", [("answer",)])


def test_what_costs_more_gets_fewer_steps(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def step_of(config):
        def step():
            clock[0] += config.n_layer
        return step
    pair = settings_of(Config(), "n_layer=4")
    assert steps_of_second(pair, step_of) == 100
    again = short_run(replace(pair[1], steps=100))
    assert (pair[0].eval_every, again.eval_every) == (33, 16)
    assert steps_of_second(settings_of(Config(), "n_embd=64"), step_of) == 200


@pytest.mark.parametrize("same", ["muon_lr=0.1 curriculum=0", "n_train=1000",
                                  "loss=compass=2,imagination=0.5,answer=1@0.5:2@1"])
def test_the_same_work_takes_as_long_whatever_the_clock_says(same):
    assert steps_of_second(settings_of(Config(), same), step_of=None) == 200
    other = settings_of(Config(), f"{same} n_layer=4")
    with pytest.raises(TypeError):                     # this one would be timed
        steps_of_second(other, step_of=None)
    assert steps_of_second(settings_of(Config(name="mine"), same), step_of=None) == 200
    large = Config(n_train=200_000, batch_size=100_000)
    assert steps_of_second(settings_of(large, "muon_lr=0.1"), step_of=None) == 200


def test_what_is_planned_is_planned_once(tmp_path):
    """Or a comparison that was stopped would begin anew with another number of steps, and more
    minutes, given after an undecided end, would add looks to those that were lost."""
    file = tmp_path / "runs/compare/a-b.steps"
    assert planned_once(file, lambda: 100) == planned_once(file, lambda: 40) == 100
    assert planned_once(file.with_suffix(".pairs"), lambda: 7) == 7
    for content in ("nonsense", "0", "true", "2.5"):
        file.write_text(content)
        with pytest.raises(UserError, match="a-b.steps: .* move it away"):
            planned_once(file, lambda: 40)


def test_a_plan_that_the_time_does_not_allow_is_not_kept(tmp_path):
    file = tmp_path / "a-b.pairs"
    with pytest.raises(UserError, match="--minutes 2: 3 pairs .* give --minutes 3"):
        planned_once(file, lambda: pairs_in(2, 1))
    assert not file.exists()
    assert pairs_in(7, 1.04) == 7                         # the clock is not that exact
    assert pairs_in(100, 1) == MOST


# --------------------------------------------------------------------------- the sequential test
def test_score_is_the_mean_over_the_second_half_and_over_tasks():
    assert score(log_of([9, 9, 1, 2]), "codes") == 1.5
    log = [dict(step=1, val={}), dict(step=2, val={"codes-pt": 1.0, "codes-mvc": 0.0, "x": 9.0})]
    assert score(log, "codes") == 0.5


def test_the_score_is_of_the_same_parts_of_a_run_for_any_number_of_steps():
    def log(steps, every):
        ends = [*range(every, steps, every), steps]
        return [dict(step=end, val=dict(codes=end / steps)) for end in ends]
    wanted = score(log(300, 50), "codes")
    for steps in range(150, 301):
        config = short_run(Config(steps=steps))
        found = score(log(steps, config.eval_every), "codes")
        assert found == pytest.approx(wanted, abs=0.03), steps
    assert abs(score(log(289, 48), "codes") - wanted) < 0.01


def comparisons(effect, n=2000, most=MOST):
    """The share of simulated comparisons that end in a verdict: (better, worse)."""
    rng, c = np.random.default_rng(1), boundaries(most)
    x = rng.normal(effect, 1, (n, most))
    ended = np.zeros(n)
    for k in range(FIRST, most + 1):
        seen = x[:, :k]
        t = seen.mean(1) / (seen.std(1, ddof=1) / math.sqrt(k))
        ended = np.where(ended == 0, np.sign(t) * (np.abs(t) > c[k]), ended)
    return (ended > 0).mean(), (ended < 0).mean()


def test_a_comparison_of_equals_is_wrong_in_five_percent():
    for planned in (3, 7, MOST):
        better, worse = comparisons(0.0, n=10_000, most=planned)
        assert 0.04 < better + worse < 0.06 and abs(better - worse) < 0.01


def test_the_last_look_loses_little_to_those_before():
    """Student's t for 7 and 16 pairs: 2.45 and 2.13."""
    assert boundaries(7)[7] < 2.7 and boundaries(16)[16] < 2.4
    assert np.all(np.diff(boundaries(16)[FIRST:]) < 0) and np.isinf(boundaries(16)[:FIRST]).all()


def test_large_effects_are_found():
    better, worse = comparisons(1.5)
    assert better > 0.9 and worse < 0.005
    assert comparisons(-1.5)[1] > 0.9


def test_it_stops_as_soon_as_it_is_clear():
    result, said = compared_with([0.10, 0.11, 0.105, 0.1, 0.1] + [0.1] * 20)
    assert result.verdict == "better" and FIRST <= len(result.first) < 8
    assert compared_with([0.1] * 16)[0].verdict == "better"                # no spread at all
    assert len(said) == len(result.first) and result.half < result.differences.mean()
    assert compared_with([-0.10, -0.11, -0.105] * 6)[0].verdict == "worse"
    noise = [0.1, -0.1] * 8
    result, said = compared_with(noise)
    assert result.verdict == "undecided" and len(said) == MOST
    assert result.visible > result.half > 0.02


def test_it_stops_after_the_pairs_that_were_planned():
    result, said = compared_with([0.1, -0.1] * 8, planned=7)
    assert len(said) == result.planned == 7 and result.minutes == 7
    assert "undecided" in str(result) and "7 pairs" in str(result)


def test_what_both_can_do_is_compared():
    label, text = Config(supervision="label"), Config(supervision="text_cot")
    assert metric_of([Config(), label]) == "direct" and metric_of([text, text]) == "think"
    with pytest.raises(UserError, match="no way of answering"):
        metric_of([label, text])


def test_of_a_loss_less_is_better():
    """And a comparison may go by any number that both settings log."""
    for change, verdict in ((-0.1, "better"), (0.1, "worse"), (0, "undecided")):
        assert compared_with([change] * 16, metric="nats")[0].verdict == verdict
    pair = Config(), Config(supervision="ipt")
    assert metric_of(pair) == "codes" and metric_of(pair, "oracle") == "oracle"
    for wanted in ("direct", "peace"):
        with pytest.raises(UserError, match=f"--score {wanted}: .* codes, nats, imagine, oracle"):
            metric_of(pair, wanted)


def test_a_comparison_says_and_draws_what_it_saw():
    result = Comparison("codes", [0.5, 0.6, 0.7], [0.61, 0.7, 0.8], [200, 150], 3.5, 5)
    assert str(result).startswith("better: codes +0.1033 +- 0.0")
    assert "3 pairs" in str(result) and "200 and 150 steps" in str(result)
    assert result.error == pytest.approx(0.01 / 3)     # differences of 0.11, 0.10, 0.10, by hand
    assert result._repr_png_().startswith(b"\x89PNG")


# -------------------------------------------------------------------------------- with real runs
def test_from_a_notebook_with_a_term_that_is_a_function(world, quick, monkeypatch):
    """It is trained anew each time, what it is compared to is not."""
    monkeypatch.setattr("ipt_mini.compare.median", lambda seconds: 1.0)    # a step costs the same
    for module in "compare", "sequential":
        monkeypatch.setattr(f"ipt_mini.{module}.FIRST", 2)
    monkeypatch.setattr("ipt_mini.compare.MOST", 2)
    boundaries.cache_clear()
    words = TINY.replace("--", "").split()
    settings = {name.replace("-", "_"): value for name, value in zip(words[::2], words[1::2])}
    types = {name: type(getattr(Config(), name)) for name in settings}
    config = Config(task="pt", **{name: types[name](value) for name, value in settings.items()})

    strength = 1.0

    def mine(batch):
        return strength * batch.logits.square().mean()
    monkeypatch.setitem(LOSSES, "mine", mine)
    result = compare_settings(config, "loss=+mine=9", 9.0)
    assert len(result.first) == 2 and result.first != result.second
    assert len(list((world / "runs/compare").glob("*/checkpoint.pt"))) == 4
    assert not list((world / "runs/compare").glob("*/metrics.json"))       # no test was read
    strength = 0.5
    again = compare_settings(config, "loss=+mine=9", 9.0)
    assert again.first == result.first and again.second != result.second
    assert len(list((world / "runs/compare").glob("*/checkpoint.pt"))) == 6
    # Steps and pairs are planned once, before the first look.
    kept = dict(sorted((path.suffix, path) for path in (world / "runs/compare").glob("*-*.*")))
    assert [json.loads(kept[suffix].read_text()) for suffix in (".pairs", ".steps")] == [2, 6]
    one = result._replace(first=[0], second=[0])
    figures = list(by_tests(one))
    assert [figure.metric for figure in figures] == [
        "test direct, %", "test imagine, %", "test oracle, %"]
    ipt = one._replace(pair=settings_of(config, "supervision=ipt"))
    assert [figure.metric for figure in by_tests(ipt)] == [
        "test imagine, %", "test oracle, %"]


def test_code_loss_is_that_of_the_training_term(world):
    from ipt_mini.evaluate import code_loss
    from ipt_mini.losses import imagination
    from ipt_mini.losses import LossInput
    from ipt_mini.run import load_run
    from ipt_mini.sequence import layout, pack
    run = load_run("runs/good")
    _, data = run.prepare("val", 16)
    where, (tokens, targets) = layout(data, run.config.branches), pack(
        data, run.config.branches, run.model.n_words)
    with torch.no_grad():
        logits = run.model(tokens, data.pose, where)[:, where.loss_at]
    term = imagination(LossInput(logits, targets, where.losses_of, run.model.n_words))
    assert code_loss(run, data) == pytest.approx(term.item(), abs=1e-5)


@pytest.mark.parametrize("more, code, words", [
    ("--compare n_layer", 2, "SETTING=VALUE"), ("--compare n_layer=0", 2, "--n-layer 0"),
    ("--compare n_layer=3 --minutes 0", 2, "--minutes"),
    ("--compare n_layer=3 --seeds 2", 2, "--compare: one of them"),
    ("--compare loss=+mine=1", 2, "there is answer"),
    ("--compare loss=+none.py:a=1", 2, "no file")])
def test_wrong_comparisons_are_one_line(world, more, code, words):
    """Before anything is trained."""
    refused(f"train.py --task pt {TINY} {more}", code, words)
    assert not (world / "runs/compare").exists()
