"""Plant one bug at a time in a copy of the code and see whether the tests notice.

    python benchmarks/planted_bugs.py        writes docs/planted_bugs.md
"""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUGS = [  # (what is wrong, file, right, wrong)
    ("commitment loss pulls nothing: beta on the codebook's term", "ipt_mini/tokenizer.py",
     "F.mse_loss(z_e, z_q.detach())", "F.mse_loss(z_e.detach(), z_q)"),
    ("no straight-through: the gradient stops at the code", "ipt_mini/tokenizer.py",
     "return z_e + (z_q - z_e).detach(), ", "return z_q + 0 * z_e, "),
    ("the codebook also moves outside training", "ipt_mini/tokenizer.py",
     "if self.training and self.ready:", "if self.ready:"),
    ("dead codes come back as copies of one vector", "ipt_mini/tokenizer.py",
     "distance = torch.minimum(distance, (z - z[worst]).norm(dim=1))", "pass"),
    ("causal mask off by one: a token sees the next", "ipt_mini/sequence.py",
     "(position[:, None] >= position)", "(position[:, None] + 1 >= position)"),
    ("the branches of mixed see each other", "ipt_mini/sequence.py",
     "(branch[:, None] == branch) & (", "("),
    ("the answer sees the views past the imagination", "ipt_mini/sequence.py",
     "mask &= ~(", "mask & ~("),
    ("the answer leaks into the prefix", "ipt_mini/sequence.py",
     "tokens = [data.views.flatten(1) + N_WORDS, data.query]",
     "tokens = [data.views.flatten(1) + N_WORDS, torch.cat([data.query[:, :-1], data.answer[:, None]], 1)]"),
    ("the imagination predicts the cell it is shown", "ipt_mini/sequence.py",
     "zip([none, *imagined], [*imagined, none])]", "zip([none, *imagined], [none, *imagined])]"),
    ("a token is not told where its next cell is", "ipt_mini/model.py",
     "self.next_row(layout.next_row[at])", "self.next_row(layout.row[at])"),
    ("a turn to the right mirrors the view", "ipt_mini/tasks/grid.py",
     "- right * d_row\n", "+ right * d_row\n"),
    ("walls do not hide", "ipt_mini/tasks/grid.py",
     "opaque = (view == WALL) | (view == DARK)", "opaque = view == DARK"),
    ("the side view faces along the route", "ipt_mini/tasks/pt.py",
     "gaze = (heading + np.where(turn == 0, 3, 1)) % 4", "gaze = heading"),
    ("the cache forgets where it is", "ipt_mini/model.py",
     "at = slice(start, start + tokens.shape[1])", "at = slice(tokens.shape[1])"),
    ("the loss of the answer falls on the imagination too", "ipt_mini/losses.py",
     "(segments == segment).nonzero()", "(segments >= segment).nonzero()"),
    ("test scenes occur in training", "ipt_mini/tasks/__init__.py",
     "rows = np.flatnonzero(split_of(drawn[\"scene\"]) == part)",
     "rows = np.arange(len(drawn[\"scene\"]))"),
    ("counts of the views say the answer", "ipt_mini/tasks/__init__.py",
     "np.sort(count, 1)[:, -2]", "np.sort(count, 1)[:, -1]"),
]


def main():
    lines = ["| planted bug | file | caught by |", "|---|---|---|"]
    for what, file, right, wrong in BUGS:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy"
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "runs", "__pycache__"))
            source = (copy / file).read_text()
            assert source.count(right) == 1, f"{file} holds {source.count(right)} times: {right}"
            (copy / file).write_text(source.replace(right, wrong))
            ran = subprocess.run([sys.executable, "-m", "pytest", "-x", "-q", "tests/test_model.py",
                                  "tests/test_tokenizer.py", "tests/test_tasks.py"],
                                 cwd=copy, capture_output=True, text=True)
        failed = [line.split("::")[1].split(" ")[0] for line in ran.stdout.splitlines()
                  if line.startswith("FAILED")]
        lines.append(f"| {what} | `{file}` | {f'`{failed[0]}`' if failed else 'NOTHING'} |")
        print(lines[-1], flush=True)
    (ROOT / "docs/planted_bugs.md").write_text(
        "# Planted bugs\n\nMade by `python benchmarks/planted_bugs.py`: one bug at a time, in a copy.\n\n"
        + "\n".join(lines) + "\n")
    sys.exit("NOTHING" in "".join(lines))


if __name__ == "__main__":
    main()
