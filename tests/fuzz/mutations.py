"""Small harm to files: bytes, the header of a .npy, values of JSON and YAML, opcodes of a pickle, members of zips.

Everything is chosen by a ``random.Random``, so that Hypothesis, Atheris and a plain loop can all do the choosing.
"""

import ast
import io
import json
import pickletools
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

Mutation = Callable[[Random, bytes], bytes]
NUMBERS = (0, 1, 2, 127, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
TEXTS = (
    "",
    "QPSK",
    "../../../etc/passwd",
    "/dev/zero",
    "a\x00b",
    "a\nb",
    "\u202egnp",
    "\ud800",
    "\x1b[2J",
    "${oc.env:HOME}",
    "${x}",
    "<script>alert(1)</script>",
    "x" * 5000,
    "nan",
    "1e999",
    "١",
)
WEIRD: tuple[Any, ...] = (
    *TEXTS,
    None,
    True,
    -1,
    0,
    1.5,
    -0.0,
    5e-324,
    1e308,
    float("nan"),
    float("inf"),
    10**30,
    10**400,
    [],
    {},
    [[]],
    {"_target_": "os.getcwd"},
    {"_target_": "rfsep.models.unet.UNet"},
)
DESCRIPTIONS = (
    "<c8",
    ">c8",
    "<c16",
    "<f4",
    "<f8",
    "<f2",
    "|b1",
    "|u1",
    "<i8",
    ">i4",
    "<U5",
    ">U3",
    "|O",
    "|V3",
    "<M8[s]",
)
DESCRIPTIONS += ("|S0", "<U0", "", "c8", "<c32", "<g", "<U999999999", "(2,3)f4", "f4,f4")
OPCODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]


def of_bytes(random: Random, content: bytes) -> bytes:
    """One of: cut, flip, overwrite with a number, insert, repeat, exchange two pieces."""
    if not content:
        return random.randbytes(random.randrange(64))
    changed, place = bytearray(content), random.randrange(len(content))
    kind = random.randrange(7)
    if kind == 0:
        return bytes(changed[:place])
    if kind == 1:
        for _ in range(random.choice((1, 1, 1, 4, 30))):
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    elif kind == 2:
        layout = random.choice("<>") + random.choice("BHIQ")
        number = struct.pack(layout, random.choice(NUMBERS) % 256 ** struct.calcsize(layout))
        changed[place : place + len(number)] = number
    elif kind == 3:
        changed[place:place] = random.randbytes(random.randrange(1, 9))
    elif kind == 4:
        changed[place:place] = changed[place : place + random.randrange(1, 200)]
    elif kind == 5:
        del changed[place : place + random.randrange(1, 64)]
    else:
        changed[place] = random.randrange(256)
    return bytes(changed)


def of_npy(random: Random, content: bytes) -> bytes:
    """Another header in front of the numbers."""
    if not content.startswith(b"\x93NUMPY") or len(content) < 12:
        return of_bytes(random, content)
    size = int.from_bytes(content[8:10], "little") + 10
    axes = [random.choice((*NUMBERS, -1, 3, 4, 5, True)) for _ in range(random.randrange(4))]
    try:
        fields = dict(ast.literal_eval(content[10:size].decode("latin1")))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        fields = {"descr": "<c8", "fortran_order": False, "shape": (2, 3)}
    field = random.choice(("descr", "fortran_order", "shape", "extra", "shape"))
    values = {
        "descr": random.choice(DESCRIPTIONS),
        "fortran_order": random.choice((True, 1, None)),
        "shape": tuple(axes),
    }
    fields[field] = values.get(field, 1)
    text = random.choice((repr(fields), repr(fields), repr(fields)[:-3], "(" * 300 + ")" * 300, repr(fields) + "\\x"))
    header = text.encode("latin1", "replace") + b" " * random.randrange(64) + b"\n"
    version = random.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x01"))
    length = random.choice((len(header), len(header), random.choice(NUMBERS)))
    prefix = struct.pack("<H", length % 2**16) if version[0] == 1 else struct.pack("<I", length % 2**32)
    return content[:6] + version + prefix + header + content[size:]


def of_tree(random: Random, tree: Any) -> Any:
    """The same containers with one value, key or branch changed."""
    if random.random() < 0.15 or not isinstance(tree, dict | list) or not tree:
        return random.choice(WEIRD)
    key = random.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
    changed = dict(tree) if isinstance(tree, dict) else list(tree)
    kind = random.randrange(6)
    if kind == 0:
        del changed[key]
    elif kind == 1 and isinstance(changed, dict):
        changed[random.choice(TEXTS)] = changed.pop(key)
    elif kind == 2 and isinstance(changed, list):
        changed += changed[:50]
    else:
        changed[key] = of_tree(random, tree[key])
    return changed


def of_json(random: Random, content: bytes) -> bytes:
    """A value changed; or nested endlessly."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return of_bytes(random, content)
    if random.random() < 0.03:
        return b"[" * random.choice((50, 2000, 100_000))
    try:
        return json.dumps(of_tree(random, tree), ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return b"{"


def of_yaml(random: Random, content: bytes) -> bytes:
    """A value changed; or aliases of aliases."""
    try:
        tree = yaml.load(content, yaml.CSafeLoader)
        if random.random() < 0.03:
            bomb = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))
            return b"a0: &a0 [x, x]\n" + bomb.encode() + b"\n" + content
        return yaml.dump(of_tree(random, tree), Dumper=yaml.CSafeDumper).encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return of_bytes(random, content)


def of_pickle(random: Random, content: bytes) -> bytes:
    """An opcode put in, taken out or repeated where one begins."""
    places = []
    try:
        places.extend(place for _, _, place in pickletools.genops(content))
    except Exception:
        return of_bytes(random, content)
    place = random.choice(places)
    after = next((one for one in places if one > place), len(content))
    kind = random.randrange(4)
    if kind == 0:
        return content[:place] + random.choice(OPCODES) + random.randbytes(random.choice((0, 1, 4))) + content[place:]
    if kind == 1:
        return content[:place] + content[after:]
    if kind == 2:
        return content[:place] + content[place:after] * random.randrange(2, 5) + content[after:]
    start = random.choice(places)
    return content[:place] + content[start : random.choice([*places, len(content)])] + content[after:]


def of_zip(inner: Mutation) -> Mutation:
    """A mutation of a member, its name or its packing."""

    def mutate(random: Random, content: bytes) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
        except Exception:
            return of_bytes(random, content)
        chosen = random.choice(list(members) or [""])
        if random.random() < 0.2:
            members[random.choice(TEXTS).encode("utf-8", "replace").decode() + ".npy"] = members.get(chosen, b"")
        if random.random() < 0.2:
            members.pop(chosen, None)
        elif chosen in members:
            members[chosen] = inner(random, members[chosen])
        packed, written = random.choice((0, 0, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)), io.BytesIO()
        with zipfile.ZipFile(written, "w", packed) as archive:
            for name, member in members.items():
                archive.writestr(name, member)
        return written.getvalue()

    return mutate


def of_safetensors(random: Random, content: bytes) -> bytes:
    """Another header, of the right length for the most part."""
    size = int.from_bytes(content[:8], "little")
    header = of_json(random, content[8 : 8 + size])
    length = len(header) if random.random() < 0.8 else random.choice(NUMBERS)
    return struct.pack("<Q", length % 2**64) + header + content[8 + size :]


def mixed(*mutations: Mutation) -> Mutation:
    """One to three mutations in a row, each of any of these or of bytes."""

    def mutate(random: Random, content: bytes) -> bytes:
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            content = random.choice((*mutations, *mutations, of_bytes))(random, content)
        return content

    return mutate
