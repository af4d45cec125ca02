"""A decode of your own: imagine several times, draw codes at random, let the answers vote.

    python eval.py runs/pt-mixed-s0 --decode examples/vote.py:vote
"""
import torch

from ipt_mini.generate import Decode, imagine
from ipt_mini.sequence import ANSWER, IMAGINE

TEMPERATURE, SAMPLES = 0.7, 8


def majority(model, data, answers):
    """What most of the imaginations are answered with; the first of them is shown."""
    rng = torch.Generator(data.answer.device).manual_seed(0)    # the same draws for the same call

    def draw(logits):
        return (logits / TEMPERATURE).softmax(1).multinomial(1, generator=rng)

    outs = [imagine(model, data, answers, draw) for _ in range(SAMPLES)]
    share = torch.stack([(answers == out.answer[:, None]) for out in outs]).float().mean(0)
    return outs[0]._replace(answer=answers[share.argmax(1)], probabilities=share)


vote = Decode(majority, branch=(IMAGINE, ANSWER))
