"""The examples: each goes through its seam, by the real script, without a line of the package
changed."""
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import EXAMPLES, ROOT, TINY, TRAIN, call, refused

from ipt_mini.generate import imagine
from ipt_mini.losses import LossInput
from ipt_mini.own import load_own
from ipt_mini.run import load_run
from ipt_mini.sequence import ANSWER, IMAGINE, imagining_order
from ipt_mini.tasks import TASKS, load_task, make
from ipt_mini.tasks.folder import Folder
from ipt_mini.tasks.grid import DARK
from ipt_mini.tokenizer import to_images

pytestmark = pytest.mark.usefixtures("quick")
TURN_AROUND, FSQ = f"{EXAMPLES}/turn_around.py", f"{EXAMPLES}/fsq.py:FSQ"


def called(command):
    """stdout of a script that has to succeed, with one line at most on stderr."""
    code, out, err = call(command)
    assert code == 0 and err.count("\n") <= 1 and "warning" not in err, (code, out, err)
    return out


def read(path):
    return json.loads(Path(path).read_text())


def test_a_task_of_ones_own(world):
    out = called(f"data.py --task {TURN_AROUND} --n 300")
    assert "turning around" in out and "rule that reads the true imagination: 100.0% right" in out
    assert (world / "preview-turn_around.png").exists()
    called(f"train.py --task {TURN_AROUND} {TINY}")
    folder = "runs/turn_around-mixed-tiny-s0"
    assert set(read(f"{folder}/metrics.json")["test"]["imagine"]["by_kind"]) == {"left", "right"}
    refused(f"eval.py {folder}", 2, folder, f"--task {TURN_AROUND}")
    out = called(f"eval.py {folder} --task {TURN_AROUND} --n 30")
    assert "dense imagine" in out and set(read(f"{folder}/eval.json")) == {
        "machine", "options", "test", "dense"}
    called(f"eval.py {folder} --task {TURN_AROUND} --replace --n 30")
    task = load_task(TURN_AROUND)
    answer = load_run(folder, task=TURN_AROUND).ask(make(task, "test", 1), "imagine")
    assert answer.question.startswith("at x turn around is") and answer.answer in ("left", "right")
    # Its pictures are part of what the tokenizer learns from: it has one of its own.
    assert len(list((world / "runs").glob("tokenizer-*.pt"))) == 2


def test_a_tokenizer_of_ones_own(world):
    called(f"{TRAIN} --tokenizer {FSQ} --name fsq")
    folder = "runs/pt-mixed-fsq-s0"
    assert read(f"{folder}/metrics.json")["config"]["tokenizer"] == FSQ
    refused(f"eval.py {folder}", 2, folder, f"--tokenizer {FSQ}")
    assert "test imagine" in called(f"eval.py {folder} --tokenizer {FSQ} --splits test --n 20")
    assert load_run(folder, tokenizer=FSQ).tokenizer.n_codes == 64
    assert len(list((world / "runs").glob("tokenizer-*.pt"))) == 2


def test_fsq_rounds_each_dimension_and_spells_the_code():
    torch.manual_seed(0)
    FSQ_class = load_own(FSQ)
    tokenizer = FSQ_class().eval()
    book = tokenizer.codebook
    assert book.shape == (tokenizer.n_codes, tokenizer.dim) == (64, 3)
    assert len({tuple(code) for code in book.tolist()}) == 64 and book.abs().max() == 1
    z = torch.rand(200, 3) * 2 - 1
    assert torch.equal(tokenizer.quantizer.nearest(z), torch.cdist(z, book).argmin(1))
    z.requires_grad_()
    z_q = tokenizer.quantizer(z)
    assert torch.allclose(z_q, book[tokenizer.quantizer.nearest(z)], atol=1e-6)
    g = torch.randn_like(z)
    z_q.backward(g)
    assert torch.equal(z.grad, g)                                  # straight-through
    pixels = torch.randint(256, (2, 16, 24, 3)).byte()
    codes = tokenizer.encode(pixels)
    assert codes.shape == (2, 2, 3) and torch.equal(book[codes], tokenizer.quantizer(
        tokenizer.embed(pixels)).detach())
    drawn = tokenizer.decoder(book[codes].permute(0, 3, 1, 2))
    by_hand = (drawn - to_images(pixels)).square().mean()
    assert torch.allclose(tokenizer.loss(pixels, pixels, 0.5), by_hand, atol=1e-6)


def test_a_decode_of_ones_own_votes(world):
    out = called(f"eval.py runs/good --decode {EXAMPLES}/vote.py:vote --splits test --n 20")
    report = read("runs/good/eval.json")
    assert set(report["test"]) == {"vote"} and "test vote" in out
    assert report["test"]["vote"]["n"] == 20 and "cells" in report["test"]["vote"]["imagination"]
    refused(f"eval.py runs/good --decode {EXAMPLES}/interleaved.py:interleaved", 2, "--decode",
            "supports direct, imagine, oracle")


def test_the_vote_is_the_majority_of_imaginations_drawn_one_by_one(run):
    example, run = load_own(f"{EXAMPLES}/vote.py"), load_run(run)
    _, data = run.prepare("test", 12)
    with torch.no_grad():
        out = example.majority(run.model, data, run.answers)
        again = example.majority(run.model, data, run.answers)
        rng = torch.Generator().manual_seed(0)

        def draw(logits):
            chance = (logits / example.TEMPERATURE).softmax(1)
            return chance.multinomial(1, generator=rng)

        each = [imagine(run.model, data, run.answers, draw) for _ in range(example.SAMPLES)]
    assert torch.equal(out.answer, again.answer) and torch.equal(out.imagination, again.imagination)
    assert torch.equal(out.imagination, each[0].imagination)
    assert any((one.imagination != each[0].imagination).any() for one in each)
    for e in range(12):
        votes = [one.answer[e].item() for one in each]
        assert votes.count(out.answer[e].item()) == max(map(votes.count, votes))
        for a, answer in enumerate(run.answers.tolist()):
            assert out.probabilities[e, a] == votes.count(answer) / example.SAMPLES


def test_a_supervision_and_a_decode_of_ones_own(world):
    out = called(f'{TRAIN} --supervision "think imagine answer" --name interleaved')
    folder = "runs/pt-think-imagine-answer-interleaved-s0"
    assert f"next: python eval.py {folder} --decode FILE.py:NAME" in out
    refused(f"eval.py {folder}", 2, "'think imagine answer'", "--decode FILE.py:NAME")
    losses = read(f"{folder}/metrics.json")["log"][0]["losses"]
    assert set(losses) == {"answer", "imagination", "compass", "cot"}
    out = called(f"eval.py {folder} --decode {EXAMPLES}/interleaved.py:interleaved --n 20")
    figures = read(f"{folder}/eval.json")["test"]["interleaved"]
    assert "test interleaved" in out and figures["n"] == 20 and "imagination" in figures
    out = called(f"eval.py {folder} --decode imagine --splits test --n 20")
    assert "not trained as a whole" in out and "test imagine" in out
    refused(f"eval.py {folder} --replace", 2, "--replace", "imagines nothing")


def test_loss_terms_and_inputs_of_ones_own(world):
    terms = ("discrepancy", "smoothed", "soft_decode", "latent")
    spec = ",".join(f"{EXAMPLES}/losses.py:{term}=0.5" for term in terms)
    for inputs in ("own", "random"):
        called(f"{TRAIN} --loss +{spec} --inputs {EXAMPLES}/scheduled_sampling.py:{inputs} "
               f"--name {inputs}")
        log = read(f"runs/pt-mixed-{inputs}-s0/metrics.json")["log"]
        assert set(log[0]["losses"]) == {"answer", "imagination", "compass", *terms}
    weights = [torch.load(f"runs/pt-mixed-{name}-s0/checkpoint.pt")["parts"][0]["head.weight"]
               for name in ("own", "random")]
    assert not torch.equal(*weights)


def test_half_of_the_examples_teach_each_branch():
    """By hand: an example whose codes have an even sum imagines, the others answer directly."""
    torch.manual_seed(0)
    half_answer, half_imagination, half_compass = (
        load_own(f"{EXAMPLES}/half.py:half_{name}")
        for name in ("answer", "imagination", "compass"))
    B, P = 40, 3
    targets = torch.randint(10, (B, P + 2))              # the imagined cells, then both answers
    logits = torch.randn(B, P + 2, 10, requires_grad=True)
    losses_of = {IMAGINE: torch.arange(P), ANSWER: torch.tensor([P, P + 1])}
    batch = LossInput(logits, targets, losses_of, 0)
    nats = -logits.log_softmax(-1).gather(2, targets[..., None])[..., 0]
    imagines = [row for row in range(B) if targets[row, :P].sum() % 2 == 0]
    others = [row for row in range(B) if row not in imagines]
    assert 5 < len(imagines) < 35
    by_hand = (nats[imagines, P].sum() + nats[others, P + 1].sum()) / B
    assert torch.allclose(half_answer(batch), by_hand)
    assert torch.allclose(half_imagination(batch), nats[imagines, :P].mean())
    assert torch.allclose(half_compass(batch), nats[imagines, 0].mean())
    (half_answer(batch) + half_imagination(batch)).backward()
    assert not logits.grad[others][:, :P + 1].any() and not logits.grad[imagines][:, P + 1].any()
    assert logits.grad[others][:, P + 1].any(1).all()


def test_controls_keep_the_questions_and_change_the_picture(world):
    pt = make(load_task("pt"), "train", 200)
    changed = {}
    for name in ("blank", "copy", "shuffled", "first_1", "first_10", "first_13"):
        examples = make(load_task(f"{EXAMPLES}/controls.py:{name}"), "train", 200)
        for field in ("views", "query", "answer", "cot", "scene"):
            assert np.array_equal(getattr(examples, field), getattr(pt, field)), (name, field)
        changed[name] = examples.imagination
    assert (changed["blank"] == DARK).all()
    assert np.array_equal(changed["first_1"][:, 4, 2], pt.imagination[:, 4, 2])       # the compass
    assert (changed["first_1"] != DARK).sum() == 200
    for name, left in (("first_10", 5), ("first_13", 2)):   # of the row two steps ahead
        assert np.array_equal(changed[name][:, 3:], pt.imagination[:, 3:])
        assert np.array_equal(changed[name][:, 2, left:], pt.imagination[:, 2, left:])
        assert (changed[name][:, 2, :left] == DARK).all()
    shown = [(changed[name] != DARK).sum() for name in ("first_1", "first_10", "first_13")]
    assert 200 == shown[0] < shown[1] < shown[2] < (pt.imagination != DARK).sum()
    assert (pt.imagination[:, :2] == DARK).all()            # M sees no farther
    assert np.array_equal(changed["copy"], pt.views[:, 0])
    assert (changed["shuffled"] != pt.imagination).any((1, 2)).mean() > 0.95
    right = load_task("pt").rule(pt.views, pt.query, changed["shuffled"]) == pt.answer
    assert right.mean() < 0.2                            # it tells nothing of the answer
    called(f"train.py --task {EXAMPLES}/controls.py:copy {TINY}")
    folder = "runs/copy-mixed-tiny-s0"
    called(f"eval.py {folder} --task {EXAMPLES}/controls.py:copy --replace --n 30")


def variant(name, like, seed, **figures):
    """The folder of a run `runs/NAME-sSEED` with these accuracies, made of a finished one."""
    folder = Path(f"runs/{name}-s{seed}")
    shutil.copytree(like, folder)
    metrics = read(folder / "metrics.json")
    metrics["config"]["seed"] = seed
    for decode, accuracy in figures.items():
        metrics["test"][decode]["accuracy"] = accuracy
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return str(folder)


def test_comparison_pairs_runs_by_seed(world):
    found = [("a", 0, 50.0), ("a", 1, 60.0), ("a", 2, 70.0), ("b", 2, 75.0), ("b", 0, 56.0),
             ("b", 1, 67.0)]
    folders = [variant(name, "runs/good", seed, imagine=figure) for name, seed, figure in found]
    out = called(f"examples/compare.py {' '.join(folders)}")
    rows = {tuple(cell.strip() for cell in line.split("|")[1:3]): line for line in out.splitlines()}
    # Differences 6, 7, 5: mean 6, standard deviation 1, t 4.303, so 4.303 / sqrt(3) = 2.5.
    assert "+6.0 ± 2.5 better" in rows["b", "imagine"]
    assert "75.0, 56.0, 67.0 | 66.0 |" in rows["b", "imagine"]
    assert "50.0, 60.0, 70.0 | 60.0 |" in rows["a", "imagine"] and "±" not in rows["a", "imagine"]
    assert "+0.0 ± 0.0 undecided" in rows["b", "direct"]
    out = called(f"examples/compare.py {folders[0]} {folders[4]}")
    assert "too few common seeds" in out
    out = called(f"examples/compare.py {' '.join(folders[3:] + folders[:3])}")
    assert "-6.0 ± 2.5 worse" in out


def test_the_term_of_the_guide_is_the_one_that_is_tested(world):
    page = (ROOT / "docs/extend.md").read_text()
    own = (EXAMPLES / "nearest.py").read_text()
    assert own[own.index("def nearest"):].strip() in page
    called(f"{TRAIN} --loss +{EXAMPLES}/nearest.py:nearest=0.5 --name nearest")
    log = read("runs/pt-mixed-nearest-s0/metrics.json")["log"]
    assert set(log[0]["losses"]) == {"answer", "imagination", "compass", "nearest"}


def test_the_guide_lists_the_default_losses():
    page = (ROOT / "docs/extend.md").read_text()
    for task in (*TASKS.values(), Folder):
        for loss in task.LOSS.values():
            assert f"`{loss.removesuffix(',cot=1')}`" in page


def test_the_nearest_row_is_that_of_any_square():
    nearest = load_own(f"{EXAMPLES}/nearest.py:nearest")
    for side, shuffled in ((5, False), (6, False), (6, True)):
        at = torch.arange(1, 1 + side * side)          # after the answer, say
        order = imagining_order(side, side, shuffled)
        rows = order // side
        cells = torch.stack([rows + 1, order % side + 1], 1)
        cells = torch.cat([torch.zeros(1, 2, dtype=torch.long), cells])
        logits = torch.randn(2, 1 + side * side, 9)
        targets = torch.randint(9, (2, 1 + side * side))
        row = at[rows == side - 2]
        expected = F.cross_entropy(logits[:, row].flatten(0, 1), targets[:, row].flatten())
        batch = LossInput(logits, targets, {IMAGINE: at}, 3, cells=cells)
        assert torch.isclose(nearest(batch), expected)


def test_every_example_is_tested():
    files = "test_examples.py", "test_model.py", "slow/test_own_pictures.py"
    here = "".join((ROOT / "tests" / name).read_text() for name in files)
    for example in EXAMPLES.glob("*.py"):
        assert example.name in here, example.name
