"""The imagination in k parallel passes (MaskGIT, 2202.04200; Show-o, 2408.12528).

    python examples/masked.py --task pet          trains, then compares k = 1, 2, 4, 8, 25 passes

In training a random share of the imagined cells is hidden, and all hidden ones are predicted at once from
views, query and the cells that are shown. To imagine, all cells are hidden at first; every pass predicts
them all and keeps those it is surest of, by a cosine schedule. The answer comes as ever, after the whole
picture. Compare with `imagine`, one cell after the other, of a run of the same task and steps.
Shape letters: B sequences, T tokens, P imagined cells, L = P + 1 positions that carry a loss.
"""
import json
import math
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))     # run from anywhere
from ipt_mini.config import Config, Parser, UserError, run_main, terms_of
from ipt_mini.generate import decode
from ipt_mini.run import get_tokenizer, machine, new_model, prepare
from ipt_mini.sequence import ANSWER, IMAGINE, N_WORDS, OPENER, layout, pack, reading_order
from ipt_mini.tasks import TASKS
from train import optimizers_of, rows_of, train_step, training_set

BRANCHES = ((IMAGINE,), (IMAGINE, ANSWER))      # the hidden picture, and the true one before the answer
PASSES = (1, 2, 4, 8, 25)


def hidden_layout(data):
    """(Layout, where the P hidden cells stand): they see one another, and each predicts itself."""
    where = layout(data, BRANCHES)
    first = int((where.segment == IMAGINE).nonzero()[0]) + 1      # after the opener
    cells = torch.arange(first, first + data.imagination.shape[1])
    row, col = where.next_row.clone(), where.next_col.clone()
    row[first - 1], col[first - 1] = 0, 0                        # the opener has nothing to predict
    row[cells], col[cells] = where.row[cells], where.col[cells]
    mask = where.mask.clone()
    mask[cells[:, None], cells] = True
    loss_at = torch.cat([cells, torch.tensor([len(where.segment) - 1])])
    return where._replace(next_row=row, next_col=col, mask=mask, loss_at=loss_at,
                          loss_segment=where.segment[loss_at]), cells


def hide(tokens, targets, cells, rng):
    """tokens (B, T) and targets (B, L) with cells hidden; only hidden ones carry a loss."""
    share = torch.cos(torch.rand(len(tokens), 1, generator=rng) * math.pi / 2)
    hidden = torch.rand(len(tokens), len(cells), generator=rng) < share
    tokens, targets = tokens.clone(), targets.clone()
    tokens[:, cells] = torch.where(hidden, OPENER[IMAGINE], tokens[:, cells])
    targets[:, :-1] = torch.where(hidden, targets[:, :-1], -1)
    return tokens, targets


@torch.no_grad()
def imagine(model, data, where, cells, passes):
    """Codes (B, P) in reading order, after `passes` parallel passes."""
    if len(data.answer) > 250:                                   # a batch at a time: memory
        return torch.cat([imagine(model, data.take(slice(i, i + 250)), where, cells, passes)
                          for i in range(0, len(data.answer), 250)])
    tokens = pack(data, BRANCHES)[0]
    tokens[:, cells] = OPENER[IMAGINE]
    for k in range(1, passes + 1):
        states = model.states(tokens, data.pose, where, at=cells)
        chance, code = model.head(states)[..., N_WORDS:].softmax(-1).max(-1)         # (B, P)
        known = tokens[:, cells] != OPENER[IMAGINE]
        chance = chance.masked_fill(known, 2)                                        # they stay
        code = torch.where(known, tokens[:, cells] - N_WORDS, code)
        n_known = len(cells) - int(len(cells) * math.cos(math.pi / 2 * k / passes))
        sure = chance.argsort(1, descending=True).argsort(1) < max(n_known, 1)
        tokens[:, cells] = torch.where(sure, code + N_WORDS, OPENER[IMAGINE])
    return reading_order(tokens[:, cells] - N_WORDS)


def fit(config, tokenizer):
    """A model trained on hidden pictures, with the recipe of train.py."""
    examples = training_set(config, tokenizer)
    data = prepare(config, "train", tokenizer, config.n_train)[1]
    where, cells = hidden_layout(data)
    tokens, targets = pack(data, BRANCHES)
    targets = torch.cat([targets[:, :len(cells)], targets[:, -1:]], 1)
    terms, model = terms_of(config), new_model(config)
    optimizers, rng = optimizers_of(model, config), torch.Generator().manual_seed(config.seed)
    for step in range(config.steps):
        rows = rows_of(step, config, examples.kind)
        seen, wanted = hide(tokens[rows], targets[rows], cells, rng)
        batch = examples._replace(tokens=seen, targets=wanted, pose=examples.pose[rows], layout=where)
        losses = train_step(model, optimizers, batch, torch.arange(len(rows)), terms, tokenizer, config, step)
        if (step + 1) % config.eval_every == 0:
            print(step + 1, dict(zip(terms, losses.tolist())), file=sys.stderr)
    return model.eval(), where, cells


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="pet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="default: the task's own")
    parser.add_argument("--n-train", type=int, default=20000)
    parser.add_argument("--n", type=int, default=1000, help="validation questions")
    parser.add_argument("--out", default="runs/masked.json", help="where the figures go")
    a = parser.parse_args()
    if a.task not in TASKS:
        raise UserError(f"--task {a.task!r}: there is {', '.join(TASKS)}")
    config = Config(task=a.task, seed=a.seed, n_train=a.n_train,
                    steps=a.steps or TASKS[a.task].STEPS)
    out = Path(a.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    tokenizer = get_tokenizer(config, out).requires_grad_(False)
    model, where, cells = fit(config, tokenizer)
    data = prepare(config, "val", tokenizer, a.n)[1]
    rows = []
    print("| passes | codes right | exact pictures | answer right |\n|---|---|---|---|")
    for passes in PASSES:
        codes = imagine(model, data, where, cells, passes)
        right = codes == data.imagination
        given = decode(model, data._replace(imagination=codes), config.task, "oracle").answer
        rows.append(dict(passes=passes, codes=100 * right.float().mean().item(),
                         exact=100 * right.all(1).float().mean().item(),
                         answer=100 * (given == data.answer).float().mean().item()))
        print("| {passes} | {codes:.1f} | {exact:.1f} | {answer:.1f} |".format(**rows[-1]))
    out.write_text(json.dumps(dict(command=f"python examples/masked.py --task {a.task} --seed {a.seed}",
                                   n=a.n, steps=config.steps, machine=machine(), rows=rows), indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)
