// The viewer: what it shows, what it is told by keys, mouse and fingers, and what it tells the page.

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

async function loadPicture(url) {
  const blob = await (await fetched(url)).blob();
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

async function loadMap({ url, width, height }) {
  return new RelevanceMap(new Float32Array(await (await fetched(url)).arrayBuffer()), width, height);
}

class Viewer {
  constructor(parent) {
    this.view = new View();
    this.samples = new Samples();
    this.panes = [];
    this.shapes = [];
    this.pointers = new Map();
    this.tool = "pan";
    this.build();
    parent.append(this.root);
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
    if (active === this) active = null;
    this.root.remove();
  }

  // --- what is shown -----------------------------------------------------------------------------------------------

  async update({ data, setStateValue, setTriggerValue }) {
    this.tell = setStateValue;
    this.trigger = setTriggerValue;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    try {
      const loaded = await Promise.all([
        Promise.all(data.images.map(({ url }) => held(pictures, HELD_PICTURES, url, loadPicture))),
        Promise.all(data.maps.map((map) => held(maps, HELD_MAPS, map.url, () => loadMap(map)))),
      ]);
      if (turn === this.turn) this.apply(data, ...loaded);
    } catch (error) {
      if (turn === this.turn) this.say(`The picture could not be loaded (${error.message}). Reload the page.`);
    }
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
    if (data.prediction) showPrediction(this.prediction, data.prediction, (name) => this.act({ what: "explain", name }));
    showStrip(this.strip, data.strip, (id) => this.act({ what: "go", id }));
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
        const extra = toggle(text, title, () => this.act({ what: "extra", name: what }));
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
    this.root.dataset.busy = "false";
    this.root.dataset.subject = data.subject;
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
    const above = told ? (this.root.classList.contains("present") ? 78 : 58) : 0;
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
    this.drawn = {
      stops,
      tables: colourTables(stops),
      cover: coverTable(look.opacity, look.threshold),
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
    for (const pane of this.panes) drawPane(pane, this.view, this.drawn, this.samples);
    this.marks();
    if (this.askedAt && this.root.dataset.busy === "false") {
      this.root.dataset.waited = (performance.now() - this.askedAt).toFixed(1); // from the click to the picture
      this.askedAt = null;
    }
    this.root.dataset.zoom = this.view.zoom.toFixed(3);
    this.zoomed.textContent = `${Math.round(100 * this.view.zoom)} %`;
  }

  marks() {
    const outlines = this.outlines.filter(({ name }) => this.look.outlines.includes(name));
    const drawn = { outlines, shapes: this.shapes, cursor: this.cursor };
    for (const pane of this.panes) drawMarks(pane, this.view, this.drawn, drawn);
  }

  /** Milliseconds that each of `count` frames takes, while the view moves and the window changes. */
  timeFrames(count) {
    const before = { ...this.view };
    const times = [];
    for (let k = 0; k < count; k++) {
      this.view.zoom = 1 + 2 * Math.abs(Math.sin(k / 10));
      this.view.u = 0.5 + 0.1 * Math.sin(k / 7);
      this.view.v = 0.5 + 0.1 * Math.cos(k / 7);
      this.drawn.greys = windowTable(127.5 + (k % 20), 255 - (k % 40), false);
      const start = performance.now();
      this.frame();
      times.push(performance.now() - start);
    }
    Object.assign(this.view, before);
    this.refresh();
    return times;
  }

  // --- what the page is told ---------------------------------------------------------------------------------------

  change(values) {
    Object.assign(this.look, values);
    this.refresh();
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.tell("look", { ...this.look, arrival: this.data.arrival }), TELL_AFTER_MS);
  }

  act(what) {
    if (!this.trigger || !this.data) return;
    this.root.dataset.busy = "true";
    this.askedAt = performance.now();
    this.trigger("act", { ...what, subject: this.data.subject });
  }

  turnKind(kind) {
    const on = this.look.shown.includes(kind);
    const shown = on ? this.look.shown.filter((name) => name !== kind) : [...this.look.shown, kind];
    if (this.kinds[kind].hidden || !this.every.some(({ spec }) => !spec.base || shown.includes(spec.kind))) return; // one pane stays
    this.change({ shown });
    this.arrange();
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
    if (to && !to.explained) this.act({ what: "explain", name: to.name });
  }

  step(by) {
    const to = this.data.list.position + by;
    if (to >= 1 && to <= this.data.list.total) this.act({ what: "step", by });
  }

  say(text) {
    this.message.textContent = text;
  }

  // --- tools -------------------------------------------------------------------------------------------------------

  choose(tool) {
    this.tool = tool;
    for (const [name, element] of Object.entries(this.tools)) press(element, name === tool);
    this.root.dataset.tool = tool;
    const hints = {
      box: "Draw a box: the network is asked again without what is inside.",
      lasso: "Draw around a place: the network is asked again without what is inside.",
      measure: "Draw a line: its length in pixels of the X-ray.",
      window: "Drag: left and right for contrast, up and down for brightness.",
    };
    this.say(hints[tool] ?? "");
  }

  finishShape(shape) {
    const { width, height } = this.every[0].picture;
    const points = shape.points.map(([u, v]) => [
      Math.round(Math.max(0, Math.min(1, u)) * width),
      Math.round(Math.max(0, Math.min(1, v)) * height),
    ]);
    const spread = (k) => Math.max(...points.map((p) => p[k])) - Math.min(...points.map((p) => p[k]));
    const small = spread(0) < 2 || spread(1) < 2;
    if (shape.kind === "measure" ? Math.max(spread(0), spread(1)) < 2 : small) {
      this.shapes = this.shapes.filter((other) => other !== shape);
      return;
    }
    if (shape.kind === "measure") return;
    shape.pending = true;
    this.say("Asking the network without it …");
    this.act({ what: "region", kind: shape.kind, points });
  }

  showRandom(region) {
    const { width, height } = this.every[0].picture;
    this.say("");
    this.shapes = this.shapes.filter((shape) => !shape.random);
    if (!this.shapes.some((shape) => shape.kind !== "measure")) {
      this.shapes.push({ kind: region.kind, points: region.points.map(([x, y]) => [x / width, y / height]), colour: "#ffe14d" });
    }
    for (const [x0, y0, x1, y1] of region.random) {
      const points = [[x0 / width, y0 / height], [x1 / width, y1 / height]];
      this.shapes.push({ kind: "box", points, colour: "rgba(255,255,255,0.75)", dashed: true, random: true });
    }
  }

  forget() {
    this.shapes = [];
    this.say("");
    this.drawMarks();
    if (this.data.region) this.act({ what: "forget" });
  }

  // --- mouse and fingers -------------------------------------------------------------------------------------------

  paneOf(event) {
    return this.panes.find((pane) => event.composedPath().includes(pane.root));
  }

  pointerDown(event) {
    const pane = this.paneOf(event);
    if (!pane) return;
    active = this;
    this.root.focus({ preventScroll: true });
    event.preventDefault();
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, pane });
    event.target.setPointerCapture?.(event.pointerId);
    if (this.pointers.size > 1) {
      this.shapes = this.shapes.filter((shape) => shape !== this.shape);
      this.shape = null;
      return;
    }
    this.windowing = this.tool === "window" || event.button === 2;
    if (this.windowing || this.tool === "pan") return;
    const { u, v } = pane.pointAt(event, this.view);
    const colour = this.tool === "measure" ? "#7df0ff" : "#ffe14d";
    this.shapes = this.shapes.filter((shape) => (shape.kind === "measure") !== (this.tool === "measure"));
    this.shape = { kind: this.tool, colour, points: this.tool === "lasso" ? [[u, v]] : [[u, v], [u, v]] };
    this.shapes.push(this.shape);
  }

  pointerMove(event) {
    const pane = this.pointers.get(event.pointerId)?.pane ?? this.paneOf(event);
    if (!pane) return;
    const point = pane.pointAt(event, this.view);
    this.cursor = point;
    this.readOut();
    const from = this.pointers.get(event.pointerId);
    if (!from) {
      this.drawMarks();
      return;
    }
    const moved = [event.clientX - from.x, event.clientY - from.y];
    if (this.pointers.size === 2) this.pinch(event, from);
    else if (this.windowing) this.moveWindow(...moved);
    else if (this.shape) this.extend(point);
    else this.pan(pane, ...moved);
    Object.assign(from, { x: event.clientX, y: event.clientY });
    this.drawMarks();
  }

  extend({ u, v }) {
    if (this.shape.kind === "lasso") this.shape.points.push([u, v]);
    else this.shape.points[1] = [u, v];
  }

  pan(pane, across, down) {
    const place = this.view.place(pane.picture, pane.width / pane.ratio, pane.height / pane.ratio);
    this.view.u -= across / place.width;
    this.view.v -= down / place.height;
    this.view.keepInside();
    this.draw();
  }

  pinch(event, from) {
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
    const before = Math.hypot(from.x - other.x, from.y - other.y);
    const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
    const { u, v } = from.pane.pointAt({ clientX: other.x, clientY: other.y }, this.view);
    if (before > 0) this.view.enlarge(after / before, u, v);
    this.draw();
  }

  moveWindow(across, down) {
    this.change({
      width: Math.round(Math.max(2, Math.min(510, this.look.width + across))),
      centre: Math.round(Math.max(0, Math.min(255, this.look.centre + down / 2))),
    });
  }

  pointerUp(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const shape = this.shape;
    this.shape = null;
    this.windowing = false;
    if (shape) this.finishShape(shape);
    this.drawMarks();
  }

  wheel(event) {
    const pane = this.paneOf(event);
    const focused = this.root.getRootNode().activeElement === this.root || this.isCovering();
    if (!pane || !(focused || event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const { u, v } = pane.pointAt(event, this.view);
    this.view.enlarge(Math.exp(-event.deltaY / 400), u, v);
    this.cursor = pane.pointAt(event, this.view);
    this.draw();
  }

  zoomBy(factor) {
    const { u, v } = this.cursor ?? this.view;
    this.view.enlarge(factor, u, v);
    this.draw();
  }

  fit() {
    this.view.reset();
    this.draw();
  }

  /** The values under the cursor: of the X-ray's own pixel and of the map's own square. */
  readOut() {
    const { u, v } = this.cursor;
    for (const pane of this.panes) {
      const at = pane.picture.valueAt(u, v);
      const relevance = pane.map?.valueAt(u, v) ?? null;
      const value = pane.spec.kind === "xray" ? at?.value : relevance;
      pane.value.textContent = at ? (pane.spec.kind === "xray" ? `grey ${value}` : signed(value, 4)) : "";
      pane.value.dataset.value = at ? String(value) : "";
    }
    const at = this.panes[0].picture.valueAt(u, v);
    this.readout.textContent = at ? `x ${at.x}, y ${at.y} · grey ${at.value}` : "";
  }

  leave() {
    if (this.pointers.size) return;
    this.cursor = null;
    this.readout.textContent = "";
    for (const pane of this.panes) pane.value.textContent = "";
    this.drawMarks();
  }

  // --- keys --------------------------------------------------------------------------------------------------------

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !this.data) return;
    const path = event.composedPath();
    if (!path.includes(this.root) && (active !== this || takesKeys(path[0]))) return;
    if (this.help.open && event.key !== "?") return;
    const range = path[0].tagName === "INPUT" && path[0].type === "range";
    if (takesKeys(path[0]) && !(range && !event.key.startsWith("Arrow"))) return;
    const act = this.keys()[event.key];
    if (!act || act() === false) return;
    event.preventDefault();
    event.stopPropagation();
  }

  keys() {
    const look = this.look;
    const opacity = (by) => this.change({ opacity: Math.round(20 * Math.max(0, Math.min(1, look.opacity + by))) / 20 });
    return {
      ArrowRight: () => this.step(1),
      n: () => this.step(1),
      ArrowLeft: () => this.step(-1),
      p: () => this.step(-1),
      k: () => this.stepClass(1),
      j: () => this.stepClass(-1),
      1: () => this.turnKind("xray"),
      2: () => this.turnKind("heatmap"),
      3: () => this.turnKind("overlay"),
      o: () => this.turnOverlay(),
      ArrowUp: () => opacity(0.05),
      ArrowDown: () => opacity(-0.05),
      i: () => this.change({ invert: !look.invert }),
      "+": () => this.zoomBy(1.25),
      "-": () => this.zoomBy(0.8),
      0: () => this.fit(),
      d: () => this.defaults(),
      v: () => this.choose("pan"),
      w: () => this.choose("window"),
      b: () => this.data.regions && this.choose("box"),
      l: () => this.data.regions && this.choose("lasso"),
      m: () => this.choose("measure"),
      f: () => this.full(),
      t: () => this.present(),
      "?": () => (this.help.open ? this.help.close() : this.help.showModal()),
      Escape: () => this.escape(),
    };
  }

  turnOverlay() {
    if (this.look.opacity > 0) this.lastOpacity = this.look.opacity;
    this.change({ opacity: this.look.opacity > 0 ? 0 : this.lastOpacity ?? this.data.defaults.opacity });
  }

  defaults() {
    this.view.reset();
    this.change(structuredClone(this.data.defaults));
    this.arrange();
  }

  escape() {
    if (this.shapes.length) this.forget();
    else if (this.isCovering()) this.leavePresent();
    else if (this.tool !== "pan") this.choose("pan");
    else return false; // the dialog around it may close
    return true;
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

  // --- elements ----------------------------------------------------------------------------------------------------

  build() {
    const group = (label, ...children) => make("div", { class: "group", role: "group", "aria-label": label }, ...children);
    this.tools = {
      pan: button("pan", "Move", "v", () => this.choose("pan")),
      window: button("window", "Window and level", "w", () => this.choose("window")),
      box: button("box", "Box: predict without it", "b", () => this.choose("box")),
      lasso: button("lasso", "Lasso: predict without it", "l", () => this.choose("lasso")),
      measure: button("measure", "Measure", "m", () => this.choose("measure")),
    };
    press(this.tools.pan, true);
    this.kinds = {
      xray: toggle("X-ray", "X-ray (1)", () => this.turnKind("xray")),
      heatmap: toggle("Heatmap", "Heatmap (2)", () => this.turnKind("heatmap")),
      overlay: toggle("Overlay", "Overlay (3)", () => this.turnKind("overlay")),
    };
    this.invert = button("invert", "Invert", "i", () => this.change({ invert: !this.look.invert }));
    this.zoomed = make("span", { class: "number" });
    this.previous = button("previous", "Previous X-ray", "←", () => this.step(-1));
    this.next = button("next", "Next X-ray", "→", () => this.step(1));
    this.position = make("span", { class: "number" });
    this.steps = group("X-rays", this.previous, this.position, this.next);
    this.opacity = slider("Opacity", 0, 1, 0.05, (n) => n.toFixed(2), (opacity) => this.change({ opacity }));
    const cut = (n) => `${Math.round(100 * n)} %`;
    this.threshold = slider("Threshold", 0, 0.95, 0.05, cut, (threshold) => this.change({ threshold }));
    this.percentile = slider("Percentile", 95, 100, 0.1, (n) => n.toFixed(1), (percentile) => this.change({ percentile }));
    this.percentile.root.title = "Relevance of this percentile of its size gets full colour.";
    this.threshold.root.title = "Relevance below this share of the scale is not shown.";
    this.colours = choice("Colours", [], (colours) => this.change({ colours }));
    const scales = [["row", "shared scale"], ["image", "scale per map"], ["fixed", "fixed scale"]];
    this.scale = choice("Scale", scales, (scale) => this.turnScale(scale));
    this.fixed = make("input", { type: "number", min: 0, step: "any", "aria-label": "Relevance at full colour" });
    this.fixed.addEventListener("input", () => {
      const fixed = Number(this.fixed.value);
      if (fixed > 0) this.change({ fixed });
    });
    this.extras = make("span", { class: "group" });
    this.outlineButtons = group("Outlines");
    this.prediction = make("div", { class: "prediction", "aria-label": "Prediction", role: "group" });
    this.grid = make("div", { class: "grid" });
    this.stage = make("div", { class: "stage" }, this.prediction, this.grid);
    this.readout = make("span", { class: "readout" });
    this.message = make("span", { class: "message", role: "status" });
    this.sentence = make("p", { class: "sentence" });
    this.region = make("section", { class: "region", "aria-label": "Prediction without the region", hidden: "" });
    this.strip = make("div", { class: "strip", role: "group", "aria-label": "Neighbouring X-rays" });
    this.help = helpDialog();
    this.head = make(
      "div",
      { class: "head" },
      make(
        "div",
        { class: "bar" },
        this.steps,
        group("Tools", ...Object.values(this.tools)),
        group("Panes", ...Object.values(this.kinds), this.extras),
        group(
          "Enlargement",
          button("less", "Reduce", "−", () => this.zoomBy(0.8)),
          this.zoomed,
          button("more", "Enlarge", "+", () => this.zoomBy(1.25)),
          button("fit", "Whole X-ray", "0", () => this.fit()),
          this.invert,
        ),
        group(
          "Pictures",
          button("copy", "Copy as PNG with legend", "", () => this.copy()),
          button("save", "Save as SVG with legend", "", () => this.save()),
          button("full", "Full screen", "f", () => this.full()),
          button("present", "Presentation", "t", () => this.present()),
          button("help", "Keys and mouse", "?", () => this.help.showModal()),
        ),
      ),
      make(
        "div",
        { class: "bar look" },
        this.opacity.root,
        this.threshold.root,
        this.percentile.root,
        this.colours.root,
        this.scale.root,
        this.fixed,
        this.outlineButtons,
      ),
    );
    this.foot = make("div", { class: "foot" }, this.readout, this.message);
    this.root = make(
      "div",
      { class: "viewer", tabindex: "0", role: "group", "aria-label": "Viewer of X-ray and relevance" },
      this.head, this.stage, this.sentence, this.foot, this.region, this.strip, this.help,
    );
    this.grid.addEventListener("pointerdown", (event) => this.pointerDown(event));
    this.grid.addEventListener("pointermove", (event) => this.pointerMove(event));
    for (const name of ["pointerup", "pointercancel"]) {
      this.grid.addEventListener(name, (event) => this.pointerUp(event));
    }
    this.grid.addEventListener("pointerleave", () => this.leave());
    this.grid.addEventListener("contextmenu", (event) => event.preventDefault());
    this.grid.addEventListener("dblclick", () => this.fit());
    this.grid.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }
}

/** Whether an element does something of its own with keys. */
function takesKeys(element) {
  const roles = ["combobox", "textbox", "slider", "listbox", "option", "spinbutton", "radio", "tab", "menuitem"];
  return (
    ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName) ||
    element.isContentEditable ||
    roles.includes(element.getAttribute?.("role"))
  );
}

function pathOf(polygons, picture) {
  const path = new Path2D();
  for (const polygon of polygons) {
    polygon.forEach(([u, v], k) => path[k ? "lineTo" : "moveTo"](u * picture.width, v * picture.height));
    path.closePath();
  }
  return path;
}

/** The number of columns that gives panes most room, with the size of a pane. */
function bestGrid(panes, width, height) {
  const gap = 6;
  const shape = panes[0].picture.width / panes[0].picture.height;
  let best = { area: -1 };
  for (let columns = 1; columns <= panes.length; columns++) {
    const rows = Math.ceil(panes.length / columns);
    const wide = Math.floor((width - gap * (columns - 1)) / columns);
    const tall = Math.floor((height - gap * (rows - 1)) / rows);
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
