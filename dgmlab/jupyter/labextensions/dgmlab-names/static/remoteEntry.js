/* What ipywidgets 8 and JupyterLab 4 leave out for those who use a keyboard or a screen reader: names for a slider's
 * handle and its number, for a row of buttons and which of them is chosen, and for a live picture; an outline around what
 * has the focus, and one that can be seen around a slider's handle; arrow keys that stay in a menu; a focus that is not lost when a button is switched off.
 * Written by hand in the form of a prebuilt JupyterLab extension, so that nothing has to be built; `dgmlab lab` tells
 * JupyterLab where it lies. */
(() => {
  "use strict";

  const set = (node, name, value) => {
    if (value && node.getAttribute(name) !== value) node.setAttribute(name, value);
  };
  const label = widget => {
    const own = widget.querySelector(":scope > .widget-label");
    if (own && own.textContent.trim() && own.style.display !== "none") return own.textContent.trim();
    const before = widget.previousElementSibling;           // a Label beside it
    return before && before.matches(".widget-label") ? before.textContent.trim() : "";
  };

  function slider(widget) {
    const name = label(widget);
    const readout = widget.querySelector(".widget-readout");
    const handles = [...widget.querySelectorAll(".noUi-handle")];
    const parts = readout ? readout.textContent.split("–").map(part => part.trim()) : [];
    handles.forEach((handle, k) => {
      set(handle, "aria-label", handles.length > 1 ? `${name}, ${k ? "upper" : "lower"} end` : name);
      set(handle, "aria-valuetext", parts.length === handles.length ? parts[k] : parts.join("–"));
    });
    if (readout && readout.isContentEditable) {
      set(readout, "role", "textbox");
      set(readout, "aria-label", `${name}, as a number`);
    }
  }

  function choices(widget) {
    set(widget, "role", "group");
    set(widget, "aria-label", label(widget));
    for (const button of widget.querySelectorAll("button.widget-toggle-button")) {
      set(button, "aria-pressed", String(button.classList.contains("mod-active")));
    }
  }

  function pictures(output) {
    const words = output.querySelectorAll(".dgmlab-alt li");
    output.querySelectorAll("img.widget-image").forEach((image, k) => {
      set(image, "alt", words[k] ? words[k].textContent : "");
    });
  }

  let last = null;                                          // the button that had the focus last
  function keepFocus() {
    if (!last || !last.disabled || !last.isConnected || document.activeElement !== document.body) return;
    const row = [...last.parentElement.querySelectorAll("button")], at = row.indexOf(last);
    const next = [...row.slice(at + 1), ...row.slice(0, at)].find(button => !button.disabled);
    if (next) next.focus();                                 // after Start, Pause; after Pause, Step
  }

  function mend() {
    document.querySelectorAll(".widget-slider").forEach(slider);
    document.querySelectorAll(".widget-toggle-buttons").forEach(choices);
    document.querySelectorAll(".dgmlab-described").forEach(pictures);
    // The notebook would take the arrow keys and move to another cell.
    document.querySelectorAll(".jupyter-widgets select").forEach(menu => set(menu, "data-lm-suppress-shortcuts", "true"));
    keepFocus();
  }

  function activate() {
    const style = document.createElement("style");
    style.textContent = `.jupyter-widgets :is(select, input, button, [role=slider]):focus-visible,
      .jupyter-widgets.jupyter-button:focus-visible { outline: 2px solid #0b57d0 !important; outline-offset: 2px; }
      .jupyter-widgets .noUi-handle { border: 1px solid #6a6a6a; }`;
    document.head.append(style);
    document.addEventListener("focusin", event => {
      last = event.target.matches("button.jupyter-button") ? event.target : null;
    });
    let waiting = false;
    new MutationObserver(() => {
      if (waiting) return;                                  // a few times a second, however much happens
      waiting = true;
      setTimeout(() => { waiting = false; mend(); }, 200);
    }).observe(document.body, {subtree: true, childList: true, characterData: true,
                               attributeFilter: ["class", "disabled", "aria-valuetext"]});
    mend();
  }

  const plugin = {id: "dgmlab-names:plugin", autoStart: true, activate};
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["dgmlab-names"] = {
    init: () => undefined,
    get: () => Promise.resolve(() => ({__esModule: true, default: plugin})),
  };
})();
