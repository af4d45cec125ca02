"""Sequence, model, decoding, losses, and a step of training."""
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import EXAMPLES

from ipt_mini import generate
from ipt_mini.config import Config, config_from
from ipt_mini.errors import UserError
from ipt_mini.losses import LOSSES, LossInput, complete_loss, parse_loss
from ipt_mini.model import Model
from ipt_mini.muon import Muon, orthogonal
from ipt_mini.own import load_own
from ipt_mini.run import answer_ids, new_model
from ipt_mini.sequence import (ANSWER, IMAGINE, OPENER, QUERY, SUPERVISION, THINK, VIEW, Data,
                               as_imagined, as_picture, branches_of, imagining_order, layout, pack)
from ipt_mini.tasks import TASKS, grid, load_tasks, make
from ipt_mini.tasks.words import ID, WORDS
from ipt_mini.tokenizer import Tokenizer
from ipt_mini.training import (TrainingSet, completed, get_batch, lr_share, loss_terms, named,
                               optimizers_of, train_step, training_of)

N_WORDS, N_CODES, CODE_DIM = len(WORDS), 32, 16
TEXTS = [*SUPERVISION, "imagine answer | think answer | answer", "think imagine answer | answer"]
ALL = branches_of(TEXTS[-2])


def data_of(task, n=6):
    """Examples whose codes are the ids of their cells: enough for all after the tokenizer."""
    examples = make(TASKS[task], "train", n)
    fields = ("views", "pose", "query", "imagination", "cot", "answer")
    parts = [torch.from_numpy(getattr(examples, name).astype(np.int64)) for name in fields]
    return Data(*parts, imagining_order(5, 5))


DATA = {task: data_of(task) for task in TASKS}
DATA["shuffled"] = DATA["pt"]._replace(order=imagining_order(5, 5, shuffled=True))


@pytest.fixture(params=DATA)
def data(request):
    return DATA[request.param]


@pytest.fixture
def model():
    """As if trained: every weight is random, none is zero."""
    torch.manual_seed(0)
    model = Model(Config(n_layer=2, n_embd=32), N_WORDS, N_CODES, CODE_DIM)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model.eval()


def answers_of(task="pt"):
    return answer_ids(TASKS[task])


# ------------------------------------------------------------------------------------- sequence
def tokens_by_hand(data, branches):
    """What each token of a sequence is, as rows (segment, branch, order, cell, next cell), where a
    cell is (row, column) from 1, and what it predicts: a field of Data and an index, or None."""
    _, n_views, h, w = data.views.shape
    P, C = h * w, data.cot.shape[1]
    order = data.order.tolist()
    cell = {c: (c // w + 1, c % w + 1) for c in range(P)}
    none, rows = (0, 0), []
    for v in range(n_views):
        rows += [(VIEW, 0, v, cell[c], none, None) for c in range(P)]
    rows += [(QUERY, 0, i, none, none, None) for i in range(data.query.shape[1])]
    for number, branch in enumerate(branches, 1):
        for segment in branch:
            if segment == IMAGINE:
                rows.append((IMAGINE, number, 0, none, cell[order[0]], ("imagination", order[0])))
                for here, ahead in zip(order, order[1:]):
                    wanted = "imagination", ahead
                    rows.append((IMAGINE, number, 0, cell[here], cell[ahead], wanted))
                rows.append((IMAGINE, number, 0, cell[order[-1]], none, None))
            elif segment == THINK:
                rows += [(THINK, number, i, none, none, ("cot", i)) for i in range(C)]
                rows.append((THINK, number, C, none, none, None))
            else:
                rows.append((ANSWER, number, 0, none, none, ("answer", 0)))
    return rows


@pytest.mark.parametrize("text", TEXTS)
def test_layout_by_hand(data, text):
    branches = branches_of(text)
    where, rows = layout(data, branches), tokens_by_hand(data, branches)
    segment, _, order, cell, next_cell, predicted = zip(*rows)
    assert where.segment.tolist() == list(segment) and where.order.tolist() == list(order)
    assert where.cell.tolist() == list(map(list, cell))
    assert where.next_cell.tolist() == list(map(list, next_cell))
    at = [i for i, what in enumerate(predicted) if what]
    assert where.loss_at.tolist() == at and where.n_view_tokens == segment.count(VIEW)
    for s in (THINK, IMAGINE, ANSWER):
        assert where.losses_of[s].tolist() == [l for l, i in enumerate(at) if segment[i] == s]


@pytest.mark.parametrize("text", TEXTS)
def test_pack_by_hand(data, text):
    """Each position that carries a loss predicts the very next piece of content, and each token
    after it is that piece. The answer is never an input."""
    branches = branches_of(text)
    tokens, targets = pack(data, branches, N_WORDS)
    rows = tokens_by_hand(data, branches)
    assert tokens.shape == (len(data.answer), len(rows))
    for e in range(len(data.answer)):
        flat = {name: getattr(data, name)[e].flatten() for name in ("imagination", "cot", "answer")}
        flat["imagination"] = flat["imagination"] + N_WORDS
        views, query, wanted, content = data.views[e].flatten() + N_WORDS, data.query[e], [], None
        for i, (segment, branch, _, _, _, predicted) in enumerate(rows):
            opens = branch and (segment, branch) != rows[i - 1][:2]
            if segment == VIEW:
                assert tokens[e, i] == views[i]
            elif segment == QUERY:
                assert tokens[e, i] == query[i - len(views)]
            else:
                assert tokens[e, i] == (OPENER[segment] if opens else content)
            if predicted:
                content = flat[predicted[0]][predicted[1]].item()
                wanted.append(content)
        assert targets[e].tolist() == wanted


@pytest.mark.parametrize("sees_views", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_mask_by_definition(data, text, sees_views):
    branches = branches_of(text)
    where, rows = layout(data, branches, sees_views), tokens_by_hand(data, branches)
    imagined = {number for number, branch in enumerate(branches, 1) if IMAGINE in branch}

    def may(i, j):
        (segment, branch), (other, theirs) = rows[i][:2], rows[j][:2]
        blind = segment == QUERY or segment == ANSWER and branch in imagined
        if blind and other == VIEW:
            return sees_views
        if branch == 0:
            return theirs == 0                         # the prefix sees itself, both ways
        return theirs == 0 or theirs == branch and j <= i

    T = len(rows)
    by_hand = torch.tensor([[may(i, j) for j in range(T)] for i in range(T)])
    assert torch.equal(where.mask, by_hand)


def test_views_reach_an_answer_after_an_imagination_through_the_imagined_cells_alone(data):
    def answers_reached(sees_views, without):
        where = layout(data, ALL, sees_views)
        step = where.mask & (where.segment != without)     # no path through such tokens
        reach = step.double()
        for _ in range(10):                                # along paths of so many tokens
            reach = ((reach + reach @ step.double()) > 0).double()
        answers = (where.segment == ANSWER).nonzero().flatten().tolist()
        return [bool(reach[a, :where.n_view_tokens].any()) for a in answers]
    after_imagining = [IMAGINE in branch for branch in ALL]
    assert all(answers_reached(False, without=THINK))
    assert answers_reached(False, without=IMAGINE) == [not it for it in after_imagining]
    assert all(answers_reached(True, without=IMAGINE))


def test_the_compass_is_imagined_first_and_near_rows_before_those_they_hide():
    turn = imagining_order(7, 7).argsort()             # cell -> its turn
    assert turn[6 * 7 + 3] == 0 and sorted(turn.tolist()) == list(range(49))
    hides, hidden = np.nonzero(grid._between(7))       # on the line of sight
    assert (hides // 7 >= hidden // 7).all()
    nearer = hides // 7 > hidden // 7
    assert nearer.sum() > 50 and (turn[hides] < turn[hidden])[nearer].all()
    assert imagining_order(3, 5).tolist() == [12, 14, 13, *range(11, -1, -1)]


def test_a_shuffled_order_begins_with_the_compass_and_is_always_the_same():
    near, shuffled = imagining_order(6, 6), imagining_order(6, 6, shuffled=True)
    assert shuffled[:8].tolist() == [33, 30, 35, 9, 31, 3, 20, 28]
    assert shuffled[0] == near[0] and torch.equal(shuffled.sort().values, near.sort().values)
    steps = torch.stack([shuffled // 6, shuffled % 6]).diff().abs().sum(0)
    assert (steps == 1).float().mean() < 0.3           # few come right after a neighbour


@pytest.mark.parametrize("shuffled", [False, True])
def test_what_is_imagined_in_order_becomes_the_picture_again(shuffled):
    order = imagining_order(3, 5, shuffled)
    data = DATA["pt"]._replace(imagination=torch.arange(2 * 15).view(2, 3, 5), order=order)
    assert as_imagined(data)[0].tolist() == order.tolist()
    assert torch.equal(as_picture(as_imagined(data), data), data.imagination)
    first = data.take(slice(1))                        # all examples have the same order
    assert torch.equal(as_imagined(first), order[None])


def test_supervisions_and_texts_of_ones_own():
    mixed = ((IMAGINE, ANSWER), (ANSWER,))
    assert branches_of("mixed") == mixed == branches_of(SUPERVISION["mixed"])
    assert branches_of("label") == ((ANSWER,),) and branches_of("text_cot") == ((THINK, ANSWER),)
    assert branches_of(" think imagine  answer|answer") == ((THINK, IMAGINE, ANSWER), (ANSWER,))
    for wrong in ("", "both", "imagine", "answer imagine", "answer |", "imagine imagine answer",
                  "answer answer", "view answer", "query answer", "imagine answer, answer"):
        with pytest.raises(UserError, match="--supervision"):
            branches_of(wrong)


def test_words_and_codes_do_not_overlap():
    assert N_WORDS == max(ID.values()) + 1 == len(set(WORDS))
    tokens, _ = pack(DATA["pt"], ALL, N_WORDS)
    assert (tokens[:, layout(DATA["pt"], ALL).segment == QUERY] < N_WORDS).all()


# ---------------------------------------------------------------------------------------- model
@torch.no_grad()
@pytest.mark.parametrize("sees_views", [False, True])
def test_no_leak_each_token_reaches_just_what_the_mask_lets_it_reach(data, model, sees_views):
    """Change one token after the other, and see which logits move: those that the mask connects
    with it in as many steps as there are blocks, and no others."""
    model.double()
    where = layout(data, ALL, sees_views)
    tokens, _ = pack(data.take(slice(1)), ALL, N_WORDS)
    T = tokens.shape[1]
    changed = tokens.repeat(T, 1)
    each = torch.arange(T)
    changed[each, each] = (changed[each, each] + 1) % (N_WORDS + N_CODES)
    pose = data.pose[:1]
    moved = model(changed, pose.expand(T, -1, -1), where) - model(tokens, pose, where)
    reached = moved.abs().amax(2) > 1e-10              # (changed token, position)
    step = (where.mask | torch.eye(T, dtype=torch.bool)).double()
    assert torch.equal(reached, (step @ step > 0).T)


def test_no_gradient_from_an_answer_to_what_it_may_not_see(data, model):
    """The same by gradient: a loss at one branch's answer moves no embedding of another branch."""
    where, (tokens, _) = layout(data, ALL), pack(data, ALL, N_WORDS)
    seen = []

    def keep(module, inputs, output):
        output.retain_grad()
        seen.append(output)

    model.token.register_forward_hook(keep)
    logits = model(tokens, data.pose, where)
    last = len(where.segment) - 1                      # the direct answer
    logits[:, last].square().sum().backward()
    moved = seen[0].grad.abs().amax((0, 2)) > 0
    prefix = where.segment <= QUERY
    assert moved[prefix].all() and moved[last] and moved.sum() == prefix.sum() + 1


def test_branches_together_equal_branches_alone(data, model):
    tokens, _ = pack(data, ALL, N_WORDS)
    where = layout(data, ALL)
    together = model(tokens, data.pose, where)[:, where.segment == ANSWER]
    for number, branch in enumerate(ALL):
        alone = model(pack(data, (branch,), N_WORDS)[0], data.pose, layout(data, (branch,)))
        assert torch.allclose(alone[:, -1], together[:, number], atol=1e-4)


def test_every_weight_of_the_model_matters(model):
    """All but the layer for losses on hidden states: each has a gradient."""
    data = DATA["mvc"]
    model(pack(data, ALL, N_WORDS)[0], data.pose, layout(data, ALL)).square().mean().backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == {"project.weight"}


@torch.no_grad()
@pytest.mark.parametrize("name", ["segment", "order", "cell", "next_cell"])
def test_a_token_knows_where_it_is(model, name):
    data = DATA["pt"]
    where, (tokens, _) = layout(data, ALL), pack(data, ALL, N_WORDS)
    before = model(tokens, data.pose, where)
    for at in (0, -30):                                # in a view, in a branch
        for axis in range(getattr(where, name)[at].numel()):
            other = getattr(where, name).clone()
            other[at].view(-1)[axis] = (other[at].view(-1)[axis] + 1) % 5
            moved = model(tokens, data.pose, where._replace(**{name: other})) - before
            assert moved[:, at].abs().max() > 1e-6


@torch.no_grad()
def test_a_view_knows_the_pose_of_its_camera_and_of_no_other(model):
    data = DATA["mvc"]
    where, (tokens, _) = layout(data, ALL), pack(data, ALL, N_WORDS)
    for part in range(3):
        pose = data.pose.clone()
        pose[:, 1, part] = pose[:, 1, part] % 4 + 1
        moved = model.embed(tokens, pose, where) - model.embed(tokens, data.pose, where)
        assert (moved.abs().amax((0, 2)) > 0).nonzero().flatten().tolist() == list(range(25, 50))


@torch.no_grad()
def test_states_at_some_positions_are_those_of_all(data, model):
    where, (tokens, _) = layout(data, ALL), pack(data, ALL, N_WORDS)
    every = model.states(tokens, data.pose, where)
    some = model.states(tokens, data.pose, where, where.loss_at)
    assert torch.allclose(every[:, where.loss_at], some, atol=1e-5)


def test_first_weights_are_those_of_the_seed_and_each_block_is_the_identity():
    torch.manual_seed(3)
    config, tokenizer = Config(seed=3), Tokenizer()
    torch.manual_seed(3)
    by_hand = Model(config, N_WORDS, tokenizer.n_codes, tokenizer.dim)
    before = torch.get_rng_state()
    model = new_model(config, [TASKS["pt"]], tokenizer)
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(by_hand.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
    drawn = [w.std().item() for w in (model.token.weight, model.row.weight, model.head.weight)]
    assert drawn == pytest.approx([1, 0.3, config.n_embd ** -0.5], rel=0.1)
    x, mask = torch.randn(2, 5, config.n_embd), torch.ones(5, 5, dtype=torch.bool)
    assert torch.equal(model.blocks[0](x, mask), x)


def test_codes_that_look_alike_start_alike():
    torch.manual_seed(0)
    model = Model(Config(), N_WORDS, 64, CODE_DIM)
    kinds = F.normalize(torch.randn(8, CODE_DIM), dim=1)
    codebook = kinds.repeat_interleave(8, 0) + 0.05 * torch.randn(64, CODE_DIM)
    kind = torch.arange(64) // 8
    same = (kind[:, None] == kind) & ~torch.eye(64, dtype=torch.bool)
    other = kind[:, None] != kind
    for weight in model.token.weight, model.head.weight:
        before = weight.detach().clone()
        model.start_alike(weight, codebook)
        assert torch.equal(before[:N_WORDS], weight[:N_WORDS])
        assert weight[N_WORDS:].std().item() == pytest.approx(before.std().item(), rel=0.1)
        rows = F.normalize(weight[N_WORDS:], dim=1)
        alike = rows @ rows.T
        assert alike[same].mean() > 0.3 + alike[other].mean()


@pytest.mark.parametrize("task, views, alike", [
    ("pt", "cells", []), ("pet", "first-person", ["token", "head"]),
    ("pt", "first-person", ["head"]), ("mvc", "first-person", ["token"]),
    ("pt,mvc", "first-person", ["token", "head"])])
def test_codes_of_pictures_start_alike_those_of_maps_do_not(task, views, alike):
    tokenizer, tasks = Tokenizer(views), [TASKS[name] for name in task.split(",")]
    torch.nn.init.normal_(tokenizer.codebook)
    config = Config(task=task, views=views)
    torch.manual_seed(0)
    usual = Model(config, N_WORDS, tokenizer.n_codes, tokenizer.dim)
    model = new_model(config, tasks, tokenizer)
    different = [name for name in ("token", "head") if not torch.equal(
        getattr(usual, name).weight, getattr(model, name).weight)]
    assert different == alike


def test_a_few_glyphs_do_not_start_alike_however_large_the_codebook_is():
    """MiniGrid has 48 distinct codes of 1,024: alike, they are learnt late or not at all."""
    tokenizer = Tokenizer("pictures")
    weights = []
    for distinct in (48, tokenizer.n_codes):
        tokenizer.codebook[:] = F.normalize(torch.ones(tokenizer.dim), dim=0)
        torch.nn.init.normal_(tokenizer.codebook[:distinct])
        weights.append(new_model(Config(), [TASKS["pet"]], tokenizer).token.weight)
    torch.manual_seed(Config().seed)
    usual = Model(Config(), len(WORDS), tokenizer.n_codes, tokenizer.dim).token.weight
    assert torch.equal(weights[0], usual) and not torch.equal(weights[1], usual)


# ------------------------------------------------------------------------------------- decoding
@torch.no_grad()
def test_cached_decoding_equals_uncached(data, model):
    """Whole sequences, in which the model's own content is written, give the same again."""
    answers = answers_of("mvc")
    for name, branch, field in (("imagine", (IMAGINE, ANSWER), "imagination"),
                                ("think", (THINK, ANSWER), "cot")):
        out = generate.decode(model, data, answers, generate.DECODES[name].function, batch=4)
        own = getattr(out, field)
        tokens, targets = pack(data._replace(**{field: own}), (branch,), N_WORDS)
        where = layout(data, (branch,))
        logits = model(tokens, data.pose, where)
        ids = slice(N_WORDS, None) if name == "imagine" else slice(N_WORDS)
        greedy = logits[:, where.loss_at[:-1], ids].argmax(-1) + (ids.start or 0)
        assert torch.equal(greedy, targets[:, :-1])
        last = logits[:, -1, answers]
        assert torch.equal(answers[last.argmax(1)], out.answer)
        assert torch.allclose(last.softmax(1), out.probabilities, atol=1e-5)
        assert own.shape == getattr(data, field).shape


@torch.no_grad()
def test_direct_and_oracle_equal_uncached(data, model):
    answers = answers_of()
    data = data._replace(imagination=data.imagination.roll(1, 0))    # the oracle reads what it gets
    for name, branch in (("direct", (ANSWER,)), ("oracle", (IMAGINE, ANSWER))):
        out = generate.decode(model, data, answers, generate.DECODES[name].function, batch=4)
        logits = model(pack(data, (branch,), N_WORDS)[0], data.pose, layout(data, (branch,)))
        last = logits[:, -1, answers]
        assert torch.equal(answers[last.argmax(1)], out.answer) and out.imagination is None
        assert torch.allclose(last.softmax(1), out.probabilities, atol=1e-5)


def test_a_stream_in_pieces_equals_one_pass(model):
    """Prefix, then token after token."""
    data, branch = DATA["mvc"], (THINK, IMAGINE, ANSWER)
    stream, tokens = generate.Stream(model, data, branch), pack(data, (branch,), N_WORDS)[0]
    where = layout(data, (branch,))
    whole = model(tokens, data.pose, where)
    start = int((where.segment <= QUERY).sum())
    with torch.no_grad():
        assert torch.allclose(stream.predict(), whole[:, start - 1], atol=1e-4)
        for at in range(start, tokens.shape[1]):
            stream.push(tokens[:, at:at + 1])
            if at % 3 == 0:                            # three at a time as well
                assert torch.allclose(stream.predict(), whole[:, at], atol=1e-4)


def test_imagining_picks_image_tokens_by_the_function_given(data, model):
    asked = []

    def third(logits):
        asked.append(logits.shape)
        return logits.topk(3).indices[:, 2:]

    def function(model, data, answers):
        return generate.imagine(model, data, answers, third)

    plain = generate.decode(model, data, answers_of(), generate.imagine)
    out = generate.decode(model, data, answers_of(), function)
    assert asked == [(len(data.answer), N_CODES)] * 25
    assert 0 <= out.imagination.min() and out.imagination.max() < N_CODES
    assert (out.imagination != plain.imagination).any(0).sum() > 10


def test_which_decodes_fit_which_branches():
    for text, names in (("label", ["direct"]), ("text_cot", ["think"]),
                        ("ipt", ["imagine", "oracle"]),
                        ("mixed", ["direct", "imagine", "oracle"]), ("think imagine answer", [])):
        assert generate.decodes_of(branches_of(text)) == names


# --------------------------------------------------------------------------------------- losses
def batch_for(data):
    """A LossInput over all segments with random logits and states, and an untrained tokenizer."""
    torch.manual_seed(0)
    where, (_, targets) = layout(data, ALL), pack(data, ALL, N_WORDS)
    tokenizer = Tokenizer().requires_grad_(False)
    torch.nn.init.normal_(tokenizer.codebook)
    logits = torch.randn(*targets.shape, N_WORDS + N_CODES, requires_grad=True)
    hidden = torch.randn(*targets.shape, 32, requires_grad=True)
    return LossInput(logits, targets, where.losses_of, N_WORDS, hidden,
                     torch.nn.Linear(32, CODE_DIM), tokenizer, where.next_cell[where.loss_at])


@pytest.mark.parametrize("term, segment", [
    ("answer", ANSWER), ("imagination", IMAGINE), ("cot", THINK)])
def test_each_loss_is_cross_entropy_on_its_own_segment(data, term, segment):
    batch = batch_for(data)
    loss = LOSSES[term](batch)
    loss.backward()
    segments = torch.tensor([row[0] for row in tokens_by_hand(data, ALL) if row[5]])
    assert ((batch.logits.grad.abs().sum(-1) > 0) == (segments == segment)).all()
    by_hand = []
    for e in range(len(data.answer)):
        for l in (segments == segment).nonzero().flatten().tolist():
            target = batch.targets[e, l]
            by_hand.append(-batch.logits[e, l].log_softmax(0)[target].item())
    assert loss.item() == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-4)


VARIANTS = load_own(f"{EXAMPLES}/losses.py")


@pytest.mark.parametrize("term", ["discrepancy", "smoothed", "soft_decode", "latent", "rare"])
def test_each_variant_by_hand_and_only_on_imagined_cells(term):
    data = DATA["pt"].take(slice(3))
    batch = batch_for(data)
    loss = getattr(VARIANTS, term)(batch)
    loss.backward()
    book, decoder, by_hand = batch.tokenizer.codebook, batch.tokenizer.decoder, []
    here = batch.losses_of[IMAGINE].tolist()
    source = batch.hidden if term == "latent" else batch.logits
    moved = (source.grad.abs().sum(-1) > 0).any(0)
    assert moved.nonzero().flatten().tolist() == here
    if term not in ("latent", "rare"):
        assert not batch.logits.grad[..., :N_WORDS].any()      # words have no part in it
    if term == "rare":
        codes = batch.targets[:, here].flatten().tolist()
        weights = [(codes.count(code) / len(codes)) ** -0.5 for code in codes]
        logs = batch.logits[:, here].log_softmax(-1).flatten(0, 1)
        total = sum(-w * logs[i, code] for i, (w, code) in enumerate(zip(weights, codes)))
        assert torch.allclose(loss, total / sum(weights), atol=1e-4)
        return
    with torch.no_grad():
        for e in range(3):
            for l in here:
                t = batch.targets[e, l] - N_WORDS
                p = batch.logits[e, l, N_WORDS:].softmax(0)
                far = (book - book[t]).square().sum(1)
                if term == "discrepancy":
                    by_hand.append((far * p).sum())
                elif term == "smoothed":
                    by_hand.append(-((-far / 0.2).softmax(0) * p.log()).sum())
                elif term == "soft_decode":
                    pair = torch.stack([(p[:, None] * book).sum(0), book[t]])
                    drawn = decoder(pair[:, :, None, None])
                    by_hand.append((drawn[0] - drawn[1]).square().mean())
                else:
                    projected = batch.project(batch.hidden[e, l])
                    by_hand.append(1 - F.cosine_similarity(projected, book[t], dim=0))
    assert torch.allclose(loss, torch.stack(by_hand).mean(), atol=1e-4)


def test_terms_on_pictures_draw_each_cell_at_its_place(data):
    batch = batch_for(data)
    codebook = batch.tokenizer.codebook
    targets = batch.targets[:, batch.losses_of[IMAGINE]].flatten() - N_WORDS
    whole = batch.tokenizer.decoder(codebook[data.imagination].permute(0, 3, 1, 2))
    assert torch.allclose(VARIANTS.drawn(batch, codebook[targets]), whole, atol=1e-6)


def test_the_compass_term_is_that_of_the_first_imagined_code(data):
    batch = batch_for(data)
    loss = LOSSES["compass"](batch)
    loss.backward()
    first = batch.losses_of[IMAGINE][0].item()
    moved = (batch.logits.grad.abs().sum(-1) > 0).any(0)
    assert moved.nonzero().flatten().tolist() == [first]
    logs, compass = batch.logits[:, first].log_softmax(1), batch.targets[:, first]
    assert torch.equal(compass - N_WORDS, as_imagined(data)[:, 0])
    assert torch.allclose(loss, -logs[torch.arange(len(logs)), compass].mean())


def test_weights_and_their_schedule(monkeypatch):
    mixed = branches_of("mixed")
    terms = parse_loss("answer=0.2@0.3:4@0.5,imagination=2", mixed)
    weights = [terms["answer"].weight(part) for part in (0, .3, .4, .5, 1)]
    assert weights == pytest.approx([.2, .2, 2.1, 4, 4])
    assert terms["imagination"].weight(0.7) == 2
    for wrong in ("answr=1", "answer=x", "answer=-1", "answer", "cot=1", "answer=1@0.5:2@0.3",
                  "no.py:f=1", "answer=1@50:5@80", "answer=1,answer=2", "answer=nan", "answer=inf",
                  "answer=1,", "answer=", "=1", "answer=1@0.5@0.7", "answer=1@-0.1",
                  "answer=1@nan"):
        with pytest.raises(UserError):
            parse_loss(wrong, mixed)
    def mine(batch):
        return batch.logits.mean()
    monkeypatch.setitem(LOSSES, "mine", mine)
    assert parse_loss("answer=1,mine=2", mixed)["mine"].function is mine
    path = f"{EXAMPLES}/losses.py"
    assert list(parse_loss(f"answer=1,{path}:latent=0.1", mixed)) == ["answer", "latent"]


def test_the_default_loss_trains_what_the_branches_have():
    terms = "answer=3@0.5:1@0.7,imagination=1,compass=2,cot=1"
    answer = "answer=3@0.5:1@0.7"
    for text, default in (("label", answer), ("mixed", f"{answer},imagination=1,compass=2"),
                          ("text_cot", f"{answer},cot=1"), ("think imagine answer", terms)):
        branches = branches_of(text)
        assert complete_loss("", branches, terms) == default
        assert complete_loss("+my.py:f=0.5", branches, terms) == f"{default},my.py:f=0.5"
        assert complete_loss("answer=1", branches, terms) == "answer=1"
    mixed = branches_of("mixed")
    for task in TASKS.values():
        for loss in task.LOSS.values():
            assert "answer" in parse_loss(complete_loss("", mixed, loss), mixed)


def test_a_term_gets_all_that_a_step_knows(monkeypatch):
    """What an own term is promised, in a real step."""
    seen = []

    def look(batch):
        seen.append(batch)
        return batch.logits.mean()

    kept = []
    monkeypatch.setattr("ipt_mini.training.keep_freed_memory", lambda: kept.append(True))
    monkeypatch.setitem(LOSSES, "look", look)
    training = training_for(Config(steps=10), "look=1")
    assert kept
    train_step(training, 2)
    rows = get_batch(2, training.run.config, training.sets[0])
    (batch,) = seen
    B, L = training.sets[0].targets[rows].shape
    assert torch.equal(batch.targets, training.sets[0].targets[rows])
    assert batch.logits.shape == (B, L, N_WORDS + N_CODES) and batch.hidden.shape == (B, L, 128)
    assert batch.losses_of is training.sets[0].layout.losses_of and batch.n_words == N_WORDS
    assert batch.project(batch.hidden).shape == (B, L, CODE_DIM)
    assert batch.tokenizer.codebook.shape == (N_CODES, CODE_DIM)
    assert not any(p.requires_grad for p in batch.tokenizer.parameters())


# ----------------------------------------------------------------------------- a step of training
def training_for(config, loss="", inputs=None, task="pt", device="cpu"):
    """A Training as training.train makes it, with an untrained tokenizer and few examples."""
    config = replace(config, task=task, n_train=64, n_val=16, loss=loss)
    torch.manual_seed(0)
    tokenizer = Tokenizer().requires_grad_(False).eval()
    torch.nn.init.normal_(tokenizer.codebook)
    tasks = load_tasks(task)
    terms, _ = named(config, tasks)
    training = training_of(config, tasks, tokenizer, terms, inputs)
    model = training.run.model.to(device)
    tokenizer.to(device)
    return training._replace(optimizers=optimizers_of(model, config),
                             sets=on(device, training.sets))


def on(device, value):
    """A tensor, or a tuple or dict of them, on a device."""
    if torch.is_tensor(value):
        return value.to(device)
    if isinstance(value, list):
        return [on(device, part) for part in value]
    if isinstance(value, dict):
        return {k: on(device, v) for k, v in value.items()}
    if hasattr(value, "_fields"):
        return type(value)(*(on(device, part) for part in value))
    return value


@pytest.mark.parametrize("supervision, loss", [
    ("text_cot", ""), ("mixed", ""), ("think imagine answer", ""),
    ("mixed", ",".join(["answer=1", *(f"{EXAMPLES}/losses.py:{term}=1" for term in (
        "discrepancy", "smoothed", "soft_decode", "latent"))]))])
def test_no_step_of_training_waits_for_a_value(supervision, loss):
    """On the device "meta" tensors have shapes and no values: whatever would wait for a GPU to
    finish fails."""
    config = Config(supervision=supervision, steps=10)
    training = training_for(config, loss=loss, device="meta")
    for step in (0, 8):                                # with the curriculum and without
        losses = train_step(training, step)
        assert losses.is_meta and losses.shape == (len(training.sets[0].terms),)


def test_a_step_follows_the_weighted_sum_of_the_terms():
    """And each optimizer gets its rate of this step."""
    config = Config(steps=10, cooldown=0.5, n_layer=1, n_embd=32)
    training = training_for(config, loss="answer=0.5@0:1@1,imagination=3")
    for optimizer in training.optimizers:
        optimizer.step = lambda: None                  # the weights stay
    losses = train_step(training, 7)
    moved = [p.grad.clone() for p in training.run.model.parameters() if p.grad is not None]
    rows = get_batch(7, config, training.sets[0])
    again = loss_terms(training, training.sets[0], rows, 7)
    assert torch.equal(again.detach(), losses)
    training.run.model.zero_grad()
    (0.85 * again[0] + 3 * again[1]).backward()
    still = [p.grad for p in training.run.model.parameters() if p.grad is not None]
    assert len(moved) == len(still) > 10
    for a, b in zip(moved, still):
        assert torch.allclose(a, b, atol=1e-6)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in training.optimizers]
    assert rates == pytest.approx([0.02 * 0.6, 0.003 * 0.6])


def test_learning_rate_is_a_plateau_then_a_straight_fall():
    config = Config(steps=100, cooldown=0.4)
    rates = [lr_share(step, config) for step in range(101)]
    assert rates[:61] == [1] * 61 and rates[100] == 0
    assert np.allclose(np.diff(rates[60:]), -1 / 40)
    assert lr_share(99, Config(steps=100, cooldown=0.0)) == 1
    in_person = replace(config, views="first-person")
    assert [lr_share(step, in_person) for step in range(101)] == [0.5 * x for x in rates]


def test_a_larger_grid_takes_the_recipe_of_first_person():
    def recipe_of(**settings):
        config = completed(Config(task="pt", **settings), {"pt": TASKS["pt"]})
        return config.steps, config.loss, lr_share(0, config)
    assert recipe_of(grid=7) == recipe_of(views="first-person") != recipe_of()


def test_every_weight_is_learned_by_one_optimizer():
    model = new_model(Config(), [TASKS["pt"]], Tokenizer())
    muon, adam = optimizers_of(model, Config(weight_decay=0.1))
    groups = [[id(p) for p in optimizer.param_groups[0]["params"]] for optimizer in (muon, adam)]
    assert sorted(groups[0] + groups[1]) == sorted(id(p) for p in model.parameters())
    matrices = {id(p) for p in model.blocks.parameters() if p.dim() == 2}
    assert matrices == set(groups[0]) and len(matrices) == 2 * 5
    assert all(o.param_groups[0]["weight_decay"] == 0.1 for o in (muon, adam))


def test_a_few_steps_learn():
    """The loss falls on one batch that is seen again and again."""
    config = Config(steps=40, batch_size=64, n_layer=1, n_embd=64, n_head=2, supervision="ipt")
    training = training_for(config, loss="answer=1,imagination=1")
    losses = torch.stack([train_step(training, step) for step in range(40)]).sum(1)
    assert losses[-5:].mean() < 0.75 * losses[0]


@pytest.mark.parametrize("name", ["random", "own"])
def test_scheduled_sampling_replaces_its_share_of_imagined_inputs(model, name):
    """And nothing else; the data stay as they are."""
    example = load_own(f"{EXAMPLES}/scheduled_sampling.py")
    inputs, data = getattr(example, name), data_of("pt", 64)
    model.head.weight.data *= 10                       # sure of what it says
    branches = branches_of("mixed")
    where, (tokens, _) = layout(data, branches), pack(data, branches, N_WORDS)
    kept = tokens.clone()
    def changed_by(seed):
        return inputs(model, tokens, data.pose, where, torch.Generator().manual_seed(seed))
    seen = changed_by(7)
    shown = (where.segment == IMAGINE) & (where.cell[:, 0] > 0)
    wrong = seen != tokens
    assert not wrong[:, ~shown].any() and (seen[:, shown] >= N_WORDS).all()
    drawn_alike = 1 / N_CODES if name == "random" else 0
    assert abs(wrong[:, shown].float().mean() - example.SHARE * (1 - drawn_alike)) < 0.05
    assert torch.equal(tokens, kept)
    assert torch.equal(seen, changed_by(7)) and not torch.equal(seen, changed_by(8))
    if name == "own":                                  # what it says there, not any code
        logits = model(tokens, data.pose, where)[:, shown.nonzero().flatten() - 1, N_WORDS:]
        chance = logits.softmax(-1).gather(2, (seen[:, shown] - N_WORDS)[..., None])[..., 0]
        assert chance[wrong[:, shown]].mean() > 0.3
    with torch.device("meta"):                         # it waits for no value
        assert inputs(model.to("meta"), tokens.to("meta"), data.pose.to("meta"), on("meta", where),
                      None).is_meta


def test_own_inputs_reach_the_model_and_the_targets_stay_true():
    seen = []

    def inputs(model, tokens, pose, layout, rng):
        seen.append((tokens.clone(), torch.rand(1, generator=rng)))
        return torch.zeros_like(tokens)                # as if nothing could be seen

    training = training_for(Config(steps=10, n_layer=1), inputs=inputs)
    data = training.sets[0]
    rows = get_batch(3, training.run.config, data)
    blind = loss_terms(training, data, rows, 3)
    assert torch.equal(seen[0][0], data.tokens[rows])
    by_hand = data._replace(tokens=torch.zeros_like(data.tokens))
    assert torch.equal(blind, loss_terms(training._replace(inputs=None), by_hand, rows, 3))
    loss_terms(training, data, rows, 3)
    loss_terms(training, data, rows, 4)
    assert seen[0][1] == seen[1][1] != seen[2][1]      # random numbers by seed and step alone


# ------------------------------------------------------------------------------- Muon, batches
def test_orthogonal_draws_singular_values_to_one():
    torch.manual_seed(0)
    for shape in ((20, 20), (8, 30), (30, 8)):
        singular = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert (singular > 0.5).all() and (singular < 1.3).all()
    assert not orthogonal(torch.zeros(3, 4)).any()     # and not NaN


@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (48, 16)])
def test_muon_is_that_of_torch(shape):
    """torch computes in bfloat16: the sums of ten updates differ by less than 1%."""
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    settings = dict(lr=0.02, weight_decay=0.1)
    pair = Muon([ours], **settings), torch.optim.Muon([theirs], momentum=0.95, **settings)
    for _ in range(10):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimizer in pair:
            optimizer.step()
    difference = (ours - theirs).norm() / (theirs - start).norm()
    assert difference < 1e-2 and (ours - start).norm() > 0.1


def test_batches_come_in_uneven_shares_first_and_all_examples_later():
    config = Config(task="pt", n_train=640, steps=100, batch_size=64, curriculum=0.5)
    task, kind = TASKS["pt"], np.arange(640) % 4
    data = TrainingSet(*[None] * 4, kind, task.CURRICULUM, 500, None, 100)
    early = np.concatenate([kind[get_batch(step, config, data)] for step in range(50)])
    assert np.abs(np.bincount(early) / len(early) - task.CURRICULUM).max() < 0.03
    long = data._replace(steps=5000)                   # 500 steps at most
    for step, even in ((499, False), (500, True)):
        shares = np.bincount(kind[get_batch(step, config, long)], minlength=4) / 64
        assert (shares.max() < 0.45) == even, step
    longer = long._replace(curriculum_steps=3000)      # half of the steps, then
    for step, even in ((2499, False), (2500, True)):
        shares = np.bincount(kind[get_batch(step, config, longer)], minlength=4) / 64
        assert (shares.max() < 0.45) == even, step
    epoch = torch.cat([get_batch(step, config, data) for step in range(60, 70)])
    assert sorted(epoch.tolist()) == list(range(640))
    assert torch.equal(get_batch(3, config, data), get_batch(3, config, data))
    other = replace(config, seed=1)
    assert not torch.equal(get_batch(60, config, data), get_batch(60, other, data))
    even = data._replace(curriculum=None)
    epoch = torch.cat([get_batch(step, config, even) for step in range(10)])
    assert sorted(epoch.tolist()) == list(range(640))


def test_settings_read_from_a_file_never_execute_the_files_they_name(tmp_path):
    own = tmp_path / "bad.py"
    own.write_text("raise SystemExit('executed')\n")
    named = {"loss": f"answer=1,{own}:term=1", "inputs": f"{own}:f", "task": str(own),
             "tokenizer": f"{own}:T"}
    assert asdict(config_from({**asdict(Config()), **named})) == {**asdict(Config()), **named}
