"""A decoder-only transformer over the joint vocabulary of words and codes: tokens -> logits.

Pre-norm blocks with RMSNorm, multi-query attention by `scaled_dot_product_attention` with normed
queries and keys, ReLU, no biases.
Shape letters: B sequences, T tokens, C = n_embd, H heads of D = C / H, V = vocab_size; in `embed`
V views of P cells.
"""
import torch
import torch.nn.functional as F
from torch import nn

from ipt_mini.sequence import SEGMENTS

EVERYWHERE = slice(None)


class KVCache:
    """Keys and values of the tokens seen so far: (layers, B, 1, T, D) each."""

    def __init__(self, config, batch, length, device=None):
        shape = (config.n_layer, batch, 1, length, config.n_embd // config.n_head)
        self.k = torch.zeros(shape, device=device)
        self.v = torch.zeros(shape, device=device)
        self.length = 0                            # tokens so far

    def update(self, layer, k, v):
        """Store k and v (B, 1, t, D) of the next tokens in one layer; return all so far.
        `length` moves on in Model.states, after the last layer."""
        end = self.length + k.shape[2]
        self.k[layer, :, :, self.length:end] = k
        self.v[layer, :, :, self.length:end] = v
        return self.k[layer, :, :, :end], self.v[layer, :, :, :end]


class Attention(nn.Module):
    """Each head has its own queries; keys and values are the same for all of them (multi-query
    attention, arXiv 1911.02150): answering reads them once, not once a head."""

    def __init__(self, config, layer):
        super().__init__()
        C, H = config.n_embd, config.n_head
        self.layer, self.n_head, self.head_dim = layer, H, C // H
        self.q = nn.Linear(C, C, bias=False)
        self.kv = nn.Linear(C, 2 * self.head_dim, bias=False)
        self.out = nn.Linear(C, C, bias=False)
        # Normed q and k have length sqrt(D), so no logit q.k / sqrt(D) is above sqrt(D): too flat
        # to pick one cell of many. A gain that is learned lets a head sharpen.
        self.gain = nn.Parameter(torch.ones(H, 1, self.head_dim))

    def forward(self, x, mask, cache=None, at=EVERYWHERE):
        """x (B, T, C) -> (B, t, C), for the queries at positions `at` alone. mask: (t, all T)."""
        H, D = self.n_head, self.head_dim
        q = self.q(x[:, at]).unflatten(-1, (H, D)).transpose(1, 2)         # (B, H, t, D)
        k, v = self.kv(x)[:, None].split(D, -1)                            # (B, 1, T, D) each
        q = F.rms_norm(q, (D,)) * self.gain
        k = F.rms_norm(k, (D,))
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        k = k.expand(-1, H, -1, -1)
        v = v.expand(-1, H, -1, -1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        C = config.n_embd
        self.norm1 = nn.RMSNorm(C)
        self.attention = Attention(config, layer)
        self.norm2 = nn.RMSNorm(C)
        self.up = nn.Linear(C, 4 * C, bias=False)
        self.down = nn.Linear(4 * C, C, bias=False)

    def forward(self, x, mask, cache=None, at=EVERYWHERE):
        """x (B, T, C) -> (B, t, C): keys and values of all T, output at positions `at` alone."""
        x = x[:, at] + self.attention(self.norm1(x), mask, cache, at)
        return x + self.down(F.relu(self.up(self.norm2(x))))


class Model(nn.Module):
    """The transformer. Each token gets position embeddings: segment, order in it, row and column of
    the cell that it shows, and of the cell that it has to predict; tokens of a view also the pose
    of its camera."""

    def __init__(self, config, n_words, n_codes, code_dim, max_order=64, max_side=10):
        """config: sizes as in Config; code_dim: of a code; max_order: longest text, in words;
        max_side: of a picture, in codes, and of a scene, in cells."""
        super().__init__()
        C, N = config.n_embd, max_side
        self.config, self.n_words = config, n_words
        vocab_size = n_words + n_codes
        self.token = nn.Embedding(vocab_size, C)
        self.segment = nn.Embedding(len(SEGMENTS), C)
        self.order = nn.Embedding(max_order, C)
        self.row = nn.Embedding(N + 1, C)
        self.col = nn.Embedding(N + 1, C)
        self.next_row = nn.Embedding(N + 1, C)
        self.next_col = nn.Embedding(N + 1, C)
        self.heading = nn.Embedding(5, C)          # of a camera; 0: its pose is not given
        self.camera_row = nn.Embedding(N + 1, C)
        self.camera_col = nn.Embedding(N + 1, C)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.norm = nn.RMSNorm(C)
        self.head = nn.Linear(C, vocab_size, bias=False)
        self.project = nn.Linear(C, code_dim, bias=False)    # only for losses on hidden states
        self.apply(self.init_weights)
        # What a token is must not drown in the sum of six embeddings of where it is: at equal
        # size, attention is slow to find a thing by its kind.
        nn.init.normal_(self.token.weight)
        for block in self.blocks:                  # each block starts as the identity
            nn.init.zeros_(block.attention.out.weight)
            nn.init.zeros_(block.down.weight)

    def init_weights(self, module):
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=self.config.n_embd ** -0.5)

    @torch.no_grad()
    def start_alike(self, weight, codebook):
        """Let codes that look alike start alike: a random projection of the codebook (K, D) is
        added to 0.3 of their rows in a weight (V, C), the embedding's or the head's. Of hundreds of
        codes most are rare: what is learnt of one then holds for those like it, too."""
        look = codebook - codebook.mean(0)
        look = look / look.square().sum(1).mean().sqrt()
        rows = weight[self.n_words:]
        projection = torch.randn(look.shape[1], rows.shape[1]) * rows.std()
        rows.mul_(0.3).add_(look @ projection)

    def embed(self, tokens, pose, layout, start=0):
        """Tokens (B, T), which are in `layout` from position `start` on -> (B, T, C).
        Those of the views get the poses (B, views, 3) of their cameras."""
        at = slice(start, start + tokens.shape[1])
        row, col = layout.cell[at].unbind(1)
        next_row, next_col = layout.next_cell[at].unbind(1)
        where = self.segment(layout.segment[at]) + self.order(layout.order[at])
        where = where + self.row(row) + self.col(col)
        where = where + self.next_row(next_row) + self.next_col(next_col)
        x = self.token(tokens) + where             # (B, T, C) + (T, C)
        if start == 0:                             # the first call has all views, at the front
            heading, camera_row, camera_col = pose.unbind(-1)
            camera = self.heading(heading) + self.camera_row(camera_row)
            camera = camera + self.camera_col(camera_col)
            n_cells = layout.n_view_tokens // pose.shape[1]
            camera = camera.repeat_interleave(n_cells, 1)                  # (B, view tokens, C)
            others = x.shape[1] - camera.shape[1]
            x = x + F.pad(camera, (0, 0, 0, others))                       # zeros for the others
        return x

    def states(self, tokens, pose, layout, at=EVERYWHERE, cache=None):
        """Tokens (B, T) -> normed hidden states (B, T, C), or only those at positions `at` (L,).
        cache: the KVCache of the tokens before these; it takes these up too."""
        start = cache.length if cache else 0
        end = start + tokens.shape[1]
        x = self.embed(tokens, pose, layout, start)
        mask = layout.mask[start:end, :end]
        *blocks, last = self.blocks                # the next block needs all, the head only `at`
        for block in blocks:
            x = block(x, mask, cache)
        x = last(x, mask[at], cache, at)
        if cache is not None:
            cache.length = end
        return self.norm(x)

    def forward(self, tokens, pose, layout):
        """Logits (B, T, V) of whole sequences (B, T)."""
        return self.head(self.states(tokens, pose, layout))
