"""The most likely binary sequence where each symbol's metric depends on the two symbols before it."""

import torch
from torch import Tensor

_WINDOW = 256  # symbols whose results a window gives
_OVERLAP = 32  # symbols on each side of a window that only settle the states, many times the memory of two


def sequence_llr(single: Tensor, triple: Tensor, *, soft: bool) -> Tensor:
    """Returns log-likelihood ratios of symbols b = +-1, of which each depends on the two before it.

    The log-probability of a sequence is the sum of b_n single_n + b_n b_(n-1) b_(n-2) triple_n. A forward-backward
    recursion runs over the four states (b_(n-1), b_(n-2)), for windows side by side.

    Args:
        single: real [B, S].
        triple: real [B, S].
        soft: sum over sequences (Bahl et al., IEEE Trans. Inf. Theory 20, 1974). Otherwise only the most likely one
            with either value counts, so the signs are Viterbi's decisions, whatever the scale of the metrics.

    Returns:
        real [B, S], positive where b = -1 (bit 1) is likelier.
    """
    count = single.shape[1]
    windows = max(1, -(-count // _WINDOW))
    behind = windows * _WINDOW - count + _OVERLAP

    def cut(metric: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(metric, (_OVERLAP, behind))
        return padded.unfold(1, _WINDOW + 2 * _OVERLAP, _WINDOW).flatten(0, 1)  # [B * windows, steps]

    found = _window_llr(cut(single), cut(triple), soft=soft)[:, _OVERLAP:-_OVERLAP]
    return found.reshape(len(single), -1)[:, :count]


def _window_llr(single: Tensor, triple: Tensor, *, soft: bool) -> Tensor:
    """Returns log-likelihood ratios [N, steps] of windows; states before and behind them are unknown."""
    sign = torch.tensor([1.0, -1.0], dtype=single.dtype, device=single.device)
    product = sign[:, None, None] * sign[:, None] * sign  # [b_n, b_(n-1), b_(n-2)]
    metrics = single.T[:, :, None, None, None] * sign[:, None, None] + triple.T[:, :, None, None, None] * product
    forward = [metrics.new_zeros(metrics.shape[1], 2, 2)]  # over (b_(n-1), b_(n-2))
    for metric in metrics[:-1]:
        forward.append(_joined(forward[-1][:, None] + metric, 3, soft))
    backward = metrics.new_zeros(metrics.shape[1], 2, 2)  # over (b_n, b_(n-1))
    found = []
    for before, metric in zip(reversed(forward), metrics.flip(0), strict=True):
        behind = metric + backward[..., None]
        whole = (before[:, None] + behind).flatten(2)  # [N, b_n, 4]
        evidence = torch.logsumexp(whole, 2) if soft else whole.amax(2)
        found.append(evidence[:, 1] - evidence[:, 0])
        backward = _joined(behind, 1, soft)
    return torch.stack(found[::-1], 1)


def _joined(metric: Tensor, axis: int, soft: bool) -> Tensor:
    """Returns metrics [N, 2, 2] with one symbol summed or maximised out, the largest at zero."""
    joined = torch.logsumexp(metric, axis) if soft else metric.amax(axis)
    return joined - joined.amax((1, 2), keepdim=True)
