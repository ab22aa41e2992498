"""The radio-frequency transformer: an encoder reads a mixture, a decoder writes the tokens of the signal of interest.

The method is that of Lifar, Savkin et al., "The radio-frequency transformer for signal separation" (arXiv 2603.09201).
A tokenizer is learned for the signal of interest alone. Then an encoder-decoder transformer is trained by cross-entropy
to write its tokens. No sizes were published. Beside its own tokens the decoder sees the patch of the mixture at each
token, which it would otherwise have to learn to look up.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from rfsep.models.attention import Accelerated, Attention, Cache, Residual, feed_forward, rotation
from rfsep.models.token_transformer import PhaseLinear

_MOST_JOINT = 4096  # With more codes, digits of a token are independent given the tokens before.


class TokenizerModel(Protocol):
    """The interface of `rfsep.models.tokenizer.Tokenizer`."""

    stride: int
    sizes: tuple[int, ...]
    width_of_values: int

    def codes(self, waveform: Tensor) -> Tensor:
        """Returns digits int64 [B, K, D] of waveforms float32 [B, 2, T]."""
        ...

    def values(self, codes: Tensor) -> Tensor:
        """Returns the values float32 [B, K, V] of digits int64 [B, K, D]."""
        ...

    def expected_values(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Returns mean values float32 [B, K, V] of independent digits, of probabilities float32 [B, K, size] each."""
        ...

    def decode(self, values: Tensor) -> Tensor:
        """Returns the waveform float32 [B, 2, K * stride] of values float32 [B, K, V]."""
        ...


class Sight(NamedTuple):
    """The transformer's input for windows of P patches in which it writes K tokens.

    Attributes:
        inputs: numbers per patch, float32 [B, P, D].
        phase: int64 [B, P], place of the SOI's symbols in a patch.
        edge: int64 [B, P], 0 for a whole patch, see `rfsep.models.token_transformer`.
        place: float32 [B, P], centres of the patches, in tokens from the start of the first.
        patch: patch with the centre of a token, int64 [B, K].
        slot: number of the token in that patch, int64 [B, K].
        within: samples of the patch before that centre, int64 [B, K].
        prior: float32 [B, K, N], log-likelihood ratios of a token's bits to start from; N = 0 for none.
    """

    inputs: Tensor
    phase: Tensor
    edge: Tensor
    place: Tensor
    patch: Tensor
    slot: Tensor
    within: Tensor
    prior: Tensor


class Written(NamedTuple):
    """Written tokens with their probabilities.

    Attributes:
        codes: int64 [B, K, D], their digits.
        log_probability: of every code given the tokens before, float32 [B, K, C], with C `RfTransformer.num_logits`.
    """

    codes: Tensor
    log_probability: Tensor


class _Heard(NamedTuple):
    """The encoder's output: keys and values for every decoder block, and the initial state of each token."""

    keys: list[tuple[Tensor, Tensor]]
    local: Tensor  # [B, K, W]


class _DecoderBlock(nn.Module):
    """Attention to earlier tokens (or to all), to the mixture, then an MLP."""

    def __init__(self, width: int, heads: int, norm: str, accelerated: bool) -> None:
        super().__init__()
        self.own, self.mixture = Attention(width, heads), Attention(width, heads)
        self.around_own, self.around_mixture = Residual(width, norm), Residual(width, norm)
        self.around_mlp, self.mlp = Residual(width, norm), feed_forward(width)
        self.step = Accelerated(accelerated)

    def forward(
        self, x: Tensor, before: Tensor, angle: Tensor, heard: tuple[Tensor, Tensor], cache: Cache | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """Maps tokens [B, K, W] and their state one block before, at angles [.., K, h / 2], to the next pair."""
        start = self.step(x, before)
        new = self.around_own(start, lambda y: self.own(y, angle, self.own.heard(y, angle), cache, causal))
        new = self.around_mixture(new, lambda y: self.mixture(y, angle, heard, None, False))
        return self.around_mlp(new, self.mlp), x


class _EncoderBlock(nn.Module):
    """Attention over all patches, then an MLP."""

    def __init__(self, width: int, heads: int, norm: str, accelerated: bool) -> None:
        super().__init__()
        self.own, self.mlp = Attention(width, heads), feed_forward(width)
        self.around_own, self.around_mlp = Residual(width, norm), Residual(width, norm)
        self.step = Accelerated(accelerated)

    def forward(self, x: Tensor, before: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Maps patches [B, P, W] and their state one block before to the next pair."""
        new = self.around_own(self.step(x, before), lambda y: self.own(y, angle, self.own.heard(y, angle), None, False))
        return self.around_mlp(new, self.mlp), x


class RfTransformer(nn.Module):
    """Writes the tokens of a SOI that it reads out of a mixture.

    Args:
        tokenizer: the SOI's tokenizer, already trained; its weights are kept with these and do not change.
        num_inputs: numbers D per patch.
        num_phases: places of the SOI's symbols in a patch.
        period: samples per patch.
        num_prior: log-likelihood ratios N of a token's bits.
        width: width of the transformer.
        encoder_depth: blocks of the encoder.
        decoder_depth: blocks of the decoder.
        heads: attention heads; width / heads is even.
        autoregressive: write each token given those before; otherwise all at once.
        norm: ``pre``: normalise a block's input; ``peri``: its output as well.
        accelerated: blocks step from an extrapolated point, as Nesterov's gradient method does, by a learned amount.

    Raises:
        ValueError: heads do not divide the width, or the norm is another word.
    """

    def __init__(
        self,
        tokenizer: TokenizerModel,
        num_inputs: int,
        num_phases: int = 16,
        period: int = 80,
        num_prior: int = 0,
        width: int = 128,
        encoder_depth: int = 3,
        decoder_depth: int = 2,
        heads: int = 4,
        autoregressive: bool = True,
        norm: str = "pre",
        accelerated: bool = False,
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} is no multiple of twice the {heads} heads")
        if norm not in ("pre", "peri"):
            raise ValueError(f"unknown norm '{norm}'; choose one of pre, peri")
        self.num_inputs, self.num_phases, self.period, self.num_prior = num_inputs, num_phases, period, num_prior
        self.autoregressive = autoregressive
        self.tokenizer: TokenizerModel = tokenizer.requires_grad_(False)  # type: ignore[attr-defined]
        self.sizes, self.stride = tuple(tokenizer.sizes), tokenizer.stride
        codes = math.prod(self.sizes)
        self.head_sizes = (codes,) if codes <= _MOST_JOINT else self.sizes
        self.num_logits = sum(self.head_sizes)
        self.num_slots = -(-period // self.stride)
        self.half_head = width // heads // 2
        self.input = PhaseLinear(num_phases, num_inputs, width)
        self.edge = nn.Embedding(2 * period + 1, width)
        self.encoder = nn.ModuleList(_EncoderBlock(width, heads, norm, accelerated) for _ in range(encoder_depth))
        self.heard = nn.LayerNorm(width)
        self.local = nn.Linear(width, self.num_slots * width)
        self.within = nn.Embedding(period, width)
        self.prior_input = nn.Linear(num_prior, width) if num_prior else None
        self.written = nn.Linear(tokenizer.width_of_values, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.decoder = nn.ModuleList(_DecoderBlock(width, heads, norm, accelerated) for _ in range(decoder_depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, self.num_logits)
        self.prior_head = nn.Linear(num_prior, self.num_logits, bias=False) if num_prior else None
        self.gate = nn.Linear(width, num_prior) if num_prior else None  # trust in each ratio, full at first
        for embedding in (self.edge, self.within):
            nn.init.normal_(embedding.weight, std=0.02)
        for last in (self.head, self.prior_head, self.gate):
            if last is not None:
                nn.init.zeros_(last.weight)
        nn.init.zeros_(self.head.bias)
        if self.gate is not None:
            nn.init.ones_(self.gate.bias)

    def example_inputs(self, num_samples: int) -> tuple[Sight, Tensor]:
        """Returns zero inputs of one window of ``num_samples`` samples."""
        patches, tokens = -(-num_samples // self.period), num_samples // self.stride
        place, token = torch.zeros((1, patches), dtype=torch.int64), torch.zeros((1, tokens), dtype=torch.int64)
        prior, inputs = torch.zeros((1, tokens, self.num_prior)), torch.zeros((1, patches, self.num_inputs))
        sight = Sight(inputs, place, place, place.float(), token, token, token, prior)
        return sight, torch.zeros((1, tokens, len(self.sizes)), dtype=torch.int64)

    def hear(self, sight: Sight) -> _Heard:
        """Encodes a mixture."""
        x = self.input(sight.inputs, sight.phase) + self.edge(sight.edge)  # [B, P, W]
        angle = rotation(sight.place, self.half_head)
        before = x
        for block in self.encoder:
            x, before = block(x, before, angle)
        memory = self.heard(x)
        keys = [block.mixture.heard(memory, angle) for block in self.decoder]  # type: ignore[union-attr, operator]
        every = self.local(memory).view(*memory.shape[:2], self.num_slots, -1).flatten(1, 2)  # [B, P * slots, W]
        index = (sight.patch * self.num_slots + sight.slot)[:, :, None].expand(-1, -1, every.shape[2])
        local = every.gather(1, index) + self.within(sight.within)
        if self.prior_input is not None:
            local = local + self.prior_input(torch.tanh(sight.prior / 4))
        return _Heard(keys, local)

    def _heads(self, x: Tensor) -> list[Tensor]:
        """Splits columns [B, K, C] by head."""
        return list(torch.split(x, list(self.head_sizes), 2))

    def _embedded(self, codes: Tensor) -> Tensor:
        """Embeds the token before each of K tokens: [B, K, W] of digits int64 [B, K - 1, D]."""
        told = self.written(self.tokenizer.values(codes))
        return torch.cat((self.start.expand(len(codes), 1, -1).to(told.dtype), told), 1)

    def _logits(self, x: Tensor, prior: Tensor) -> Tensor:
        x = self.norm(x)
        logits: Tensor = self.head(x).float()
        if self.prior_head is None or self.gate is None:
            return logits
        with torch.autocast(x.device.type, enabled=False):  # Ratios of 40 have to cancel.
            corrected: Tensor = logits + self.prior_head(self.gate(x.float()) * prior)
            return corrected

    def trust(self, bits_of_class: Tensor) -> None:
        """Makes an untrained transformer decide like the prior.

        Args:
            bits_of_class: probability that a bit is 1 in a token of each class, float32 [C, N].
        """
        assert self.prior_head is not None
        with torch.no_grad():
            self.prior_head.weight.copy_(bits_of_class)

    def _decoded(self, heard: _Heard, x: Tensor, first: int, caches: list[Cache] | None) -> Tensor:
        place = torch.arange(first, first + x.shape[1], device=x.device) + 0.5
        angle, before = rotation(place, self.half_head), x
        for index, block in enumerate(self.decoder):
            cache = None if caches is None else caches[index]
            x, before = block(x, before, angle, heard.keys[index], cache, self.autoregressive)
        return x

    def forward(self, sight: Sight, codes: Tensor) -> Tensor:
        """Returns logits float32 [B, K, C] of tokens int64 [B, K, D], each given the true ones before it."""
        heard = self.hear(sight)
        x = heard.local if not self.autoregressive else heard.local + self._embedded(codes[:, :-1])
        return self._logits(self._decoded(heard, x, 0, None), sight.prior)

    def indices(self, codes: Tensor) -> Tensor:
        """Classes int64 [B, K, heads] of digits int64 [B, K, D]: the code's number, or the digits themselves."""
        if len(self.head_sizes) != 1:
            return codes
        weights = torch.tensor([math.prod(self.sizes[:d]) for d in range(len(self.sizes))], device=codes.device)
        return (codes * weights).sum(2, keepdim=True)

    def digits(self, indices: Tensor) -> Tensor:
        """Returns digits int64 [B, K, D] of classes int64 [B, K, heads]."""
        if len(self.head_sizes) != 1:
            return indices
        columns, left = [], indices[..., 0]
        for size in self.sizes:
            columns.append(left % size)
            left = left // size
        return torch.stack(columns, 2)

    def log_probability(self, logits: Tensor) -> Tensor:
        """Returns log probabilities float32 [B, K, C] of logits, head by head."""
        return torch.cat([part.log_softmax(2) for part in self._heads(logits)], 2)

    def cross_entropy(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Returns the cross-entropy of every token in nats: float32 [B, K]."""
        log_probability = self._heads(self.log_probability(logits))
        chosen = zip(log_probability, torch.split(self.indices(codes), 1, 2), strict=True)
        return -torch.cat([part.gather(2, index) for part, index in chosen], 2).sum(2)

    def expected(self, log_probability: Tensor) -> Tensor:
        """Returns the mean waveform float32 [B, 2, K * stride] of tokens with log probabilities [B, K, C]."""
        probability = [part.exp() for part in self._heads(log_probability)]
        if len(self.head_sizes) == 1:
            codes = self.digits(torch.arange(self.head_sizes[0], device=log_probability.device)[None, :, None])
            return self.tokenizer.decode(probability[0] @ self.tokenizer.values(codes)[0])
        return self.tokenizer.decode(self.tokenizer.expected_values(probability))

    def _most_likely(self, log_probability: Tensor) -> Tensor:
        parts = self._heads(log_probability)
        return self.digits(torch.stack([part.argmax(2) for part in parts], 2))

    def write(self, sight: Sight, beams: int = 1, prefix: Tensor | None = None, cached: bool = True) -> Written:
        """Writes the tokens of a mixture, each the likeliest in turn, or the best sequence of a beam search.

        Args:
            sight: input for the mixture.
            beams: number of sequences kept; 1 decides token by token.
            prefix: known tokens, int64 [B, k, D], which are not written again.
            cached: keep keys and values from token to token; otherwise everything is computed anew for every token.

        Raises:
            ValueError: there are beams although digits are independent.
        """
        if beams > 1 and len(self.head_sizes) != 1:
            raise ValueError(f"beam search needs tokens of at most {_MOST_JOINT} codes")
        if not self.autoregressive:
            heard = self.hear(sight)
            log_probability = self.log_probability(
                self._logits(self._decoded(heard, heard.local, 0, None), sight.prior)
            )
            return Written(self._most_likely(log_probability), log_probability)
        if not cached:
            return self._write_anew(sight, prefix)
        return self._write(self.hear(sight), sight.prior, beams, prefix)

    def _write_anew(self, sight: Sight, prefix: Tensor | None) -> Written:
        batch, count = sight.patch.shape
        codes = torch.zeros((batch, count, len(self.sizes)), dtype=torch.int64, device=sight.patch.device)
        known = 0 if prefix is None else prefix.shape[1]
        if prefix is not None:
            codes[:, :known] = prefix
        log_probability = torch.zeros((batch, count, self.num_logits), device=sight.patch.device)
        for token in range(count):
            found = self.log_probability(self(sight, codes)[:, token : token + 1])
            log_probability[:, token : token + 1] = found
            if token >= known:
                codes[:, token : token + 1] = self._most_likely(found)
        return Written(codes, log_probability)

    def _write(self, heard: _Heard, prior: Tensor, beams: int, prefix: Tensor | None) -> Written:
        batch, count, _ = heard.local.shape
        known = 0 if prefix is None else prefix.shape[1]
        local, prior = (value.repeat_interleave(beams, 0) for value in (heard.local, prior))
        keys = [(k.repeat_interleave(beams, 0), v.repeat_interleave(beams, 0)) for k, v in heard.keys]
        heard = _Heard(keys, local)
        caches = [Cache(count) for _ in self.decoder]
        codes = torch.zeros((batch * beams, count, len(self.sizes)), dtype=torch.int64, device=local.device)
        log_probability = torch.zeros((batch * beams, count, self.num_logits), device=local.device)
        score = torch.full((batch, beams), -math.inf, device=local.device)
        score[:, 0] = 0.0  # All beams begin as one.
        if prefix is not None:
            codes[:, :known] = prefix.repeat_interleave(beams, 0)
        first = 0
        for token in range(known, count):  # Known tokens go in at once, with the first unknown one.
            told = self._embedded(codes[:, max(first - 1, 0) : token])
            x = local[:, first : token + 1] + (told if first == 0 else told[:, 1:])
            logits = self._logits(self._decoded(heard, x, first, caches), prior[:, first : token + 1])
            found = self.log_probability(logits)
            log_probability[:, first : token + 1] = found
            if beams == 1:
                codes[:, token : token + 1] = self._most_likely(found[:, -1:])
            else:
                score, origin, chosen = _best(score, found[:, -1])
                codes, log_probability = codes[origin], log_probability[origin]
                codes[:, token : token + 1] = self.digits(chosen[:, None, None])
                for cache in caches:
                    cache.reorder(origin)
            first = token + 1
        best = score.argmax(1) + beams * torch.arange(batch, device=local.device)
        return Written(codes[best], log_probability[best])


def _best(score: Tensor, found: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the best continuations of beams: scores [B, b], the continued rows and the codes, int64 [B * b].

    Args:
        score: log probabilities float32 [B, b] of the beams.
        found: log probabilities of every next code, float32 [B * b, C].
    """
    batch, beams = score.shape
    total = (score[:, :, None] + found.view(batch, beams, -1)).flatten(1)  # [B, b * C]
    best, place = total.topk(beams, 1)
    origin = place // found.shape[1] + beams * torch.arange(batch, device=score.device)[:, None]
    return best, origin.flatten(), (place % found.shape[1]).flatten()
