// A grid of many pictures: only those in sight are drawn, and only those are asked for.

const TILE_PX = 148; // the least width of a tile
const WORDS_PX = 26; // below its picture, with the tile's padding
const BESIDE = 1; // rows drawn above and below those in sight
const ASK_AFTER_MS = 90;
const TELL_AFTER_MS = 250; // many boxes are ticked one after the other
const OUTSIDE = ["pointerdown", "keydown", "click"];
const DOWNLOAD = "[data-testid=stDownloadButton] button";

class Grid {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "xgrid";
    this.root.tabIndex = -1;
    this.root.setAttribute("role", "group");
    this.space = document.createElement("div");
    this.space.className = "xgrid-space";
    this.words = document.createElement("div");
    this.words.className = "xgrid-say";
    this.words.setAttribute("role", "status");
    this.root.append(this.space);
    parent.append(this.root, this.words);
    this.tiles = new Map(); // by place
    this.cells = new Map();
    this.selected = new Set();
    this.at = 0; // the place that has the focus
    this.last = null; // of the last click on a box, for Shift
    this.asks = 0;
    this.number = 0; // of the last selection
    this.root.addEventListener("scroll", () => this.draw(), { passive: true });
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.root);
    this.root.grid = this;
    this.onOutside = (event) => this.outside(event);
    for (const type of OUTSIDE) document.addEventListener(type, this.onOutside, true); // before the page hears of it
  }

  remove() {
    for (const type of OUTSIDE) document.removeEventListener(type, this.onOutside, true);
    this.watcher.disconnect();
    clearTimeout(this.timer);
    clearTimeout(this.choosing);
  }

  update(data, tell, open) {
    this.tell = tell;
    this.open = open;
    if (data.stamp !== this.stamp) {
      this.tiles.clear();
      this.clear();
      this.at = 0;
      this.last = null;
      if (this.stamp !== undefined) this.root.scrollTop = 0;
    }
    if (data.turn !== this.turn) this.selectOnly(data.selected);
    this.stamp = data.stamp;
    this.turn = data.turn;
    this.heard = data.heard;
    this.number = Math.max(this.number, data.heard);
    this.total = data.total;
    this.root.setAttribute("aria-label", `${data.total.toLocaleString("en")} X-rays; arrow keys move, space selects, enter opens`);
    for (const tile of data.tiles) {
      this.tiles.set(tile.at, tile);
      this.cells.get(tile.at)?.remove();
      this.cells.delete(tile.at);
    }
    this.draw();
    if (this.held && this.heard >= this.number) this.release();
  }

  clear() {
    for (const cell of this.cells.values()) cell.remove();
    this.cells.clear();
  }

  measure() {
    const width = this.root.clientWidth;
    const perRow = Math.max(1, Math.floor(width / TILE_PX));
    const side = width / perRow;
    return { perRow, side, height: side + WORDS_PX - 8 };
  }

  draw() {
    if (!this.root.clientWidth || this.total === undefined) return;
    const { perRow, side, height } = this.measure();
    if (perRow !== this.perRow) this.clear();
    this.perRow = perRow;
    this.space.style.height = `${Math.ceil(this.total / perRow) * height}px`;
    const top = Math.floor(this.root.scrollTop / height) - BESIDE;
    const rows = Math.ceil(this.root.clientHeight / height) + 2 * BESIDE;
    const first = Math.max(0, top * perRow);
    const last = Math.min(this.total, (top + rows + 1) * perRow);
    for (const [place, cell] of this.cells) {
      if ((place < first || place >= last) && place !== this.at) {
        cell.remove();
        this.cells.delete(place);
      }
    }
    let missing = null;
    for (let place = first; place < last; place++) {
      const tile = this.tiles.get(place);
      if (!tile) missing ??= place;
      let cell = this.cells.get(place);
      if (!cell) {
        cell = this.cell(place, tile);
        this.cells.set(place, cell);
        this.space.append(cell);
      }
      Object.assign(cell.style, {
        left: `${(place % perRow) * side}px`,
        top: `${Math.floor(place / perRow) * height}px`,
        width: `${side}px`,
        height: `${height}px`,
      });
    }
    if (missing !== null) this.ask(missing, last - missing);
  }

  /** Ask the page for pictures; while scrolling goes on only the last question is asked. */
  ask(first, count) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.asks += 1;
      this.tell("window", { stamp: this.stamp, first, count, ask: this.asks });
    }, ASK_AFTER_MS);
  }

  cell(place, tile) {
    const cell = document.createElement("div");
    cell.className = "xgrid-tile";
    cell.dataset.place = place;
    if (!tile) {
      const wait = document.createElement("span");
      wait.className = "xgrid-wait";
      cell.append(wait);
      return cell;
    }
    cell.classList.toggle("wrong", tile.wrong);
    const button = document.createElement("button");
    button.type = "button";
    button.tabIndex = place === this.at ? 0 : -1;
    button.title = `${tile.id}: ${tile.caption}`;
    const image = document.createElement("img");
    Object.assign(image, { src: tile.url, alt: tile.alt });
    image.addEventListener("error", () => this.forget(place), { once: true });
    const words = document.createElement("span");
    words.className = "xgrid-words";
    for (const part of ["classes", "sure"]) {
      const span = document.createElement("span");
      span.className = part;
      span.textContent = tile[part];
      words.append(span);
    }
    words.setAttribute("aria-hidden", "true");
    button.append(image, words);
    button.addEventListener("click", () => this.open(tile.id));
    button.addEventListener("focus", () => this.stand(place));
    const box = document.createElement("input");
    box.type = "checkbox";
    box.tabIndex = -1;
    box.checked = this.selected.has(tile.id);
    box.setAttribute("aria-label", `Select ${tile.id}`);
    box.addEventListener("click", (event) => this.choose(place, box.checked, event.shiftKey));
    cell.classList.toggle("selected", box.checked);
    cell.append(button, box);
    return cell;
  }

  /** A picture that the server does not hold any more is asked for again, once it is in sight. */
  forget(place) {
    if (this.lost?.stamp !== this.stamp) this.lost = { stamp: this.stamp, times: new Map() };
    const times = (this.lost.times.get(place) ?? 0) + 1;
    this.lost.times.set(place, times);
    if (times > 3) return;
    this.tiles.delete(place);
    this.cells.get(place)?.remove();
    this.cells.delete(place);
    this.draw();
  }

  stand(place) {
    const before = this.cells.get(this.at)?.querySelector("button");
    if (before) before.tabIndex = -1;
    this.at = place;
    const now = this.cells.get(place)?.querySelector("button");
    if (now) now.tabIndex = 0;
  }

  selectOnly(ids) {
    this.selected = new Set(ids);
    for (const [place, cell] of this.cells) this.mark(cell, this.selected.has(this.tiles.get(place)?.id));
  }

  mark(cell, on) {
    cell.classList.toggle("selected", on);
    const box = cell.querySelector("input");
    if (box) box.checked = on;
  }

  choose(place, on, range) {
    const from = range && this.last !== null ? Math.min(place, this.last) : place;
    const to = range && this.last !== null ? Math.max(place, this.last) : place;
    for (let at = from; at <= to; at++) {
      const tile = this.tiles.get(at);
      if (!tile) continue;
      if (on) this.selected.add(tile.id);
      else this.selected.delete(tile.id);
      const cell = this.cells.get(at);
      if (cell) this.mark(cell, on);
    }
    this.last = place;
    this.words.textContent = `${this.selected.size} selected`;
    this.number += 1;
    clearTimeout(this.choosing);
    this.choosing = setTimeout(() => this.tellSelected(), TELL_AFTER_MS);
  }

  tellSelected() {
    clearTimeout(this.choosing);
    this.choosing = null;
    this.tell("selected", { number: this.number, turn: this.turn, ids: [...this.selected] });
  }

  /** What is done elsewhere is done with what is selected here: the page hears of it first. */
  outside(event) {
    const path = event.composedPath();
    if (path.includes(this.root)) return;
    if (this.choosing) this.tellSelected();
    // A file is of what was selected when its button was made, so its click waits for the button to be made anew.
    const button = event.type === "click" && path.find((part) => part.matches?.(DOWNLOAD));
    if (!button || this.heard >= this.number) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    this.held = button;
    this.words.textContent = `${this.selected.size} selected: the file is being made`;
  }

  release() {
    const button = this.held;
    this.held = null;
    this.words.textContent = `${this.selected.size} selected`;
    setTimeout(() => button.click());
  }

  key(event) {
    if (event.target instanceof HTMLInputElement || !this.perRow) return;
    const page = Math.max(1, Math.floor(this.root.clientHeight / this.measure().height)) * this.perRow;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.perRow, ArrowUp: -this.perRow, PageDown: page, PageUp: -page };
    let to = null;
    if (event.key in steps) to = this.at + steps[event.key];
    else if (event.key === "Home") to = 0;
    else if (event.key === "End") to = this.total - 1;
    else if (event.key === " ") {
      const tile = this.tiles.get(this.at);
      if (tile) this.choose(this.at, !this.selected.has(tile.id), event.shiftKey);
    } else return;
    event.preventDefault();
    event.stopPropagation();
    if (to !== null) this.go(Math.max(0, Math.min(this.total - 1, to)));
  }

  go(place) {
    const { perRow, height } = this.measure();
    const top = Math.floor(place / perRow) * height;
    this.stand(place);
    if (top < this.root.scrollTop) this.root.scrollTop = top;
    else if (top + height > this.root.scrollTop + this.root.clientHeight) {
      this.root.scrollTop = top + height - this.root.clientHeight;
    }
    this.draw();
    const button = this.cells.get(place)?.querySelector("button");
    if (button) {
      this.stand(place);
      button.focus({ preventScroll: true });
    }
    this.wanted = button ? null : place;
    if (!button) this.root.focus({ preventScroll: true });
  }
}

export default function ({ parentElement, data, setStateValue, setTriggerValue }) {
  const grid = (parentElement.grid ??= new Grid(parentElement));
  grid.update(data, (name, value) => setStateValue(name, value), (id) => setTriggerValue("open", id));
  if (grid.wanted !== null && grid.wanted !== undefined && grid.tiles.has(grid.wanted)) grid.go(grid.wanted);
  return () => {
    parentElement.grid?.remove();
    delete parentElement.grid;
  };
}
