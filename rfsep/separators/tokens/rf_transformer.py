"""The radio-frequency transformer as a separator: mixture to tokens, tokens to waveform, waveform to bits."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from rfsep.iq import from_channels, to_channels
from rfsep.models.rf_transformer import Sight, TokenizerModel, Written
from rfsep.separators.tokens.aligned import Look
from rfsep.separators.windows import in_parallel, overlapped_ends
from rfsep.signals.constellations import random_bits
from rfsep.types import InputError, MixtureBatch, Modem, Separated

_BATCH_SAMPLES = 64 * 2560  # written together
_TABLE_TOKENS = 100  # a code, from which is learned which bits it stands for
_STANDARD_ERRORS = 5


class Front(Protocol):
    """Shows the mixture: `rfsep.separators.tokens.patches.Patches`, `.aligned.Aligned`, `.corrected.Corrected`."""

    @property
    def num_inputs(self) -> int:
        """Numbers that are shown of a patch."""
        ...

    def guidance(self, mixture: Tensor) -> Tensor:
        """Estimates complex64 [B, T, G] of other separators."""
        ...

    def training_look(self, batch: MixtureBatch, guidance: Tensor) -> Look:
        """What is shown of training mixtures."""
        ...

    def look(self, mixture: Tensor, guidance: Tensor, begins: bool, ends: bool) -> Look:
        """What is shown of windows complex64 [B, T] with guidance complex64 [B, T, G]."""
        ...


class FrontMaker(Protocol):
    """A class that shows mixtures, with all other arguments bound (hydra's ``_partial_: true``)."""

    def __call__(self, *, modem: Modem, examples: Tensor) -> Front:
        """What shows mixtures of a SOI and an interference."""
        ...


class Transformer(Protocol):
    """See `rfsep.models.rf_transformer.RfTransformer`."""

    tokenizer: TokenizerModel
    period: int
    stride: int
    num_inputs: int
    num_prior: int
    head_sizes: tuple[int, ...]

    def write(self, sight: Sight, beams: int = 1, prefix: Tensor | None = None, cached: bool = True) -> Written:
        """Tokens of a mixture."""
        ...

    def expected(self, log_probability: Tensor) -> Tensor:
        """Mean waveform float32 [B, 2, K * stride] of tokens' log-probabilities [B, K, C]."""
        ...

    def indices(self, codes: Tensor) -> Tensor:
        """Classes int64 [B, K, heads] of digits int64 [B, K, D]."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """What it learned."""
        ...


def first_sample(soi_offset: Tensor, step: int) -> Tensor:
    """Where the first symbol starts whose centre lies in the window: int64 [B], up to half a symbol before sample 0."""
    return step * (soi_offset > step // 2) - soi_offset


def sight_of(look: Look, num_samples: int, period: int, stride: int, step: int, num_prior: int) -> Sight:
    """What a transformer is shown of windows, and where the SOI's tokens lie in it.

    Args:
        look: at the mixture.
        num_samples: of the windows.
        period: samples in a patch of the mixture.
        stride: samples in a token of the SOI.
        step: samples in a symbol of the SOI.
        num_prior: log-likelihood ratios of a token to start from; 0 shows none.

    Raises:
        InputError: patches of another number of samples, or fewer ratios than the transformer asks for.
    """
    start = first_sample(look.soi_offset, step)[:, None]
    found = int(look.begin[0, 1] - look.begin[0, 0]) if look.begin.shape[1] > 1 else period
    if found != period:
        raise InputError(f"model.network.period is {period}, the mixture is shown in patches of {found} samples")

    def patch_of(sample: Tensor) -> tuple[Tensor, Tensor]:
        """Patch of samples int64 [B, n] and the samples of it in front of them."""
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
    start: Tensor  # int64 [w], where the first token begins
    beyond: Tensor | None  # complex64 [w, T], see `rfsep.separators.tokens.aligned.Look`


class RfTransformerSeparator:
    """Lets a transformer write the SOI's tokens, and gives the mean of the waveforms that they may stand for.

    Args:
        modem: of the SOI.
        examples: frames of the interference, complex64 [F, T], for the front.
        model: see `rfsep.models.rf_transformer.RfTransformer`.
        front: shows the mixture.
        block: samples in a window.
        margin: samples at a window's inner edge that its neighbour writes instead.
        beams: sequences that are kept while a window is written; 1 decides token by token.
        soft: the mean over what each token may be, given those before; otherwise the tokens decided.
        carry: a window starts from the last tokens that the one before it wrote, so that windows are written one after
            the other; the SOI must begin at sample 0. Otherwise they are written side by side.

    Raises:
        InputError: a block or margin that is no multiple of a token, no beam, or a model of another SOI or front.
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
        self._check_model()
        self.block = block
        self.margin = margin
        self.beams = beams
        self.soft = soft
        self.carry = carry

    def _check_model(self) -> None:
        """Refuse a model of another SOI, or that was shown something else."""
        if self.front.num_inputs != self.model.num_inputs:
            shown = f"{self.front.num_inputs} numbers a patch"
            raise InputError(f"model.network.num_inputs is {self.model.num_inputs}, what is shown are {shown}")
        bits = self.modem.num_bits(8 * self.modem.symbol_period) * self.model.stride / (8 * self.modem.symbol_period)
        if self.model.num_prior not in (0, bits):
            raise InputError(f"model.network.num_prior is {self.model.num_prior}, this SOI has {bits:g} bits a token")

    def guidance(self, mixture: Tensor) -> Tensor:
        """The front's estimates complex64 [B, T, G]."""
        return self.front.guidance(mixture)

    def training_sight(self, batch: MixtureBatch, guidance: Tensor) -> Sight:
        """What the transformer is shown of training mixtures."""
        return self.sight(self.front.training_look(batch, guidance), batch.mixture.shape[1])

    def sight(self, look: Look, num_samples: int) -> Sight:
        """What the transformer is shown of windows of ``num_samples`` samples."""
        model = self.model
        step = self.modem.symbol_period
        return sight_of(look, num_samples, model.period, model.stride, step, model.num_prior)

    def separate(self, mixture: Tensor) -> Separated:
        """Waveform complex64 [B, T] of the tokens written, and hard bits uint8 [B, N] of its demodulator."""
        return self.separate_guided(mixture, self.guidance(mixture))

    def separate_guided(self, mixture: Tensor, guidance: Tensor) -> Separated:
        """`separate` with the front's estimates complex64 [B, T, G] as `guidance` found them."""
        if self.carry:
            soi = self._carried(mixture, guidance)
        else:
            signals = torch.cat((mixture[:, :, None], guidance), 2)  # [B, T, 1 + G]
            every = signals.shape[2]  # interleaved, so that all are cut alike
            sizes = (self.block * every, self.margin * every, self.modem.symbol_period * every)
            soi = overlapped_ends(self._estimate(every), signals.flatten(1), *sizes)[:, ::every]
        return Separated(soi, self.modem.decide(soi))

    def _written(self, mixture: Tensor, guidance: Tensor, ends: tuple[bool, bool], prefix: Tensor | None) -> _Found:
        """Tokens of windows complex64 [w, L]."""
        look = self.front.look(mixture, guidance, *ends)
        device = next(iter(self.model.parameters())).device
        sight = Sight(*(field.to(device) for field in self.sight(look, mixture.shape[1])))
        written = self.model.write(sight, self.beams, prefix)
        return _Found(written, first_sample(look.soi_offset, self.modem.symbol_period), look.beyond)

    def _waveform(self, written: Written) -> Tensor:
        """Complex64 [w, K * stride] of tokens."""
        if self.soft:
            decoded = self.model.expected(written.log_probability)
        else:
            decoded = self.model.tokenizer.decode(self.model.tokenizer.values(written.codes))
        return from_channels(decoded.cpu().float())

    def _estimate(self, every: int) -> Callable[[Tensor, bool, bool], Tensor]:
        """Estimates of windows complex64 [W, L * every], each sample as often as there are signals."""

        def estimate(part: Tensor, begins: bool, ends: bool) -> Tensor:
            with torch.inference_mode():
                signals = part.reshape(len(part), -1, every)  # [w, L, every]
                found = self._written(signals[:, :, 0], signals[:, :, 1:], (begins, ends), None)
                soi = _placed(self._waveform(found.written), found.start, signals.shape[1])
                if found.beyond is not None:
                    soi = soi + found.beyond
                return soi.repeat_interleave(every, 1)

        def apply(windows: Tensor, begins: bool, ends: bool) -> Tensor:
            most = max(1, _BATCH_SAMPLES * every // windows.shape[1])
            return in_parallel(lambda part: estimate(part, begins, ends), windows, most)

        return apply

    def _carried(self, mixture: Tensor, guidance: Tensor) -> Tensor:
        """Estimates complex64 [B, T], window after window."""
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
        """Probability that a bit is 1 in a token of each class, head by head: float32 [C, bits].

        Found by tokenizing known bits, so up to chance: what is within a few standard errors of 1/2 is 1/2.
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

    def log_likelihood_ratios(self, mixture: Tensor) -> Tensor:
        """Of the bits in windows of at most one block, complex64 [B, T]: float32 [B, N], positive for 1.

        Each is of its token given the tokens decided before it.

        Raises:
            InputError: a longer mixture, or tokens whose digits are independent.
        """
        if mixture.shape[1] > self.block:
            raise InputError(f"a mixture of {mixture.shape[1]} samples is longer than a window of {self.block}")
        if len(self.model.head_sizes) != 1:
            raise InputError("ratios of bits need tokens with one class each; their digits are independent here")
        with torch.inference_mode():
            found = self._written(mixture, self.guidance(mixture), (True, True), None)
            one, probability = self.bits_of_class, found.written.log_probability.exp().cpu()
            ratio = (probability @ one).clamp_min(1e-12).log() - (probability @ (1 - one)).clamp_min(1e-12).log()
        bits = ratio.flatten(1)
        return bits[:, : min(bits.shape[1], self.modem.num_bits(mixture.shape[1]))]


def _placed(waveform: Tensor, start: Tensor, num_samples: int) -> Tensor:
    """Waveforms complex64 [w, n] from samples int64 [w] on, in windows complex64 [w, num_samples]; 0 where none is."""
    place = torch.arange(num_samples) - start[:, None]
    there = (place >= 0) & (place < waveform.shape[1])
    return torch.where(there, waveform.gather(1, place.clamp(0, waveform.shape[1] - 1)), 0)
