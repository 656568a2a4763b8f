"""States restore exactly, in a new process, and what is no state is refused.

Run as a script, this file is that new process: it restores a state and prints what it then plays.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from actors.config import AnyEnvironment, AtariConfig, CatchConfig, CrafterConfig, EnvironmentConfig
from actors.envs.atari import Atari
from actors.envs.catch import Catch
from actors.envs.environment import Environment
from actors.envs.state import MAGIC, pack, restore_generator, unpack

NUM_STEPS = 300


def play(env: Environment, num_steps: int, *, seed: int, running: bool) -> tuple[list[Any], bool]:
    """What `num_steps` random steps show, resets included, and whether an episode is running after them."""
    shown: list[Any] = []
    for action in env.action_space.unstack(env.action_space.sample(np.random.default_rng(seed), num_steps)):
        if not running:
            shown.append(digest(env.reset()))
        step = env.step(action)
        running = not step.ended
        shown.append([digest(step.frame) if running else "", step.reward, step.terminated, step.truncated])
    return shown, running


def digest(frame: np.ndarray) -> str:
    return blake2b(frame.tobytes(), digest_size=8).hexdigest()


def go_on_in_a_new_process(config: EnvironmentConfig, state: bytes, *, running: bool, folder: Path) -> list[Any]:
    """What an environment of this `config` but another seed shows after restoring `state`."""
    path = folder / "state"
    path.write_bytes(state)
    root = Path(__file__).parents[2]
    process = subprocess.run(
        [sys.executable, __file__, config.model_dump_json(), str(path), json.dumps(running)],
        env={**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize(
    ("config", "num_steps"),
    [
        pytest.param(AtariConfig(game="Breakout"), 120, id="Breakout"),
        pytest.param(AtariConfig(game="Pong", max_frames=1000), 300, id="Pong"),
        # Its frames end late: a plain copy of the emulator would go on differently.
        pytest.param(AtariConfig(game="Qbert"), 90, id="Qbert"),
        pytest.param(CrafterConfig(), 80, id="Crafter"),
        pytest.param(CatchConfig(), 50, id="Catch"),
    ],
)
def test_a_state_goes_on_identically_in_a_new_process(config: EnvironmentConfig, num_steps: int, tmp_path: Path):
    env = config.build(seed=3)
    _, running = play(env, num_steps, seed=1, running=False)
    assert running
    state = env.get_state()
    here, _ = play(env, NUM_STEPS, seed=3, running=True)
    assert go_on_in_a_new_process(config, state, running=True, folder=tmp_path) == here
    assert sum(isinstance(entry, str) for entry in here) >= 1  # a reset on the way


def until_end(env: Environment, seed: int = 0) -> None:
    env.reset()
    actions = np.random.default_rng(seed)
    while not env.step(int(env.action_space.sample(actions, 1)[0])).ended:
        pass


@pytest.mark.parametrize("num_ends", [0, 1, 5])
def test_a_state_between_episodes_goes_on_identically(num_ends: int):
    # Breakout has five lives: nothing was played, a life was lost, the game is over.
    config = AtariConfig(game="Breakout")
    env, restored = Atari(config, 3), Atari(config, 9)
    for seed in range(num_ends):
        until_end(env, seed)
    restored.set_state(env.get_state())
    assert restored.get_state() == env.get_state()
    assert play(restored, 150, seed=2, running=False) == play(env, 150, seed=2, running=False)
    assert restored.get_state() == env.get_state()


def test_a_state_restores_over_and_over_in_an_environment_that_was_elsewhere():
    config = AtariConfig(game="Qbert", frame_skip=1, max_frames=500)
    env, restored = Atari(config, 3), Atari(config, 3)
    running = False
    for seed in range(8):
        _, running = play(env, 37, seed=seed, running=running)
        state = env.get_state()
        restored.set_state(state)
        assert restored.get_state() == state
        shown, _ = play(restored, 20, seed=seed, running=running)
        restored.set_state(state)
        assert play(restored, 20, seed=seed, running=running)[0] == shown


def test_another_games_state_and_another_environments_are_refused_and_change_nothing():
    pong = Atari(AtariConfig(game="Pong"), 0)
    pong.reset()
    before = pong.get_state()
    breakout = Atari(AtariConfig(game="Breakout"), 0)
    slow = Atari(AtariConfig(game="Pong", frame_skip=8), 0)
    for other, found in ((breakout, r"found \['Breakout', 4, 20000\]"), (slow, r"found \['Pong', 8, 20000\]")):
        with pytest.raises(ValueError, match=found + r", expected \['Pong', 4, 20000\]"):
            pong.set_state(other.get_state())
    with pytest.raises(ValueError, match="found 'catch', expected 'atari'"):
        pong.set_state(Catch(CatchConfig(), 0).get_state())
    assert pong.get_state() == before


def test_a_replay_that_goes_elsewhere_is_refused():
    env = Atari(AtariConfig(game="Breakout", max_noops=1), 0)
    env.reset()
    for _ in range(20):
        env.step(1)
    outer = {"console": bytes, "noops": dict, "lives": int, "running": bool, "game_goes_on": bool}
    inner = {"settings": list, "origin": bytes, "num_noops": int, "played": bytes, "checksum": str}
    fields = unpack("atari", env.get_state(), outer)
    console = unpack("atari console", fields["console"], inner)
    console["played"] = console["played"][:-1] + b"\x03"  # RIGHT in place of FIRE
    before = env.get_state()
    fields["console"] = pack("atari console", console)
    with pytest.raises(ValueError, match="Breakout does not replay identically: after 81 raw frames found"):
        env.set_state(pack("atari", fields))
    fields["console"] = pack("atari console", {**console, "origin": b"no emulator"})
    with pytest.raises(ValueError, match="malformed atari state: the emulator refuses it"):
        env.set_state(pack("atari", fields))
    assert env.get_state() == before


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(value=json_values, blob=st.binary(), numbers=st.lists(st.integers(0, 2**32 - 1)))
@settings(max_examples=50, deadline=None)
def test_packed_fields_come_back_with_their_types(value: Any, blob: bytes, numbers: list[int]):
    arrays = {
        "uint32": np.array(numbers, np.uint32),
        "plane": np.arange(6, dtype=np.float64).reshape(2, 3).T,
        "big": np.arange(3, dtype=">i2"),
        "empty": np.zeros((2, 0), bool),
    }
    fields = {"value": value, "blob": blob, **arrays, "last": b"end"}
    found = unpack("kind", pack("kind", fields), {name: type(field) for name, field in fields.items()})
    assert list(found) == list(fields)
    assert (found["value"], found["blob"], found["last"]) == (value, blob, b"end")
    assert json.dumps(found["value"]) == json.dumps(value)  # 1 stays 1, 1.0 stays 1.0
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].flags.writeable


GOOD = pack("kind", {"number": 1, "map": np.arange(4, dtype=np.uint8), "blob": b"12345"})
EXPECTED = {"number": int, "map": np.ndarray, "blob": bytes}


@given(position=st.integers(0, len(GOOD) - 1), mask=st.integers(1, 255))
def test_any_changed_byte_is_refused(position: int, mask: int):
    damaged = bytearray(GOOD)
    damaged[position] ^= mask
    with pytest.raises(ValueError, match="state"):
        unpack("kind", bytes(damaged), EXPECTED)


@given(length=st.integers(0, len(GOOD) - 1))
def test_any_truncation_is_refused(length: int):
    with pytest.raises(ValueError, match="state"):
        unpack("kind", GOOD[:length], EXPECTED)


@given(garbage=st.binary(max_size=64))
def test_garbage_is_refused(garbage: bytes):
    for state in (garbage, MAGIC + garbage):
        with pytest.raises(ValueError, match="state"):
            unpack("kind", state, EXPECTED)


def forged(header: Any, blobs: bytes = b"", magic: bytes = MAGIC) -> bytes:
    """A state with a right checksum around any header."""
    encoded = json.dumps(header).encode() if not isinstance(header, bytes) else header
    body = magic + struct.pack("<I", len(encoded)) + encoded + blobs
    return body + struct.pack("<I", crc32(body))


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"\xff",
        [],
        {"kind": "kind"},
        {"kind": "kind", "fields": []},
        {"kind": "kind", "fields": {"a": 1}},
        {"kind": "kind", "fields": {"a": {}}},
        {"kind": "kind", "fields": {"a": {"dtype": "|S4", "shape": [1]}}},
        {"kind": "kind", "fields": {"a": {"dtype": "<U1", "shape": [1]}}},
        {"kind": "kind", "fields": {"a": {"dtype": "|O", "shape": [1]}}},
        {"kind": "kind", "fields": {"a": {"dtype": "|u1", "shape": [-1, -4]}}},
        {"kind": "kind", "fields": {"a": {"dtype": "|u1", "shape": ["4"]}}},
        {"kind": "kind", "fields": {"a": {"dtype": "|u1", "shape": 4}}},
        {"kind": "kind", "fields": {"a": {"dtype": "|u1", "shape": [5]}}},
        {"kind": "kind", "fields": {"a": {"dtype": ["|u1"], "shape": [4]}}},
        {"kind": "kind", "fields": {"a": {"dtype": "|u1"}}},
        {"kind": "kind", "fields": {"a": {"dtype": "|u1", "shape": [3]}}},
        {"kind": "kind", "fields": {}},
    ],
)
def test_a_forged_array_or_header_is_refused(header: Any):
    with pytest.raises(ValueError, match="state"):
        unpack("kind", forged(header, b"abcd"), {"a": np.ndarray})


@pytest.mark.parametrize("length", [5, 3, -1, "4", None, 4.0, [4]])
def test_a_blob_of_another_length_is_refused(length: Any):
    with pytest.raises(ValueError, match="malformed kind state"):
        unpack("kind", forged({"kind": "kind", "fields": {"a": {"bytes": length}}}, b"abcd"), {"a": bytes})
    overlapping = {"kind": "kind", "fields": {"a": {"bytes": -1}, "b": {"bytes": 5}}}
    with pytest.raises(ValueError, match="malformed kind state"):
        unpack("kind", forged(overlapping, b"abcd"), {"a": bytes, "b": bytes})


@pytest.mark.parametrize("body", [MAGIC, MAGIC + b"\0\0\0", MAGIC + b"\0\0\0\0", MAGIC + b"\xff\xff\xff\xff"])
def test_a_state_without_a_header_is_refused(body: bytes):
    with pytest.raises(ValueError, match="state"):
        unpack("kind", body + struct.pack("<I", crc32(body)), {})


def test_a_well_formed_header_is_not_refused_unless_it_follows_another_magic():
    header = {"kind": "kind", "fields": {"a": {"dtype": "|u1", "shape": [2, 2]}}}
    assert unpack("kind", forged(header, b"abcd"), {"a": np.ndarray})["a"].tolist() == [[97, 98], [99, 100]]
    with pytest.raises(ValueError, match="found b'irisenv0', expected b'irisenv1' first"):
        unpack("kind", forged(header, b"abcd", magic=b"irisenv0"), {"a": np.ndarray})


def test_missing_unknown_and_mistyped_fields_are_refused_by_name():
    for expected in ({**EXPECTED, "more": int}, {"number": int, "map": np.ndarray}, {**EXPECTED, "number": str}):
        with pytest.raises(ValueError, match="found fields number: int, map: ndarray, blob: bytes, expected number:"):
            unpack("kind", GOOD, expected)


@pytest.mark.parametrize("field", [np.array([None]), np.array(["text"]), object(), float("nan"), {1, 2}])
def test_what_is_neither_array_nor_json_is_not_packed(field: Any):
    with pytest.raises((TypeError, ValueError)):
        pack("kind", {"field": field})


def test_a_restored_generator_draws_what_the_saved_one_draws():
    generator = np.random.Generator(np.random.PCG64(5))
    generator.integers(3, dtype=np.uint32)  # leaves half a word for the next draw
    restored = restore_generator(json.loads(json.dumps(generator.bit_generator.state)))
    assert restored.integers(1000, size=50).tolist() == generator.integers(1000, size=50).tolist()


@pytest.mark.parametrize("state", [{}, {"bit_generator": "MT19937"}, {"bit_generator": "PCG64", "state": {}}, None])
def test_a_malformed_generator_is_refused(state: Any):
    with pytest.raises(ValueError, match="random generator"):
        restore_generator(state)


if __name__ == "__main__":
    restored_env = TypeAdapter(AnyEnvironment).validate_json(sys.argv[1]).build(seed=77)
    restored_env.set_state(Path(sys.argv[2]).read_bytes())
    print(json.dumps(play(restored_env, NUM_STEPS, seed=3, running=json.loads(sys.argv[3]))[0]))
