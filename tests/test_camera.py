"""The camera's pictures, what reads them, and that every stage takes them."""
import numpy as np
import pytest
import torch

from ipt_mini.checkpoint import fingerprint, get_reader
from ipt_mini.config import Config
from ipt_mini.dataset import is_shuffled, prepare, tokenizer_pictures
from ipt_mini.generate import DECODES, decode
from ipt_mini.reader import Reader, train_reader, windows
from ipt_mini.run import Run, answer_ids, new_model
from ipt_mini.sequence import imagining_order
from ipt_mini.tasks import TASKS, make
from ipt_mini.tasks.camera import BACK, compass_at, draw
from ipt_mini.tasks.grid import (DARK, FLOOR, GLYPHS, NAMES, OBJECT, PAINT, VIEWER, WALL, X,
                                 from_viewer, viewer_cell)
from ipt_mini.tokenizer import Tokenizer

BALL, BOX = NAMES.index("red-ball"), NAMES.index("blue-box")


def view(*things, n=5, empty=FLOOR):
    """An egocentric view (N, N) with (kind, steps ahead, steps to the right)."""
    cells = np.full((n, n), empty, np.uint8)
    cells[-1, n // 2] = VIEWER
    for kind, ahead, right in things:
        cells[n - 1 - ahead, n // 2 + right] = kind
    return cells


def has(picture, name):
    """(S, S) bool: the pixels of a colour."""
    return (picture == PAINT[name]).all(-1)


def test_what_is_farther_away_is_smaller_and_higher_up():
    sizes, rows = [], []
    for ahead in range(1, 5):
        there = has(draw(view((BALL, ahead, 0))), "red")
        sizes.append(there.sum())
        rows.append(there.nonzero()[0].max())
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 1.25 * sizes[-1] > 30
    assert rows == sorted(rows, reverse=True)


@pytest.mark.parametrize("n", [5, 7, 9])
def test_every_cell_that_a_viewer_may_see_is_in_the_picture(n):
    nothing = draw(view(n=n))
    for cell in set(range(n * n)) - {viewer_cell(n)}:
        ahead, right = from_viewer(cell, n)
        for kind in (BALL, WALL, X, DARK):
            changed = (draw(view((kind, ahead, right), n=n)) != nothing).any(-1)
            assert changed.sum() >= 4, (kind, ahead, right)
            middle = changed.nonzero()[1].mean() - 4 * (n + 1) + 0.5
            assert np.sign(np.round(middle / 2)) == np.sign(right), (kind, ahead, right)


def test_what_is_apart_comes_together_as_the_distance_from_the_camera_says():
    apart = []
    for ahead in range(1, 5):
        columns = has(draw(view((BALL, ahead, -2), (BALL, ahead, 2))), "red").nonzero()[1]
        right = columns >= 24
        apart.append((columns[right].mean() - columns[~right].mean()) * (5 * BACK + ahead))
    assert max(apart) < 1.08 * min(apart)


def test_near_things_hide_far_ones():
    alone, behind = draw(view((BALL, 3, 0))), draw(view((BALL, 3, 0), (WALL, 2, 0)))
    assert 0 < has(behind, "red").sum() < has(alone, "red").sum()
    in_front = draw(view((BALL, 2, 0), (WALL, 3, 0)))
    assert has(in_front, "red").sum() == has(draw(view((BALL, 2, 0))), "red").sum()


def test_left_and_right_are_mirror_images():
    cells = view((BALL, 1, 1), (WALL, 3, -2), (DARK, 2, 2), (BOX, 0, 2))
    one, other = draw(cells)[:-8], draw(cells[:, ::-1])[:-8]
    assert (one != other[:, ::-1]).mean() < 0.01         # the brick of a pixel's edge may round


def test_what_nobody_has_seen_is_dark():
    assert has(draw(np.full((5, 5), DARK, np.uint8)), "dark").all()


def test_another_order_of_imagining_is_another_run_of_the_same_tokenizer(monkeypatch):
    config, tasks = Config(task="pt", views="first-person"), [TASKS["pt"]]
    assert is_shuffled(config, *tasks) and not is_shuffled(Config(task="pt"), *tasks)
    digests = [fingerprint(config, tasks, questions) for questions in (True, False)]
    monkeypatch.setattr(TASKS["pt"], "SHUFFLED", ())
    other = [fingerprint(config, tasks, questions) for questions in (True, False)]
    assert digests[0] != other[0] and digests[1] == other[1]


@pytest.mark.parametrize("heading", range(4))
def test_the_compass_is_the_code_that_is_imagined_first(heading):
    cells = view()
    cells[-1, 2] = VIEWER + heading
    row, col = divmod(int(imagining_order(6, 6)[0]), 6)
    tile = draw(cells)[8 * row:8 * row + 8, 8 * col:8 * col + 8]
    assert np.array_equal(tile, GLYPHS[VIEWER + heading])
    assert np.array_equal(tile, draw(cells)[compass_at(5)])


def test_light_and_noise_come_from_the_generator():
    cells = np.stack([[view((BALL, 2, 1))] * 3] * 2)                 # (2, 3, N, N)
    noisy = draw(cells, np.random.default_rng(0))
    assert noisy.shape == (2, 3, 48, 48, 3) and noisy.dtype == np.uint8
    assert np.array_equal(noisy, draw(cells, np.random.default_rng(0)))
    assert (noisy[0, 0] != noisy[1, 2]).mean() > 0.8
    assert np.abs(noisy.astype(int) - draw(cells)).max() < 45


def test_the_window_of_a_cell_holds_what_stands_there():
    where = windows(5)
    nothing = draw(view())
    for cell in set(range(25)) - {viewer_cell(5)}:
        changed = (draw(view((BALL, *from_viewer(cell, 5)))) != nothing).any(-1).flatten()
        assert changed[where[cell]].any()
        for there, seen in zip(divmod(changed.nonzero()[0], 48), divmod(where[cell], 48)):
            assert seen.min() <= there.min() and there.max() <= seen.max(), cell


@pytest.mark.slow
def test_a_reader_that_is_loaded_draws_no_numbers(tmp_path, monkeypatch):
    config, tasks = Config(views="first-person"), [TASKS["pet"]]
    monkeypatch.setattr("ipt_mini.checkpoint.train_reader", lambda *args: Reader(5))
    first = get_reader(config, tasks, tmp_path / "run")
    before = torch.get_rng_state()
    again = get_reader(config, tasks, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.place, again.place) and torch.equal(first.window.weight,
                                                                 again.window.weight)


def test_the_reader_learns_to_read_true_pictures_the_same_way_each_time():
    """A short training; tests/slow has the whole one."""
    config = Config(views="first-person")
    train = tokenizer_pictures(config, [TASKS["pt"]], "train", 300)[draw]
    held_out = tokenizer_pictures(config, [TASKS["pt"]], "val", 50)[draw]
    one, two = (train_reader(train, seed=1, steps=5, batch=32) for _ in range(2))
    assert torch.equal(one.window.weight, two.window.weight)
    read = train_reader(train, seed=1, steps=120, batch=32).read(held_out.pixels.numpy())
    objects = held_out.cells >= OBJECT
    assert (read == held_out.cells).mean() > 0.9
    assert (read == held_out.cells)[objects].mean() > 0.5            # of 16 kinds, and none


@pytest.mark.parametrize("name, views, imagination", [
    ("pet", (1, 6, 6), (6, 6)), ("pt", (1, 5, 5), (6, 6)), ("mvc", (3, 6, 6), (5, 5))])
def test_every_decode_takes_pictures_and_maps(name, views, imagination):
    """PET: picture to picture; PT: map to picture; MVC: pictures to map."""
    torch.manual_seed(0)
    task, tokenizer = TASKS[name], Tokenizer("first-person").eval()
    torch.nn.init.normal_(tokenizer.codebook)
    config = Config(task=name, views="first-person", n_layer=1, n_embd=16, n_head=2)
    _, data = prepare(config, task, "val", tokenizer, 20)
    assert data.views.shape[1:] == views and data.imagination.shape[1:] == imagination
    assert data.views.max() > 32                         # of 512 codes
    assert torch.equal(data.order, imagining_order(*imagination, shuffled=name == "pt"))
    model = new_model(config, [task], tokenizer)
    for way in ("direct", "imagine", "oracle"):
        out = decode(model, data, answer_ids(task), DECODES[way].function)
        assert len(out.answer) == 20
    run = Run(None, config, {name: task}, model, tokenizer)
    drawn = run.paint("imagination", make(task, "val", 20).imagination)
    out = decode(model, data, answer_ids(task), DECODES["imagine"].function)
    assert tokenizer.decode(out.imagination).shape == drawn.shape
