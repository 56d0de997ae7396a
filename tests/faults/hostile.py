"""Hostile files: what strangers may hand in where a document or weights are read, as bytes and as places on disk.

`JSON` and `YAML` map the name of an attack to its text, `TENSORS` to the content of a safetensors file; all are made
when asked for, since some are large. `write_place` makes what is no regular file. Where something tries to run code, it
would leave the canary; where it wants to be read, the name of an attack says what is wrong.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Text = Callable[[Path], str]
"""The canary -> what a file holds."""

MILLION = 10**6

STRINGS = (
    "__import__('os').system('touch canary')",
    "genotypes.PNFS; import os; os.system('touch canary')",
    "eval(open('canary', 'w'))",
    "lambda: open('canary', 'w')",
    "{0.__class__.__mro__}",
    "{0.__class__.__init__.__globals__}",
    "%(password)s %n %s",
    "{{ 7 * 7 }}",
    "${env}",
    "${oc.env:HOME}",
    "${jndi:ldap://127.0.0.1/a}",
    "$(touch canary)",
    "`touch canary`",
    "; touch canary;",
    "| touch canary",
    "../../x",
    "../../../../../../etc/passwd",
    "/etc/passwd",
    "..\\..\\x",
    "file:///etc/passwd",
    "http://127.0.0.1:9/x",
    "C:\\x",
    "con",
    "-rf",
    "--help",
    "@/etc/passwd",
    "~root/x",
    "__class__",
    "__init__",
    "__dict__",
    "__reduce__",
    "forward",
    "state_dict",
    "training",
    "self",
    "import",
    "None",
    "",
    " ",
    "\t",
    "\n",
    "a\nb",
    "a\rb",
    "a.b",
    "a[0]",
    "a=b",
    "\x7f",
    "\x1b[2J\x1b[1;31m",
    "\u202egnp.x",
    "\u200b",
    "\ufeff",
    "\ufffd",
    "s\u0435p_conv_3x3",
    "\uff53kip_connect",
    "skip_connect\u0301",
    "SKIP_CONNECT",
    "skip_connect ",
    "sep_conv_3x3\u0000",
    "<script>alert(1)</script>",
    "'; DROP TABLE studies; --",
    "'" * 100,
    "\\" * 100,
    "9" * 5000,
    "x" * 100_000,
)
"""Sixty and more texts to put where a name belongs: code, paths, templates, look-alikes, what terminals obey."""


def _laughs(levels: int = 9) -> str:
    """The bomb of 341 bytes: lists of ten references to the list before."""
    lines = ['a0: &a0 ["lol"]']
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


YAML: dict[str, Text] = {
    "apply": lambda canary: f"seed: !!python/object/apply:os.system ['touch {canary}']\n",
    "apply at the top": lambda canary: f"!!python/object/apply:os.system ['touch {canary}']\n",
    "new": lambda canary: f"!!python/object/new:subprocess.Popen [[touch, '{canary}']]\n",
    "object": lambda canary: "seed: !!python/object:os.system {}\n",
    "name": lambda canary: "seed: !!python/name:os.system\n",
    "module": lambda canary: "seed: !!python/module:os\n",
    "binary": lambda canary: "seed: !!binary aGVsbG8=\n",
    "set": lambda canary: "seed: !!set {a, b}\n",
    "a tag of their own": lambda canary: "seed: !evil {a: b}\n",
    "a tag that says text": lambda canary: "seed: !!str 1\n",
    "an absolute include": lambda canary: "seed: !include /etc/passwd\n",
    "laughs": lambda canary: _laughs(),
    "a list in itself": lambda canary: "seed: &a [*a]\n",
    "a merge": lambda canary: "seed: &a {b: 1}\ntrain:\n  <<: *a\n",
    "an inline merge": lambda canary: "<<: {seed: 1}\n",
    "keys twice": lambda canary: "seed: 1\nseed: 2\n",
    "keys twice below": lambda canary: "train: {lr: 1, lr: 2}\n",
    "a list as key": lambda canary: "? [seed]\n: 1\n",
    "a number as key": lambda canary: "1: 2\n",
    "two documents": lambda canary: "seed: 1\n---\nseed: 2\n",
    "a version of its own": lambda canary: "%YAML 9.9\n---\nseed: 1\n",
    "deep brackets": lambda canary: "seed: " + "[" * 100_000,
    "deep braces": lambda canary: "seed: " + "{a: " * 100_000,
    "deep dashes": lambda canary: "- " * 100_000,
    "deep questions": lambda canary: "? " * 100_000,
    "a million nodes": lambda canary: "seed: [" + "1, " * MILLION + "1]\n",
    "a million keys": lambda canary: "".join(f"k{i}: 1\n" for i in range(MILLION)),
    "a text of 10 MB": lambda canary: f"seed: {'x' * 10 * MILLION}\n",
    "a key of 10 MB": lambda canary: f"{'x' * 10 * MILLION}: 1\n",
    "a comment of 10 MB": lambda canary: f"# {'x' * 10 * MILLION}\nseed: 1\n",
    "a number of 10,000 digits": lambda canary: f"seed: {'1' * 10_000}\n",
    "a look-alike key": lambda canary: "s\u0435ed: 1\n",
    "a wide look-alike key": lambda canary: "\uff53eed: 1\n",
    "an invisible key": lambda canary: '"seed\\u200b": 1\n',
    "a key that clears the screen": lambda canary: '"\\e[2J": 1\n',
    "a reference to the environment": lambda canary: "seed: ${oc.env:HOME}\n",
    "a reference to nothing": lambda canary: "seed: ${seed}\n",
    "half a reference": lambda canary: "seed: ${\n",
    "a template": lambda canary: 'seed: "{0.__class__}"\n',
    "code": lambda canary: f"__import__('os').system('touch {canary}')\n",
    "code as a value": lambda canary: f"seed: __import__('os').system('touch {canary}')\n",
    "a control character": lambda canary: "seed: \x00\n",
    "tabs": lambda canary: "train:\n\tlr: 1\n",
    "half a list": lambda canary: "seed: [1,\n",
    "a list": lambda canary: "- seed\n",
    "a number": lambda canary: "5\n",
}

JSON: dict[str, Text] = {
    "nothing": lambda canary: "",
    "half an object": lambda canary: '{"format": 1',
    "two objects": lambda canary: "{} {}",
    "a comment": lambda canary: '{"format": 1} // done',
    "a comma too many": lambda canary: '{"format": 1,}',
    "single quotes": lambda canary: "{'format': 1}",
    "code": lambda canary: f"__import__('os').system('touch {canary}')",
    "a key twice": lambda canary: '{"format": 1, "format": 1}',
    "a key twice below": lambda canary: '{"format": 1, "config": {"seed": 1, "seed": 2}}',
    "deep lists": lambda canary: "[" * 100_000 + "]" * 100_000,
    "deep objects": lambda canary: '{"format":' * 100_000 + "1" + "}" * 100_000,
    "ninety lists": lambda canary: '{"format": ' + "[" * 90 + "]" * 90 + "}",
    "nine hundred lists": lambda canary: '{"format": ' + "[" * 900 + "]" * 900 + "}",
    "a million numbers": lambda canary: '{"format": [' + "1," * MILLION + "1]}",
    "a million lists": lambda canary: "[" + "[]," * MILLION + "1]",
    "a million keys": lambda canary: "{" + ",".join([f'"{i}":1' for i in range(MILLION)]) + "}",
    "a text of 10 MB": lambda canary: json.dumps({"format": "x" * 10 * MILLION}),
    "a key of 10 MB": lambda canary: json.dumps({"x" * 10 * MILLION: 1}),
    "an integer of 100,000 digits": lambda canary: '{"format": ' + "1" * 100_000 + "}",
    "a number beyond all": lambda canary: '{"format": 1e999}',
    "NaN": lambda canary: '{"format": NaN}',
    "a lone surrogate": lambda canary: '{"\\ud800": "\\udfff"}',
    "a NUL": lambda canary: '{"\\u0000": 1}',
    "a look-alike key": lambda canary: '{"f\u043ermat": 1}',
    "a key that clears the screen": lambda canary: '{"\\u001b[2J": 1}',
    "a key that turns the text around": lambda canary: '{"\u202eformat": 1}',
    "a list": lambda canary: "[]",
    "null": lambda canary: "null",
    "a class": lambda canary: '{"__class__": {"__init__": {}}, "py/object": "os.system"}',
}


def tensors(header: Mapping[str, Any] | bytes, data: bytes = bytes(64), length: int | None = None) -> bytes:
    """A safetensors file with any header, of any claimed length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(shape: tuple[int, ...] = (4, 4), offsets: tuple[int, int] = (0, 64), dtype: str = "F32") -> dict[str, Any]:
    """What a header says of one tensor; by default what is true of 64 bytes."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def _crowd(count: int) -> bytes:
    """The header of so many tensors without numbers."""
    empty = json.dumps(one((0,), (0, 0)))
    return ("{" + ",".join([f'"{i}":{empty}' for i in range(count)]) + "}").encode()


NAME = "backbone.stem.0.weight"

TENSORS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "seven bytes": lambda: bytes(7),
    "a header of 2^63 bytes": lambda: tensors({NAME: one()}, length=2**63),
    "a header longer than the file": lambda: tensors({NAME: one()}, length=1000),
    "a header of 100 MB": lambda: tensors(b'{"__metadata__": {"a": "' + b"x" * 100 * MILLION + b'"}}', b""),
    "a crowd of tensors": lambda: tensors(_crowd(200_000), b""),
    "a header that is a list": lambda: tensors(b"[]"),
    "a header that is no JSON": lambda: tensors(b"{'a': 1}"),
    "a header that is no text": lambda: tensors(b"\xff\xfe{}"),
    "a deep header": lambda: tensors(b'{"a":' * 100_000),
    "overlaps": lambda: tensors({"a": one((8,), (0, 32)), "b": one((8,), (16, 48))}),
    "the same bytes twice": lambda: tensors({"a": one(), "b": one()}),
    "a hole": lambda: tensors({"a": one((4,), (0, 16)), "b": one((8,), (32, 64))}),
    "a name twice": lambda: tensors(b'{"a": %s, "a": %s}' % ((json.dumps(one()).encode(),) * 2)),
    "a name twice, its halves": lambda: tensors(
        b'{"a": %s, "a": %s}' % tuple(json.dumps(one((8,), half)).encode() for half in ((0, 32), (32, 64)))
    ),
    "trailing bytes": lambda: tensors({NAME: one()}, bytes(80)),
    "missing bytes": lambda: tensors({NAME: one()}, bytes(32)),
    "a shape too large": lambda: tensors({NAME: one((5, 5))}),
    "a shape too small": lambda: tensors({NAME: one((3, 5))}),
    "a dtype too wide": lambda: tensors({NAME: one(dtype="F64")}),
    "a dtype too narrow": lambda: tensors({NAME: one(dtype="F16")}),
    "a dtype of its own": lambda: tensors({NAME: one(dtype="O8")}),
    "2^60 numbers": lambda: tensors({NAME: one((2**60,), (0, 2**62))}),
    "2^64 numbers": lambda: tensors({NAME: one((2**32, 2**32), (0, 0))}),
    "2^60 numbers in 64 bytes": lambda: tensors({NAME: one((2**60,))}),
    "a negative size": lambda: tensors({NAME: one((-4, -4))}),
    "offsets turned around": lambda: tensors({NAME: one((4, 4), (64, 0))}),
    "offsets below zero": lambda: tensors({NAME: one((4, 4), (-64, 0))}),
    "a size that is text": lambda: tensors({NAME: {**one(), "shape": ["4", "4"]}}),
    "metadata that is no text": lambda: tensors({"__metadata__": {"a": 1}, NAME: one()}),
    "a pickle": lambda: b"\x80\x04cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
}

PLACES = ("folder", "pipe", "endless", "dangling", "in a circle", "unreadable", "a terabyte")
"""What is no file that can be read: `write_place` makes it."""


def write_place(kind: str, path: Path) -> None:
    """Make one of `PLACES` at a path: a folder, a named pipe, links to `/dev/zero`, to nothing and to itself."""
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "unreadable":
        path.write_bytes(b"{}")
        path.chmod(0)
    elif kind == "a terabyte":
        with path.open("wb") as file:
            file.truncate(2**40)
    else:
        target = {"endless": "/dev/zero", "dangling": "nowhere", "in a circle": path.name}[kind]
        path.symlink_to(target)
