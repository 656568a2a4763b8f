"""Atari by the published protocol, on the Arcade Learning Environment itself.

The order decides what is counted. Each raw RGB frame is resized to 64×64 (Pillow's antialiased bilinear) → limit in raw
frames since the last true reset → no-ops at a true reset → frame skip: rewards summed, per-pixel maximum of the last
two resized frames → a lost life ends the episode, not the game.

Source: Mnih et al. (2015), Methods; Micheli, Alonso, Fleuret (2023), appendix. No sticky actions, minimal action set.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import ale_py
import numpy as np
from ale_py import roms
from numpy.typing import NDArray
from PIL import Image

from actors.config import ALE_MAX_FRAMES, AtariConfig
from actors.envs.environment import Step, channels_first, check_step
from actors.envs.state import pack, restore_generator, unpack
from learners.action_space import Discrete
from learners.config import FRAME_SIZE

_FIELDS = {"console": bytes, "noops": dict, "lives": int, "running": bool, "game_goes_on": bool}
_CONSOLE_FIELDS = {"settings": list, "origin": bytes, "num_noops": int, "played": bytes, "checksum": str}


class Atari:
    """One game.

    An episode ends with game over (terminated), in training with a lost life while lives remain (terminated), or at the
    limit of raw frames (truncated). If several fall into one step, terminated wins: truncated is then false, but after
    the limit a true reset follows all the same. No-ops are raw frames, they are not agent steps and their rewards are
    dropped. The ALE's own limit of 108 000 raw frames holds whatever the configured one.

    State: see `_Console`. set_state() plays the running game again, up to `max_frames` raw frames: a second for 20 000.
    """

    def __init__(self, config: AtariConfig, seed: int, *, evaluation: bool = False) -> None:
        self._max_noops = 1 if evaluation else config.max_noops
        self._life_loss_ends = config.ends_on_life_loss and not evaluation
        noop_seed, emulator_seed = np.random.SeedSequence(seed).spawn(2)
        self._noops = np.random.Generator(np.random.PCG64(noop_seed))
        max_frames = config.evaluation_max_frames if evaluation else config.max_frames
        seed = int(emulator_seed.generate_state(1)[0]) >> 1
        self._console = _Console(seed, config.game, config.frame_skip, max_frames)
        self._lives = 0
        self._running = False
        self._game_goes_on = False  # the last episode ended with a lost life, and the game is neither over nor cut

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(self._console.actions))

    @property
    def action_names(self) -> tuple[str, ...]:
        return tuple(action.name for action in self._console.actions)

    def reset(self) -> NDArray[np.uint8]:
        """Starts the next episode; its first frame (3, 64, 64).

        After a lost life the game goes on with one no-op agent step. Otherwise, and if that no-op ends the game, a new
        game starts, also when the running episode is abandoned.
        """
        frame = None
        if self._game_goes_on:
            frame, _ = self._console.repeat(ale_py.Action.NOOP)
        if frame is None or self._console.over:
            frame = self._console.new_game(int(self._noops.integers(1, self._max_noops, endpoint=True)))
        self._lives = self._console.lives
        self._running = True
        self._game_goes_on = False
        return channels_first(frame)

    def step(self, action: int) -> Step:
        """Raises ValueError for an action outside `action_space`, RuntimeError after the episode's end."""
        check_step(self, action, self._running)
        frame, reward = self._console.repeat(self._console.actions[action])
        lives = self._console.lives
        life_lost = self._life_loss_ends and 0 < lives < self._lives
        self._lives = lives
        terminated = life_lost or self._console.game_over
        over = self._console.over
        self._running = not (terminated or over)
        self._game_goes_on = life_lost and not over
        return Step(channels_first(frame), float(reward), terminated, over and not terminated)

    def get_state(self) -> bytes:
        return pack(
            "atari",
            {
                "console": self._console.get_state(),
                "noops": self._noops.bit_generator.state,
                "lives": self._lives,
                "running": self._running,
                "game_goes_on": self._game_goes_on,
            },
        )

    def set_state(self, state: bytes) -> None:
        """Raises ValueError, and changes nothing, if `state` is not one of this game's or does not replay identically.

        Training and evaluation states differ by their limits and do not fit each other.
        """
        fields = unpack("atari", state, _FIELDS)
        noops = restore_generator(fields["noops"])
        self._console = self._console.restored(fields["console"])
        self._noops = noops
        self._lives = fields["lives"]
        self._running = fields["running"]
        self._game_goes_on = fields["game_goes_on"]


class _Console:
    """A loaded game under a limit of raw frames, played in agent steps.

    Its state is the emulator's as it was before the last true reset, and what was played since; restoring plays that
    again in a fresh emulator and compares a checksum of memory and screen. The emulator's state of the moment would not
    do: ale-py 0.12.1 leaves out the part of its video chip that matters within a frame. Restored states of Qbert go on
    differently for good, some of YarsRevenge for a frame, and repeated restoring can write outside the frame buffer
    (issue 412 and pull requests 732 and 739 of Farama-Foundation/Arcade-Learning-Environment). A true reset clears that
    part.
    """

    def __init__(self, seed: int, game: str, frame_skip: int, max_frames: int) -> None:
        self._seed, self._frame_skip, self._max_frames = seed, frame_skip, max_frames
        self._settings = game, frame_skip, max_frames
        self._ale = _emulator(game, seed)
        self._screen = _Screen(self._ale)
        self.actions: list[ale_py.Action] = self._ale.getMinimalActionSet()
        # The ALE counts frames too, but in six games its resets count: NameThisGame starts at 134.
        self._num_frames = 0
        self._origin = self._emulator_state()
        self._num_noops = 0  # 0: no game was started since the origin
        self._played = bytearray()  # one ALE action code an agent step

    @property
    def lives(self) -> int:
        return self._ale.lives()

    @property
    def game_over(self) -> bool:
        """By the game's rules."""
        return self._ale.game_over(with_truncation=False)

    @property
    def over(self) -> bool:
        """By the game's rules or a limit."""
        return self._num_frames >= self._max_frames or self._ale.game_over()

    def new_game(self, num_noops: int) -> NDArray[np.uint8]:
        """True reset; the one resized frame (64, 64, 3) after its no-ops. A game that ends in them starts again."""
        self._origin = self._emulator_state()
        self._num_noops = num_noops
        self._played.clear()
        self._true_reset()
        for _ in range(num_noops):
            self._ale.act(ale_py.Action.NOOP)
            self._num_frames += 1
            if self.over:
                self._true_reset()
        return self._screen.resized()

    def repeat(self, action: ale_py.Action) -> tuple[NDArray[np.uint8], int]:
        """One agent step: maximum of its last two frames (64, 64, 3), sum of the rewards. Stops when the game does."""
        self._played.append(action.value)
        frame = None
        reward = 0
        for left in reversed(range(self._frame_skip)):
            reward += self._ale.act(action)
            self._num_frames += 1
            over = self.over
            if left < 2 or over:
                resized = self._screen.resized()
                frame = resized if frame is None else np.maximum(frame, resized)
            if over:
                break
        assert frame is not None  # frame_skip is positive
        return frame, reward

    def get_state(self) -> bytes:
        fields: dict[str, Any] = {
            "settings": self._settings,
            "origin": self._origin,
            "num_noops": self._num_noops,
            "played": bytes(self._played),
            "checksum": self._checksum(),
        }
        return pack("atari console", fields)

    def restored(self, state: bytes) -> _Console:
        """A console of this game that stands where `get_state()` was called.

        Raises: ValueError if `state` is another game's or does not replay identically, as under another ale-py.
        """
        fields = unpack("atari console", state, _CONSOLE_FIELDS)
        if fields["settings"] != list(self._settings):
            raise ValueError(f"state of another game: found {fields['settings']}, expected {list(self._settings)}")
        console = _Console(self._seed, *self._settings)
        try:
            console._ale.restoreState(ale_py.ALEState(fields["origin"]))
        except SystemError as error:  # how ale-py passes on any C++ exception
            raise ValueError(f"malformed atari state: the emulator refuses it ({error})") from error
        if fields["num_noops"]:
            console.new_game(fields["num_noops"])
        console._origin = fields["origin"]
        for code in fields["played"]:
            console._replay(code)
        if console._checksum() != fields["checksum"]:
            raise ValueError(
                f"{self._settings[0]} does not replay identically: after {console._num_frames} raw frames found memory "
                f"and screen with checksum {console._checksum()}, expected {fields['checksum']}"
            )
        return console

    def _replay(self, code: int) -> None:
        """`repeat` without a look at the screen."""
        self._played.append(code)
        for _ in range(self._frame_skip):
            self._ale.act(code)
            self._num_frames += 1
            if self.over:
                break

    def _true_reset(self) -> None:
        self._ale.reset_game()
        self._num_frames = 0

    def _emulator_state(self) -> bytes:
        return self._ale.cloneState(include_rng=True).serialize()

    def _checksum(self) -> str:
        return blake2b(self._ale.getRAM().tobytes() + self._ale.getScreen().tobytes(), digest_size=16).hexdigest()


class _Screen:
    """The emulator's screen, resized exactly as Pillow's `resize((64, 64), BILINEAR)` does, in about 60 % of the time.

    Pillow resizes in two passes with 8-bit pixels in between: each row to 64 columns, then the columns to 64 rows. Two
    screens of a game differ in few rows (Pong: 15 of 210), so the first pass is kept and redone only for rows that
    changed. It is a cache: what it returns depends on the current screen alone.
    """

    def __init__(self, ale: ale_py.ALEInterface) -> None:
        self._ale = ale
        height, width = ale.getScreenDims()
        # A black screen resizes to black, which makes the three agree before the first look.
        self._pixels = np.zeros((height, width, 3), np.uint8)
        self._rows = np.zeros((height, FRAME_SIZE, 3), np.uint8)
        self._frame = np.zeros((FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
        self._current = np.empty_like(self._pixels)

    def resized(self) -> NDArray[np.uint8]:
        """(64, 64, 3); never overwritten."""
        self._ale.getScreenRGB(self._current)
        changed = np.flatnonzero((_words(self._current) != _words(self._pixels)).any(axis=1))
        if len(changed):
            rows = self._current[changed]
            self._rows[changed] = _resize(rows, height=len(changed))
            self._frame = _resize(self._rows, height=FRAME_SIZE)
            self._pixels[changed] = rows
        return self._frame


def _emulator(game: str, seed: int) -> ale_py.ALEInterface:
    """A console with the game loaded. Without sticky actions its seed changes nothing; it is set all the same."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", seed)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("max_num_frames_per_episode", ALE_MAX_FRAMES)
    name = next(name for name in roms.get_all_rom_ids() if name.title().replace("_", "") == game)
    path = roms.get_rom_path(name)
    assert path is not None  # ale-py ships the ROM of every name in games.py
    ale.loadROM(path)
    return ale


def _resize(image: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """(H, W, 3) → (height, 64, 3)."""
    size = (image.shape[1], image.shape[0])
    source = Image.frombuffer("RGB", size, image, "raw", "RGB", 0, 1)
    return np.asarray(source.resize((FRAME_SIZE, height), Image.Resampling.BILINEAR))


def _words(image: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(H, W, 3) → (H, 3 W / 8): 64-bit words compare faster than bytes. The ALE's screens are 160 wide."""
    return image.reshape(len(image), -1).view(np.uint64)
