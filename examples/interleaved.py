r"""A supervision and a decode of your own: a thought in words, an imagined view, the answer.

    python train.py --task pt --supervision "think imagine answer" --name interleaved
    python eval.py runs/pt-think-imagine-answer-interleaved-s0 \
        --decode examples/interleaved.py:interleaved

A supervision is a row of branches, so it needs no code: the text on the command line is all.
"""
from ipt_mini.generate import Decode, Stream, imagine_codes, think_words
from ipt_mini.sequence import ANSWER, IMAGINE, THINK

BRANCH = (THINK, IMAGINE, ANSWER)


def think_and_imagine(model, data, answers):
    stream = Stream(model, data, BRANCH)
    stream.open(THINK)
    cot = think_words(stream, data)
    stream.open(IMAGINE)
    codes = imagine_codes(stream, data)
    return stream.answer(answers, imagination=codes, cot=cot)


interleaved = Decode(think_and_imagine, BRANCH)
