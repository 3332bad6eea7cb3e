// Formulas first, then the layout of each slide, then the slide show.
"use strict";
(async () => {
  const SIZES = [28, 25, 22, 20, 18];       // of text, in px on a slide of WIDTH x HEIGHT
  const LAYOUTS = [["stack", ""], ["beside", "31%"], ["beside", "40%"], ["beside", "50%"]];
  const GAP = 16, LEAST = 200;                          // px between the parts; of the height of a picture
  const root = document.querySelector(".slides");
  root.style.width = "WIDTHpx";

  // Whether everything lies inside its own part of the slide's body, and the parts inside the body.
  function fits(body) {
    const bottom = body.getBoundingClientRect().bottom + 1;
    return [...body.children].every((part) => {
      const right = part.getBoundingClientRect().right + 1;
      return [part, ...part.querySelectorAll(".text > *, pre, table, img, svg")].every((each) => {
        const box = each.getBoundingClientRect();
        return box.right <= right && box.bottom <= bottom && (each.tagName !== "PRE" || each.scrollWidth
          <= each.clientWidth);
      });
    });
  }

  // Lay out one slide: the largest pictures, and the largest text that leaves them so.
  function lay(slide) {
    const body = slide.querySelector(".body");
    const shown = body.querySelector(".shown");
    const pictures = [...body.querySelectorAll(".picture img")];
    const words = body.querySelector(".text");
    const above = body.getBoundingClientRect().top - slide.getBoundingClientRect().top;
    body.style.setProperty("--room", `${HEIGHT - above - 46}px`);
    let best = null;
    const apply = ([kind, width], size, picture) => {
      body.className = `body ${kind}`;
      body.style.setProperty("--words", width);
      body.style.setProperty("--size", `${size}px`);
      body.style.setProperty("--picture", `${picture}px`);
    };
    // (A wide picture is no wider beside words than below them, so the order of the layouts breaks ties.)
    for (const layout of shown && words ? LAYOUTS : LAYOUTS.slice(0, 1)) {
      for (const size of SIZES) {
        let picture = 0, area = 0, wide = true;
        if (pictures.length) {
          apply(layout, size, 0);
          const parts = layout[0] === "stack" ? [...body.children] : [...shown.children];
          const used = parts.reduce((sum, part) => sum + part.offsetHeight, (parts.length - 1) * GAP);
          picture = Math.floor((body.clientHeight - used) / pictures.length) - 1;
          if (picture < LEAST) continue;
          for (const image of pictures) {
            const ratio = image.getAttribute("width") / image.getAttribute("height");
            const width = Math.min(shown.clientWidth, picture * ratio);
            wide = wide && width < picture * ratio;
            area += width * width / ratio / (WIDTH * HEIGHT);
          }
        }
        const score = area + 0.008 * (size - 18) - (layout[0] === "beside" && !pictures.length ? 0.05 : 0);
        if (best && score <= best.score) continue;
        apply(layout, size, picture);
        if (!fits(body)) continue;
        best = {score, layout, size, picture};
        if (wide) break;                                // smaller letters would not make a picture larger
      }
    }
    if (best) apply(best.layout, best.size, best.picture);
    else apply(LAYOUTS[0], SIZES.at(-1), 300);
    return Boolean(best);
  }

  // Long lines of code are wrapped only where no layout has room for them.
  function layout(slide) {
    return lay(slide) || (slide.querySelector("pre") && !slide.classList.contains("wrap")
      && (slide.classList.add("wrap"), lay(slide)));
  }

  // What has no room goes on on a slide behind it: the last of several things shown, or the rows of a long table.
  function divide(slide) {
    const shown = slide.querySelector(".shown");
    const table = shown?.querySelector("table");
    if (!shown || shown.children.length === 1 && (!table?.tBodies[0] || table.tBodies[0].rows.length < 2)) return null;
    const rest = slide.cloneNode(true);
    const others = rest.querySelector(".shown");
    rest.id += "-more";
    rest.querySelectorAll(".before, .notes").forEach((each) => each.remove());
    const reading = slide.querySelector(".after");
    if (shown.children.length > 1) {
      shown.lastElementChild.remove();
      others.replaceChildren(others.lastElementChild);
      if (layout(slide)) rest.querySelector(".after")?.remove();
      else reading?.remove();
    } else {
      reading?.remove();
      const rows = [...table.tBodies[0].rows], moved = [...others.querySelector("table").tBodies[0].rows];
      let kept = rows.length;
      while (kept > 1 && !layout(slide)) rows[--kept].remove();
      kept = Math.ceil(rows.length / Math.ceil(rows.length / kept));                // pages of the same length
      rows.slice(kept).forEach((row) => row.remove());
      moved.slice(0, kept).forEach((row) => row.remove());
    }
    others.querySelectorAll(".fragment").forEach((each) => each.classList.remove("fragment"));
    slide.after(rest);
    layout(slide);
    return rest;
  }

  // No line ends between a formula and what is written close to it: a full stop, a bracket.
  function close(formula) {
    const {previousSibling: left, nextSibling: right} = formula;
    const before = left?.data?.match(/\S*$/)[0] ?? "", after = right?.data?.match(/^\S*/)[0] ?? "";
    if (!before && !after) return;
    const whole = document.createElement("span");
    whole.className = "close";
    formula.replaceWith(whole);
    whole.append(before, formula, after);
    if (before) left.data = left.data.slice(0, -before.length);
    if (after) right.data = right.data.slice(after.length);
  }

  // The speaker's window shows a copy of the notes without any style sheet: what formulas need goes with them.
  function carry(formula) {
    if (formula.getAttribute("display")) formula.style.cssText = "display: block; text-align: center";
    formula.querySelectorAll("mjx-assistive-mml").forEach((spoken) => {
      spoken.style.cssText = "position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)";
    });
  }

  root.querySelectorAll("section section").forEach((slide) => slide.classList.add("measured"));
  await document.fonts.ready;
  await MathJax.startup.promise;
  await MathJax.typesetPromise([root]);
  root.querySelectorAll('mjx-container:not([display="true"])').forEach(close);
  root.querySelectorAll(".notes mjx-container").forEach(carry);
  root.querySelectorAll("section section").forEach((slide) => slide.classList.remove("measured"));
  for (const first of [...root.querySelectorAll("section section")]) {
    for (let slide = first; slide;) {
      slide.parentElement.classList.add("measured");
      slide.classList.add("measured");
      const fine = layout(slide);
      const next = fine ? null : divide(slide);
      slide.classList.remove("measured");
      slide.parentElement.classList.remove("measured");
      slide = next;
    }
  }
  await Reveal.initialize({
    width: WIDTH, height: HEIGHT, margin: 0, minScale: 0.1, maxScale: 4, center: false, hash: true, transition: "none",
    backgroundTransition: "none", slideNumber: "c/t", navigationMode: "linear", controlsTutorial: false,
    pdfSeparateFragments: false, pdfMaxPagesPerSlide: 1, plugins: [RevealNotes],
  });
  document.documentElement.dataset.ready = "LAB";
})();
