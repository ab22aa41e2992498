"""Captures that are arrays of complex numbers or of I and Q: .npy mapped, .npz and MATLAB files in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.storage.captures.facts import (
    Capture,
    CaptureFacts,
    Hints,
    SampleFormat,
    Samples,
    datatype_of,
    facts_of,
    number_format,
    scaled,
)
from rfsep.storage.captures.plain import PlainCapture, file_content
from rfsep.storage.faults import fault
from rfsep.storage.npy import map_file, read_header
from rfsep.storage.npz import read_npz


class Plan(NamedTuple):
    """The interpretation of an array as a capture.

    Attributes:
        layout: format of its numbers.
        length: length in samples.
        columns: True where the array is [2, T], with all of I before all of Q.
    """

    layout: SampleFormat
    length: int
    columns: bool


def plan_of(path: Path, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Plan:
    """Plans an array as a capture: [T], with axes of length 1 anywhere, or [T, 2] and [2, T] of I and Q.

    Raises:
        InputError: another shape, a dtype other than numbers, or no samples.
    """
    long = tuple(length for length in shape if length != 1)
    if dtype.kind not in "iufc" or dtype.itemsize > 16 or (dtype.kind in "iu" and dtype.itemsize > 4):
        raise fault(path, f"{name} is {dtype.str}, expected complex numbers, floats or integers of up to 32 bits")
    if 0 in shape:
        raise fault(path, f"{name} holds no samples: shape {shape}")
    parts = dtype.kind == "c"
    if len(long) <= 1:
        number = np.dtype(f"{dtype.str[0]}f{dtype.itemsize // 2}") if parts else dtype
        return Plan(number_format(number, parts), int(np.prod(shape, dtype=np.int64)), False)
    if len(long) == 2 and 2 in long and not parts:
        columns = long[0] == 2 and long[1] != 2
        return Plan(number_format(dtype, True), long[0] * long[1] // 2, columns)
    raise fault(path, f"{name} has shape {shape}, expected one axis of samples, or [T, 2] of real I and Q")


class ArrayCapture:
    """A capture in an array, in memory or mapped.

    Args:
        facts: facts of the capture.
        array: array of any shape that `plan_of` accepts.
        plan: plan of the array.
    """

    def __init__(self, facts: CaptureFacts, array: npt.NDArray[Any], plan: Plan) -> None:
        self.facts = facts
        self.plan = plan
        flat = array.reshape(2, -1).T if plan.columns else array.reshape(plan.length, -1)
        self._rows = flat  # [T, 1] or [T, 2]

    def read(self, start: int, count: int) -> Samples:
        """Returns samples complex64 [count] from sample ``start`` on."""
        return as_samples(self._rows[start : start + count], self.plan.layout)


def as_samples(rows: npt.NDArray[Any], layout: SampleFormat) -> Samples:
    """Returns samples complex64 [T] of rows [T] or [T, 1] of complex or real numbers, or [T, 2] of I and Q."""
    rows = np.ascontiguousarray(rows)
    if rows.dtype.kind == "c":
        rows = rows.view(rows.real.dtype)
    native = rows.astype(layout.dtype.newbyteorder("="), copy=False)
    return scaled(native.reshape(-1), layout)


def _facts(path: Path, kind: str, plan: Plan) -> CaptureFacts:
    return facts_of(path, kind, datatype_of(plan.layout), plan.length, step=plan.layout.step)


def open_npy(path: Path) -> Capture:
    """Opens a .npy of one capture, read in place.

    Raises:
        InputError: damaged, pickled objects, another shape or dtype.
    """
    header = read_header(path)
    plan = plan_of(path, "its array", header.dtype, header.shape)
    content = file_content(path)
    data = content.part(header.offset, content.size - header.offset)
    interleaved = header.dtype.kind == "c" or plan.layout.numbers == 1 or plan.columns == header.fortran_order
    if interleaved:
        return PlainCapture(_facts(path, ".npy", plan), data, plan.layout)
    mapped = map_file(path, header.dtype, header.offset, (2, plan.length))  # the file has all of I, then all of Q
    return ArrayCapture(_facts(path, ".npy", plan), mapped, plan._replace(columns=True))


def open_npz(path: Path, hints: Hints) -> Capture:
    """Opens an array of an .npz archive, in memory.

    Raises:
        InputError: damaged, pickled objects, too large, several arrays and none named.
    """
    arrays = read_npz(path, None if hints.dataset is None else (hints.dataset,))
    return chosen_array(path, ".npz", arrays, hints)


def chosen_array(path: Path, kind: str, arrays: Mapping[str, npt.NDArray[Any]], hints: Hints) -> Capture:
    """Returns the named array, or the only one that can be a capture; a number with the name of a rate is its rate.

    Raises:
        InputError: none, several, or the named one is missing.
    """
    if hints.dataset is not None and hints.dataset not in arrays:
        raise fault(path, f"holds no array {hints.dataset!r}, only {sorted(arrays)[:20]}")
    fitting = [hints.dataset] if hints.dataset is not None else candidates(arrays)
    if len(fitting) != 1:
        raise fault(path, f"holds {len(fitting)} arrays that can be captures; name one of {sorted(arrays)[:20]}")
    array = arrays[fitting[0]]
    plan = plan_of(path, f"array {fitting[0]!r}", array.dtype, array.shape)
    return ArrayCapture(_facts(path, kind, plan), np.asarray(array), plan)


def candidates(arrays: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """Returns the names of arrays that can be captures: the complex ones, or else the long ones."""
    numeric = {name: one for name, one in arrays.items() if one.dtype.kind in "iufc" and one.size > 1}
    complexes = [name for name, one in numeric.items() if one.dtype.kind == "c"]
    return complexes or list(numeric)
