"""Files of a run as an enemy, a failing disk or a careless hand leaves them: mutations that know the formats.

Where a hash vouches for what was changed it is mostly made anew, so that what is behind it is reached.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from pipeline.checkpoint import STATE_FILE, _seal

DEEP = 100_000
VALUES = (
    *("null", "true", "-1", "0", "1", "1.5", "-0.0", "NaN", "Infinity", "-Infinity", "1e308", "1e999"),
    *("9223372036854775808", "1" + "0" * 30, "1" + "0" * 5000, '""', '"x"', '"²"', '"\\ud800"', '"=1+1"', '"a\\nb"'),
    *('"../../x"', '"/dev/zero"', '"' + "x" * 100_000 + '"', "[]", "{}", "[1]", '{"a": 1}', '[["a"]]'),
    *("[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP),
)
"""As JSON says them, or nearly."""
NAMES = ("²", "-1", "9" * 30, "000001x", "x" * 250, ".tmp-x", "000009", "000000", "a\nb", "\udcff\udcfe")
"""Of new entries; the last one is bytes that are no UTF-8."""


def mutate_file(run: Path, rng: random.Random) -> str:
    """Changes one file of a run, or adds an entry; what was done, in words."""
    files = sorted(path for path in run.rglob("*") if path.is_file() and "tensorboard" not in path.parts)
    by_form: dict[str, list[Path]] = {}
    for path in files:
        form = path.name.partition("-")[0] + path.suffix  # of an index, a piece of experience, a kind of picture
        by_form.setdefault(form, []).append(path)
    path = rng.choice(by_form[rng.choice(sorted(by_form))])
    kind = rng.choice(("content", "content", "content", "bytes", "entry", "new"))
    if kind == "new":
        return _add_entry(rng.choice(sorted({each.parent for each in files})), rng)
    if kind == "entry":
        return f"{path.relative_to(run)}: {_replace_entry(path, rng)}"
    before = path.read_bytes()
    after, what = _other_bytes(before, rng) if kind == "bytes" else _other_content(path, before, rng)
    path.write_bytes(after)
    if rng.random() < 0.7:
        what += vouch_for(run, path, after)
    return f"{path.relative_to(run)}: {what}"


def vouch_for(run: Path, path: Path, content: bytes) -> str:
    """Makes the hash that vouches for a file anew, where there is one; in words."""
    state_file = path.parent / STATE_FILE
    try:
        if path.name == STATE_FILE:
            body = json.loads(content)["state"]
            path.write_bytes(_seal(body))
            return ", sealed anew"
        if state_file.is_file():
            body = json.loads(state_file.read_bytes())["state"]
            body["files"][path.name] = sha256(content).hexdigest()
            state_file.write_bytes(_seal(body))
            return ", vouched for anew"
        if path.parent.name == "culture":
            for each in run.glob(f"checkpoints/*/{STATE_FILE}"):
                body = json.loads(each.read_bytes())["state"]
                for link in body["culture"]:
                    if path.name == f"{link['round']:06d}.safetensors":
                        link["sha256"] = sha256(content).hexdigest()
                each.write_bytes(_seal(body))
            return ", vouched for anew"
        if path.name.startswith("index-"):
            found = sha256(content).hexdigest()
            path.rename(path.with_name(f"index-{found[:16]}.json"))
            for each in run.glob(f"checkpoints/*/{STATE_FILE}"):
                body = json.loads(each.read_bytes())["state"]
                if body["experience"]["iteration"] == int(path.parent.name):
                    body["experience"]["sha256"] = found
                    each.write_bytes(_seal(body))
            return ", vouched for anew"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass  # what it has become says of itself nothing that could be sealed
    return ""


def _other_bytes(before: bytes, rng: random.Random) -> tuple[bytes, str]:
    place = rng.randrange(len(before) + 1)
    ways: list[tuple[str, Callable[[], bytes]]] = [
        ("empty", lambda: b""),
        (f"cut at {place}", lambda: before[:place]),
        ("twice", lambda: before + before),
        ("blanks before it", lambda: b" " * 10_000 + before),
        ("a byte order mark", lambda: b"\xef\xbb\xbf" + before),
        (f"no UTF-8 at {place}", lambda: before[:place] + b"\xff\xfe" + before[place:]),
        (f"NUL at {place}", lambda: before[:place] + b"\0" + before[place:]),
        (f"another byte at {place}", lambda: before[:place] + bytes([rng.randrange(256)]) + before[place + 1 :]),
        ("noise", lambda: rng.randbytes(1000)),
    ]
    what, make = rng.choice(ways)
    return make(), what


def _other_content(path: Path, before: bytes, rng: random.Random) -> tuple[bytes, str]:
    """With another value, where the format is known."""
    if path.suffix == ".json":
        return _other_json(before, rng)
    if path.suffix == ".jsonl":
        lines = before.splitlines(keepends=True)
        if not lines:
            return rng.choice(VALUES).encode() + b"\n", "a line of its own"
        place = rng.randrange(len(lines))
        line, what = _other_json(lines[place], rng)
        lines[place] = line.rstrip(b"\n") + b"\n"
        return b"".join(lines), f"line {place}: {what}"
    if path.suffix == ".safetensors":
        length = int.from_bytes(before[:8], "little")
        header, what = _other_json(before[8 : 8 + length], rng)
        header += b" " * (-len(header) % 8)
        return len(header).to_bytes(8, "little") + header + before[8 + length :], f"header: {what}"
    if path.suffix == ".state":
        return _other_state(before, rng)
    return _other_bytes(before, rng)


def _other_state(before: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Of a collector: numbers, then a header in JSON and blobs, whose checksum is made anew (actors/envs/state.py)."""
    from zlib import crc32

    from actors.envs.state import MAGIC

    start = before.find(MAGIC)
    if start < 0:
        return _other_bytes(before, rng)
    at = start + len(MAGIC)
    length = int.from_bytes(before[at : at + 4], "little")
    header, what = _other_json(before[at + 4 : at + 4 + length], rng)
    body = MAGIC + len(header).to_bytes(4, "little") + header + before[at + 4 + length : -4]
    return before[:start] + body + crc32(body).to_bytes(4, "little"), f"header: {what}"


def _other_json(before: bytes, rng: random.Random) -> tuple[bytes, str]:
    """One value replaced, taken away or doubled."""
    try:
        document = json.loads(before)
    except ValueError:
        return _other_bytes(before, rng)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in list(items):
            places.append((node, key))
            walk(value)

    walk(document)
    if not places or rng.random() < 0.05:
        value = rng.choice(VALUES)
        return value.encode(), f"all of it {value[:30]}"
    node, key = rng.choice(places)
    way = rng.random()
    if way < 0.1:
        node.pop(key)
        return json.dumps(document).encode(), f"without {key!r}"
    if way < 0.15 and isinstance(node, dict):
        node[f"{key}²"] = node[key]
        return json.dumps(document).encode(), f"{key!r} twice"
    value, node[key] = rng.choice(VALUES), "@here@"
    return json.dumps(document).replace('"@here@"', value).encode(errors="surrogatepass"), f"{key!r} is {value[:30]}"


def _replace_entry(path: Path, rng: random.Random) -> str:
    what = rng.choice(("gone", "pipe", "directory", "link to nothing", "link to itself", "link to /dev/zero", "1 TB"))
    if what == "1 TB":
        os.truncate(path, 1 << 40)
        return what
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    elif what.startswith("link"):
        path.symlink_to({"nothing": "nowhere", "itself": path.name, "/dev/zero": "/dev/zero"}[what.split()[-1]])
    return what


def _add_entry(directory: Path, rng: random.Random) -> str:
    path = directory / rng.choice(NAMES)
    what = rng.choice(("file", "pipe", "directory", "link to nothing", "copy"))
    if os.path.lexists(path):
        return "nothing new"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "file":
        path.write_bytes(b"{}")
    elif what == "copy" and (models := sorted(each for each in directory.iterdir() if each.is_dir())):
        shutil.copytree(rng.choice(models), path, symlinks=True)
    elif what == "link to nothing":
        path.symlink_to("nowhere")
    else:
        path.mkdir()
    return f"{what} {str(path.relative_to(directory.parent))!r:.60} more"
