"""The decks of all labs in a real Chromium: nothing from the network, nothing over the edge, nothing too small."""

from __future__ import annotations

import re

import pytest

from dgmlab import doctor, lab_format, notebooks
from dgmlab.classroom import slides
from dgmlab.errors import LabError

from .conftest import ARTEFACTS, CHROMIUM

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SMALLEST = 18           # px of text, on a slide of 1280 x 720
EDGE = 16               # px that stay free around what is shown
MARGIN = 52             # px at the left of a text
ROOM = 2 / 3            # of the width that a picture would have if it were alone on its slide

# Shows each slide with all its fragments; what is wrong with it, in words.
WRONG = """([smallest, edge, room]) => Reveal.getSlides().flatMap((slide) => {
  const {h, v} = Reveal.getIndices(slide), wrong = [];
  Reveal.slide(h, v, 1000);
  const say = (what, text) => wrong.push(`${slide.id}: ${what}: ${text.trim().slice(0, 40)}`);
  const outside = (box) => box.left < edge || box.top < edge || box.right > 1280 - edge || box.bottom > 720 - edge;
  if (document.querySelectorAll("section section.present").length !== 1) say("is not the only one shown", "");
  if (slide.querySelector(".fragment:not(.visible)")) say("a fragment did not appear", "");
  const texts = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
  let seen = 0;
  for (let node; (node = texts.nextNode());) {
    if (!node.textContent.trim() || node.parentElement.closest("aside, mjx-container, style")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter((box) => box.width);
    if (!boxes.length) continue;
    seen += 1;
    if (boxes.some(outside)) say("over the edge", node.textContent);
    if (parseFloat(getComputedStyle(node.parentElement).fontSize) < smallest) say("too small", node.textContent);
  }
  for (const each of slide.querySelectorAll("img, table, pre, mjx-container > svg")) {
    if (!each.closest("aside") && outside(each.getBoundingClientRect())) say("over the edge", each.tagName);
  }
  const parts = [...slide.querySelector(".body").children].map((part) => part.getBoundingClientRect());
  if (parts.some((a, i) => parts.some((b, j) => i < j && a.left < b.right - 1 && b.left < a.right - 1
      && a.top < b.bottom - 1 && b.top < a.bottom - 1))) say("parts over each other", "");
  for (const image of slide.querySelectorAll("img")) {
    if (!image.complete || !image.naturalWidth) say("an empty picture", image.alt);
    const alone = Math.min(1176, (674 - slide.querySelector(".body").getBoundingClientRect().top)
      * image.getAttribute("width") / image.getAttribute("height"));
    if (image.getBoundingClientRect().width < room * alone) say("a picture too small", image.alt);
  }
  for (const formula of slide.querySelectorAll('mjx-container:not([display="true"])')) {
    const next = formula.nextSibling?.data?.trim();
    if (next && ".,;:)".includes(next[0]) && !formula.closest("aside, .close")) say("may part", next);
  }
  if (!seen && !slide.querySelector("img")) say("is empty", "");
  return wrong;
})"""

# The texts of the pages that reveal.js makes for a printer which begin left of the margin or end below the page.
OUTSIDE = """(margin) => [...document.querySelectorAll(".pdf-page")].flatMap((page) => {
  const paper = page.getBoundingClientRect(), wrong = [];
  const texts = document.createTreeWalker(page, NodeFilter.SHOW_TEXT);
  for (let node; (node = texts.nextNode());) {
    if (!node.textContent.trim() || node.parentElement.closest("aside, mjx-container, style")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    if ([...range.getClientRects()].some((box) => box.width && (box.left < paper.left + margin - 1
        || box.right > paper.right || box.bottom > paper.bottom))) wrong.push(node.textContent.trim());
  }
  return wrong;
})"""


@pytest.fixture(scope="module", autouse=True)
def assets():
    """reveal.js and MathJax: in the cache, or from pip's index."""
    try:
        return slides.assets()
    except LabError as error:
        pytest.skip(str(error))


class Deck:
    """A deck in a tab that has no network; what it asks for all the same is noted."""

    def __init__(self, browser, path, how=""):
        self.asked, self.complaints = [], []
        self.page = browser.new_page(viewport={"width": 1280, "height": 720})
        self.page.context.set_offline(True)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.goto(path.as_uri() + how)
        self.page.wait_for_function("document.documentElement.dataset.ready", timeout=90_000)

    def here(self) -> str:
        return self.page.evaluate("Reveal.getCurrentSlide().id")


@pytest.fixture
def open_deck(browser, tmp_path):
    opened = []

    def open_(path, how="", **options) -> Deck:
        opened.append(Deck(browser, slides.deck(path, tmp_path, **options), how))
        return opened[-1]

    yield open_
    for deck in opened:
        deck.page.close()


@pytest.mark.parametrize("code", ["computing", "all"])
@pytest.mark.parametrize("path", notebooks.labs(), ids=lambda path: path.stem)
def test_every_slide_of_every_lab(open_deck, path, code):
    deck = open_deck(path, code=code)
    assert deck.page.evaluate(WRONG, [SMALLEST, EDGE, ROOM]) == []
    assert [url for url in deck.asked if not re.match("file:|data:|blob:", url)] == []
    assert len([url for url in deck.asked if url.startswith("file:")]) == 1 and deck.complaints == []
    assert deck.page.locator("mjx-merror, [data-mjx-error]").count() == 0
    formulas = "\n".join(cell.source for cell in notebooks.read(path).cells
                         if cell.cell_type == "markdown" and cell.metadata.slideshow.slide_type != "skip")
    assert deck.page.locator("mjx-container svg").count() > 0 or "$" not in formulas
    if code == "computing":
        # A long table of evidence takes more than one slide.
        assert deck.page.evaluate("Reveal.getTotalSlides()") <= lab_format.MOST_SLIDES + 2
        deck.page.evaluate("Reveal.slide(1)")
        ARTEFACTS.mkdir(exist_ok=True)
        deck.page.screenshot(path=ARTEFACTS / f"{path.stem[:2]}_slides.png")


def test_walking_with_the_keys(open_deck):
    deck = open_deck(notebooks.find("08"))
    assert deck.here() == "title" and deck.page.locator(".slide-number").inner_text().split() == ["1", "/", str(
        deck.page.evaluate("Reveal.getTotalSlides()"))]
    deck.page.keyboard.press("ArrowRight")
    assert deck.here() == "play"
    deck.page.keyboard.press("ArrowRight")                  # the panel, and then how to read it
    assert deck.here() == "panel" and deck.page.locator("section.present section.present .fragment").is_hidden()
    deck.page.keyboard.press("ArrowRight")
    assert deck.here() == "panel" and deck.page.locator("section.present section.present .fragment").is_visible()
    deck.page.keyboard.press("ArrowRight")
    assert deck.here() == "heaps" and deck.page.locator("section.present section.present img").is_hidden()
    deck.page.keyboard.press("Space")                       # the picture comes after the question
    assert deck.here() == "heaps" and deck.page.locator("section.present section.present img").is_visible()
    deck.page.keyboard.press("ArrowLeft")
    deck.page.keyboard.press("ArrowLeft")
    assert deck.here() == "panel"
    deck.page.keyboard.press("End")
    assert deck.here() == "summary"                         # the last section
    assert deck.page.locator("section.present > section.present").count() == 1


def test_the_speaker_sees_notes(open_deck):
    deck = open_deck(notebooks.find("08"))
    deck.page.evaluate("Reveal.slide(0, 2)")
    with deck.page.context.expect_page() as popup:
        deck.page.keyboard.press("s")
    speaker = popup.value
    speaker.wait_for_function("document.querySelector('.speaker-controls-notes .value')?.innerText.length > 50")
    notes = speaker.locator(".speaker-controls-notes .value")
    assert "What you see" in notes.inner_text()
    deck.page.evaluate("Reveal.slide(3, 0)")                # there-and-back, with formulas
    speaker.wait_for_function("document.querySelector('.speaker-controls-notes .value svg')")
    spoken = notes.locator("mjx-assistive-mml")             # what a screen reader reads: there, and not seen
    assert spoken.count() == notes.locator("mjx-container").count() > 3
    sizes = spoken.evaluate_all("all => all.map((each) => [each.offsetWidth, each.offsetHeight])")
    assert all(max(size) <= 1 for size in sizes), sizes
    speaker.close()


def test_pages_for_a_printer_have_the_margins_of_slides(open_deck):
    deck = open_deck(notebooks.find("03"), "?print-pdf")
    deck.page.wait_for_selector(".pdf-page")
    assert deck.page.evaluate(OUTSIDE, MARGIN) == []
    assert deck.page.locator(".pdf-page ol li").count() > 2         # whose numerals stand left of the text


def test_a_pdf_has_a_page_for_each_slide(tmp_path):
    made = slides.deck(notebooks.find("08"), tmp_path)
    printed = slides.print_pdf(made, CHROMIUM or doctor.chromium()).read_bytes()
    assert printed.startswith(b"%PDF") and not list(tmp_path.glob(".*"))
    pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert pages == sum(map(len, slides.stacks(notebooks.read(notebooks.find("08")), "computing")))
    sizes = set(re.findall(rb"/MediaBox\s*\[([^]]*)\]", printed))
    assert len(sizes) == 1
    width, height = map(float, sizes.pop().split()[2:])
    assert width / height == pytest.approx(16 / 9, rel=0.01)
