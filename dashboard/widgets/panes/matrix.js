// A confusion matrix as a table whose cells are buttons: rows are true classes, columns predicted ones.

const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function heading(text, scope) {
  return element("th", { scope, title: text }, element("span", { textContent: text }));
}

function cellButton({ classes, texts, below, grounds, inks }, row, column) {
  const button = element(
    "button",
    { type: "button", title: "Click to see the X-rays" },
    element("b", { textContent: texts[row][column] }),
    element("small", { textContent: below[row][column] }),
  );
  button.setAttribute(
    "aria-label",
    `True ${classes[row]}, predicted ${classes[column]}: ${texts[row][column]}, ${below[row][column]}`,
  );
  button.style.background = grounds[row][column];
  button.style.color = inks[row][column];
  return button;
}

function drawMatrix(root, data, choose) {
  const { classes, chosen, frame } = data;
  const places = classes.flatMap((_, row) => classes.map((_, column) => [row, column]));
  const buttons = classes.map((_, row) => classes.map((_, column) => cellButton(data, row, column)));
  const mark = (at) => places.forEach(([row, column]) => {
    buttons[row][column].setAttribute("aria-pressed", String(at !== null && at[0] === row && at[1] === column));
  });
  // One cell is a stop of the Tab key; the arrows lead from cell to cell.
  let stop = chosen ?? [0, 0];
  const stopAt = ([row, column]) => {
    buttons[stop[0]][stop[1]].tabIndex = -1;
    stop = [row, column];
    buttons[row][column].tabIndex = 0;
  };
  places.forEach(([row, column]) => {
    const button = buttons[row][column];
    button.tabIndex = -1;
    button.addEventListener("click", () => {
      stopAt([row, column]);
      mark([row, column]);  // a second click may leave the cell: that the page says
      choose(row, column);
    });
    button.addEventListener("keydown", (event) => {
      const move = MOVES[event.key];
      const next = move && buttons[row + move[0]]?.[column + move[1]];
      if (!next) return;
      event.preventDefault();
      stopAt([row + move[0], column + move[1]]);
      next.focus();
    });
  });
  stopAt(stop);
  mark(chosen);
  const corner = (rows) => element("td", { rowSpan: rows, colSpan: 2 });
  const top = element("tr", {}, corner(2), element("th", { colSpan: classes.length, textContent: "predicted" }));
  const names = element("tr", {}, ...classes.map((name) => heading(name, "col")));
  const rows = classes.map((name, row) => element(
    "tr", {}, heading(name, "row"), ...buttons[row].map((button) => element("td", {}, button)),
  ));
  rows[0].prepend(element("th", { rowSpan: classes.length, className: "true" }, element("span", { textContent: "true" })));
  const table = element(
    "table", {},
    element("caption", { textContent: "Confusion matrix; the arrow keys lead from cell to cell" }),
    element("thead", {}, top, names), element("tbody", {}, ...rows),
  );
  table.classList.toggle("narrow", classes.length > 4); // names of classes stand upright then
  table.style.setProperty("--classes", classes.length);
  table.style.setProperty("--chosen", frame);
  const before = root.querySelector(".matrix");
  const hadFocus = Boolean(before?.querySelector(":focus"));
  before?.remove();
  root.append(element("div", { className: "matrix" }, table));
  if (hadFocus) buttons[stop[0]][stop[1]].focus({ preventScroll: true });
}

export default function ({ parentElement, data, setTriggerValue }) {
  drawMatrix(parentElement, data, (row, column) => setTriggerValue("cell", [data.classes[row], data.classes[column]]));
}
