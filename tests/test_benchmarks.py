"""The benchmarks: each in its quick form, and what time_to_accuracy.py rests on."""
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
NEEDS = {"throughput": "transformers", "answering": "transformers",
         "time_to_accuracy": "transformers", "tokenizer": "vector_quantize_pytorch",
         "data": None, "scaling": None, "ideas": None}
MORE = {"time_to_accuracy": ["--only", "ours,plain,gpt2,plain+muon+places,all-weights"],
        "ideas": ["--only", "ReLU squared,batch 32 then 64,sparse scenes first"]}


def installed(module):
    return module is None or importlib.util.find_spec(module) is not None


def run(name, cwd, *more):
    return subprocess.run([sys.executable, ROOT / f"benchmarks/{name}.py", *more], cwd=cwd,
                          text=True, timeout=300, capture_output=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})


def published():
    """What a quick run must leave alone."""
    return [p.read_bytes() for p in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")),
                                    *sorted(ROOT.glob("benchmarks/*.*"))]]


@pytest.mark.parametrize("name", NEEDS)
def test_quick_form_writes_a_table_and_its_figures(name, tmp_path):
    if not installed(NEEDS[name]):
        pytest.skip(f"{NEEDS[name]} is not installed")
    before = published()
    more = MORE.get(name, [])
    ran = run(name, tmp_path, "--quick", *more)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    table, figures = (tmp_path / f"runs/quick/{name}.{end}" for end in ("md", "json"))
    assert table.read_text() in ran.stdout and "|---|" in table.read_text()
    assert torch.__version__ in table.read_text()          # the stamp: machine, versions, date
    numbers = list(leaves(json.loads(figures.read_text())))
    assert len(numbers) > 5 and all(np.isfinite(n) and n >= 0 for n in numbers)
    assert published() == before
    if more:                                       # and goes on: nothing is trained twice
        again = run(name, tmp_path, "--quick", *more)
        assert again.returncode == 0 and again.stdout == ran.stdout and "'step'" not in again.stderr


def leaves(value):
    """All numbers in a JSON value."""
    if isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    elif isinstance(value, (int, float)):
        yield value


def test_a_missing_library_is_told_in_one_line(t, monkeypatch):
    import report
    from ipt_mini.config import UserError
    report.needs("torch")
    monkeypatch.setattr(report.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install vector-quantize-pytorch$") as error:
        report.needs("vector_quantize_pytorch")
    assert error.value.code == 1


# ------------------------------------------------------------------ time_to_accuracy.py from inside
@pytest.fixture(scope="module")
def t():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import report  # noqa: F401: it puts the repository on the path
        import time_to_accuracy
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return time_to_accuracy


@pytest.fixture(scope="module")
def world(t):
    """A small MVC world: (config, tokenizer, kinds, Data)."""
    from ipt_mini.run import prepare
    import report
    torch.manual_seed(0)
    config = t.replace(t.config_of("mvc", 0, True), n_train=64, batch_size=12)
    tokenizer = report.any_tokenizer()
    examples, data = prepare(config, "train", tokenizer, config.n_train)
    return config, tokenizer, examples.kind, data


def filled(model):
    """As if trained: no zeros left."""
    torch.manual_seed(1)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model.eval()


def test_plain_without_its_handicaps_has_our_loss_and_our_answers(t, world):
    """Two sequences of an example, or one that packs both: the same sum if all else is the same."""
    from ipt_mini.config import terms_of
    from ipt_mini.generate import answer_words, decode
    from train import losses_of, training_set
    config, tokenizer, kind, data = world
    recipe = t.Recipe("plain+places+prefix+blind+weights", 1e-3, config, kind, data)
    model, rows = filled(recipe.model), torch.arange(12)
    # The mean of weighed codes is the batch's in ours and that of all data here: compare without.
    examples = training_set(t.replace(config, rarity=0.0), tokenizer)
    ours = losses_of(model, examples, rows, terms_of(config), tokenizer).sum()
    theirs = t.loss_of(model, recipe.parts, rows, (1.0, 1.0, 1.0))
    assert torch.isclose(ours, theirs, rtol=1e-4)
    causal = t.loss_of(model, t.parts_of(data, "plain+places+after+blind"), rows, (1.0, 1.0, 1.0))
    assert not torch.isclose(ours, causal, rtol=1e-4)
    answers, few = answer_words("mvc"), data.take(rows)
    out = decode(model, few, "mvc", "imagine")
    answer, right = t.imagine(model, t.parts_of(few, recipe.name)[0], answers)
    assert torch.equal(answer, out.answer)
    from ipt_mini.sequence import near_to_far
    assert torch.equal(right, near_to_far(out.imagination) == near_to_far(few.imagination))


@pytest.mark.parametrize("name", ["plain", "gpt2"])
def test_plain_recipes_learn_from_every_next_token_and_see_none(t, world, name):
    if name == "gpt2" and not installed("transformers"):
        pytest.skip("transformers is not installed")
    config, _, kind, data = world
    recipe = t.Recipe(name, 1e-3, config, kind, data)
    model = filled(recipe.model)
    for part in recipe.parts:
        T = part.tokens.shape[1]
        assert part.targets.shape == part.tokens.shape and torch.equal(part.at, torch.arange(T))
        follows, following = part.targets[:, :-1], part.tokens[:, 1:]
        assert ((follows == following) | ((follows == -1) & (following == 0))).all()
        assert torch.equal(part.targets[:, -1], data.answer)
        changed = part.tokens[:4].clone()
        changed[:, T // 2] += 1
        with torch.no_grad():
            at = torch.tensor([T // 2, T - 1])
            h, other, some = (model.states(x, part.pose[:4], part.where, part.padded, a)
                              for x, a in ((part.tokens[:4], part.at), (changed, part.at), (changed, at)))
        assert torch.allclose(h[:, :T // 2], other[:, :T // 2], atol=1e-5)
        assert not torch.allclose(h[:, T // 2:], other[:, T // 2:], atol=1e-3)
        assert torch.allclose(some, other[:, at], atol=1e-5)
    # What our embeddings tell of the cameras is in the sequence, before the question.
    from ipt_mini.tasks.words import text
    heading, row, col = data.pose[0, 1].tolist()
    said = f"{('north', 'east', 'south', 'west')[heading - 1]} {row} {col}"
    query = recipe.parts[1].tokens[0, 75:-1].numpy()
    assert " ".join(text(query).split()[3:6]) == said
    assert text(query).endswith(text(data.query[0].numpy()))
    # Each of the three means counts once, over both sequences.
    assert torch.allclose(sum(part.share.sum(1) for part in recipe.parts), torch.ones(3))


def test_a_bound_is_told_as_a_bound(t):
    row = lambda step, accuracy: dict(step=step, accuracy=accuracy, codes=0.5, n=500)
    times = dict(tokenizer=10.0, data=2.0, step=dict(ours=0.1, plain=0.2))
    assert t.reached([row(250, 0.5), row(500, 0.91), row(750, 0.95)], "pt") == 500
    assert t.reached([row(250, 0.949)], "pet") is None
    assert t.steps_within(12 + 0.2 * 1100, times, "plain", 250) == 1000
    recipe = lambda reached, ratio, curve: dict(
        reached=reached, steps=curve[-1]["step"], seconds=60.0, ratio=ratio, step_ms=1.0,
        last=curve[-1], curve=curve)
    found = dict(machine="M", target=0.9, tokenizer_seconds=10.0, data_seconds=2.0, search=[],
                 recipes=dict(ours=recipe(500, 1.0, [row(500, 0.91), row(750, 0.99)]),
                              plain=recipe(None, 5.1, [row(1000, 0.25)])))
    text = "\n".join(t.lines_of({"pt, seed 0": found}))
    assert "| ours | as ours | 1.0 | 500 | 1.0 | 1.00 | 91.0 |" in text
    assert "| plain | as ours | 1.0 | > 1,000 | > 1.0 | > 5.10 | 25.0 |" in text


def test_planted_bugs_can_still_be_planted(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from planted_bugs import BUGS
    for what, file, right, _ in BUGS:
        assert (ROOT / file).read_text().count(right) == 1, what
