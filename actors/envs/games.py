"""Names of the Atari games. Imports nothing heavy: a command line checks `--environment.game` before anything loads."""

from __future__ import annotations

from difflib import get_close_matches

ATARI_GAMES = (
    "Adventure",
    "AirRaid",
    "Alien",
    "Amidar",
    "Assault",
    "Asterix",
    "Asteroids",
    "Atlantis",
    "BankHeist",
    "BattleZone",
    "BeamRider",
    "Berzerk",
    "Bowling",
    "Boxing",
    "Breakout",
    "Carnival",
    "Centipede",
    "ChopperCommand",
    "CrazyClimber",
    "Defender",
    "DemonAttack",
    "DoubleDunk",
    "ElevatorAction",
    "Enduro",
    "FishingDerby",
    "Freeway",
    "Frostbite",
    "Gopher",
    "Gravitar",
    "Hero",
    "IceHockey",
    "Jamesbond",
    "JourneyEscape",
    "Kangaroo",
    "Krull",
    "KungFuMaster",
    "MontezumaRevenge",
    "MsPacman",
    "NameThisGame",
    "Phoenix",
    "Pitfall",
    "Pong",
    "Pooyan",
    "PrivateEye",
    "Qbert",
    "Riverraid",
    "RoadRunner",
    "Robotank",
    "Seaquest",
    "Skiing",
    "Solaris",
    "SpaceInvaders",
    "StarGunner",
    "Tennis",
    "TimePilot",
    "Tutankham",
    "UpNDown",
    "Venture",
    "VideoPinball",
    "WizardOfWor",
    "YarsRevenge",
    "Zaxxon",
)
"""Every game that ale-py 0.12.1 registers as `{game}NoFrameskip-v4`."""

ATARI_100K_GAMES = (
    "Alien",
    "Amidar",
    "Assault",
    "Asterix",
    "BankHeist",
    "BattleZone",
    "Boxing",
    "Breakout",
    "ChopperCommand",
    "CrazyClimber",
    "DemonAttack",
    "Freeway",
    "Frostbite",
    "Gopher",
    "Hero",
    "Jamesbond",
    "Kangaroo",
    "Krull",
    "KungFuMaster",
    "MsPacman",
    "Pong",
    "PrivateEye",
    "Qbert",
    "RoadRunner",
    "Seaquest",
    "UpNDown",
)
"""The 26 games of the Atari 100k benchmark (Kaiser et al., 2020)."""


def check_game(name: str) -> str:
    """`name` if it is one of ATARI_GAMES, as spelled there.

    Raises: ValueError in one line, with what was found and the nearest name.
    """
    if name in ATARI_GAMES:
        return name
    raise ValueError(f"unknown Atari game: found {name!r}, nearest name {_nearest(name)!r}")


def _nearest(name: str) -> str:
    """The game most like `name`, which may be spelled as an environment id or a ROM: ALE/Pong-v5, ms_pacman."""
    spelled = {game.lower(): game for game in ATARI_GAMES}
    plain = name.lower().removeprefix("ale/").split("-v")[0].removesuffix("noframeskip").replace("_", "")
    return spelled[get_close_matches(plain, spelled, n=1, cutoff=0.0)[0]]
