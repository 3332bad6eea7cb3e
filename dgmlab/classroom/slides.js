// Formulas first, then the layout of each slide, then the slide show.
"use strict";
(async () => {
  const SIZES = [28, 25, 22, 20, 18];       // of text, in px on a slide of WIDTH x HEIGHT
  const LAYOUTS = [["stack", ""], ["beside", "31%"], ["beside", "40%"], ["beside", "50%"]];
  const root = document.querySelector(".slides");
  root.style.width = "WIDTHpx";

  // Whether everything in it lies inside the slide's body.
  function fits(body) {
    const frame = body.getBoundingClientRect();
    return body.scrollHeight <= body.clientHeight + 1 && [...body.querySelectorAll(
      ".text > *, pre, table, img, mjx-container:not(mjx-container mjx-container)")].every((each) => {
      const box = each.getBoundingClientRect();
      return box.right <= frame.right + 1 && box.bottom <= frame.bottom + 1 && each.scrollWidth <= each.clientWidth + 2
        || each.tagName === "MJX-CONTAINER" && box.right <= frame.right + 1 && box.bottom <= frame.bottom + 1;
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
    for (const layout of shown && words ? LAYOUTS : LAYOUTS.slice(0, 1)) {
      for (const size of SIZES) {
        let picture = 0, area = 0;
        if (pictures.length) {
          apply(layout, size, 0);
          const place = layout[0] === "stack" ? body : shown;
          const used = [...(layout[0] === "stack" ? body.children : [])].reduce((sum, part) => sum + part.offsetHeight, 0)
            + (layout[0] === "stack" ? 16 * (body.children.length - 1) : shown.scrollHeight === 0 ? 0 :
              [...shown.children].reduce((sum, part) => sum + part.offsetHeight, 12 * (shown.children.length - 1)));
          picture = Math.floor((body.clientHeight - used) / pictures.length) - 1;
          if (picture < 120) continue;
          for (const image of pictures) {
            const ratio = image.getAttribute("width") / image.getAttribute("height");
            const width = Math.min(shown.clientWidth, picture * ratio, 1.15 * image.getAttribute("width"));
            area += width * width / ratio / (1176 * 620);
          }
        }
        apply(layout, size, picture);
        if (!fits(body)) continue;
        const score = area + 0.02 * (size - 18) - (layout[0] === "beside" && !pictures.length ? 0.06 : 0);
        if (!best || score > best.score) best = {score, layout, size, picture};
        if (!pictures.length) break;
      }
    }
    if (best) apply(best.layout, best.size, best.picture);
    else apply(LAYOUTS[0], 18, 300);
    return Boolean(best);
  }

  // A table longer than a slide goes on on the next one.
  function divide(slide) {
    const tables = slide.querySelectorAll(".table table"), table = tables[0];
    if (tables.length !== 1 || table.tBodies[0].rows.length < 2 || slide.querySelector("img")) return null;
    const rest = slide.cloneNode(true);
    rest.id += "-more";
    rest.querySelectorAll(".before, .after, .code, .notes").forEach((each) => each.remove());
    rest.querySelectorAll(".fragment").forEach((each) => each.classList.remove("fragment"));
    const others = rest.querySelector(".table table").tBodies[0];
    slide.after(rest);
    const moved = [];
    while (table.tBodies[0].rows.length > 1) {
      moved.unshift(table.tBodies[0].lastElementChild);
      moved[0].remove();
      if (lay(slide)) break;
    }
    others.replaceChildren(...moved);
    return rest;
  }

  root.querySelectorAll("section section").forEach((slide) => slide.classList.add("measured"));
  const t0=performance.now(); await document.fonts.ready;
  await MathJax.startup.promise;
  await MathJax.typesetPromise([root]); const t1=performance.now();
  root.querySelectorAll("section section").forEach((slide) => slide.classList.remove("measured"));
  for (const first of [...root.querySelectorAll("section section")]) {
    for (let slide = first; slide;) {
      slide.parentElement.classList.add("measured");
      slide.classList.add("measured");
      const fine = lay(slide);
      const next = fine ? null : divide(slide);
      slide.classList.remove("measured");
      slide.parentElement.classList.remove("measured");
      slide = next;
    }
  }
  const t2=performance.now(); console.log(t0,t1,t2);
  await Reveal.initialize({
    width: WIDTH, height: HEIGHT, margin: 0, minScale: 0.1, maxScale: 4, center: false, hash: true, transition: "none",
    backgroundTransition: "none", slideNumber: "c/t", navigationMode: "linear", controlsTutorial: false,
    pdfSeparateFragments: false, pdfMaxPagesPerSlide: 1, plugins: [RevealNotes],
  });
  document.documentElement.dataset.ready = "LAB";
})();
