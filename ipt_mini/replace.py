"""The replacement test: is the imagination used at all? (After arXiv 2605.21642.)

The imagined codes are replaced before the answer is given. If the answer does not care, the
imagination is decoration. What decides is the last row: another example's true picture, on which
the rule reads a *different* valid answer to this question. Does the answer follow the picture?
Shape letters: B examples, P cells of the imagination, N = sqrt(P).
"""
import numpy as np
import torch

from ipt_mini.generate import answer_words, decode, replaced
from ipt_mini.measure import picture_cells, proportion
from ipt_mini.run import prepare
from ipt_mini.tasks import TASKS
from ipt_mini.tasks.words import PAD, WORDS


def pictures_for(run, data, examples, seed=0):
    """name -> (codes (B, P) given instead of the own imagination, rows (B,) bool that count)."""
    rng, true, b = np.random.default_rng(seed), data.imagination, len(data.answer)
    draw = lambda *shape: torch.from_numpy(rng.integers(0, *shape))
    every = np.ones(b, bool)
    own = decode(run.model, data, answer_words(run.config.task, true.device), "imagine").imagination
    common = true.flatten().bincount().argmax()
    donor, found = other_answers(run.config.task, examples, rng)
    return {
        "own": (own, every),
        "true": (true, every),
        "one code repeated": (common.expand_as(true), every),
        "random codes": (draw(run.tokenizer.n_codes, true.shape).to(true), every),
        "codes of the data, scattered": (
            true.flatten()[draw(true.numel(), true.shape).to(true.device)], every),
        "another example's picture": (true[torch.from_numpy(rng.permutation(b))], every),
        "picture with another answer": (true[torch.from_numpy(donor)], found),
    }


def other_answers(task, examples, rng, tries=100):
    """(donor (B,) index, found (B,) bool): a picture on which the rule reads a different answer."""
    b = len(examples.answer)
    donor, found = np.arange(b), np.zeros(b, bool)
    words = [WORDS.index(word) for word in TASKS[task].ANSWERS]
    for _ in range(tries):
        other = rng.permutation(b)
        read = TASKS[task].rule(examples.views, examples.query, examples.imagination[other])
        fits = np.isin(read, words) & (read != examples.answer) & ~found
        donor[fits], found = other[fits], found | fits
    return donor, found


@torch.no_grad()
def replacement_test(run, split="test", n_examples=0):
    """A list of rows: dict(picture, n, accuracy, low, high, follows), in percent.

    accuracy: the answer is the true one; follows: it is what the rule reads off the picture given.
    """
    config = run.config
    examples, data = prepare(config, split, run.tokenizer, n_examples or config.n_test)
    data = data.to(next(run.model.parameters()).device)
    answers, rows = answer_words(config.task, data.answer.device), []
    for name, (codes, counts) in pictures_for(run, data, examples).items():
        given = torch.cat([replaced(run.model, data.take(part), answers, codes[part]).answer
                           for part in torch.arange(len(codes)).split(500)]).cpu().numpy()
        read = TASKS[config.task].rule(examples.views, examples.query,
                                       picture_cells(run.tokenizer, codes, config.grid))
        readable = counts & (read != PAD)
        rows.append(dict(picture=name, **proportion((given == examples.answer)[counts]),
                         follows=proportion((given == read)[readable])["accuracy"],
                         n_readable=int(readable.sum())))
    return rows
