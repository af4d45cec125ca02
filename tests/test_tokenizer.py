"""The VQ tokenizer: nearest code, straight-through, commitment, EMA, revival."""
import pytest
import torch

from ipt_mini.tokenizer import Codebook, Tokenizer, to_images, train_tokenizer, usage


@pytest.fixture
def codebook():
    torch.manual_seed(0)
    book = Codebook(8, 4)
    book.start_from(torch.randn(256, 4))
    return book


def test_nearest_against_brute_force(codebook):
    z = torch.randn(100, 4)
    brute = [min(range(8), key=lambda k: float((v - codebook.codebook[k]).square().sum())) for v in z]
    assert codebook.nearest(z).tolist() == brute


def test_value_is_the_code_and_gradient_goes_straight_through(codebook):
    codebook.eval()
    z_e = torch.randn(3, 2, 2, 4, requires_grad=True)
    z_q, _ = codebook(z_e)
    assert torch.allclose(z_q, codebook.codebook[codebook.nearest(z_e)], atol=1e-6)
    g = torch.randn_like(z_e)
    z_q.backward(g)
    assert torch.equal(z_e.grad, g)


def test_commitment_pulls_the_encoder_and_never_the_codebook(codebook):
    codebook.eval()
    z_e = torch.randn(3, 2, 2, 4, requires_grad=True)
    codebook(z_e)[1].backward()
    nearest = codebook.codebook[codebook.nearest(z_e)]
    assert torch.allclose(z_e.grad, 2 * (z_e - nearest).detach() / z_e.numel(), atol=1e-6)
    assert not codebook.codebook.requires_grad and not list(codebook.parameters())


def test_codebook_is_the_running_mean_of_its_vectors_and_moves_only_in_training(codebook):
    z = torch.randn(50, 4)
    before = {k: v.clone() for k, v in codebook.state_dict().items()}
    codebook.eval()(z)
    assert all(torch.equal(v, before[k]) for k, v in codebook.state_dict().items())
    codes = codebook.nearest(z)
    codebook.train()(z)
    for k in codes.unique().tolist():
        size = 0.95 * before["cluster_size"][k] + 0.05 * (codes == k).sum()
        total = 0.95 * before["cluster_sum"][k] + 0.05 * z[codes == k].sum(0)
        assert torch.allclose(codebook.codebook[k], total / size, atol=1e-5)


def test_dead_codes_come_back_from_distinct_vectors_only(codebook):
    codebook.cluster_size[3:] = 0
    cluster = torch.randn(1, 4).expand(50, 4)            # many copies of one vector
    codebook.revive(codebook.cluster_size == 0, cluster)
    assert (codebook.cluster_size > 0).sum() == 4        # three alive and one revived, not eight
    codebook.revive(codebook.cluster_size == 0, 10 * torch.randn(50, 4))
    assert (codebook.cluster_size > 0).all()
    assert torch.pdist(codebook.codebook[3:]).min() > 0.5


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


def test_decode_is_the_decoder_cell_by_cell():
    torch.manual_seed(0)
    tokenizer = Tokenizer().eval()
    torch.nn.init.normal_(tokenizer.quantizer.codebook)
    codes = torch.randint(32, (2, 3, 5))
    z = tokenizer.quantizer.codebook[codes].permute(0, 3, 1, 2)
    whole = ((tokenizer.decoder(z).clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    assert (torch.from_numpy(tokenizer.decode(codes)).int() - whole.int()).abs().max() <= 1


def test_it_learns_the_glyphs_the_same_way_each_time():
    from ipt_mini.config import Config
    from ipt_mini.run import tokenizer_pixels
    from ipt_mini.tasks.grid import nearest_glyph
    _, pixels, again = tokenizer_pixels(Config(), "train", 1000)
    cells, held_out, _ = tokenizer_pixels(Config(), "val", 300)
    tokenizer = train_tokenizer(pixels, again)
    right = nearest_glyph(tokenizer.decode(tokenizer.encode(held_out))) == cells
    assert right.mean() >= 0.999
    one, two = (train_tokenizer(pixels, again, steps=200).state_dict() for _ in range(2))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert to_images(pixels[:1]).min() >= -1
