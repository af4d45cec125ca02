"""The VQ tokenizer: nearest code, straight-through, commitment, EMA, revival."""
import pytest
import torch

from ipt_mini.config import Config
from ipt_mini.dataset import tokenizer_pictures
from ipt_mini.evaluate import usage
from ipt_mini.reader import nearest_glyph
from ipt_mini.tasks import TASKS
from ipt_mini.tasks.camera import draw
from ipt_mini.tasks.grid import OBJECT, render
from ipt_mini.tokenizer import Codebook, Tokenizer, to_images, train_tokenizer


@pytest.fixture
def book():
    torch.manual_seed(0)
    book = Codebook(8, 4)
    book.start_from(torch.randn(256, 4))
    return book


def test_nearest_against_brute_force(book):
    z = torch.randn(20, 5, 4)
    for vector, code in zip(z.flatten(0, 1), book.nearest(z).flatten()):
        distances = [(vector - e).square().sum().item() for e in book.vectors]
        assert distances.index(min(distances)) == code


def test_value_is_the_code_and_gradient_goes_straight_through(book):
    book.eval()
    z_e = torch.randn(3, 2, 2, 4, requires_grad=True)
    z_q, _ = book(z_e)
    assert torch.allclose(z_q, book.vectors[book.nearest(z_e)], atol=1e-6)
    g = torch.randn_like(z_e)
    z_q.backward(g)
    assert torch.equal(z_e.grad, g)


def test_commitment_pulls_the_encoder_and_never_the_codebook(book):
    book.eval()
    z_e = torch.randn(3, 2, 2, 4, requires_grad=True)
    book(z_e)[1].backward()
    nearest = book.vectors[book.nearest(z_e)]
    assert torch.allclose(z_e.grad, 2 * (z_e - nearest).detach() / z_e.numel(), atol=1e-6)
    assert not book.vectors.requires_grad and not list(book.parameters())


def test_codes_are_running_means_and_move_only_in_training(book):
    z = torch.randn(50, 4)
    before = {k: v.clone() for k, v in book.state_dict().items()}
    book.eval()(z)
    assert all(torch.equal(v, before[k]) for k, v in book.state_dict().items())
    codes = book.nearest(z)
    book.train()(z)
    for k in codes.unique().tolist():
        size = 0.95 * before["cluster_size"][k] + 0.05 * (codes == k).sum()
        total = 0.95 * before["cluster_sum"][k] + 0.05 * z[codes == k].sum(0)
        assert torch.allclose(book.vectors[k], total / size, atol=1e-5)


def test_before_the_start_vectors_pass_as_they_are():
    book, z_e = Codebook(8, 4), torch.randn(10, 4)
    z_q, commitment_loss = book(z_e)
    assert torch.equal(z_q, z_e) and commitment_loss == 0
    assert not book.vectors.any() and not book.cluster_size.any()


def test_dead_codes_come_back_from_distinct_vectors_only(book):
    book.cluster_size[3:] = 0
    one = torch.randn(1, 4).expand(50, 4)                # many copies of one vector
    book.revive(book.cluster_size == 0, one)
    assert (book.cluster_size > 0).sum() == 4            # three alive and one revived, not eight
    book.revive(book.cluster_size == 0, 10 * torch.randn(50, 4))
    assert (book.cluster_size > 0).all()
    assert torch.pdist(book.vectors[3:]).min() > 0.5


def test_start_takes_distinct_vectors_of_the_data():
    torch.manual_seed(0)
    centres = 5 * torch.randn(6, 4)
    z = centres.repeat_interleave(40, 0) + 0.01 * torch.randn(240, 4)
    book = Codebook(8, 4)
    book.start_from(z)
    assert book.ready and (torch.cdist(book.vectors, z).amin(1) == 0).all()
    assert (torch.cdist(centres, book.vectors).amin(1) < 0.1).all()          # none is forgotten


def test_the_loss_by_hand():
    """Pixel error against the other rendering, plus beta times the commitment."""
    torch.manual_seed(0)
    tokenizer = Tokenizer().eval()
    pixels, again = torch.randint(256, (2, 2, 16, 16, 3)).byte()
    z_e = tokenizer.embed(pixels)
    tokenizer.quantizer.start_from(z_e.detach().flatten(0, 2))
    z_q = tokenizer.codebook[tokenizer.encode(pixels)]
    drawn = tokenizer.decoder(z_q.permute(0, 3, 1, 2))
    wanted = again.permute(0, 3, 1, 2) / 127.5 - 1
    by_hand = (drawn - wanted).square().mean() + 0.25 * (z_e - z_q).square().mean()
    assert torch.allclose(tokenizer.loss(pixels, again, 1.0), by_hand, atol=1e-6)


def test_the_codebook_starts_after_the_warm_up():
    torch.manual_seed(0)
    tokenizer = Tokenizer()
    pixels = torch.randint(256, (4, 16, 16, 3)).byte()
    tokenizer.loss(pixels, pixels, tokenizer.warmup - 0.01)
    assert not tokenizer.quantizer.ready
    tokenizer.loss(pixels, pixels, tokenizer.warmup)
    assert tokenizer.quantizer.ready and tokenizer.codebook.any()


def test_a_code_sees_only_its_own_cell():
    torch.manual_seed(0)
    tokenizer = Tokenizer().eval()
    a = torch.randint(256, (1, 24, 24, 3)).byte()
    b = a.clone()
    b[:, 8:16, 8:16] = torch.randint(256, (1, 8, 8, 3))
    differs = (tokenizer.embed(a) - tokenizer.embed(b)).abs().sum(3)[0] > 1e-6
    assert differs.sum() == 1 and differs[1, 1]


def test_usage_of_uniform_codes():
    used, perplexity = usage(torch.arange(8).repeat(5), 16)
    assert used == 0.5 and abs(perplexity - 8) < 1e-4
    assert usage(torch.zeros(7, dtype=torch.long), 4) == (0.25, 1.0)


def test_decode_is_the_decoder_cell_by_cell():
    torch.manual_seed(0)
    tokenizer = Tokenizer().eval()
    torch.nn.init.normal_(tokenizer.codebook)
    codes = torch.randint(32, (2, 3, 5))
    pixels = torch.from_numpy(tokenizer.decode(codes)).int()
    for e in range(2):
        for i in range(3):
            for j in range(5):
                z = tokenizer.codebook[codes[e, i, j]].view(1, -1, 1, 1)
                cell = ((tokenizer.decoder(z).clamp(-1, 1) + 1) * 127.5).round()[0]
                there = pixels[e, 8 * i:8 * i + 8, 8 * j:8 * j + 8]
                assert (there - cell.permute(1, 2, 0)).abs().max() <= 1


def test_encode_takes_any_number_of_pictures_in_front():
    torch.manual_seed(0)
    tokenizer = Tokenizer().eval()
    torch.nn.init.normal_(tokenizer.codebook)
    pixels = torch.randint(256, (2, 3, 16, 24, 3)).byte()
    codes = tokenizer.encode(pixels)
    assert codes.shape == (2, 3, 2, 3) and codes.dtype == torch.int64
    assert torch.equal(codes[1, 2], tokenizer.encode(pixels[1, 2]))


def test_it_learns_the_glyphs_the_same_way_each_time():
    """A short training. tests/slow has the whole one, after which all cells are right."""
    pictures = [*tokenizer_pictures(Config(), [TASKS["pt"]], "train", 300).values()]
    held_out = tokenizer_pictures(Config(), [TASKS["pt"]], "val", 100)[render]
    torch.manual_seed(5)
    one = train_tokenizer(Tokenizer, pictures, seed=3, steps=24, batch=16)
    assert one.quantizer.ready                                   # with a codebook
    torch.rand(9)
    before = torch.get_rng_state()
    two = train_tokenizer(Tokenizer, pictures, seed=3, steps=24, batch=16)
    assert torch.equal(torch.get_rng_state(), before) and not one.training
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    longer = train_tokenizer(Tokenizer, pictures, seed=3, steps=120, batch=16)
    right = nearest_glyph(longer.decode(longer.encode(held_out.pixels))) == held_out.cells
    objects = held_out.cells >= OBJECT                 # two thirds are floor or dark
    assert right.mean() > 0.85 and right[objects].mean() > 0.6
    images = to_images(held_out.pixels)
    assert images.min() >= -1 and images.max() <= 1


def test_pictures_for_the_tokenizer_are_drawn_as_each_task_draws_them():
    """In first person maps stay maps: what PT shows, and what MVC imagines."""
    by_painter = tokenizer_pictures(Config(views="first-person"), [TASKS["pt"]], "train", 20)
    assert list(by_painter) == [draw, render]
    assert [len(pictures.cells) for pictures in by_painter.values()] == [60, 40]
    for paint, (cells, pixels, again) in by_painter.items():
        clean = torch.from_numpy(paint(cells)).int()
        for noisy in (pixels, again):
            assert 1 < (noisy - clean).abs().float().mean() < 20
        assert (pixels != again).float().mean() > 0.8
    assert list(tokenizer_pictures(Config(), [TASKS["pt"]], "train", 20)) == [render]


def test_two_sets_of_pictures_are_both_learnt(monkeypatch):
    """Three batches of the first, one of the last."""
    seen = []

    class Spy(Tokenizer):
        def loss(self, pixels, again, part):
            seen.append(pixels.shape[1])
            return super().loss(pixels, again, part)
    config = Config(views="first-person")
    pictures = [*tokenizer_pictures(config, [TASKS["pt"]], "train", 20).values()]
    train_tokenizer(Spy, pictures, steps=8, batch=4)
    assert seen == [48, 48, 48, 40] * 2


def test_in_first_person_the_decoder_looks_at_the_neighbours_and_no_farther():
    torch.manual_seed(0)
    tokenizer = Tokenizer("first-person").eval()
    torch.nn.init.normal_(tokenizer.codebook)
    codes = torch.randint(512, (1, 6, 6))
    other = codes.clone()
    other[0, 2, 2] = (codes[0, 2, 2] + 1) % 512
    changed = (tokenizer.decode(codes) != tokenizer.decode(other)).any(-1)[0]
    where = changed.reshape(6, 8, 6, 8).any((1, 3))
    assert where[1:4, 1:4].all() and where.sum() == 9
