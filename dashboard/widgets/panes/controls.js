// What stands around the panes: buttons, sliders, the prediction, the strip of X-rays, and the help.

/** Make an element; attributes that begin with "on" are listeners, false and null leave an attribute out. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const ICONS = {
  pan: "M8 1v14M1 8h14M8 1 6 3.5M8 1l2 2.5M8 15l-2-2.5M8 15l2-2.5M1 8l2.5-2M1 8l2.5 2M15 8l-2.5-2M15 8l-2.5 2",
  window: "M8 2a6 6 0 1 0 0 12ZM8 2a6 6 0 0 1 0 12M8 4v8",
  box: "M2 4h12v8H2Z",
  lasso: "M8 3c4 0 6 1.8 6 3.8S11.500 10.500 8 10.500 2 9 2 6.800 4 3 8 3ZM5 10c-1.500 1 .5 2 0 4",
  measure: "M2 12 12 2l2 2L4 14ZM5 9l1.500 1.500M7.500 6.500 9 8M10 4l1.500 1.500",
  less: "M3 8h10",
  more: "M3 8h10M8 3v10",
  fit: "M2 6V2h4M14 6V2h-4M2 10v4h4M14 10v4h-4",
  invert: "M8 2a6 6 0 1 0 0 12 6 6 0 0 0 0-12ZM8 2v12M8 5h4M8 8h6M8 11h4",
  copy: "M5 5V2h9v9h-3M2 5h9v9H2Z",
  save: "M8 2v8M5 7l3 3 3-3M2 13h12",
  full: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
  present: "M1 3h14v8H1ZM8 11v2M5 14h6",
  help: "M5.500 6a2.500 2.500 0 1 1 3.500 2.300c-.8.400-1 .8-1 1.700M8 12.500v.5",
  previous: "M10 3 5 8l5 5",
  next: "M6 3l5 5-5 5",
};

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function button(name, label, key, act) {
  const title = key ? `${label} (${key})` : label;
  return make("button", { type: "button", "aria-label": label, title, class: "icon", onclick: act }, icon(name));
}

function toggle(text, label, act) {
  return make("button", { type: "button", "aria-pressed": "false", title: label, class: "toggle", onclick: act }, text);
}

function press(element, on) {
  element.setAttribute("aria-pressed", String(on));
}

/** A slider with its value; `act` hears every tick. */
function slider(label, low, high, step, write, act) {
  const output = make("output");
  const input = make("input", { type: "range", min: low, max: high, step, "aria-label": label });
  input.addEventListener("input", () => act(Number(input.value)));
  const set = (value) => {
    input.value = value;
    output.textContent = write(value);
  };
  return { root: make("label", { class: "slider" }, make("span", {}, label), input, output), input, set };
}

function choice(label, options, act) {
  const select = make("select", { "aria-label": label, title: label });
  for (const [value, text] of options) select.append(make("option", { value }, text));
  select.addEventListener("change", () => act(select.value));
  return { root: select, select };
}

const KEYS = [
  ["→ or n, ← or p", "next, previous X-ray"],
  ["k, j", "next, previous class"],
  ["1, 2, 3", "X-ray, heatmap, overlay on and off"],
  ["o", "overlay on and off"],
  ["↑, ↓", "more, less opacity"],
  ["i", "invert"],
  ["+, −, 0", "enlarge, reduce, whole X-ray"],
  ["d", "all settings of the picture back to their defaults"],
  ["v, w, b, l, m", "tools: move, window, box, lasso, measure"],
  ["Esc", "remove box or measure, leave a mode"],
  ["f, t", "full screen, presentation"],
  ["?", "this help"],
];
const MOUSE = [
  ["drag", "what the chosen tool does; the right button sets the window with any tool"],
  ["wheel", "enlarges, once the viewer was clicked; with Ctrl always"],
  ["double click", "whole X-ray"],
  ["two fingers", "move and enlarge"],
];

function helpDialog() {
  const rows = (pairs) => pairs.map(([key, text]) => make("tr", {}, make("th", {}, key), make("td", {}, text)));
  const dialog = make(
    "dialog",
    { class: "help", "aria-label": "Keys and mouse" },
    make("h3", {}, "Keys"),
    make("table", {}, ...rows(KEYS)),
    make("h3", {}, "Mouse and touch"),
    make("table", {}, ...rows(MOUSE)),
    make("button", { type: "button", class: "toggle", onclick: () => dialog.close() }, "Close"),
  );
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  return dialog;
}

/** The prediction: what the network says, what is true, and each class with its probability. */
function showPrediction(root, prediction, explain) {
  const right = prediction.right === null ? "" : prediction.right ? "right" : "wrong";
  const mark = { right: "\u00a0✓", wrong: "\u00a0✗", "": "" }[right]; // no line for itself
  root.replaceChildren(
    make(
      "div",
      { class: "verdict" },
      make("strong", { class: right }, prediction.verdict + mark),
      make("span", {}, prediction.truth),
      prediction.doubt ? make("span", { class: "doubt" }, prediction.doubt) : null,
    ),
    make("div", { class: "classes" }, ...prediction.classes.map((row) => classRow(row, explain))),
  );
}

function classRow(row, explain) {
  const bar = make("span", { class: "bar" }, make("span", { style: `width: ${(100 * row.probability).toFixed(1)}%` }));
  return make(
    "button",
    {
      type: "button",
      class: "class",
      "data-goal": JSON.stringify({ name: row.name }),
      "aria-pressed": String(row.explained),
      title: `Explain ${row.name}: probability ${row.probability.toFixed(3)}, logit ${signed(row.logit, 4)}`,
      onclick: () => explain(row.name),
    },
    make("span", { class: "name" }, row.name),
    bar,
    make("span", { class: "number" }, row.probability.toFixed(3)),
  );
}

/** Neighbours in the list, each a button with the X-ray on it. */
function showStrip(root, strip, choose) {
  root.replaceChildren(
    ...strip.map((xray) =>
      make(
        "button",
        {
          type: "button",
          class: xray.wrong ? "thumb wrong" : "thumb",
          "data-goal": JSON.stringify({ id: xray.id }),
          "aria-label": `Show ${xray.id}`,
          "aria-current": xray.here ? "true" : false,
          title: `${xray.caption} · ${xray.id}`,
          onclick: () => choose(xray.id),
        },
        make("img", { src: xray.url, alt: xray.id, loading: "lazy" }),
        make("span", {}, xray.caption.replace(" ✗", "\u00a0✗")),
      ),
    ),
  );
}

/** What a box or lasso told: a table of conditions and sentences. */
function showRegion(root, region, close) {
  root.replaceChildren();
  root.hidden = !region;
  if (!region) return;
  const rows = region.rows.map(([name, ...cells]) =>
    make("tr", {}, make("th", {}, name), ...cells.map((cell) => make("td", {}, cell))),
  );
  root.append(
    make("div", { class: "head" }, make("strong", {}, region.title),
      make("button", { type: "button", class: "toggle", onclick: close }, "Remove")),
    make("table", {}, make("tr", {}, ...region.columns.map((name) => make("th", {}, name))), ...rows),
    ...region.lines.map((line) => make("p", {}, line)),
  );
}
