"""Plant one bug at a time in a copy of the repository: a fast test has to notice each."""
import shutil
import subprocess
import sys

import pytest
from conftest import ONE_THREAD, ROOT

pytestmark = pytest.mark.slow

TOKENIZER, SEQUENCE = "ipt_mini/tokenizer.py", "ipt_mini/sequence.py"
MODEL, GRID, PT = "ipt_mini/model.py", "ipt_mini/tasks/grid.py", "ipt_mini/tasks/pt.py"
EXAMPLES, LOSSES = "ipt_mini/tasks/examples.py", "ipt_mini/losses.py"
GENERATE = "ipt_mini/generate.py"

# (what is wrong, file, right, wrong, the tests that have to notice). Where nothing can be hidden,
# no question of PT is fair, and its data would never be complete: `look` is tested by itself.
BUGS = [
    ("commitment loss pulls nothing: beta on the codebook's term", TOKENIZER,
     "F.mse_loss(z_e, z_q.detach())", "F.mse_loss(z_e.detach(), z_q)", "test_tokenizer.py"),
    ("no straight-through: the gradient stops at the code", TOKENIZER,
     "return z_e + (z_q - z_e).detach(), ", "return z_q + 0 * z_e, ", "test_tokenizer.py"),
    ("the codebook also moves outside training", TOKENIZER,
     "if self.training and self.ready:", "if self.ready:", "test_tokenizer.py"),
    ("dead codes come back as copies of one vector", TOKENIZER,
     "distance = torch.minimum(distance, (z - z[worst]).norm(dim=1))", "pass", "test_tokenizer.py"),
    ("causal mask off by one: a token sees the next", SEQUENCE,
     "position[:, None] >= position", "position[:, None] + 1 >= position", "test_model.py"),
    ("the branches of mixed see each other", SEQUENCE,
     "((branch[:, None] == branch) & causal)", "causal", "test_model.py"),
    ("the answer sees the views past the imagination", SEQUENCE,
     "mask &= ~(blind", "mask & ~(blind", "test_model.py"),
    ("the query looks at the views", SEQUENCE,
     "(segment == QUERY) | ((segment", "((segment", "test_model.py"),
    ("the answer leaks into the prefix", SEQUENCE,
     "tokens = [data.views.flatten(1) + n_words, data.query]",
     "tokens = [data.views.flatten(1) + n_words, "
     "torch.cat([data.query[:, :-1], data.answer[:, None]], 1)]", "test_model.py"),
    ("the imagination predicts the cell it is shown", SEQUENCE,
     "shown, to_come = [(0, 0), *imagined], [*imagined, (0, 0)]",
     "shown, to_come = [(0, 0), *imagined], [(0, 0), *imagined]", "test_model.py"),
    ("a token does not know where its next cell is", MODEL,
     "self.next_row(next_row)", "self.next_row(row)", "test_model.py"),
    ("the cache forgets where it is", MODEL,
     "at = slice(start, start + tokens.shape[1])", "at = slice(tokens.shape[1])", "test_model.py"),
    ("the gain of the queries is not applied", MODEL,
     "F.rms_norm(q, (D,)) * self.gain", "F.rms_norm(q, (D,))", "test_model.py"),
    ("a turn to the right mirrors the view", GRID,
     "- right * d_row\n", "+ right * d_row\n", "test_tasks.py"),
    ("walls do not hide", GRID,
     "opaque = (view == WALL) | (view == DARK)", "opaque = view == DARK", "test_tasks.py -k look"),
    ("a near thing does not hide a far one", "ipt_mini/tasks/camera.py",
     "np.where(there == CLEAR, colour, there)",
     "np.where((there == CLEAR) | (colour != LYING[FLOOR, 0]), colour, there)", "test_camera.py"),
    ("the camera mirrors the view", "ipt_mini/tasks/camera.py",
     "cell = np.where(inside, (n - 1 - row_ahead) * n + n // 2 + column, n * n)",
     "cell = np.where(inside, (n - 1 - row_ahead) * n + n // 2 - column, n * n)", "test_camera.py"),
    ("maps are drawn by the camera, too", "ipt_mini/dataset.py",
     "field not in task.MAPS", "True", "test_camera.py"),
    ("the side view faces along the route", PT,
     "look(scene, gaze * n * n + mid, narrow=True)",
     "look(scene, heading * n * n + mid, narrow=True)", "test_tasks.py"),
    ("a candidate that should be hidden may be seen", PT,
     "hidden = pick(rng, free & ~seen)", "hidden = pick(rng, free)", "test_tasks.py"),
    ("what is hidden is farther away than what is seen", PT,
     "fair &= rng.random(b) * count[pair] < count[swapped]", "pass", "test_tasks.py"),
    ("test scenes occur in training", EXAMPLES,
     "examples.take(split_of(examples.scene) == part)",
     "examples.take(split_of(examples.scene) < 9)", "test_tasks.py"),
    ("counts of the views say the answer", EXAMPLES,
     "np.sort(by_key, 1)[:, -2]", "np.sort(by_key, 1)[:, -1]", "test_tasks.py"),
    ("the loss of the answer falls on all that is predicted", LOSSES,
     "batch.losses_of[ANSWER])", "torch.arange(batch.targets.shape[1]))", "test_model.py"),
    ("the model imagines words", GENERATE,
     "slice(n_words, None), pick)", "slice(0, None), pick)", "test_model.py"),
    ("batches are random draws: some examples are never seen", "ipt_mini/training.py",
     "default_rng([config.seed, epoch]).permutation(n)",
     "default_rng([config.seed, epoch]).integers(0, n, n)", "test_model.py"),
    ("momentum before its update", "ipt_mini/muon.py",
     "orthogonal(ahead.flatten(1))", "orthogonal(p.grad.flatten(1))",
     "test_model.py"),
]


@pytest.fixture
def copy(tmp_path):
    """A copy of the repository."""
    return shutil.copytree(ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns(
        ".git", "runs", "__pycache__", ".pytest_cache", "*.png", "*.json"))


def outcome(copy, tests):
    return subprocess.run([sys.executable, "-m", "pytest", "-x", *f"tests/{tests}".split()],
                          cwd=copy, env=ONE_THREAD, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("what, file, right, wrong, tests", BUGS, ids=[bug[0] for bug in BUGS])
def test_a_planted_bug_is_noticed(copy, what, file, right, wrong, tests):
    source = (copy / file).read_text()
    assert source.count(right) == 1, f"{file} holds {source.count(right)} times: {right}"
    (copy / file).write_text(source.replace(right, wrong))
    ran = outcome(copy, tests)
    assert ran.returncode == 1 and "FAILED" in ran.stdout, ran.stdout[-2000:]


@pytest.mark.parametrize("tests", sorted({bug[-1] for bug in BUGS}))
def test_where_no_bug_is_planted_none_is_noticed(copy, tests):
    """The copy as such passes."""
    ran = outcome(copy, tests)
    assert ran.returncode == 0, ran.stdout[-2000:]
