"""Separates by the radio-frequency transformer: mixture to tokens, tokens to waveform, waveform to bits."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from rfsep.iq import from_channels, to_channels
from rfsep.models.rf_transformer import Sight, TokenizerModel, Written
from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.tokens.views import Look, bounded
from rfsep.separators.windows import in_parallel, overlapped_ends
from rfsep.signals.constellations import random_bits
from rfsep.types import InputError, MixtureBatch, Modem, Separated

_BATCH_SAMPLES = 64 * 2560  # samples per batch
_TABLE_TOKENS = 100  # tokens per code that show which bits it stands for
_STANDARD_ERRORS = 5


class Front(Protocol):
    """Builds inputs, as `rfsep.separators.tokens.patches.Patches`, `.aligned.Aligned`, `.corrected.Corrected`."""

    @property
    def num_inputs(self) -> int:
        """Size of the input per patch."""
        ...

    def guidance(self, mixture: Tensor) -> Tensor:
        """Returns estimates complex64 [B, T, G] of other separators."""
        ...

    def training_look(self, batch: MixtureBatch, guidance: Tensor) -> Look:
        """Returns the input for training mixtures."""
        ...

    def look(self, mixture: Tensor, guidance: Tensor, begins: bool, ends: bool) -> Look:
        """Returns the input for windows complex64 [B, T] with guidance complex64 [B, T, G]."""
        ...


class FrontMaker(Protocol):
    """Makes a front: a class with all other arguments bound (hydra's ``_partial_: true``)."""

    def __call__(self, *, modem: Modem, examples: Tensor) -> Front:
        """Returns the front for a SOI and an interference."""
        ...


class Transformer(Protocol):
    """The interface of `rfsep.models.rf_transformer.RfTransformer`."""

    tokenizer: TokenizerModel
    period: int
    stride: int
    num_inputs: int
    num_prior: int
    head_sizes: tuple[int, ...]

    def write(self, sight: Sight, beams: int = 1, prefix: Tensor | None = None, cached: bool = True) -> Written:
        """Writes the tokens of a mixture."""
        ...

    def expected(self, log_probability: Tensor) -> Tensor:
        """Returns the mean waveform float32 [B, 2, K * stride] of tokens' log-probabilities [B, K, C]."""
        ...

    def indices(self, codes: Tensor) -> Tensor:
        """Returns classes int64 [B, K, heads] of digits int64 [B, K, D]."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Returns the learned parameters."""
        ...


def first_sample(soi_offset: Tensor, step: int) -> Tensor:
    """Returns the start of the first symbol with its centre in the window: int64 [B], at least minus half a symbol."""
    return step * (soi_offset > step // 2) - soi_offset


def sight_of(look: Look, num_samples: int, period: int, stride: int, step: int, num_prior: int) -> Sight:
    """Builds a transformer's input for windows, with the places of the SOI's tokens.

    Args:
        look: at the mixture.
        num_samples: samples per window.
        period: samples per patch of the mixture.
        stride: samples per token of the SOI.
        step: samples per symbol of the SOI.
        num_prior: log-likelihood ratios per token to start from; 0 for none.

    Raises:
        InputError: patches have another number of samples, or there are fewer ratios than the transformer needs.
    """
    start = first_sample(look.soi_offset, step)[:, None]
    found = int(look.begin[0, 1] - look.begin[0, 0]) if look.begin.shape[1] > 1 else period
    if found != period:
        raise InputError(f"model.network.period is {period}, the mixture is shown in patches of {found} samples")

    def patch_of(sample: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the patches of samples int64 [B, n] and the positions inside these patches."""
        index = ((sample - look.begin[:, :1]) // period).clamp(0, look.begin.shape[1] - 1)
        return index, (sample - look.begin.gather(1, index)).clamp(0, period - 1)

    count = -(-num_samples // stride)
    patch, within = patch_of(start + stride * torch.arange(count) + stride // 2)
    place = (look.begin + period / 2 - start) / stride
    prior = look.inputs.new_zeros((len(start), count, 0))
    if num_prior:
        symbol_patch, offset = patch_of(start + step * torch.arange(count * stride // step) + step // 2)
        bits = num_prior * step // stride
        if look.prior.shape[2] < bits:
            raise InputError(f"model.network.num_prior is {num_prior}; the mixture is shown without ratios of bits")
        every = look.prior.view(*look.prior.shape[:2], -1, bits)  # [B, P, slots, bits]
        index = symbol_patch * every.shape[2] + offset // step
        prior = every.flatten(1, 2).gather(1, index[:, :, None].expand(-1, -1, bits)).view(len(start), count, -1)
    return Sight(look.inputs, look.phase, look.edge, place, patch, within // stride, within, prior)


class _Found(NamedTuple):
    written: Written
    start: Tensor  # int64 [w], begin of the first token
    look: Look


class RfTransformerSeparator:
    """Lets a transformer write the SOI's tokens, and returns the mean of their possible waveforms.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T], for the front.
        model: see `rfsep.models.rf_transformer.RfTransformer`.
        front: builds the transformer's input from the mixture.
        block: samples per window.
        margin: samples at a window's inner edge that its neighbour writes instead.
        beams: number of sequences kept while a window is written; 1 decides token by token.
        soft: return the mean over each token's distribution given the tokens before; otherwise the decided tokens.
        carry: start a window from the last tokens of the one before, so that windows are written in order; the SOI must
            begin at sample 0. Otherwise windows are written in parallel.

    Raises:
        InputError: block or margin is no multiple of a token, there is no beam, or the model has another SOI or front.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        model: Transformer,
        front: FrontMaker,
        block: int = 2560,
        margin: int = 320,
        beams: int = 1,
        soft: bool = True,
        carry: bool = False,
    ) -> None:
        if beams < 1:
            raise InputError(f"beams is {beams}, expected at least 1")
        for name, value in {"block": block, "margin": margin}.items():
            if value % model.stride:
                raise InputError(f"{name} is {value}, expected a multiple of a token's {model.stride} samples")
        self.modem = modem
        self.model = model
        self.front = front(modem=modem, examples=examples)
        self._linear = Fallback(modem, examples)
        self._check_model()
        self.block = block
        self.margin = margin
        self.beams = beams
        self.soft = soft
        self.carry = carry

    def _check_model(self) -> None:
        """Refuses a model of another SOI, or of another input."""
        if self.front.num_inputs != self.model.num_inputs:
            shown = f"{self.front.num_inputs} numbers per patch"
            raise InputError(f"model.network.num_inputs is {self.model.num_inputs}, but the front gives {shown}")
        bits = self.modem.num_bits(8 * self.modem.symbol_period) * self.model.stride / (8 * self.modem.symbol_period)
        if self.model.num_prior not in (0, bits):
            raise InputError(f"model.network.num_prior is {self.model.num_prior}, this SOI has {bits:g} bits per token")

    def guidance(self, mixture: Tensor) -> Tensor:
        """Returns the front's estimates complex64 [B, T, G]."""
        return self.front.guidance(mixture)

    def training_sight(self, batch: MixtureBatch, guidance: Tensor) -> Sight:
        """Returns the transformer's input for training mixtures."""
        return self.sight(self.front.training_look(batch, guidance), batch.mixture.shape[1])

    def sight(self, look: Look, num_samples: int) -> Sight:
        """Returns the transformer's input for windows of ``num_samples`` samples."""
        model = self.model
        step = self.modem.symbol_period
        return sight_of(look, num_samples, model.period, model.stride, step, model.num_prior)

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the waveform complex64 [B, T] of the written tokens, and its hard bits uint8 [B, N]."""
        return self.separate_guided(mixture, self.guidance(mixture))

    def separate_guided(self, mixture: Tensor, guidance: Tensor) -> Separated:
        """Runs `separate` with the front's estimates complex64 [B, T, G] from `guidance`."""
        if self.carry:
            soi = self._carried(mixture, guidance)
        else:
            signals = torch.cat((mixture[:, :, None], guidance), 2)  # [B, T, 1 + G]
            every = signals.shape[2]  # Interleaved signals are all cut alike.
            sizes = (self.block * every, self.margin * every, self.modem.symbol_period * every)
            soi = overlapped_ends(self._estimate(every), signals.flatten(1), *sizes)[:, ::every]
        return Separated(soi, self.modem.decide(soi))

    def _written(self, mixture: Tensor, guidance: Tensor, ends: tuple[bool, bool], prefix: Tensor | None) -> _Found:
        """Writes the tokens of windows complex64 [w, L]."""
        look = self.front.look(mixture, guidance, *ends)
        device = next(iter(self.model.parameters())).device
        sight = Sight(*(field.to(device) for field in self.sight(look, mixture.shape[1])))
        written = self.model.write(sight, self.beams, prefix)
        return _Found(written, first_sample(look.soi_offset, self.modem.symbol_period), look)

    def _waveform(self, written: Written) -> Tensor:
        """Returns the waveform complex64 [w, K * stride] of tokens."""
        if self.soft:
            decoded = self.model.expected(written.log_probability)
        else:
            decoded = self.model.tokenizer.decode(self.model.tokenizer.values(written.codes))
        return from_channels(decoded.cpu().float())

    def _estimate(self, every: int) -> Callable[[Tensor, bool, bool], Tensor]:
        """Returns an estimator for interleaved windows complex64 [W, L * every]."""

        def estimate(part: Tensor, begins: bool, ends: bool) -> Tensor:
            with torch.inference_mode():
                signals = part.reshape(len(part), -1, every)  # [w, L, every]
                found = self._written(signals[:, :, 0], signals[:, :, 1:], (begins, ends), None)
                soi = _placed(self._waveform(found.written), found.start, signals.shape[1])
                if found.look.beyond is not None:
                    soi = soi + found.look.beyond
                return soi.repeat_interleave(every, 1)

        def apply(windows: Tensor, begins: bool, ends: bool) -> Tensor:
            most = max(1, _BATCH_SAMPLES * every // windows.shape[1])
            return in_parallel(lambda part: estimate(part, begins, ends), windows, most)

        return apply

    def _carried(self, mixture: Tensor, guidance: Tensor) -> Tensor:
        """Returns estimates complex64 [B, T], window after window."""
        stride, length = self.model.stride, mixture.shape[1]
        known, hop = self.margin // stride, self.block - 2 * self.margin
        if hop <= 0:
            raise InputError(f"block {self.block} leaves nothing between two margins of {self.margin}")
        codes: list[Tensor] = []
        log_probability: list[Tensor] = []
        with torch.inference_mode():
            for start in range(0, max(1, length - 2 * self.margin), hop):
                window = slice(start, start + self.block)
                begins, ends = start == 0, start + self.block >= length
                prefix = None if begins else codes[-1][:, -known:] if known else None
                found = self._written(mixture[:, window], guidance[:, window], (begins, ends), prefix)
                if bool((found.start != 0).any()):
                    raise InputError("carry needs a SOI that begins at sample 0 of the mixture")
                own = slice(0 if begins else known, None if ends else (self.block - self.margin) // stride)
                codes.append(found.written.codes[:, own])
                log_probability.append(found.written.log_probability[:, own])
            written = Written(torch.cat(codes, 1), torch.cat(log_probability, 1))
            return self._waveform(written)[:, :length]

    @cached_property
    def bits_of_class(self) -> Tensor:
        """Returns the probability that a bit is 1 in a token of each class, head by head: float32 [C, bits].

        Tokenizing known bits gives them up to chance. A value within a few standard errors of 1/2 becomes 1/2.
        """
        model, modem = self.model, self.modem
        width = modem.num_bits(8 * model.stride) // 8
        tokens = _TABLE_TOKENS * max(model.head_sizes)
        bits = random_bits(1, tokens * width, torch.Generator().manual_seed(0))
        with torch.inference_mode():
            indices = model.indices(model.tokenizer.codes(to_channels(modem.modulate(bits))))[0]  # [K, heads]
        tables = []
        for head, size in enumerate(model.head_sizes):
            told = bits[0].view(tokens, width).float()
            sums = torch.zeros((size, width)).index_add_(0, indices[:, head], told)
            counts = torch.bincount(indices[:, head], minlength=size)[:, None].clamp_min(1)
            chance = _STANDARD_ERRORS * 0.5 / counts.sqrt()
            tables.append(torch.where((sums / counts - 0.5).abs() > chance, sums / counts, 0.5))
        return torch.cat(tables)

    def log_likelihood_ratios(self, mixture: Tensor, calibrated: bool = True) -> Tensor:
        """Returns log-likelihood ratios float32 [B, N], positive for 1, of windows complex64 [B, T] of at most a block.

        Each comes from its token, given the tokens decided before.

        Args:
            mixture: the windows.
            calibrated: reduce the ratios until they are as sure as linear estimates of the same bits allow
                (`rfsep.separators.inference.evidence.tempered`). Otherwise they are those of the tokens.

        Raises:
            InputError: the mixture is longer, or the tokens' digits are independent.
        """
        if mixture.shape[1] > self.block:
            raise InputError(f"a mixture of {mixture.shape[1]} samples is longer than a window of {self.block}")
        if len(self.model.head_sizes) != 1:
            raise InputError("ratios of bits need tokens with one class each; their digits are independent here")
        with torch.inference_mode():
            found = self._written(mixture, self.guidance(mixture), (True, True), None)
            one, probability = self.bits_of_class, found.written.log_probability.exp().cpu()
            ratio = (probability @ one).clamp_min(1e-12).log() - (probability @ (1 - one)).clamp_min(1e-12).log()
        bits = ratio.flatten(1)[:, : self.modem.num_bits(mixture.shape[1])]
        if not calibrated:
            return bits
        look = found.look
        if look.bound is not None:
            most = self.sight(look._replace(prior=look.bound), mixture.shape[1]).prior.flatten(1)
            bits = bounded(bits, most[:, : bits.shape[1]]) if most.shape[1] else bits
        return self._linear.tempered(mixture, bits, found.start, look.doubted)


def _placed(waveform: Tensor, start: Tensor, num_samples: int) -> Tensor:
    """Places waveforms complex64 [w, n] at samples int64 [w] of zero windows complex64 [w, num_samples]."""
    place = torch.arange(num_samples) - start[:, None]
    there = (place >= 0) & (place < waveform.shape[1])
    return torch.where(there, waveform.gather(1, place.clamp(0, waveform.shape[1] - 1)), 0)
