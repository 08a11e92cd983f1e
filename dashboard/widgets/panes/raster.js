// From stored pixels to the pixels of a pane: sampling at the present zoom, and the three kinds of pictures.

const CRISP = 4; // from this magnification on, an X-ray's pixels are shown as squares

/** An X-ray: its 8-bit grey values, and halves, quarters … of it, so that a frame never reads more than it shows. */
class Picture {
  constructor(grey, width, height) {
    this.width = width;
    this.height = height;
    this.levels = [{ grey, width, height }];
    for (let last = this.levels[0]; Math.min(last.width, last.height) > 256; last = this.levels.at(-1)) {
      this.levels.push(halved(last));
    }
  }

  valueAt(u, v) {
    const x = Math.floor(u * this.width);
    const y = Math.floor(v * this.height);
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return null;
    return { x, y, value: this.levels[0].grey[y * this.width + x] };
  }

  /** The level whose pixels are at most twice as dense as those of a pane. */
  levelFor(scale) {
    const wanted = Math.max(0, Math.floor(Math.log2(1 / scale)));
    return this.levels[Math.min(wanted, this.levels.length - 1)];
  }
}

function halved({ grey, width, height }) {
  const w = width >> 1;
  const h = height >> 1;
  const half = new Uint8Array(w * h);
  for (let y = 0; y < h; y++) {
    const upper = 2 * y * width;
    const lower = upper + width;
    for (let x = 0, from = 0; x < w; x++, from += 2) {
      half[y * w + x] =
        (grey[upper + from] + grey[upper + from + 1] + grey[lower + from] + grey[lower + from + 1] + 2) >> 2;
    }
  }
  return { grey: half, width: w, height: h };
}

/** A relevance map: stored values, their sizes in order for percentiles, and both at the present scale. */
class RelevanceMap {
  constructor(values, width, height) {
    Object.assign(this, { values, width, height });
    this.sizes = Float32Array.from(values, Math.abs).filter(Number.isFinite).sort();
    this.unit = new Float32Array(values.length);
    this.index = new Uint16Array(values.length);
    this.scale = null;
  }

  percentile(percentile) {
    return percentileOf(this.sizes, percentile);
  }

  scaleTo(scale) {
    if (scale === this.scale) return;
    this.scale = scale;
    const inverse = scale > 0 ? 1 / scale : 0;
    for (let i = 0; i < this.values.length; i++) {
      const unit = Math.max(-1, Math.min(1, this.values[i] * inverse)) || 0; // what is not a number becomes 0
      this.unit[i] = unit;
      this.index[i] = Math.round(unit * STEPS) + ZERO;
    }
  }

  valueAt(u, v) {
    const x = Math.floor(u * this.width);
    const y = Math.floor(v * this.height);
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return null;
    return this.values[y * this.width + x];
  }
}

/**
 * Where the pixels of one axis of a pane read from, for a picture that lies from `start` on and is `length` long
 * (both in pixels of the pane) and has `size` values.
 */
function axisOf(pane, start, length, size) {
  const first = Math.max(0, Math.ceil(start - 0.5));
  const last = Math.min(pane, Math.ceil(start + length - 0.5));
  const low = new Int32Array(pane);
  const high = new Int32Array(pane);
  const near = new Int32Array(pane);
  const part = new Float32Array(pane);
  for (let at = first; at < last; at++) {
    const place = ((at + 0.5 - start) / length) * size;
    near[at] = Math.min(size - 1, Math.floor(place));
    const between = place - 0.5;
    const floor = Math.floor(between);
    low[at] = Math.max(0, floor);
    high[at] = Math.min(size - 1, floor + 1);
    part[at] = between - floor;
  }
  return { first, last, low, high, near, part };
}

/** Grey values of a pane (bytes, `width` x `height`), from the level that fits. */
function sampleGrey(picture, place, width, height, out) {
  const level = picture.levelFor(place.width / picture.width);
  const xs = axisOf(width, place.x, place.width, level.width);
  const ys = axisOf(height, place.y, place.height, level.height);
  const crisp = place.width / picture.width >= CRISP;
  const { grey } = level;
  for (let y = ys.first; y < ys.last; y++) {
    const row = y * width;
    if (crisp) {
      const from = ys.near[y] * level.width;
      for (let x = xs.first; x < xs.last; x++) out[row + x] = grey[from + xs.near[x]];
      continue;
    }
    const upper = ys.low[y] * level.width;
    const lower = ys.high[y] * level.width;
    const down = ys.part[y];
    for (let x = xs.first; x < xs.last; x++) {
      const left = xs.low[x];
      const right = xs.high[x];
      const across = xs.part[x];
      const top = grey[upper + left] + (grey[upper + right] - grey[upper + left]) * across;
      const bottom = grey[lower + left] + (grey[lower + right] - grey[lower + left]) * across;
      out[row + x] = top + (bottom - top) * down + 0.5;
    }
  }
  return { xs, ys };
}

/** Relevance in -1 to 1 between its values, as indexes into the tables of colours. */
function sampleRelevance(map, place, width, height, out) {
  const xs = axisOf(width, place.x, place.width, map.width);
  const ys = axisOf(height, place.y, place.height, map.height);
  const { unit } = map;
  for (let y = ys.first; y < ys.last; y++) {
    const row = y * width;
    const upper = ys.low[y] * map.width;
    const lower = ys.high[y] * map.width;
    const down = ys.part[y];
    for (let x = xs.first; x < xs.last; x++) {
      const left = xs.low[x];
      const right = xs.high[x];
      const across = xs.part[x];
      const top = unit[upper + left] + (unit[upper + right] - unit[upper + left]) * across;
      const bottom = unit[lower + left] + (unit[lower + right] - unit[lower + left]) * across;
      out[row + x] = (top + (bottom - top) * down) * STEPS + ZERO + 0.5;
    }
  }
  return { xs, ys };
}

/** Draw an X-ray through the window. */
function drawGrey(pixels, width, grey, { xs, ys }, table, background) {
  pixels.fill(background);
  const shades = new Uint32Array(256).map((_, value) => packed(table[value], table[value], table[value]));
  for (let y = ys.first; y < ys.last; y++) {
    const row = y * width;
    for (let x = xs.first; x < xs.last; x++) pixels[row + x] = shades[grey[row + x]];
  }
}

/** Draw a heatmap: every square is one value of the network's input, none is invented. */
function drawHeat(pixels, width, height, map, place, tables, threshold, background) {
  pixels.fill(background);
  const xs = axisOf(width, place.x, place.width, map.width);
  const ys = axisOf(height, place.y, place.height, map.height);
  const heat = threshold > 0 ? withThreshold(tables, threshold) : tables.heat;
  for (let y = ys.first; y < ys.last; y++) {
    const row = y * width;
    const from = ys.near[y] * map.width;
    for (let x = xs.first; x < xs.last; x++) pixels[row + x] = heat[map.index[from + xs.near[x]]];
  }
}

function withThreshold(tables, threshold) {
  const zero = packed(...tables.zero);
  return tables.heat.map((colour, index) => (Math.abs(index - ZERO) / STEPS < threshold ? zero : colour));
}

/** Draw relevance over an X-ray: where it is zero, the X-ray shows unchanged. */
function drawOverlay(pixels, width, grey, index, { xs, ys }, table, cover, background) {
  pixels.fill(background);
  const { keep } = cover;
  const [addRed, addGreen, addBlue] = cover.add;
  for (let y = ys.first; y < ys.last; y++) {
    for (let at = y * width + xs.first, end = y * width + xs.last; at < end; at++) {
      const place = index[at];
      const shade = table[grey[at]] * keep[place];
      const red = (shade + addRed[place]) >> 8;
      const green = (shade + addGreen[place]) >> 8;
      const blue = (shade + addBlue[place]) >> 8;
      pixels[at] = LITTLE_ENDIAN
        ? (255 << 24) | (blue << 16) | (green << 8) | red
        : (red << 24) | (green << 16) | (blue << 8) | 255;
    }
  }
}
