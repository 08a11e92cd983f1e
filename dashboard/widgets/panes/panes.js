// The panes: one canvas for the picture and one for what is drawn over it; all of them share one zoom and one cursor.

/** What all panes look at: a point of the X-ray in its middle (0 to 1 along each side), and how far it is enlarged. */
class View {
  constructor() {
    this.reset();
  }

  reset() {
    Object.assign(this, { u: 0.5, v: 0.5, zoom: 1 });
  }

  /** Where a picture of this size lies in a pane, in the pane's pixels. */
  place(picture, width, height) {
    const scale = this.zoom * Math.min(width / picture.width, height / picture.height);
    const across = picture.width * scale;
    const down = picture.height * scale;
    return { x: width / 2 - this.u * across, y: height / 2 - this.v * down, width: across, height: down, scale };
  }

  /** Enlarge by a factor so that the point (u, v) stays where it is. */
  enlarge(factor, u, v) {
    const zoom = Math.max(1, Math.min(64, this.zoom * factor));
    const kept = this.zoom / zoom;
    this.u = u + (this.u - u) * kept;
    this.v = v + (this.v - v) * kept;
    this.zoom = zoom;
    this.keepInside();
  }

  keepInside() {
    this.u = Math.max(0, Math.min(1, this.u));
    this.v = Math.max(0, Math.min(1, this.v));
    if (this.zoom === 1) Object.assign(this, { u: 0.5, v: 0.5 });
  }
}

class Pane {
  constructor(spec, picture, map) {
    Object.assign(this, { spec, picture, map });
    this.image = make("canvas", { class: "image" });
    this.marks = make("canvas", { class: "marks" });
    this.title = make("figcaption", { title: spec.title }, spec.title);
    this.value = make("div", { class: "value" });
    this.frame = make("div", { class: "pane", "data-kind": spec.kind }, this.image, this.marks, this.value);
    // Title and colour scale stand above the picture: on it, they would cover what hospitals write at its edges.
    this.less = make("span", { class: "end" });
    this.bar = make("i", {});
    this.more = make("span", { class: "end" });
    const scale = map ? [make("span", { class: "scale" }, this.less, this.bar, this.more)] : [];
    const head = make("div", { class: "head" }, this.title, ...scale);
    this.root = make("figure", { class: "titled", "aria-label": spec.title }, head, this.frame);
  }

  resize(width, height, ratio) {
    this.root.style.width = `${width}px`;
    this.frame.style.height = `${height}px`;
    this.ratio = ratio;
    this.width = Math.round(width * ratio);
    this.height = Math.round(height * ratio);
    for (const canvas of [this.image, this.marks]) {
      canvas.width = this.width;
      canvas.height = this.height;
    }
    this.context = this.image.getContext("2d", { alpha: false });
    this.pen = this.marks.getContext("2d");
    this.data = this.context.createImageData(this.width, this.height);
    this.pixels = new Uint32Array(this.data.data.buffer);
  }

  /** The point of the X-ray under a place of the screen, 0 to 1 along each side where it is inside. */
  pointAt(event, view) {
    const box = this.marks.getBoundingClientRect();
    const place = view.place(this.picture, box.width, box.height);
    return {
      u: (event.clientX - box.left - place.x) / place.width,
      v: (event.clientY - box.top - place.y) / place.height,
    };
  }
}

/** What is sampled once a frame for all panes: grey values of each X-ray, relevance of each map. */
class Samples {
  constructor() {
    this.held = new Map();
  }

  /** Forget what is sampled from anything but these. */
  keep(sources) {
    for (const source of this.held.keys()) if (!sources.includes(source)) this.held.delete(source);
  }

  of(source, key, make) {
    const held = this.held.get(source);
    if (held && held.key === key) return held;
    const made = make(held?.buffer);
    this.held.set(source, { key, ...made });
    return this.held.get(source);
  }
}

const BACKGROUND = packed(8, 10, 13);

/** Draw one pane's picture. */
function drawPane(pane, view, look, samples) {
  const { width, height, picture, map, pixels } = pane;
  const place = view.place(picture, width, height);
  const key = `${width} ${height} ${place.x} ${place.y} ${place.width}`;
  const shade = () =>
    samples.of(picture, key, (buffer) => {
      const out = buffer?.length === width * height ? buffer : new Uint8Array(width * height);
      return { buffer: out, axes: sampleGrey(picture, place, width, height, out) };
    });
  if (pane.spec.kind === "heatmap") {
    drawHeat(pixels, width, height, map, place, look.tables, look.threshold, BACKGROUND);
  } else if (pane.spec.kind === "xray") {
    const grey = shade();
    drawGrey(pixels, width, grey.buffer, grey.axes, look.greys, BACKGROUND);
  } else {
    const grey = shade();
    const relevance = samples.of(map, `${key} ${map.scale}`, (buffer) => {
      const out = buffer?.length === width * height ? buffer : new Uint16Array(width * height);
      return { buffer: out, axes: sampleRelevance(map, place, width, height, out) };
    });
    drawOverlay(
      pixels, width, grey.buffer, relevance.buffer, grey.axes, look.greys, look.cover, BACKGROUND,
    );
  }
  pane.context.putImageData(pane.data, 0, 0);
}

/** Draw what lies over a pane's picture: outlines, the tool's shape and the cursor; and its colour scale. */
function drawMarks(pane, view, look, marks) {
  const { pen, width, height, picture, ratio } = pane;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, width, height);
  const place = view.place(picture, width, height);
  const across = (u) => place.x + u * place.width;
  const down = (v) => place.y + v * place.height;
  for (const outline of marks.outlines) {
    if (outline.image === pane.spec.image) drawOutline(pen, outline, place, ratio);
  }
  for (const shape of marks.shapes) drawShape(pen, shape, across, down, ratio, picture);
  if (marks.cursor) drawCross(pen, across(marks.cursor.u), down(marks.cursor.v), width, height, ratio);
  if (pane.map) showScale(pane, look);
}

function drawOutline(pen, outline, place, ratio) {
  pen.save();
  pen.translate(place.x, place.y);
  pen.scale(place.scale, place.scale);
  pen.lineWidth = (1.5 * ratio) / place.scale;
  pen.strokeStyle = outline.colour;
  pen.stroke(outline.path);
  pen.restore();
}

function drawCross(pen, x, y, width, height, ratio) {
  const gap = 6 * ratio;
  pen.lineWidth = ratio;
  for (const [colour, shift] of [["rgba(0,0,0,0.55)", ratio], ["rgba(255,255,255,0.8)", 0]]) {
    pen.strokeStyle = colour;
    pen.beginPath();
    pen.moveTo(0, y + shift);
    pen.lineTo(x - gap, y + shift);
    pen.moveTo(x + gap, y + shift);
    pen.lineTo(width, y + shift);
    pen.moveTo(x + shift, 0);
    pen.lineTo(x + shift, y - gap);
    pen.moveTo(x + shift, y + gap);
    pen.lineTo(x + shift, height);
    pen.stroke();
  }
}

function drawShape(pen, shape, across, down, ratio, picture) {
  const points = shape.kind === "box" ? cornersOf(shape.points) : shape.points;
  pen.beginPath();
  points.forEach(([u, v], k) => (k ? pen.lineTo(across(u), down(v)) : pen.moveTo(across(u), down(v))));
  if (shape.kind !== "measure") pen.closePath();
  pen.setLineDash(shape.dashed ? [4 * ratio, 4 * ratio] : []);
  for (const [colour, thick] of [["rgba(0,0,0,0.7)", 3.5], [shape.colour, 1.75]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = thick * ratio;
    pen.stroke();
  }
  pen.setLineDash([]);
  if (shape.kind === "measure" && points.length > 1) {
    const [[u0, v0], [u1, v1]] = points;
    const length = Math.hypot((u1 - u0) * picture.width, (v1 - v0) * picture.height);
    const angle = (Math.atan2((v0 - v1) * picture.height, (u1 - u0) * picture.width) * 180) / Math.PI;
    label(pen, `${length.toFixed(1)} px, ${angle.toFixed(0)}°`, across(u1) + 8 * ratio, down(v1), ratio);
  }
}

function cornersOf([[u0, v0], [u1, v1]]) {
  return [[u0, v0], [u1, v0], [u1, v1], [u0, v1]];
}

function label(pen, text, x, y, ratio) {
  pen.font = `${11 * ratio}px system-ui, sans-serif`;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.lineWidth = 3 * ratio;
  pen.strokeStyle = "rgba(0,0,0,0.75)";
  pen.strokeText(text, x, y);
  pen.fillStyle = "#fff";
  pen.fillText(text, x, y);
}

/** The colour scale with its numbers, of a pane that shows relevance. */
function showScale(pane, look) {
  const key = `${pane.map.scale} ${look.stops}`;
  if (pane.scaled === key) return;
  pane.scaled = key;
  pane.less.textContent = signed(-pane.map.scale);
  pane.more.textContent = signed(pane.map.scale);
  const stops = Array.from({ length: 11 }, (_, k) => `rgb(${colourAt(look.stops, k / 5 - 1).join(",")})`);
  pane.bar.style.background = `linear-gradient(to right, ${stops.join(",")})`;
}
