"""The page in a real browser: it shows every way of looking, keys change what happens, nothing complains."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.viewer.server import Server
from pipeline.viewer.visit import MODES, Mode
from tests.browser import Browser, Page
from tests.pipeline.viewer.fakes import PRESETS, serving, trained

FITS = "document.documentElement.scrollWidth <= innerWidth"
UNTIL = """const until = async condition => {
    for (let i = 0; i < 500 && !condition(); i++) await new Promise(done => setTimeout(done, 20));
    return condition();
};"""
GO = """(async () => {{ {until}
    await until(() => window.frames_seen > 0);
    const pressed = () => document.querySelector('#modes [aria-pressed="true"]')?.textContent;
    [...document.querySelectorAll('#modes button')].find(each => each.textContent === "{mode}").click();
    await until(() => pressed() === "{mode}");
    const before = window.frames_seen;
    await until(() => window.frames_seen > before + 3);
    const by = id => document.getElementById(id);
    return [pressed(), by('pictures').children.length, by('note').textContent, by('bars').children.length,
        by('touch').hidden];
}})()"""
HOLD = """(async () => {{ {until}
    const action = () => [...document.querySelectorAll('#facts span')].find(
        each => each.textContent.startsWith('action'))?.lastChild.textContent;
    document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: "{key}", code: "{key}", bubbles: true}}));
    const seen = await until(() => action() === "{name}");
    document.body.dispatchEvent(new KeyboardEvent('keyup', {{key: "{key}", code: "{key}", bubbles: true}}));
    return seen;
}})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module", params=PRESETS.values(), ids=list(PRESETS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(trained(tmp_path_factory.mktemp("run") / "run", request.param)) as server:
        yield server


def look(browser: Browser, server: Server, width: int, *expressions: str) -> Page:
    page = browser.look_at(server.link, width, 844, *expressions)
    assert page.complaints == []
    return page


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
@pytest.mark.parametrize("mode", MODES)
def test_every_way_of_looking_shows_moving_pictures(browser: Browser, server: Server, mode: Mode, width: int):
    page = look(browser, server, width, GO.format(until=UNTIL, mode=mode), FITS, "innerWidth")
    (pressed, canvases, note, bars, touch_is_hidden), fits, inner = page.values
    assert (pressed, note, fits, inner) == (mode, "", True, width)
    plans = server._trained.config.algorithm.kind == "jepa"  # shown are goal, plan and strides
    expected = {"game": 2 + 3 * plans, "dream": 1 + 3 * plans, "beside": 2, "stored": 1}
    assert canvases == expected[MODES[mode]]
    # A name and a bar for each of three actions.
    assert bars == (6 if MODES[mode] in ("game", "dream") and not plans else 0)
    assert touch_is_hidden == (not mode.startswith("you"))
    origin = server.link.partition("/?")[0]
    assert [url for url in page.requests if not url.startswith((origin, "data:"))] == []
    assert page.screenshot.startswith(b"\x89PNG")


@pytest.mark.parametrize("mode", ["you in the game", "you in the dream"])
def test_keys_change_what_happens(browser: Browser, server: Server, mode: str):
    keys = [("ArrowRight", "RIGHT"), ("a", "LEFT"), ("D", "RIGHT")]
    held = [HOLD.format(until=UNTIL, key=key, name=name) for key, name in keys]
    assert look(browser, server, 1280, GO.format(until=UNTIL, mode=mode), *held).values[1:] == [True] * len(keys)


def test_a_window_that_another_one_replaces_says_so(browser: Browser, server: Server):
    other = f"""(async () => {{ {UNTIL}
        await until(() => window.frames_seen > 0);
        const socket = new WebSocket(`ws://${{location.host}}/play${{location.search}}`);
        await until(() => document.getElementById('note').textContent);
        socket.close();
        return document.getElementById('note').textContent;
    }})()"""
    assert look(browser, server, 1280, other).values == ["another window plays now"]


def test_a_button_that_is_touched_acts_and_pause_keeps_its_state(browser: Browser, server: Server):
    touched = f"""(async () => {{ {UNTIL}
        const button = [...document.querySelectorAll('#touch button')].find(each => each.textContent === "RIGHT");
        const action = () => [...document.querySelectorAll('#facts span')].find(
            each => each.textContent.startsWith('action'))?.lastChild.textContent;
        button.dispatchEvent(new PointerEvent('pointerdown', {{pointerId: 7}}));
        const seen = await until(() => action() === "RIGHT");
        button.dispatchEvent(new PointerEvent('pointerup', {{pointerId: 7}}));
        const released = await until(() => ["STAY", "NOOP"].includes(action()));
        const pause = document.getElementById('pause');
        pause.click();
        await new Promise(done => setTimeout(done, 500));
        const before = window.frames_seen;
        await new Promise(done => setTimeout(done, 500));
        return [seen, released, pause.getAttribute('aria-pressed'), window.frames_seen - before];
    }})()"""
    going = GO.format(until=UNTIL, mode="you in the dream")
    assert look(browser, server, 390, going, touched).values[1] == [True, True, "true", 0]


@pytest.mark.parametrize("server", ["jepa-debug"], indirect=True)
def test_a_click_moves_the_goal_and_a_drag_keeps_the_agent_out(browser: Browser, server: Server):
    pointed = f"""(async () => {{ {UNTIL}
        const canvas = document.querySelector('#pictures canvas'), box = canvas.getBoundingClientRect();
        const probe = document.createElement('canvas').getContext('2d', {{willReadFrequently: true}});
        const goal = () => {{
            probe.drawImage(document.querySelectorAll('#pictures canvas')[1], 0, 0);
            return probe.getImageData(50, 40, 1, 1).data[0];
        }};
        const point = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, {{
            pointerId: 7, clientX: box.left + x / 64 * box.width, clientY: box.top + y / 64 * box.height}}));
        point('pointerdown', 50, 40); point('pointerup', 50, 40);
        const moved = await until(() => goal() > 200);
        point('pointerdown', 20, 16); point('pointermove', 24, 16); point('pointerup', 25, 16);
        const free = document.getElementById('free');
        const kept = await until(() => !free.hidden);
        const drawn = zones.map(Math.round);
        free.click();
        return [moved, kept, drawn, await until(() => free.hidden), document.getElementById('point').textContent];
    }})()"""
    going = GO.format(until=UNTIL, mode="agent in the game")
    found = look(browser, server, 1280, going, pointed).values[1]
    assert found == [
        True,
        True,
        [20, 16, 5],
        True,
        "Click into a picture: the agent goes there. Drag: it keeps out of that disc.",
    ]


@pytest.mark.parametrize("server", ["jepa-debug"], indirect=True)
def test_how_it_plans_is_chosen_on_the_page(browser: Browser, server: Server):
    chosen = f"""(async () => {{ {UNTIL}
        const by = id => document.getElementById(id);
        const strides = () => [...by('pictures').children].some(each => each.dataset.name === 'its strides');
        const change = (id, value) => {{ by(id).value = value; by(id).dispatchEvent(new Event('change')); }};
        const first = [by('kind').value, by('levels').value, by('weight-critic').value, strides()];
        change('levels', '1');
        const flat = await until(() => !strides());
        change('weight-critic', '0');
        const without = await until(() => spent.length && !("critic" in spent.at(-1).costs));
        change('kind', 'shooting');
        const before = window.frames_seen;
        await until(() => window.frames_seen > before + 3);
        const words = by('curve').getAttribute('aria-label').slice(0, 27);
        return [first, flat, without, by('kind').value, by('curve').hidden, words];
    }})()"""
    going = GO.format(until=UNTIL, mode="agent in the game")
    found = look(browser, server, 1280, going, chosen).values[1]
    assert found == [["cem", "2", "1", True], True, True, "shooting", False, "the rest of its plan costs "]
