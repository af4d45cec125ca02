"""A decoder-only transformer over the joint vocabulary of words and codes: tokens -> logits.

Pre-norm blocks with RMSNorm, multi-query attention by `scaled_dot_product_attention` with normed
queries and keys, ReLU, no biases.
Shape letters: B sequences, T tokens, C = n_embd, H heads of D = C / H, V = vocab_size.
"""
import torch
import torch.nn.functional as F
from torch import nn

from ipt_mini.sequence import SEGMENTS
from ipt_mini.tasks.words import PAD


class KVCache:
    """Keys and values of the tokens seen so far, (layers, B, 1, T, D) each, and their padding."""

    def __init__(self, config, batch, length, device=None):
        shape = (config.n_layer, batch, 1, length, config.n_embd // config.n_head)
        self.k, self.v = torch.zeros(2, *shape, device=device)
        self.padding = torch.zeros(batch, length, dtype=torch.bool, device=device)     # (B, T)
        self.length = 0                            # tokens so far

    def update(self, layer, k, v):
        """Store k and v (B, 1, t, D) of one layer and the next tokens; return all up to there."""
        end = self.length + k.shape[2]
        self.k[layer, :, :, self.length:end], self.v[layer, :, :, self.length:end] = k, v
        return self.k[layer, :, :, :end], self.v[layer, :, :, :end]


class Attention(nn.Module):
    """Each head has its own queries; keys and values are the same for all of them (multi-query
    attention, arXiv 1911.02150), so that answering has a quarter to read."""

    def __init__(self, config, layer):
        super().__init__()
        C, D = config.n_embd, config.n_embd // config.n_head
        self.layer, self.sizes = layer, (C, D, D)            # of all queries, the key, the value
        self.qkv, self.out = nn.Linear(C, C + 2 * D, bias=False), nn.Linear(C, C, bias=False)
        # Norms of fixed length cap the attention logits at sqrt(D): too flat to pick one cell
        # of many. A gain that is learned lets a head sharpen.
        self.gain = nn.Parameter(torch.ones(config.n_head, 1, D))

    def forward(self, x, mask, cache, at):
        q, k, v = self.qkv(x).split(self.sizes, -1)
        q = q.unflatten(-1, (len(self.gain), -1)).transpose(1, 2)                  # (B, H, T, D)
        k, v = k[:, None], v[:, None]                                              # (B, 1, T, D)
        q, k = F.rms_norm(q[:, :, at], q.shape[-1:]) * self.gain, F.rms_norm(k, k.shape[-1:])
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        k, v = (one.expand(-1, len(self.gain), -1, -1) for one in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[..., at, :])
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(config.n_embd), nn.RMSNorm(config.n_embd)
        self.attention = Attention(config, layer)
        self.up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.down = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x, mask, cache=None, at=slice(None)):
        """x (B, T, C) -> (B, T, C), or only its rows `at`: all tokens are seen, few go on."""
        x = x[:, at] + self.attention(self.norm1(x), mask, cache, at)
        return x + self.down(F.relu(self.up(self.norm2(x))))


class Model(nn.Module):
    """The transformer. Where a token stands is told by embeddings that are added to its own: its
    segment, its order in it, row and column of the cell it shows, row and column of the cell it has
    to predict next, and the pose of the camera whose view it belongs to."""

    def __init__(self, config, vocab_size, code_dim=16, max_order=64):
        """config: sizes as in Config; code_dim: of a code; max_order: longest text, in words."""
        super().__init__()
        self.config, C, N = config, config.n_embd, config.grid
        self.token = nn.Embedding(vocab_size, C)
        self.segment = nn.Embedding(len(SEGMENTS), C)
        self.order = nn.Embedding(max_order, C)
        self.row, self.col = nn.Embedding(N + 1, C), nn.Embedding(N + 1, C)
        self.next_row, self.next_col = nn.Embedding(N + 1, C), nn.Embedding(N + 1, C)
        self.pose = nn.ModuleList(nn.Embedding(size, C) for size in (5, N + 1, N + 1))
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.norm = nn.RMSNorm(C)
        self.head = nn.Linear(C, vocab_size, bias=False)
        self.project = nn.Linear(C, code_dim, bias=False)    # only for losses on `hidden`
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.3)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=C ** -0.5)
        # What a token is must not drown in the sum of six embeddings of where it stands: at equal
        # size, attention was slow to find a thing by its kind (docs/log.md, fourth session).
        nn.init.normal_(self.token.weight)
        for block in self.blocks:                  # each block starts as the identity
            nn.init.zeros_(block.attention.out.weight)
            nn.init.zeros_(block.down.weight)

    def embed(self, tokens, pose, layout, start=0):
        """Tokens (B, T), standing in `layout` from position `start` on -> (B, T, C)."""
        at = slice(start, start + tokens.shape[1])
        where = (self.segment(layout.segment[at]) + self.order(layout.order[at])
                 + self.row(layout.row[at]) + self.col(layout.col[at])
                 + self.next_row(layout.next_row[at]) + self.next_col(layout.next_col[at]))
        x = self.token(tokens) + where
        if start == 0:                             # the views come first, all of one size
            camera = sum(table(part) for table, part in zip(self.pose, pose.unbind(-1)))
            camera = camera.repeat_interleave(self.config.grid ** 2, 1)            # (B, V * P, C)
            x = torch.cat([x[:, :camera.shape[1]] + camera, x[:, camera.shape[1]:]], 1)
        return x

    def states(self, tokens, pose, layout, padded=True, at=slice(None), cache=None):
        """Tokens (B, T) -> normed hidden states (B, T, C), or only those at positions `at` (L,).
        padded: does any sequence hold <pad>? Without padding the mask is the same for all.
        cache: the KVCache of the tokens before these; it takes these up too."""
        start, padding = cache.length if cache else 0, tokens == PAD
        end = start + tokens.shape[1]
        x, mask = self.embed(tokens, pose, layout, start), layout.mask[start:end, :end]
        if cache is not None:
            cache.padding[:, start:end] = padding
            padding = cache.padding[:, :end]
        if padded:
            mask = mask & ~padding[:, None, None, :]                       # (B, 1, T, end)
        for block in self.blocks[:-1]:
            x = block(x, mask, cache)
        x = self.blocks[-1](x, mask, cache, at)
        if cache is not None:
            cache.length = end
        return self.norm(x)

    def forward(self, tokens, pose, layout):
        """Logits (B, T, V) of whole sequences (B, T)."""
        return self.head(self.states(tokens, pose, layout))
