// The viewer: what it shows, and what it tells the page.

const HELD_PICTURES = 12;
const HELD_MAPS = 48;
const TELL_AFTER_MS = 400; // a slider tells the page where it stopped, not each place on its way
const pictures = new Map();
const maps = new Map();
let active = null; // the viewer that hears keys while nothing has the focus

/** What `load` returns for an address; the latest ones are held, so that a step back shows at once. */
function held(store, most, url, load) {
  const known = store.get(url);
  store.delete(url);
  store.set(url, known ?? load(url));
  if (!known) store.get(url).catch(() => store.delete(url));
  for (const oldest of [...store.keys()].slice(0, -most)) store.delete(oldest);
  return store.get(url);
}

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer;
}

async function loadPicture(url, given) {
  const blob = given ? new Blob([given], { type: "image/png" }) : await (await fetched(url)).blob();
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const canvas = make("canvas", { width, height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = pen.getImageData(0, 0, width, height);
  const grey = new Uint8Array(width * height);
  for (let i = 0; i < grey.length; i++) grey[i] = data[4 * i];
  return new Picture(grey, width, height);
}

async function loadMap({ url, width, height }, given) {
  return new RelevanceMap(new Float32Array(given ?? (await (await fetched(url)).arrayBuffer())), width, height);
}

class Viewer {
  constructor(parent) {
    this.view = new View();
    this.samples = new Samples();
    this.panes = [];
    this.shapes = [];
    this.pointers = new Map();
    this.tool = "pan";
    this.updates = 0; // as often the page has sent something
    this.number = 0; // of the last step
    this.build();
    parent.append(this.root);
    this.watchPage();
    this.root.viewer = this;
    this.watcher = new ResizeObserver(() => this.layout());
    this.watcher.observe(this.root);
    this.onWindow = () => this.layout();
    this.onKey = (event) => this.key(event);
    this.onFull = () => this.leaveFull();
    addEventListener("resize", this.onWindow);
    document.addEventListener("keydown", this.onKey, true); // before a dialog around it, which keeps keys to itself
    document.addEventListener("fullscreenchange", this.onFull);
    if (this.root.getRootNode().host?.closest("[role=dialog]")) active = this;
    active ??= this;
  }

  remove() {
    this.watcher.disconnect();
    removeEventListener("resize", this.onWindow);
    document.removeEventListener("keydown", this.onKey, true);
    document.removeEventListener("fullscreenchange", this.onFull);
    this.leavePage();
    if (active === this) active = null;
    this.root.remove();
  }

  // --- what is shown -----------------------------------------------------------------------------------------------

  update({ data, setStateValue, setTriggerValue }) {
    this.tell = setStateValue;
    this.trigger = setTriggerValue;
    this.page = data;
    this.updates += 1;
    return this.take(data);
  }

  async take(data) {
    if (!this.isFollowedBy(data)) return; // of what was left
    const turn = (this.turn = (this.turn ?? 0) + 1);
    try {
      const loaded = await this.load(data);
      if (turn !== this.turn || !this.isFollowedBy(data)) return;
      this.apply(data, ...loaded);
      this.confirmed(loaded);
    } catch (error) {
      if (turn === this.turn) this.say(`The picture could not be loaded (${error.message}). Reload the page.`);
    }
  }

  /** Load pictures and maps; `given` are files by their address which need not be fetched. */
  load(data, given = new Map()) {
    const picture = (url) => loadPicture(url, given.get(url));
    return Promise.all([
      Promise.all(data.images.map(({ url }) => held(pictures, HELD_PICTURES, url, picture))),
      Promise.all(data.maps.map((map) => held(maps, HELD_MAPS, map.url, () => loadMap(map, given.get(map.url))))),
    ]);
  }

  apply(data, loadedPictures, loadedMaps) {
    loadedMaps.forEach((map, k) => (map.group = data.maps[k].group));
    const fresh = this.data?.subject !== data.subject;
    if (this.data?.arrival !== data.arrival) this.look = structuredClone(data.look);
    if (fresh) {
      this.view.reset();
      this.shapes = [];
      this.cursor = null;
    }
    if (fresh || this.data?.context !== data.context) this.askedAhead.clear();
    this.data = data;
    // Panes that show the same as before stay: one may be drawn in just now.
    const before = new Map((this.every ?? []).map((pane) => [pane.key, pane]));
    this.every = data.panes.map((spec) => {
      const key = [spec.kind, spec.title, data.images[spec.image].url, data.maps[spec.map]?.url].join(" ");
      const pane = before.get(key) ?? new Pane(spec, loadedPictures[spec.image], loadedMaps[spec.map]);
      before.delete(key); // two panes may show the same
      return Object.assign(pane, { key, spec });
    });
    this.outlines = data.outlines.map((outline) => ({
      ...outline,
      path: pathOf(outline.polygons, loadedPictures[outline.image]),
    }));
    this.samples.keep([...loadedPictures, ...loadedMaps]);
    if (!data.region) this.shapes = this.shapes.filter((shape) => shape.kind === "measure" || shape.pending);
    else this.showRandom(data.region);
    this.shapes.forEach((shape) => (shape.pending = false));
    this.prediction.hidden = !data.prediction;
    if (data.prediction) showPrediction(this.prediction, data.prediction, (name) => this.explain(name));
    showStrip(this.strip, data.strip, (id) => this.go(id));
    showRegion(this.region, data.region, () => this.forget());
    this.sentence.textContent = data.sentence;
    this.position.textContent = data.list.total ? `${data.list.position} of ${data.list.total}` : "";
    this.steps.hidden = !data.list.total;
    this.previous.disabled = data.list.position <= 1;
    this.next.disabled = data.list.position >= data.list.total;
    for (const tool of ["box", "lasso"]) this.tools[tool].hidden = !data.regions;
    const kinds = new Set(data.panes.filter(({ base }) => base).map(({ kind }) => kind));
    for (const [kind, element] of Object.entries(this.kinds)) element.hidden = !kinds.has(kind);
    const relevant = data.maps.length > 0;
    for (const { root } of [this.opacity, this.threshold, this.percentile, this.colours, this.scale]) root.hidden = !relevant;
    this.extras.replaceChildren(
      ...data.extras.map(({ what, text, title, on }) => {
        const extra = toggle(text, title, () => this.turnExtra(what, on));
        press(extra, on);
        return extra;
      }),
    );
    this.outlineButtons.replaceChildren(
      ...[...new Map(data.outlines.map((outline) => [outline.name, outline.colour]))].map(([name, colour]) => {
        const shown = toggle(name, `Outline: ${name}`, () => this.turnOutline(name));
        shown.style.setProperty("--mark", colour);
        shown.dataset.outline = name;
        return shown;
      }),
    );
    this.root.dataset.subject = data.subject;
    this.root.dataset.context = data.context;
    this.arrange();
  }

  /** Show the panes that are switched on. */
  arrange() {
    const { shown } = this.look;
    this.panes = this.every.filter(({ spec }) => !spec.base || shown.includes(spec.kind));
    const roots = this.panes.map((pane) => pane.root);
    if (roots.length !== this.grid.children.length || roots.some((root, k) => root !== this.grid.children[k])) {
      this.grid.replaceChildren(...roots);
      this.size = ""; // new panes have no size yet
    }
    for (const [kind, element] of Object.entries(this.kinds)) press(element, shown.includes(kind));
    this.layout();
    this.refresh();
  }

  layout() {
    if (!this.panes.length) return;
    const covers = this.isCovering();
    const width = this.root.clientWidth - (covers ? 24 : 0);
    if (!width) return;
    const height = this.roomFor(covers);
    const told = Boolean(this.data.prediction);
    const beside = told ? 204 : 0;
    const more = told ? rowsOfClasses(this.data.prediction.classes.length, width) - 1 : 0;
    this.stage.style.setProperty("--more-rows", more);
    const above = told ? (this.root.classList.contains("present") ? 78 : 58) + 24 * more : 0;
    const side = bestGrid(this.panes, width - beside, height);
    const top = bestGrid(this.panes, width, height - above);
    const stands = side.area > top.area ? "side" : "top";
    const grid = stands === "side" ? side : top;
    this.columns = grid.columns;
    this.stage.dataset.prediction = stands;
    this.grid.style.gridTemplateColumns = `repeat(${grid.columns}, max-content)`;
    const pixels = grid.width * grid.height * this.panes.length;
    const ratio = Math.min(devicePixelRatio || 1, Math.sqrt(4e6 / pixels));
    const size = `${grid.width} ${grid.height} ${ratio} ${grid.columns} ${this.panes.length}`;
    if (size === this.size) return;
    this.size = size;
    for (const pane of this.panes) pane.resize(grid.width, grid.height, ratio);
    this.draw();
  }

  roomFor(covers) {
    if (covers) return innerHeight - this.head.offsetHeight - this.foot.offsetHeight - this.sentence.offsetHeight - 48;
    const host = this.root.getRootNode().host ?? this.root;
    const scrolled = host.closest?.("[data-testid=stMain]")?.scrollTop ?? 0;
    const top = host.getBoundingClientRect().top + scrolled + this.head.offsetHeight;
    return Math.max(260, Math.min(900, innerHeight - top - this.foot.offsetHeight - 20));
  }

  /** Everything that depends on the settings of the picture. */
  refresh() {
    const look = this.look;
    this.root.dataset.look = JSON.stringify(look);
    const relevant = [...new Set(this.panes.map((pane) => pane.map).filter(Boolean))];
    const scales = relevant.map((map) => map.percentile(look.percentile));
    // Maps of one network and method share a scale; those of another may be of another unit.
    const shared = (group) => Math.max(...scales.filter((_, k) => relevant[k].group === group));
    relevant.forEach((map, k) => {
      map.scaleTo(look.scale === "fixed" ? look.fixed : look.scale === "row" ? shared(map.group) : scales[k]);
    });
    this.firstScale = relevant.length ? relevant[0].scale : 0;
    const stops = this.data.stops[look.colours];
    const tables = colourTables(stops);
    this.drawn = {
      stops,
      tables,
      cover: coverTables(look.opacity, look.threshold, tables),
      greys: windowTable(look.centre, look.width, look.invert),
      threshold: look.threshold,
    };
    this.opacity.set(look.opacity);
    this.threshold.set(look.threshold);
    this.percentile.set(look.percentile);
    this.percentile.input.disabled = look.scale === "fixed";
    this.colours.select.value = look.colours;
    this.scale.select.value = look.scale;
    this.fixed.hidden = look.scale !== "fixed" || !relevant.length;
    if (document.activeElement !== this.fixed) this.fixed.value = look.fixed;
    press(this.invert, look.invert);
    for (const element of this.outlineButtons.children) {
      press(element, look.outlines.includes(element.dataset.outline));
    }
    this.draw();
  }

  /** Ask for a frame; several requests before the next one are one. */
  draw() {
    this.asked ??= requestAnimationFrame(() => {
      this.asked = null;
      this.frame();
    });
  }

  drawMarks() {
    this.askedMarks ??= requestAnimationFrame(() => {
      this.askedMarks = null;
      this.marks();
    });
  }

  frame() {
    if (!this.drawn) return;
    const began = performance.now();
    for (const pane of this.panes) drawPane(pane, this.view, this.drawn, this.samples);
    this.marks();
    if (this.askedAt && (this.root.dataset.busy === "false" || this.leads)) {
      this.root.dataset.waited = (performance.now() - this.askedAt).toFixed(1); // from the click to the picture
      this.askedAt = null;
    }
    this.root.dataset.zoom = this.view.zoom.toFixed(3);
    this.zoomed.textContent = `${Math.round(100 * this.view.zoom)} %`;
    this.frameMs = performance.now() - began;
  }

  marks() {
    const outlines = this.outlines.filter(({ name }) => this.look.outlines.includes(name));
    const drawn = { outlines, shapes: this.shapes, cursor: this.cursor };
    for (const pane of this.panes) drawMarks(pane, this.view, this.drawn, drawn);
  }

  /** Ask for frame `k` of a walk in which view and window change, and return when it is drawn: for measuring. */
  walk(k) {
    this.view.zoom = 1 + 2 * Math.abs(Math.sin(k / 10));
    this.view.u = 0.5 + 0.1 * Math.sin(k / 7);
    this.view.v = 0.5 + 0.1 * Math.cos(k / 7);
    this.drawn.greys = windowTable(127.5 + (k % 20), 255 - (k % 40), false);
    this.draw();
    return new Promise((done) => requestAnimationFrame(() => done(this.frameMs)));
  }

  // --- what the page is told ---------------------------------------------------------------------------------------

  change(values) {
    Object.assign(this.look, values);
    this.refresh();
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.tellLook(), TELL_AFTER_MS);
  }

  tellLook() {
    if (this.isWaiting()) this.waiting = setTimeout(() => this.tellLook(), TELL_AFTER_MS);
    else this.tell("look", { ...this.look, arrival: this.data.arrival });
  }

  act(what) {
    if (!this.trigger || !this.data) return;
    this.root.dataset.busy = "true";
    this.askedAt = performance.now();
    const told = { subject: this.data.subject, ...what };
    if (this.isWaiting()) this.later = told; // the page is still on its way to this X-ray
    else this.trigger("act", told);
  }

  turnKind(kind) {
    const on = this.look.shown.includes(kind);
    const shown = on ? this.look.shown.filter((name) => name !== kind) : [...this.look.shown, kind];
    if (this.kinds[kind].hidden || !this.every.some(({ spec }) => !spec.base || shown.includes(spec.kind))) return; // one pane stays
    this.change({ shown });
    this.arrange();
  }

  turnExtra(what, on) {
    if (what === "classes" && this.data.frames) this.lead({ classes: on ? "one" : "all" });
    else this.act({ what: "extra", name: what });
  }

  turnOutline(name) {
    const { outlines } = this.look;
    this.change({ outlines: outlines.includes(name) ? outlines.filter((other) => other !== name) : [...outlines, name] });
  }

  turnScale(scale) {
    const fixed = this.look.fixed > 0 ? this.look.fixed : Number(this.firstScale.toPrecision(2));
    this.change({ scale, fixed });
  }

  /** Show another class: the next or previous in the order of the network's answer. */
  stepClass(by) {
    const classes = this.data.prediction?.classes ?? [];
    const here = classes.findIndex((row) => row.explained);
    const to = classes[(here + by + classes.length) % classes.length];
    if (to && !to.explained) this.explain(to.name);
  }

  say(text) {
    this.message.textContent = text;
  }

  // --- full screen and presentation --------------------------------------------------------------------------------

  isCovering() {
    return this.root.matches(":fullscreen, .present");
  }

  full() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.().catch(() => this.say("This browser does not allow full screen."));
  }

  present() {
    if (this.root.classList.contains("present")) {
      this.leavePresent();
      return;
    }
    this.root.classList.add("present");
    this.root.requestFullscreen?.().catch(() => {}); // without it, the viewer covers the page
    this.layout();
  }

  leavePresent() {
    this.root.classList.remove("present");
    if (document.fullscreenElement) document.exitFullscreen();
    this.layout();
  }

  leaveFull() {
    if (!document.fullscreenElement && !this.root.matches(":fullscreen")) this.root.classList.remove("present");
    this.layout();
  }

  // --- pictures to take away ---------------------------------------------------------------------------------------

  legend() {
    const { look } = this;
    const words = { image: "each map its own scale", row: "one scale for all maps of a method", fixed: "fixed scale" };
    const parts = [`opacity ${look.opacity}`, words[look.scale]];
    if (look.scale !== "fixed") parts.push(`full colour at percentile ${look.percentile}`);
    if (look.threshold) parts.push(`below ${Math.round(100 * look.threshold)} % of the scale not shown`);
    if (look.centre !== this.data.defaults.centre || look.width !== this.data.defaults.width) {
      parts.push(`grey values ${look.centre} ± ${look.width / 2}`);
    }
    if (look.invert) parts.push("inverted");
    return [...this.data.legend, `Colours: ${parts.join(", ")}.`];
  }

  async copy() {
    const cursor = this.cursor;
    this.cursor = null;
    this.marks();
    const blob = await pngOf(this.panes, this.legend(), this.columns);
    this.cursor = cursor;
    this.say(await copyPng(blob, this.data.name));
  }

  save() {
    this.cursor = null;
    this.marks();
    const svg = svgOf(this.panes, this.legend(), this.columns);
    download(new Blob([svg], { type: "image/svg+xml" }), `${this.data.name}.svg`);
    this.say("Saved as SVG with its legend.");
  }
}

Object.assign(Viewer.prototype, HEARING, ELEMENTS, AHEAD);

function pathOf(polygons, picture) {
  const path = new Path2D();
  for (const polygon of polygons) {
    polygon.forEach(([u, v], k) => path[k ? "lineTo" : "moveTo"](u * picture.width, v * picture.height));
    path.closePath();
  }
  return path;
}

/** Rows that so many classes take above the pictures, at most three: the rest is scrolled. Widths are those of .class. */
function rowsOfClasses(count, width) {
  return Math.min(3, Math.ceil(count / Math.max(1, Math.floor((width + 6) / 196))));
}

const TITLE_PX = 18; // above each pane, as in viewer.css

/** The number of columns that gives panes most room, with the size of a pane. */
function bestGrid(panes, width, height) {
  const gap = 6;
  const shape = panes[0].picture.width / panes[0].picture.height;
  let best = { area: -1 };
  for (let columns = 1; columns <= panes.length; columns++) {
    const rows = Math.ceil(panes.length / columns);
    const wide = Math.floor((width - gap * (columns - 1)) / columns);
    const tall = Math.floor((height - gap * (rows - 1)) / rows) - TITLE_PX;
    const across = Math.min(wide, tall * shape);
    const area = across * (across / shape);
    if (area > best.area && wide > 0 && tall > 0) {
      best = { area, columns, width: Math.min(wide, Math.floor(across * 1.15)), height: Math.min(tall, Math.floor(across / shape)) };
    }
  }
  return best;
}

export default function (component) {
  const { parentElement } = component;
  if (!parentElement.viewer) {
    parentElement.viewer = new Viewer(parentElement);
    for (const name of Object.keys(component.data.stops)) {
      parentElement.viewer.colours.select.append(make("option", { value: name }, name));
    }
  }
  parentElement.viewer.update(component);
  return () => {
    parentElement.viewer?.remove();
    delete parentElement.viewer;
  };
}
