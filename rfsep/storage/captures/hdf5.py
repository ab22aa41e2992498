"""Captures in HDF5 datasets: complex numbers, pairs of numbers, scaled integers; includes MATLAB 7.3 files."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from rfsep.storage.captures.arrays import Plan, as_samples, plan_of
from rfsep.storage.captures.facts import (
    Capture,
    CaptureFacts,
    Hints,
    SampleFormat,
    Samples,
    datatype_of,
    facts_of,
    is_rate,
    number_format,
)
from rfsep.storage.faults import fault, foreign
from rfsep.storage.hdf5 import MAX_CHUNK_BYTES, check_unpacking, find, open_hdf5
from rfsep.types import InputError

PAIRS = {("r", "i"), ("real", "imag"), ("re", "im"), ("x", "y"), ("i", "q")}
RATES = ("sample_rate_hz", "sample_rate", "samp_rate", "sampling_rate", "samplerate", "fs")
FREQUENCIES = ("frequency_hz", "center_frequency", "center_freq", "centre_frequency")
_MAX_OBJECTS = 10_000
_DEEPEST = 6


class Numbers(NamedTuple):
    """The format of a dataset's entries.

    Attributes:
        layout: format of their numbers.
        fields: names of I and Q where an entry is a pair of numbers, else empty.
    """

    layout: SampleFormat
    fields: tuple[str, ...]


class Layout(NamedTuple):
    """The interpretation of a dataset as a capture.

    Attributes:
        plan: plan of its numbers.
        axis: axis of the samples.
        fields: see `Numbers`.
    """

    plan: Plan
    axis: int
    fields: tuple[str, ...]


class Hdf5Capture:
    """A capture in a dataset.

    Args:
        facts: facts of the capture.
        name: name of the dataset.
        layout: layout of the dataset.
    """

    def __init__(self, facts: CaptureFacts, name: str, layout: Layout) -> None:
        self.facts = facts
        self.layout = layout
        self._dataset = find(open_hdf5(facts.path), name)
        check_unpacking(facts.path, self._dataset)

    def read(self, start: int, count: int) -> Samples:
        """Returns samples complex64 [count] from sample ``start`` on.

        Raises:
            InputError: they cannot be decoded.
        """
        return read_rows(self.facts.path, self._dataset, self.layout, start, count)


def read_rows(path: Path, dataset: h5py.Dataset, layout: Layout, start: int, count: int) -> Samples:
    """Reads samples complex64 [count] of a dataset with a known layout.

    Raises:
        InputError: they cannot be decoded.
    """
    places = tuple(slice(start, start + count) if axis == layout.axis else slice(None) for axis in range(dataset.ndim))
    with foreign(path, "cannot be decoded"), np.errstate(over="ignore"):
        rows = np.asarray(dataset[places])
        if layout.plan.columns:
            rows = rows.reshape(2, -1).T
        return samples_of(rows.reshape(count, -1), Numbers(layout.plan.layout, layout.fields))


def samples_of(rows: npt.NDArray[Any], numbers: Numbers) -> Samples:
    """Returns samples complex64 [T] of entries [T], or [T, 2] of real I and Q."""
    if numbers.fields:
        rows = np.stack([rows[field].reshape(-1) for field in numbers.fields], -1)
    return as_samples(rows, numbers.layout)


def numbers_of(path: Path, name: str, dtype: np.dtype[Any]) -> Numbers:
    """Returns the format of entries of a dtype.

    Raises:
        InputError: the entries are not numbers.
    """
    if fields := _pair(dtype):
        return Numbers(number_format(dtype[fields[0]], True), fields)
    return Numbers(plan_of(path, name, dtype, (2,)).layout, ())


def layout_of(path: Path, dataset: h5py.Dataset) -> Layout:
    """Returns the layout of a dataset as a capture.

    Raises:
        InputError: entries other than numbers or pairs, more than one long axis, or chunks that are too large.
    """
    name, dtype, shape = f"dataset {dataset.name.lstrip('/')!r}", dataset.dtype, dataset.shape or ()
    if dataset.chunks is not None and math.prod(dataset.chunks) * dtype.itemsize > MAX_CHUNK_BYTES:
        raise fault(path, f"{name} unpacks in pieces of more than {MAX_CHUNK_BYTES} bytes")
    if shape == ():
        raise fault(path, f"{name} is a single value, expected samples")
    longest = max(range(len(shape)), key=lambda axis: shape[axis])
    if fields := _pair(dtype):
        plan = plan_of(path, name, np.dtype("c8"), shape)
        return Layout(plan._replace(layout=numbers_of(path, name, dtype).layout), longest, fields)
    return Layout(plan_of(path, name, dtype, shape), longest, ())


def _pair(dtype: np.dtype[Any]) -> tuple[str, ...]:
    """Returns the names of I and Q in a compound of two equal number types; empty for any other dtype."""
    names = dtype.names or ()
    same = len(names) == 2 and dtype[names[0]] == dtype[names[1]] and dtype[names[0]].kind in "iuf"
    return names if same and tuple(name.lower() for name in names) in PAIRS else ()


def open_hdf5_capture(path: Path, hints: Hints) -> Capture:
    """Opens a dataset of an HDF5 file: the named one, or the only one that can be a capture.

    Raises:
        InputError: damaged, links, several datasets and none named, no samples in it.
    """
    with open_hdf5(path) as file, foreign(path, "cannot be read as HDF5"):
        name = _only_dataset(path, file) if hints.dataset is None else hints.dataset
        dataset = find(file, name)
        layout = layout_of(path, dataset)
        number = layout.plan.layout
        facts = facts_of(
            path,
            "MATLAB 7.3" if "MATLAB_class" in dataset.attrs else "HDF5",
            datatype_of(number),
            layout.plan.length,
            step=number.step,
            sample_rate_hz=_told(dataset, file, RATES),
            frequency_hz=_told(dataset, file, FREQUENCIES),
        )
    return Hdf5Capture(facts, name, layout)


def _only_dataset(path: Path, file: h5py.File) -> str:
    """Returns the name of the only dataset that can be a capture: of complex numbers or pairs, else of any numbers."""
    top = sorted(file)
    if len(top) == 1 and not isinstance(file.get(top[0], getlink=True), h5py.HardLink):
        # This raises an error that names the fault.
        find(file, str(top[0]))
    complexes: list[str] = []
    reals: list[str] = []
    for dataset in _datasets(file, 0):
        try:
            layout = layout_of(path, find(file, dataset.name.lstrip("/")))
        except InputError:
            # Text, tables and virtual datasets are not captures.
            continue
        if layout.plan.length > 1:
            paired = dataset.dtype.kind == "c" or bool(layout.fields)
            (complexes if paired else reals).append(dataset.name.lstrip("/"))
    fitting = complexes or reals
    if len(fitting) == 1:
        return str(fitting[0])
    if not fitting and len(top) == 1:
        # This raises an error that names the fault.
        layout_of(path, find(file, str(top[0])))
    raise fault(path, f"has {len(fitting)} datasets that can be captures; name one of {(sorted(fitting) or top)[:20]}")


def _datasets(group: h5py.Group, depth: int) -> Iterator[h5py.Dataset]:
    """Yields the datasets below a group, following hard links only."""
    for name in sorted(group)[:_MAX_OBJECTS]:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        found = group[name]
        if isinstance(found, h5py.Dataset):
            yield found
        elif isinstance(found, h5py.Group) and depth < _DEEPEST:
            yield from _datasets(found, depth + 1)


def _told(dataset: h5py.Dataset, file: h5py.File, names: tuple[str, ...]) -> float | None:
    """Finds a number by names: an attribute of dataset, group or file, or a dataset with one number."""
    for attributes in (dataset.attrs, dataset.parent.attrs, file.attrs):
        known = {str(name).lower(): name for name in attributes}
        for name in names:
            if name in known and (value := one_number(attributes[known[name]])) is not None:
                return value
    datasets = {str(name).lower(): name for name in file}
    for name in names:
        if name in datasets and isinstance(file.get(datasets[name], getlink=True), h5py.HardLink):
            found = find(file, datasets[name])
            if found.size == 1 and (value := one_number(found[()])) is not None:
                return value
    return None


def one_number(value: Any) -> float | None:
    """Returns a positive number, given alone or in an array of one; None for anything else."""
    array: npt.NDArray[Any] = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "iuf":
        return None
    number = array.reshape(-1)[0].item()
    return float(number) if is_rate(number) else None
