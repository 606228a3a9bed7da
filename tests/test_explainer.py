"""The explainer: docs/explainer.html, opened from disk in a headless browser, against `ambient`, and as its readers use it."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import subprocess

import pytest
import torch
from matplotlib.image import imread

from ambient import kernels, losses, paths, samplers, tweedie
from ambient.worlds import GaussianMixture
from tests.browser import BROWSER
from tests.test_layout import ROOT
from toy.data.mixtures import MIXTURES
from toy.experiments.wall import modulation

SOURCE, PAGE = ROOT / "explainer", ROOT / "docs" / "explainer.html"
PATHS = {"exploding": paths.VarianceExploding(), "preserving": paths.VariancePreserving(), "flow": paths.RectifiedFlow()}
WORLDS = ("ring5", "grid9", "pair", "stripes")
STEPS = 8


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; it is in the extra `docs`")
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome was found on this machine")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def mathematics(browser):
    """A page whose functions are called; no test changes what it shows."""
    page = browser.new_page()
    page.goto(PAGE.as_uri())
    return page


@pytest.fixture
def visit(browser):
    """Opens the page at a step, in a context of its own; all are closed afterwards."""
    contexts = []

    def open_page(step: int = 1, *, width: int = 1280, height: int = 800, motion: str = "reduce", scheme: str = "light"):
        context = browser.new_context(
            viewport={"width": width, "height": height}, reduced_motion=motion, color_scheme=scheme, has_touch=width < 600
        )
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{PAGE.as_uri()}#{step}")
        next_frame(page)
        return page

    yield open_page
    for context in contexts:
        context.close()


def next_frame(page):
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def world(page, name: str) -> GaussianMixture:
    """A mixture that the page offers, as `ambient` has it."""
    modes = page.evaluate("(name) => explainer.WORLDS[name].modes", name)
    covariances = [[[xx, xy], [xy, yy]] for xx, xy, yy in (mode["covariance"] for mode in modes)]
    columns = ([mode["weight"] for mode in modes], [mode["mean"] for mode in modes], covariances)
    return GaussianMixture(*(torch.tensor(column, dtype=torch.float64) for column in columns))


def time_of(path: str, u: float) -> float:
    return float(PATHS[path].t_from_noise_to_signal(u))


def close(found, expected: torch.Tensor, share: float = 1e-8):
    """Whether all numbers agree to a share of the largest one."""
    difference = (torch.as_tensor(found, dtype=torch.float64).reshape(expected.shape) - expected).abs().max()
    return float(difference) <= share * float(expected.abs().max())


GRID = torch.cartesian_prod(*[torch.linspace(-3, 3, 13, dtype=torch.float64)] * 2)


# The page is what its sources give.


def test_the_page_was_built_from_these_sources():
    names = ["build.mjs", "index.html", "package-lock.json", "style.css", "tsconfig.json"]
    names += sorted(path.relative_to(SOURCE).as_posix() for path in (SOURCE / "src").iterdir())
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in names)).hexdigest()
    assert f'<meta name="sources" content="{digest}">' in PAGE.read_text(), "run `npm ci && npm run build` in explainer/"


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
@pytest.mark.skipif(
    not (SOURCE / "node_modules").is_dir(), reason="the packages of explainer/ are not installed; run `npm ci` there"
)
def test_the_build_gives_the_committed_page(tmp_path):
    built = tmp_path / "page.html"
    subprocess.run(["npm", "run", "build", "--", str(built)], cwd=SOURCE, check=True, capture_output=True)
    assert built.read_bytes() == PAGE.read_bytes()


def test_the_page_is_small_and_no_source_is_long():
    assert PAGE.stat().st_size < 2e6
    assert {path.name: lines for path in (SOURCE / "src").glob("*.ts") if (lines := path.read_text().count("\n")) > 250} == {}


# The mathematics of the page is that of `ambient`.


def test_the_mixtures_of_the_toy_track_are_the_same_here(mathematics):
    for name in ("ring5", "grid9"):
        ours, theirs = world(mathematics, name), MIXTURES[name].build()
        assert all(close(getattr(ours, part), getattr(theirs, part)) for part in ("weights", "means", "covariances"))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", WORLDS)
def test_density_denoiser_score_and_covariance(mathematics, name, path):
    script = """([name, path, u, points]) => {
        const e = explainer, level = e.PATHS[path](u), mixture = new e.NoisyMixture(e.WORLDS[name].modes, level);
        const at = points.map((x) => mixture.at(...x));
        return { h: at.map((p) => p.mean), covariance: at.map((p) => p.covariance),
                 log: points.map((x) => mixture.logDensity(...x)),
                 score: at.map((p, i) => e.tweedie(points[i], p.mean, level.alpha, level.sigma)) }; }"""
    exact = world(mathematics, name)
    for u in (0.05, 0.3, 0.6, 1.5, 6.0):
        level, found = PATHS[path](time_of(path, u)), mathematics.evaluate(script, [name, path, u, GRID.tolist()])
        assert close(found["h"], exact.denoise(GRID, level))
        assert close(found["score"], exact.score(GRID, level))
        assert close(found["log"], exact.log_prob(GRID, level))
        covariance = exact.posterior_covariance(GRID, level).flatten(1)[:, [0, 1, 3]]
        assert close(found["covariance"], covariance)


@pytest.mark.parametrize("path", PATHS)
def test_the_mean_of_the_noisy_data_is_that_of_double_tweedie(mathematics, path):
    script = """([path, un, ut, points]) => {
        const e = explainer, modes = e.WORLDS.ring5.modes, [n, t] = [un, ut].map(e.PATHS[path]);
        const { r, q } = e.transition(n, t), data = new e.NoisyMixture(e.noisyWorld(modes, n), { alpha: r, sigma: q });
        const { fromX0, fromXt } = e.doubleTweedie(n, t), clean = new e.NoisyMixture(modes, t);
        return { direct: points.map((x) => data.at(...x).mean),
                 second: points.map((x) => e.tweedie(x, data.at(...x).mean, r, q)),
                 twice: points.map((x) => clean.at(...x).mean.map((h, i) => fromX0 * h + fromXt * x[i])) }; }"""
    exact, levels = world(mathematics, "ring5"), [PATHS[path](time_of(path, u)) for u in (0.6, 0.9)]
    found = mathematics.evaluate(script, [path, 0.6, 0.9, GRID.tolist()])
    x_n_hat = tweedie.x_n_from_x_0(GRID, exact.denoise(GRID, levels[1]), at_t=levels[1], at_n=levels[0])
    assert close(found["direct"], x_n_hat)
    assert close(found["twice"], x_n_hat)
    assert close(found["second"], exact.score(GRID, levels[1]))


def test_the_loss_of_the_noisy_points_has_the_excess_of_the_paper(mathematics):
    """Two guesses h and g at one X_t: the mean of `ambient` over X_n given X_t differs by the excess of the page's bowl."""
    script = """(points) => { const e = explainer, [n, t] = [e.PATHS.exploding(0.6), e.PATHS.exploding(0.9)];
        return [e.fromNoisyPoints(Float64Array.from(points), [0.7, -1.2], n, t), e.doubleTweedie(n, t)]; }"""
    generator = torch.Generator().manual_seed(0)
    x_0 = world(mathematics, "ring5").sample(300, generator)
    x_n = x_0 + 0.6 * torch.randn(x_0.shape, dtype=x_0.dtype, generator=generator)
    found, weights = mathematics.evaluate(script, x_n.flatten().tolist())
    x_t, q, guess = torch.tensor([[0.7, -1.2]], dtype=torch.float64), 0.45**0.5, torch.tensor([[0.4, -0.9]], dtype=torch.float64)
    noise = (x_t - x_n) / q  # then X_t = x_t for every point
    each = losses.ambient(lambda x, t, c: guess.expand_as(x), x_n, noise, path=PATHS["exploding"], t_n=0.6, t=0.9)
    share = torch.softmax(-noise.square().sum(1) / 2, 0)
    best = (torch.tensor(found["mean"], dtype=torch.float64) - weights["fromXt"] * x_t) / weights["fromX0"]
    excess = weights["fromX0"] ** 2 * (guess - best).square().sum()
    assert float(share @ each) == pytest.approx(found["variance"] + float(excess), rel=1e-9)
    assert found["effective"] == pytest.approx(float(1 / share.square().sum()), rel=1e-9)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["ddim", "ancestral", "matched"])
def test_one_reverse_step_has_the_mean_and_the_covariance_of_its_kernel(mathematics, name, path):
    script = """([name, path, ut, us, points]) => { const e = explainer, h = e.exactDenoiser(e.WORLDS.ring5.modes, path);
        const step = (x, z) => e.reverseStep(name, x, h(...x, ut), e.PATHS[path](ut), e.PATHS[path](us), z);
        return [[0, 0], [1, 0], [0, 1]].map((z) => points.map((x) => step(x, z))); }"""
    mean, *columns = (
        torch.tensor(it, dtype=torch.float64) for it in mathematics.evaluate(script, [name, path, 0.9, 0.5, GRID.tolist()])
    )
    denoiser = world(mathematics, "ring5").denoiser(PATHS[path])
    step = kernels.KERNELS[name](denoiser, GRID, path=PATHS[path], t=time_of(path, 0.9), s=time_of(path, 0.5))
    factor = torch.stack([column - mean for column in columns], 2)
    expected = step.std @ step.std.mT if step.is_matrix else step.std.reshape(-1, 1, 1) ** 2 * torch.eye(2)
    assert close(mean, step.mean)
    assert float((factor @ factor.mT - expected).abs().max()) <= 1e-8


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["ddim", "ancestral", "matched"])
def test_samples_have_the_moments_of_the_sampler_of_ambient(mathematics, name, path):
    """Means, variances and the covariance of the samples, within three standard errors of the difference."""
    script = """([name, path, count, grid]) => {
        const e = explainer, normal = e.normals(11), sigma = e.PATHS[path](grid[0]).sigma;
        const start = Float64Array.from({ length: 2 * count }, () => sigma * normal());
        return [...e.reverseProcess(e.exactDenoiser(e.WORLDS.ring5.modes, path), path, start, grid, name, normal).x.at(-1)]; }"""
    times = samplers.log_snr_grid(PATHS[path], start=time_of(path, 10), stop=0.0, steps=16, last=time_of(path, 0.05))
    us = mathematics.evaluate("() => [...explainer.logSnrGrid(10, 0.05, 15), 0]")
    assert times == pytest.approx([time_of(path, u) if u else 0.0 for u in us], rel=1e-9)
    found = torch.tensor(mathematics.evaluate(script, [name, path, 3000, us]), dtype=torch.float64).reshape(-1, 2)
    generator = torch.Generator().manual_seed(5)
    start, *noises = torch.randn(17, 9000, 2, dtype=torch.float64, generator=generator)
    start = start * PATHS[path](times[0]).sigma
    denoiser = world(mathematics, "ring5").denoiser(PATHS[path])
    expected = samplers.sample(denoiser, start, times, path=PATHS[path], kernel=kernels.KERNELS[name], noise=noises.__getitem__)
    both = [torch.cat([x, x.square(), x.prod(1, keepdim=True)], 1) for x in (found, expected)]
    error = sum(x.var(0) / len(x) for x in both).sqrt()
    assert float(((both[0].mean(0) - both[1].mean(0)) / error).abs().max()) < 3


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", WORLDS)
def test_full_sampling_returns_the_clean_spread_and_early_stop_that_of_the_means(mathematics, name, path):
    script = """([world, path, noise]) => {
        const e = explainer, modes = e.WORLDS[world].modes;
        const run = e.sampled({ ...e.state, world, modes, path, noise, lower: "learned" });
        return [24, 48].map((k) => e.moments(run.h[k]).variance / e.totalVariance(modes)); }"""
    exact = world(mathematics, name)
    x_0 = exact.sample(20_000, torch.Generator().manual_seed(2))
    noise = torch.randn(x_0.shape, dtype=x_0.dtype, generator=torch.Generator().manual_seed(3))
    total = float(exact.moments()[1].trace())
    for u in (0.2, 0.6, 1.2):
        level = PATHS[path](time_of(path, u))
        within = exact.posterior_covariance(level.alpha * x_0 + level.sigma * noise, level).diagonal(dim1=1, dim2=2).sum(1).mean()
        early, full = mathematics.evaluate(script, [name, path, u])
        assert full == pytest.approx(1, abs=0.01)
        assert early == pytest.approx(1 - float(within) / total, abs=0.02)


def test_the_sampler_of_the_flow_has_second_order(mathematics):
    """Half the step leaves about a quarter of the error; the steps of DDIM leave half of it."""
    script = """(name) => {
        const e = explainer, h = e.exactDenoiser(e.WORLDS.ring5.modes, "flow"), start = e.evenNormals(100).map((z) => 0.9 * z);
        const end = (steps, name) => e.reverseProcess(h, "flow", start, e.logSnrGrid(9, 0.1, steps), name, () => 0).x.at(-1);
        const best = end(800, "multistep");
        return [25, 50].map((steps) => Math.hypot(...end(steps, name).map((x, i) => x - best[i]))); }"""
    coarse, fine = mathematics.evaluate(script, "multistep")
    assert fine < 0.35 * coarse
    coarse, fine = mathematics.evaluate(script, "ddim")
    assert fine > 0.4 * coarse


def test_the_page_samples_on_a_grid_that_meets_the_data_level(mathematics):
    found = mathematics.evaluate("() => explainer.samplerGrid(0.6)")
    grids = [samplers.log_snr_grid(PATHS["exploding"], start=a, stop=b, steps=k) for a, b, k in ((40, 0.6, 24), (0.6, 0.02, 23))]
    assert found == pytest.approx([*grids[0], *grids[1][1:], 0.0])


def test_a_denoiser_that_is_not_learned_below_the_data_is_exact_above(mathematics):
    script = """([path, u, points]) => {
        const exact = explainer.exactDenoiser(explainer.WORLDS.ring5.modes, path), h = explainer.frozenBelow(exact, path, 0.6);
        return points.map((x) => h(...x, u).mean); }"""
    exact = world(mathematics, "ring5")
    for name, path in PATHS.items():
        at_n = path(time_of(name, 0.6))
        assert close(mathematics.evaluate(script, [name, 0.9, GRID.tolist()]), exact.denoise(GRID, path(time_of(name, 0.9))))
        scale = at_n.alpha / path(time_of(name, 0.2)).alpha
        assert close(mathematics.evaluate(script, [name, 0.2, GRID.tolist()]), exact.denoise(scale * GRID, at_n))


@pytest.mark.parametrize(("lower", "is_martingale"), [("learned", True), ("frozen", False)])
def test_the_mean_of_many_paths_stays_only_if_the_lower_part_is_learned(mathematics, lower, is_martingale):
    run = mathematics.evaluate(
        "(lower) => explainer.fan({ ...explainer.state, lower, probe: [0.4, 0.6] }).h.map((h) => [...h])", lower
    )
    values = torch.tensor(run, dtype=torch.float64).reshape(len(run), -1, 2)  # (levels, paths, 2)
    error = values[1:].std(1) / values.shape[1] ** 0.5
    drift = ((values[1:].mean(1) - values[0, 0]) / error).abs()
    assert (float(drift[-1].max()) < 3) == is_martingale


def test_the_wall_is_where_the_modulation_equals_one_over_root_n(mathematics):
    for noise, count in ((0.2, 100), (0.6, 2000)):
        wall, share = mathematics.evaluate("([u, n]) => [explainer.wall(u, n), explainer.shareLeft(u, 0.9)]", [noise, count])
        assert share == pytest.approx(modulation(noise / 0.9))
        assert modulation(noise / wall) == pytest.approx(count**-0.5)


# The page as its readers use it.


def drawing(page) -> str:
    """The pixels of the plane, as a PNG in a data address."""
    return page.evaluate("document.getElementById('plane').toDataURL()")


def coloured(page) -> int:
    """How many pixels of the plane have the accent colour: much more red than blue, in both themes."""
    return page.evaluate("""() => {
        const it = document.getElementById("plane"), { data } = it.getContext("2d").getImageData(0, 0, it.width, it.height);
        let count = 0;
        for (let i = 0; i < data.length; i += 4) count += data[i] - data[i + 2] > 60 && data[i + 3] > 20;
        return count; }""")


def test_the_clean_density_is_hidden_until_the_reader_asks(visit):
    page = visit(1)
    assert coloured(page) == 0
    page.get_by_label("Show the clean density").check()
    next_frame(page)
    assert coloured(page) > 1000


def press_until(page, key: str, label: str, limit: int = 40):
    """Presses a key until the element with focus has this accessible name, or this text."""
    for _ in range(limit):
        page.keyboard.press(key)
        name = page.evaluate("""() => {
            const it = document.activeElement;
            return it.getAttribute("aria-label") ?? it.closest("label")?.innerText ?? it.innerText ?? ""; }""")
        if label in name:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", f"{name} shows no focus"
            return
    raise AssertionError(f"{label} cannot be reached with {key}")


def test_the_guided_path_with_the_keyboard_alone(visit):
    page = visit(1)
    headings, readouts = [], []
    press_until(page, "Tab", "Next")
    for _ in range(STEPS + 1):
        headings.append(page.locator("article.now h2").inner_text())
        readouts.append(page.locator("#readout").inner_text())
        assert page.locator("article.now > p:not(.formula):not(.note)").count() == 1
        page.keyboard.press("Enter")
        next_frame(page)
    assert len(set(headings)) == STEPS + 1
    assert len(set(readouts[:STEPS])) == STEPS
    assert headings[-1] == "Free play"
    press_until(page, "Shift+Tab", "Back")
    page.keyboard.press("Enter")
    assert page.locator("article.now h2").inner_text() == headings[-2]
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    assert page.locator("article.now h2").inner_text() == headings[-3]


def test_modes_are_moved_added_and_removed_with_the_keyboard(visit):
    page = visit(1)
    press_until(page, "Tab", "Move the modes")
    page.keyboard.press("Space")
    next_frame(page)
    before, drawn = page.evaluate("explainer.state.modes.map((m) => m.mean)"), drawing(page)
    press_until(page, "Shift+Tab", "Mode 2 of 5")
    page.keyboard.press("ArrowUp")
    next_frame(page)
    page.keyboard.press("Shift+ArrowRight")
    next_frame(page)
    after = page.evaluate("explainer.state.modes.map((m) => m.mean)")
    assert after[1] == pytest.approx([before[1][0] + 0.02, before[1][1] + 0.1], abs=0.011)  # positions are rounded to 0.01
    assert after[:1] + after[2:] == before[:1] + before[2:]
    assert drawing(page) != drawn
    page.keyboard.press("Delete")
    next_frame(page)
    assert page.locator("#handles button").count() == 4
    press_until(page, "Tab", "Add a mode")
    page.keyboard.press("Enter")
    next_frame(page)
    assert page.locator("#handles button").count() == 5
    assert page.evaluate("explainer.state.modes.reduce((sum, m) => sum + m.weight, 0)") == pytest.approx(1)


@pytest.mark.parametrize(("step", "which"), [(2, 0), (3, 0), (4, 0), (4, 1), (6, 0)])
def test_what_can_be_dragged_is_moved_by_keys_and_by_the_pointer(visit, step, which):
    page = visit(step)
    handle, readout = page.locator("#handles button").nth(which), page.locator("#readout")
    texts = [readout.inner_text()]
    handle.focus()
    page.keyboard.press("ArrowDown")
    next_frame(page)
    texts.append(readout.inner_text())
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 40, y - 30, steps=3)
    page.mouse.up()
    next_frame(page)
    texts.append(readout.inner_text())
    moved = handle.bounding_box()
    assert len(set(texts)) == 3
    assert [moved["x"] - box["x"], moved["y"] - box["y"]] == pytest.approx([-40, -30], abs=1.5)


def test_a_phone_needs_no_horizontal_scroll(visit):
    page = visit(1, width=360, height=740)
    for step in range(1, STEPS + 2):
        page.evaluate("(step) => { location.hash = step; }", step)
        next_frame(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, f"step {step}"
        cut = page.evaluate("""[...document.querySelectorAll(".now, .now *, form > .on")].filter((it) =>
            it.getBoundingClientRect().right > 360 && !it.closest("svg, .katex-mathml")).map((it) => it.outerHTML)""")
        assert cut == [], f"step {step}"
        assert page.locator("#next").is_visible()


def test_the_saved_picture_is_large_on_every_screen_and_has_its_handles_and_words(visit, tmp_path):
    saved = []
    for width in (1280, 390):
        page = visit(4, width=width)
        with page.expect_download() as download:
            page.get_by_role("button", name="Save the picture").click()
        download.value.save_as(tmp_path / "saved.png")
        saved.append(imread(tmp_path / "saved.png"))
    assert len({picture.shape for picture in saved}) == 1
    assert saved[0].shape[:2] >= (1500, 2400)
    left, top, size = 48, 128, 1200  # the plane in the picture
    for name, strong in (("guess", "accent"), ("probe", "ink")):
        x, y = page.evaluate("(name) => explainer.state[name]", name)
        column, row = left + size * (1 + x / 3.2) / 2, top + size * (1 - y / 3.2) / 2
        colour = page.evaluate("(name) => getComputedStyle(document.body).getPropertyValue(`--${name}`).match(/\\d+/g)", strong)
        for picture in saved:
            assert [round(255 * part) for part in picture[round(row), round(column), :3].tolist()] == [int(it) for it in colour]
    words = {"title": (0, 120, 0), "settings": (1345, 1540, 0), "readout and key": (730, 1320, 1300)}
    for name, (first, last, column) in words.items():
        assert float(saved[0][first:last, column:2440, :3].min()) < 0.5, name


def test_light_and_dark_follow_the_system_and_the_button(visit):
    def brightness(page) -> int:
        return sum(map(int, page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)")))

    light, dark = visit(5), visit(5, scheme="dark")
    assert brightness(light) > 700 > 150 > brightness(dark)
    drawn = drawing(light)
    assert drawn != drawing(dark)
    light.get_by_role("button", name="Dark").click()
    next_frame(light)
    assert brightness(light) < 150
    assert drawing(light) == drawing(dark)
    light.get_by_role("button", name="Light").click()
    next_frame(light)
    assert drawing(light) == drawn


def test_nothing_moves_by_itself_under_reduced_motion(visit):
    still, moving = visit(6), visit(6, motion="no-preference")
    assert moving.evaluate("explainer.state.reached") < 40
    assert still.evaluate("explainer.state.reached") == 48
    still.get_by_role("button", name="Play", exact=True).click()
    next_frame(still)
    assert still.evaluate("explainer.state.reached") == 48
    moving.wait_for_function("explainer.state.reached === 48", timeout=10_000)


@pytest.mark.parametrize(
    ("scheme", "steps", "rules"),
    [("light", range(1, STEPS + 2), "{}"), ("dark", (1, 5, 9), "{ runOnly: ['color-contrast'] }")],  # only colours differ
    ids=["light", "dark"],
)
def test_the_audit_of_axe_finds_nothing_serious(visit, scheme, steps, rules):
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed; it is in `docs`")
    page, found = visit(1, scheme=scheme), {}
    page.add_script_tag(path=axe.AXE_FILE_PATH)
    for step in steps:
        page.evaluate("(step) => { location.hash = step; }", step)
        next_frame(page)
        page.evaluate("() => explainer.set({ edit: explainer.state.step === 8 })")
        next_frame(page)
        for violation in page.evaluate(f"axe.run({{ exclude: ['.katex'] }}, {rules}).then((it) => it.violations)"):
            if violation["impact"] in ("serious", "critical"):
                found[f"{step}: {violation['id']}"] = [node["html"] for node in violation["nodes"]]
    assert found == {}


def test_no_errors_and_no_network(browser):
    page, wrong, requests = browser.new_page(), [], []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: requests.append(request.url.split(":")[0]))
    page.goto(PAGE.as_uri())
    for view in page.evaluate("[...document.querySelectorAll('[name=view] option')].map((it) => it.value)"):
        for change in (
            {},
            {"path": "flow", "lower": "frozen", "field": "score"},
            {"noise": 1.5, "level": 0.02, "count": 100, "edit": True},
        ):
            page.evaluate("([view, change]) => { explainer.set({ view, ...change }); explainer.redraw(); }", [view, change])
    page.evaluate("() => { explainer.set({ modes: explainer.state.modes.slice(0, 1) }); explainer.redraw(); }")
    for step in range(1, STEPS + 1):  # each shows formulas of its own
        page.evaluate("(step) => { location.hash = step; }", step)
        next_frame(page)
    fonts = page.evaluate("document.fonts.ready.then(() => [...document.fonts].map((it) => it.status))")
    page.close()
    assert "loaded" in fonts
    assert "error" not in fonts
    assert wrong == []
    assert set(requests) <= {"file", "data"}


def test_a_step_is_printed_on_one_page_in_light_colours(visit):
    light, dark = visit(5), visit(5, scheme="dark")
    dark.evaluate("addEventListener('beforeprint', () => { globalThis.printed = document.getElementById('plane').toDataURL(); })")
    drawn = drawing(dark)
    printed = dark.pdf(format="A4")
    assert len(re.findall(rb"/Type /Page\b", printed)) == 1
    assert dark.evaluate("printed") == drawing(light)
    assert drawing(dark) == drawn


def test_all_steps_are_printed_with_their_handles_and_settings(visit):
    page = visit(5, scheme="dark")
    page.evaluate("() => { globalThis.print = () => {}; }")
    page.get_by_role("button", name="Print all steps").click()
    page.emulate_media(media="print")
    sections = page.locator("#all > section")
    assert sections.locator("h2").all_inner_texts() == page.evaluate(
        "[...document.querySelectorAll('main h2')].slice(0, 8).map((it) => it.textContent)"
    )
    assert not page.locator("main").is_visible()
    drawn = page.evaluate("[...document.querySelectorAll('#all canvas')].map((it) => it.toDataURL())")
    assert len(set(drawn)) == 2 * STEPS
    assert all("σₙ/αₙ" in text for i, text in enumerate(sections.all_inner_texts()) if i != 1)
    assert len(re.findall(rb"/Type /Page\b", page.pdf(format="A4"))) == STEPS / 2
    assert sections.count() == 0
    assert page.evaluate("document.documentElement.style.colorScheme") == ""


def test_a_page_printed_while_a_picture_moves_has_the_whole_picture(visit):
    page = visit(6, motion="no-preference")
    page.pdf(format="A4")
    assert page.evaluate("explainer.state.reached") == 48
    assert not page.locator("#settings").is_visible()
    page.emulate_media(media="print")
    assert "x = (0.20, 0.20)" in page.locator("#settings").inner_text()


def test_a_step_is_seen_at_once_on_a_projector(visit):
    page = visit(1, height=720)
    for step in range(1, STEPS + 1):
        page.evaluate("(step) => { location.hash = step; }", step)
        next_frame(page)
        assert page.evaluate("document.querySelector('main').getBoundingClientRect().bottom") <= 720, f"step {step}"


def test_the_browsers_back_button_turns_pages_and_a_chosen_scheme_survives_a_reload(visit):
    page = visit(1)
    for key in ("Next", "Next"):
        page.get_by_role("button", name=key).click()
    page.get_by_role("button", name="Dark").click()
    page.go_back()
    page.wait_for_function("explainer.state.step === 1")
    page.get_by_role("button", name="Next").click()
    page.reload()
    next_frame(page)
    assert page.evaluate("[explainer.state.step, document.documentElement.style.colorScheme]") == [2, "dark"]


def test_steps_three_and_four_share_the_point_and_the_level_stays_above_the_data(visit):
    page = visit(3)
    page.evaluate("() => explainer.set({ probe: [-1, 0.5], level: 2 })")
    page.get_by_role("button", name="Next").click()
    next_frame(page)
    assert page.evaluate("[explainer.state.probe, explainer.state.level]") == [[-1, 0.5], 2]
    assert "1.00, 0.50)" in page.locator("#readout").inner_text()
    page.locator("[name=level]").fill(page.locator("[name=level]").get_attribute("min"))
    assert 0.6 < page.evaluate("explainer.state.level") < 0.63
    page.locator("[name=noise]").fill("1.2")
    assert 1.2 < page.evaluate("explainer.state.level") < 1.25


def test_a_guided_step_has_the_path_and_the_world_that_its_words_assume(visit):
    page = visit(STEPS + 1)
    page.evaluate("() => explainer.set({ path: 'flow' })")
    for step in (8, 7):
        page.get_by_role("button", name="Back").click()
        next_frame(page)
        state = page.evaluate("[explainer.state.path, explainer.state.world]")
        assert state == ["exploding", "stripes" if step == 8 else "ring5"]


RECORD = """() => { globalThis.drawn = { arc: [], to: [], begun: [] };
    const kept = CanvasRenderingContext2D.prototype, { width, height } = plane.getBoundingClientRect();
    for (const [name, list] of [["arc", "arc"], ["lineTo", "to"], ["moveTo", "begun"]]) {
        const original = kept[name];
        kept[name] = function (x, y, ...more) {
            if (this.canvas.id === "plane") drawn[list].push([3.2 * (2 * x / width - 1), 3.2 * (1 - 2 * y / height), ...more]);
            return original.call(this, x, y, ...more); }; }
    explainer.redraw(); return drawn; }"""


@pytest.mark.parametrize("path", PATHS)
def test_the_arrow_of_the_denoiser_ends_on_the_mesh(visit, path):
    page = visit(STEPS + 1)
    vertex = [-3.2 + 6.4 * 5 / 22, -3.2 + 6.4 * 15 / 22]  # a vertex of the mesh before the map
    page.evaluate("(it) => Object.assign(explainer.state, it)", {"view": "fields", "path": path, "probe": vertex, "level": 1.5})
    drawn = page.evaluate(RECORD)
    level = PATHS[path](time_of(path, 1.5))
    expected = level.alpha * world(page, "ring5").denoise(torch.tensor([vertex], dtype=torch.float64), level)
    assert close(drawn["begun"][0][:2], expected[0], 1e-6)
    nearest = min((torch.tensor(it, dtype=torch.float64) - expected[0]).norm() for it in drawn["to"])
    assert float(nearest) < 1e-6


def test_the_key_says_which_score_the_longest_arrow_stands_for(visit):
    page = visit(2)
    page.evaluate("() => explainer.set({ field: 'score', level: 5 })")
    next_frame(page)
    centres = 3.2 * ((2 * torch.arange(17, dtype=torch.float64) + 1) / 17 - 1)
    scores = world(page, "ring5").score(torch.cartesian_prod(centres, centres), PATHS["exploding"](5.0))
    said = float(page.locator("#key li").first.inner_text().split()[-1])
    assert said == pytest.approx(float(scores.norm(dim=1).max()), rel=0.05)


def test_lines_of_equal_loss_are_half_a_unit_apart_and_reach_every_corner(visit):
    page = visit(4)
    drawn = page.evaluate(RECORD)
    share = page.evaluate("explainer.doubleTweedie(explainer.PATHS.exploding(0.6), explainer.PATHS.exploding(0.96)).fromX0")
    size = page.evaluate("plane.getBoundingClientRect().width")
    radii = [2 * 3.2 * it[2] / size for it in drawn["arc"]]
    lines = [(share * radius) ** 2 for radius in radii[: radii.index(max(radii)) + 1]]
    assert lines == pytest.approx([0.5 * (k + 1) for k in range(len(lines))])
    x, y = drawn["arc"][0][:2]
    farthest = max((x - 3.2 * i) ** 2 + (y - 3.2 * j) ** 2 for i in (-1, 1) for j in (-1, 1))
    assert lines[-1] < share**2 * farthest <= lines[-1] + 0.5
    assert math.dist(page.evaluate("explainer.state.guess"), (x, y)) > radii[0]  # the default guess is not inside the first line


# How fast the page is.


def test_the_first_paint_takes_less_than_a_second(visit):
    entries = "performance.getEntriesByName('first-contentful-paint')"
    page = visit(1)
    page.wait_for_function(f"{entries}.length", timeout=5000)
    assert 0 < page.evaluate(f"{entries}[0].startTime") < 1000


def redraw_times(page, view: str, changes: list[dict]) -> list[float]:
    """Milliseconds of CPU of the page's thread for each redraw, rasterisation included, in rising order."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        return 1e3 * {it["name"]: it["value"] for it in session.send("Performance.getMetrics")["metrics"]}["TaskDuration"]

    times = []
    for change in changes:
        begun = busy()
        page.evaluate(
            """([view, change]) => { Object.assign(explainer.state, { view, ...change }); explainer.redraw();
               for (const id of ['plane', 'chart']) document.getElementById(id).getContext('2d').getImageData(0, 0, 1, 1); }""",
            [view, change],
        )
        times.append(busy() - begun)
    return sorted(times)


@pytest.mark.parametrize("view", ["data", "fields", "tweedie", "loss", "paths", "martingale", "stop", "wall"])
def test_a_redraw_while_dragging_fits_into_a_frame(visit, view):
    """95 % of the redraws take less than 1/30 s of one core while everything that the picture shows changes."""
    page = visit(STEPS + 1)
    changes = [{"noise": 0.4 + 0.01 * i, "probe": [0.1 * i - 1, 0.5], "clean": True, "level": 1.2} for i in range(21)]
    rounds = (redraw_times(page, view, changes)[19] for _ in range(3))  # a busy machine can disturb a round
    assert any(slow < 1000 / 30 for slow in rounds)
