"""Sequence, model, losses and decoding."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from ipt_mini import generate
from ipt_mini.config import Config
from ipt_mini.losses import LOSSES, SEGMENT_OF, LossInput, parse_loss, rarity
from ipt_mini.model import Model
from ipt_mini.run import new_model
from ipt_mini.sequence import (ANSWER, IMAGINE, N_WORDS, OPENER, QUERY, SUPERVISION, THINK, VIEW, Data,
                               imagining_order, layout, near_to_far, pack, reading_order)
from ipt_mini.tasks import TASKS, grid, make
from ipt_mini.tasks.words import ID, PAD
from ipt_mini.tokenizer import Tokenizer

BRANCHES = {**SUPERVISION, "all": ((IMAGINE, ANSWER), (THINK, ANSWER), (ANSWER,))}


def data_of(task, n=12):
    """Examples whose codes are the cell ids: enough to test everything after the tokenizer."""
    ex = make(task, "train", n)
    t = lambda a: torch.from_numpy(np.asarray(a, np.int64))
    return Data(t(ex.views.reshape(*ex.views.shape[:2], -1)), t(ex.pose), t(ex.query),
                t(ex.imagination.reshape(n, -1)), t(ex.cot), t(ex.answer))


def prefix(where):
    """How many tokens views and query are."""
    return int((where.segment <= QUERY).sum())


@pytest.fixture(params=TASKS)
def data(request):
    return data_of(request.param)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Model(Config(n_layer=2, n_embd=32), N_WORDS + 32)
    for p in model.parameters():                   # as if trained: no zeros left
        torch.nn.init.normal_(p, std=0.3)
    return model.eval()


@pytest.mark.parametrize("name", BRANCHES)
def test_pack_and_layout_round_trip(data, name):
    where, (tokens, targets) = layout(data, BRANCHES[name]), pack(data, BRANCHES[name])
    assert len(where.segment) == tokens.shape[1] and len(where.loss_at) == targets.shape[1]
    part = lambda segment: tokens[:, where.segment == segment]
    assert torch.equal(part(VIEW) - N_WORDS, data.views.flatten(1))
    assert torch.equal(part(QUERY), data.query)
    kind = where.loss_segment
    if (IMAGINE, ANSWER) in BRANCHES[name]:
        order = imagining_order(25)
        assert torch.equal(part(IMAGINE)[:, 1:] - N_WORDS, data.imagination[:, order])
        assert torch.equal(targets[:, kind == IMAGINE] - N_WORDS, data.imagination[:, order])
        shown = where.row[where.segment == IMAGINE][1:], where.next_row[where.segment == IMAGINE][:-1]
        assert torch.equal(*shown) and shown[0].tolist() == (1 + order // 5).tolist()
    if (THINK, ANSWER) in BRANCHES[name]:
        thought = targets[:, kind == THINK]
        for words, target in zip(data.cot, thought):
            length = (words != PAD).sum()
            assert torch.equal(target[:length], words[:length]) and target[length] == OPENER[ANSWER]
            assert (target[length + 1:] == -1).all()
    assert (targets[:, kind == ANSWER] == data.answer[:, None]).all()
    # The answer follows the last position, which is an opener: it is never an input.
    assert (tokens[:, where.segment == ANSWER] == OPENER[ANSWER]).all()
    assert where.loss_at.min() >= prefix(where)


def test_prefix_sees_itself_both_ways_and_nothing_that_follows(data, model):
    branches = BRANCHES["all"]
    where, (tokens, _) = layout(data, branches), pack(data, branches)
    start = prefix(where)
    change = lambda at, token: tokens.clone().index_fill_(1, torch.tensor([at]), token)
    base = model(tokens, data.pose, where)
    early = model(change(start - 1, ID["walk"]), data.pose, where)           # the last of the prefix
    assert ((early - base).abs().amax((0, 2)) > 1e-6).all()                  # reaches every position
    later = model(change(start + 3, N_WORDS + 9), data.pose, where)        # inside the imagination
    moved = (later - base).abs().amax((0, 2)) > 1e-6
    imagine_end = start + 1 + data.imagination.shape[1] + 1
    assert not moved[:start + 3].any() and moved[start + 3:imagine_end].all()
    assert not moved[imagine_end:].any()                                     # other branches do not see it


def test_an_answer_after_an_imagination_sees_no_view_but_by_it(data, model):
    """One block hands on only what a token itself sees: changed views do not reach that answer."""
    one = new_model(replace(model.config, n_layer=1))
    torch.nn.init.normal_(one.blocks[0].attention.out.weight)
    branches = BRANCHES["all"]
    tokens, seen = pack(data, branches)[0], []
    other = torch.cat([data.views.flatten(1).roll(1, 1) + N_WORDS, tokens[:, data.views[0].numel():]], 1)
    for sees in (False, True):
        where = layout(data, branches, answer_sees_views=sees)
        reached = (one(tokens, data.pose, where) - one(other, data.pose, where)).abs().amax((0, 2)) > 1e-6
        seen.append(reached[where.segment == ANSWER].tolist())
        assert reached[where.segment == IMAGINE].all()             # what it draws, it draws from them
    after_picture = [IMAGINE in branch for branch in branches if ANSWER in branch]
    assert seen == [[not imagined for imagined in after_picture], [True] * len(after_picture)]


def test_the_compass_is_imagined_first_and_near_rows_before_those_they_hide():
    place = imagining_order(49).argsort()                          # cell -> its turn
    assert place[6 * 7 + 3] == 0 and sorted(place.tolist()) == list(range(49))
    hides, hidden = np.nonzero(grid._between(7))                   # on the line of sight
    assert (hides // 7 >= hidden // 7).all()
    nearer = hides // 7 > hidden // 7
    assert nearer.sum() > 50 and (place[hides] < place[hidden])[nearer].all()
    codes = torch.arange(2 * 49).view(2, 49)
    assert torch.equal(reading_order(near_to_far(codes)), codes)
    assert near_to_far(codes)[0, 0] == 6 * 7 + 3


def test_branches_together_equal_branches_alone(data, model):
    where, (tokens, _) = layout(data, SUPERVISION["mixed"]), pack(data, SUPERVISION["mixed"])
    both = model(tokens, data.pose, where)
    for branch, ending in (((ANSWER,), -1), ((IMAGINE, ANSWER), -2)):
        alone = layout(data, (branch,)), pack(data, (branch,))[0]
        assert torch.allclose(model(alone[1], data.pose, alone[0])[:, -1], both[:, ending], atol=1e-4)


def test_padding_changes_nothing(model):
    data = data_of("pt")
    longer = data._replace(query=torch.cat([data.query, torch.full((12, 3), PAD)], 1),
                           cot=torch.cat([data.cot, torch.full((12, 4), PAD)], 1))
    short, long = ([model(pack(d, ((THINK, ANSWER),))[0], d.pose, layout(d, ((THINK, ANSWER),)))
                    for d in (data, longer)])
    assert torch.allclose(short[:, -1], long[:, -1], atol=1e-4)
    for name in generate.DECODES:
        a, b = (generate.decode(model, d, "pt", name) for d in (data, longer))
        assert torch.equal(a.answer, b.answer)


@pytest.mark.parametrize("name", ["segment", "order", "row", "col", "next_row", "next_col"])
def test_a_token_is_told_where_it_stands(model, name):
    data, branches = data_of("pt"), BRANCHES["all"]
    where, tokens = layout(data, branches), pack(data, branches)[0]
    for at in (0, -30):                            # in a view, in a branch
        other = getattr(where, name).clone()
        other[at] = (other[at] + 1) % 5
        moved = model(tokens, data.pose, where._replace(**{name: other})) - model(tokens, data.pose, where)
        assert moved[:, at].abs().max() > 1e-6


def test_cached_decoding_equals_uncached(data, model):
    branch = (IMAGINE, ANSWER)
    where = layout(data, (branch,))
    answers = generate.answer_words("mvc")
    out = generate.decode(model, data, "mvc", "imagine", batch=5)
    tokens = pack(data._replace(imagination=out.imagination), (branch,))[0]
    logits = model(tokens, data.pose, where)
    greedy = logits[:, prefix(where):-2, N_WORDS:].argmax(-1)
    assert torch.equal(greedy, out.imagination[:, imagining_order(25)])
    assert torch.equal(answers[logits[:, -1, answers].argmax(1)], out.answer)
    thought = generate.decode(model, data, "mvc", "think")
    where = layout(data, ((THINK, ANSWER),))
    tokens = pack(data._replace(cot=thought.cot), ((THINK, ANSWER),))[0]
    logits = model(tokens, data.pose, where)
    assert torch.equal(answers[logits[:, -1, answers].argmax(1)], thought.answer)
    words = logits[:, prefix(where):-2, :N_WORDS].argmax(-1)
    assert torch.equal(torch.where(thought.cot != PAD, words, PAD), thought.cot)


def test_drawn_imaginations(data, model):
    of = lambda name, **more: generate.decode(model, data, "pt", name, **more)
    greedy = of("imagine")
    for near_greedy in (of("sample", temperature=1e-7), of("sample", top_k=1), of("vote", samples=3, top_k=1)):
        assert torch.equal(near_greedy.imagination, greedy.imagination)
        assert torch.equal(near_greedy.answer, greedy.answer)
    drawn = of("sample", temperature=2.0)
    assert torch.equal(drawn.imagination, of("sample", temperature=2.0).imagination)       # reproducible
    assert 0 <= drawn.imagination.min() and drawn.imagination.max() < 32                   # image ids only
    assert (drawn.imagination != greedy.imagination).any()
    rng = torch.Generator().manual_seed(0)
    each = torch.stack([of("sample", rng=rng, temperature=2.0).answer for _ in range(5)])
    votes = of("vote", samples=5, temperature=2.0).answer
    count = (each == votes).sum(0)
    assert all(count[b] == each[:, b].bincount().max() for b in range(len(votes)))


def test_top_k_draws_from_the_k_likeliest(model):
    data, seen = data_of("pet", 200), set()
    logits = torch.arange(32.0).repeat(200, 1)
    def only(model, data, answers, pick):
        seen.update(pick(logits).flatten().tolist())
        return generate.Decoded(data.answer)
    imagine, generate.imagine = generate.imagine, only
    try:
        generate.sample(model, data, None, temperature=100.0, top_k=3)
    finally:
        generate.imagine = imagine
    assert seen == {29, 30, 31}


@pytest.mark.parametrize("by", ["random", "own"])
def test_corruption_replaces_its_share_of_imagined_inputs_and_nothing_else(model, by):
    from train import TrainingSet, corrupted
    data = data_of("pt", 64)
    model.head.weight.data *= 10                                    # sure of what it says
    where, (tokens, targets) = layout(data, SUPERVISION["mixed"]), pack(data, SUPERVISION["mixed"])
    examples = TrainingSet(tokens, targets, data.pose, where, True, None, None)
    config, rows = Config(corrupt=0.3, corrupt_by=by), torch.arange(8, 64)
    seen = corrupted(model, examples, rows, config, step=7)
    changed = seen != tokens[rows]
    inputs = (where.segment == IMAGINE) & (where.row > 0)
    assert not changed[:, ~inputs].any()
    assert (seen[:, inputs] >= N_WORDS).all()
    assert abs(changed[:, inputs].float().mean() - 0.3) < 0.05
    assert torch.equal(seen, corrupted(model, examples, rows, config, step=7))
    assert not torch.equal(seen, corrupted(model, examples, rows, config, step=8))
    assert torch.equal(examples.tokens, tokens)                     # the data stay as they were
    if by == "own":                                                 # what it says there, not any code
        logits = model(tokens[rows], data.pose[rows], where)[:, inputs.nonzero().flatten() - 1, N_WORDS:]
        chance = logits.softmax(-1).gather(2, (seen[:, inputs] - N_WORDS)[..., None])[changed[:, inputs]]
        assert chance.mean() > 0.3


def on(device, value):
    """A tensor, or a named tuple of such, on a device; ids of segments stay where they are."""
    if not isinstance(value, tuple):
        return value.to(device) if torch.is_tensor(value) else value
    return type(value)(*(x if name == "loss_segment" else on(device, x)
                         for name, x in zip(value._fields, value)))


@pytest.mark.parametrize("supervision, loss", [("text_cot", ""), ("mixed", ",".join(
    f"{term}=1" for term in LOSSES if term != "cot"))])
def test_no_step_of_training_waits_for_a_value(supervision, loss):
    """On the device "meta" tensors have shapes and no values: whatever would wait for a GPU fails."""
    from train import optimizers_of, terms_of, train_step, training_set
    config = Config(supervision=supervision, loss=loss, n_train=64, steps=10)
    tokenizer, model = Tokenizer().requires_grad_(False), new_model(config)
    examples = on("meta", training_set(config, tokenizer))
    model, tokenizer = model.to("meta"), tokenizer.to("meta")
    rows = torch.arange(64).to("meta")
    values = train_step(model, optimizers_of(model, config), examples, rows, terms_of(config),
                        tokenizer, config, step=3)
    assert values.is_meta and values.shape == (len(terms_of(config)),)


@torch.no_grad()
def test_oracle_reads_the_picture_it_is_given(data, model):
    answers = generate.answer_words("pt")
    data = data._replace(imagination=data.imagination.roll(1, 0))
    oracle = generate.decode(model, data, "pt", "oracle")
    logits = model(pack(data, ((IMAGINE, ANSWER),))[0], data.pose, layout(data, ((IMAGINE, ANSWER),)))
    assert torch.equal(answers[logits[:, -1, answers].argmax(1)], oracle.answer)
    stream = generate.Stream(model, data, (IMAGINE, ANSWER))
    stream.feed(near_to_far(data.imagination) + N_WORDS, ANSWER)
    assert torch.allclose(stream.logits, logits[:, -1], atol=1e-4)


@pytest.mark.parametrize("term, segment", [("answer", ANSWER), ("imagination", IMAGINE), ("cot", THINK)])
def test_each_loss_is_cross_entropy_on_its_own_segment(data, term, segment):
    where, (_, targets) = layout(data, BRANCHES["all"]), pack(data, BRANCHES["all"])
    logits = torch.randn(*targets.shape, N_WORDS + 32, requires_grad=True)
    weight = torch.rand(N_WORDS + 32) + 0.1
    batch = LossInput(logits, targets, where.loss_segment, weight)
    loss = LOSSES[term](batch)
    loss.backward()
    carries = (batch.segment == segment) & (targets >= 0)
    assert ((logits.grad.abs().sum(-1) > 0) == carries).all()
    picked = logits.detach().log_softmax(-1)[carries]
    w = weight[targets[carries]] if term == "imagination" else torch.ones(len(picked))
    by_hand = -(w * picked[torch.arange(len(picked)), targets[carries]]).sum() / w.sum()
    assert torch.allclose(loss, by_hand, atol=1e-5)


def batch_for(data, model):
    """A LossInput over all segments with random logits, and an untrained tokenizer."""
    where, (_, targets) = layout(data, BRANCHES["all"]), pack(data, BRANCHES["all"])
    torch.manual_seed(0)
    tokenizer = Tokenizer().requires_grad_(False)
    torch.nn.init.normal_(tokenizer.quantizer.codebook)
    logits = torch.randn(*targets.shape, N_WORDS + 32, requires_grad=True)
    hidden = torch.randn(*targets.shape, 32, requires_grad=True)
    return LossInput(logits, targets, where.loss_segment, torch.ones(N_WORDS + 32), hidden,
                     model.project, tokenizer)


@pytest.mark.parametrize("term", [t for t in LOSSES if t not in ("answer", "imagination", "cot")])
def test_each_variant_by_hand_and_only_on_imagined_cells(data, model, term):
    batch = batch_for(data, model)
    loss = LOSSES[term](batch)
    loss.backward()
    here = batch.segment == IMAGINE
    for tensor in (batch.hidden,) if term == "latent" else (batch.logits,):
        assert ((tensor.grad.abs().sum(-1) > 0) == here).all()
    if term != "latent":                                     # image ids only
        assert batch.logits.grad[..., :N_WORDS].abs().max() == 0
    book, decoder, by_hand = batch.tokenizer.quantizer.codebook, batch.tokenizer.decoder, []
    with torch.no_grad():
        for b, l in [(b, l) for b in range(len(batch.targets)) for l in here.nonzero().flatten().tolist()]:
            t, p = batch.targets[b, l] - N_WORDS, batch.logits[b, l, N_WORDS:].softmax(0)
            far = (book - book[t]).square().sum(1)
            cell = lambda z: decoder(z.view(1, -1, 1, 1))
            by_hand.append({
                "discrepancy": lambda: (far * p).sum(),
                "smoothed": lambda: -((-far / 0.2).softmax(0) * p.log()).sum(),
                "soft_decode": lambda: (cell((p[:, None] * book).sum(0)) - cell(book[t])).square().mean(),
                "latent": lambda: 1 - torch.cosine_similarity(model.project(batch.hidden[b, l]), book[t], dim=0),
            }[term]())
    assert torch.allclose(loss, torch.stack(by_hand).mean(), atol=1e-4)
    assert SEGMENT_OF[term] == IMAGINE


def test_rare_codes_weigh_more_and_one_on_average():
    codes = torch.tensor([[0] * 12, [1] * 3 + [2] * 9])
    weight = rarity(codes, 4, 0.5)
    assert torch.allclose(weight[codes].mean(), torch.tensor(1.0))
    assert torch.allclose(weight[1] / weight[0], torch.tensor(2.0))          # (12 / 3) ** 0.5
    assert torch.equal(rarity(codes, 3, 0.0), torch.ones(3))


def test_weights_and_their_schedule():
    terms = parse_loss("answer=0.2@0.3:4@0.5,imagination=2", SUPERVISION["mixed"])
    assert [terms["answer"][1](x) for x in (0, .3, .4, .5, 1)] == pytest.approx([.2, .2, 2.1, 4, 4])
    assert terms["imagination"][1](0.7) == 2
    for wrong in ("answr=1", "answer=x", "answer=-1", "answer", "cot=1", "answer=1@0.5:2@0.3", "no.py:f=1",
                  "answer=1@50:5@80", "answer=1,answer=2", "answer=nan", "answer=inf"):
        with pytest.raises(ValueError):
            parse_loss(wrong, SUPERVISION["mixed"])
    mine = lambda batch: batch.logits.mean()
    assert parse_loss("answer=1,mine=2", SUPERVISION["mixed"], {"mine": mine})["mine"][0] is mine


def test_words_and_codes_do_not_overlap():
    assert N_WORDS == max(ID.values()) + 1


def test_rows_come_in_uneven_shares_first_and_all_of_them_later():
    from train import rows_of
    config, kind = Config(task="pt", n_train=640, steps=100, batch_size=64, curriculum=0.5), np.arange(640) % 4
    early = np.concatenate([kind[rows_of(step, config, kind)] for step in range(50)])
    assert np.abs(np.bincount(early) / len(early) - TASKS["pt"].FIRST).max() < 0.03
    epoch = torch.cat([rows_of(step, config, kind) for step in range(60, 70)])
    assert sorted(epoch.tolist()) == list(range(640))
    assert torch.equal(rows_of(3, config, kind), rows_of(3, config, kind))


def test_settings_read_from_a_file_never_execute_the_loss_file_they_name(tmp_path):
    from dataclasses import asdict

    from ipt_mini.config import config_from
    own = tmp_path / "bad.py"
    own.write_text("raise SystemExit('executed')\n")
    assert config_from({**asdict(Config()), "loss": f"answer=1,{own}:term=1"}).loss.endswith("term=1")
