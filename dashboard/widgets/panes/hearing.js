// What a viewer hears: tools, mouse, fingers and keys. These are methods of Viewer.

const HEARING = {
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
  },

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
  },

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
  },

  forget() {
    this.shapes = [];
    this.say("");
    this.drawMarks();
    if (this.data.region) this.act({ what: "forget" });
  },

  // --- mouse and fingers -------------------------------------------------------------------------------------------

  paneOf(event) {
    return this.panes.find((pane) => event.composedPath().includes(pane.frame));
  },

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
  },

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
  },

  extend({ u, v }) {
    if (this.shape.kind === "lasso") this.shape.points.push([u, v]);
    else this.shape.points[1] = [u, v];
  },

  pan(pane, across, down) {
    const place = this.view.place(pane.picture, pane.width / pane.ratio, pane.height / pane.ratio);
    this.view.u -= across / place.width;
    this.view.v -= down / place.height;
    this.view.keepInside();
    this.draw();
  },

  pinch(event, from) {
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
    const before = Math.hypot(from.x - other.x, from.y - other.y);
    const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
    const { u, v } = from.pane.pointAt({ clientX: other.x, clientY: other.y }, this.view);
    if (before > 0) this.view.enlarge(after / before, u, v);
    this.draw();
  },

  moveWindow(across, down) {
    this.change({
      width: Math.round(Math.max(2, Math.min(510, this.look.width + across))),
      centre: Math.round(Math.max(0, Math.min(255, this.look.centre + down / 2))),
    });
  },

  pointerUp(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const shape = this.shape;
    this.shape = null;
    this.windowing = false;
    if (shape) this.finishShape(shape);
    this.drawMarks();
  },

  wheel(event) {
    const pane = this.paneOf(event);
    const focused = this.root.getRootNode().activeElement === this.root || this.isCovering();
    if (!pane || !(focused || event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const { u, v } = pane.pointAt(event, this.view);
    this.view.enlarge(Math.exp(-event.deltaY / 400), u, v);
    this.cursor = pane.pointAt(event, this.view);
    this.draw();
  },

  zoomBy(factor) {
    const { u, v } = this.cursor ?? this.view;
    this.view.enlarge(factor, u, v);
    this.draw();
  },

  fit() {
    this.view.reset();
    this.draw();
  },

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
  },

  leave() {
    if (this.pointers.size) return;
    this.cursor = null;
    this.readout.textContent = "";
    for (const pane of this.panes) pane.value.textContent = "";
    this.drawMarks();
  },

  // --- keys --------------------------------------------------------------------------------------------------------

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !this.data) return;
    const path = event.composedPath();
    if (!path.includes(this.root) && (active !== this || takesKeys(path[0]))) return;
    if (this.help.open && event.key !== "?") return;
    const range = path[0].tagName === "INPUT" && path[0].type === "range";
    if (takesKeys(path[0]) && !(range && !event.key.startsWith("Arrow"))) return;
    const act = this.keys(event.repeat)[event.key];
    if (!act || act() === false) return;
    event.preventDefault();
    event.stopPropagation();
  },

  keys(repeated) {
    const look = this.look;
    const opacity = (by) => this.change({ opacity: Math.round(20 * Math.max(0, Math.min(1, look.opacity + by))) / 20 });
    return {
      ArrowRight: () => this.step(1, repeated),
      n: () => this.step(1, repeated),
      ArrowLeft: () => this.step(-1, repeated),
      p: () => this.step(-1, repeated),
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
  },

  turnOverlay() {
    if (this.look.opacity > 0) this.lastOpacity = this.look.opacity;
    this.change({ opacity: this.look.opacity > 0 ? 0 : this.lastOpacity ?? this.data.defaults.opacity });
  },

  defaults() {
    this.view.reset();
    this.change(structuredClone(this.data.defaults));
    this.arrange();
  },

  escape() {
    if (this.shapes.length) this.forget();
    else if (this.isCovering()) this.leavePresent();
    else if (this.tool !== "pan") this.choose("pan");
    else return false; // the dialog around it may close
    return true;
  },
};

/** Whether an element does something of its own with keys. */
function takesKeys(element) {
  const roles = ["combobox", "textbox", "slider", "listbox", "option", "spinbutton", "radio", "tab", "menuitem"];
  return (
    ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName) ||
    element.isContentEditable ||
    roles.includes(element.getAttribute?.("role"))
  );
}
