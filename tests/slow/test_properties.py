"""The tests of the data and of the tokenizer once more, with many examples and all of the steps."""
import json

import numpy as np
import pytest
import test_tasks as tests
import torch
from conftest import call

from ipt_mini.checkpoint import load
from ipt_mini.config import Config
from ipt_mini.dataset import tokenizer_pictures
from ipt_mini.evaluate import decibels
from ipt_mini.tasks import TASKS
from ipt_mini.reader import nearest_glyph
from ipt_mini.tasks.grid import GLYPHS, render
from ipt_mini.tokenizer import Tokenizer, train_tokenizer

pytestmark = pytest.mark.slow
N = 10_000                    # of training splits; a fifth where few drawn questions are kept


@pytest.fixture(scope="module", autouse=True)
def forget():
    """Large sets of examples are not needed by other tests."""
    yield
    tests.made.cache_clear()


@pytest.mark.parametrize("task, split", tests.ALL)
def test_every_split(task, split):
    n = N if split == "train" else N // 5
    tests.test_rule_reads_every_answer_off_the_imagination(task, split, n=n)
    tests.test_labels_and_kinds_are_balanced(task, split, n=n)


@pytest.mark.parametrize("task", tests.TASKS)
def test_no_test_scene_in_training(task):
    tests.test_no_test_scene_in_training_in_any_symmetry(task, n=N)


@pytest.mark.parametrize("task", tests.TASKS)
def test_no_copied_cell(task):
    tests.test_no_cell_of_the_imagination_is_a_copy_of_one_cell_of_the_views(task, n=N)


@pytest.mark.parametrize("check, arguments", [
    (tests.test_pet_imagination_is_the_observed_view_seen_from_x, ("train",)),
    (tests.test_pet_imagination_is_the_observed_view_seen_from_x, ("farther",)),
    (tests.test_pet_chain_of_thought_tells_three_places, ()),
    (tests.test_pt_route_side_and_candidates, ("train",)),
    (tests.test_pt_route_side_and_candidates, ("longer",)),
    (tests.test_pt_walls_hide_and_places_tell_nothing, ()),
    (tests.test_pt_simple_guesses_are_seldom_right, ()),
    (tests.test_pt_chain_of_thought_tells_midpoint_headings_and_view, ()),
    (tests.test_mvc_map_is_what_the_cameras_see_and_counts_are_not_a_sum, ()),
    (tests.test_mvc_cameras_turn_at_one_spot_or_look_in_from_the_rim, ()),
    (tests.test_turn_around_looks_back_from_x, ())])
def test_meaning(check, arguments):
    n = N // 2 if arguments in ((), ("train",)) else N // 10
    check(*arguments, n=n)


def test_noise_never_turns_one_glyph_into_another():
    cells = np.arange(len(GLYPHS)).repeat(4000).reshape(100, -1).astype(np.uint8)
    assert np.array_equal(nearest_glyph(render(cells, np.random.default_rng(1))), cells)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_whole_tokenizer_training_gets_all_cells_right(seed):
    """With the defaults; every glyph has one code of its own, and is drawn cleanly by it."""
    config = Config(data_seed=seed)
    pictures = [*tokenizer_pictures(config, [TASKS["pt"]], "train", 2000).values()]
    cells, held_out, _ = tokenizer_pictures(config, [TASKS["pt"]], "val", 1000)[render]
    tokenizer = train_tokenizer(Tokenizer, pictures, seed)
    codes = tokenizer.encode(held_out)
    right = nearest_glyph(tokenizer.decode(codes)) == cells
    assert right.mean() >= 0.999, right.mean()
    pairs = {(cell, code) for cell, code in zip(cells.flat, codes.flatten().tolist())}
    assert len(pairs) <= 1.1 * len(set(cells.flat))
    often = [code for code, count in enumerate(torch.bincount(codes.flatten())) if count > 20]
    drawn = tokenizer.decode(torch.tensor(often)[:, None, None])
    kinds = nearest_glyph(drawn)[:, 0, 0]
    assert len(set(kinds)) == len(often), "two codes of one glyph"
    for kind, picture in zip(kinds, drawn):
        assert decibels(picture, GLYPHS[kind]) > 30, kind


def test_a_short_tokenizer_training_still_starts_the_codebook(tmp_path, monkeypatch):
    """The warm-up is a share of the steps, not a number of them: half of the default is enough."""
    monkeypatch.chdir(tmp_path)
    code, _, err = call(
        "train.py --task pt --steps 2 --n-train 64 --n-val 16 --n-test 16 --batch-size 16 "
        "--n-layer 1 --n-embd 16 --n-head 2 --tokenizer-steps 200 --out runs/short")
    assert code == 0, err
    figures = json.loads((tmp_path / "runs/short/metrics.json").read_text())["tokenizer"]
    state = load(tmp_path / "runs/short/checkpoint.pt", "")["tokenizer"]
    assert state["quantizer.ready"] and figures["codebook_usage"] > 0.3
    assert figures["cells_right"] > 95, figures
