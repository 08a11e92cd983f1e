// Colours of grey values and of relevance. The same rules as cxr.explain.render, which draws files.

const STEPS = 255; // colours on each side of zero
const ZERO = STEPS; // index of zero in a table of 2 * STEPS + 1 colours
const LITTLE_ENDIAN = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/** One opaque pixel as the 32-bit number that ImageData holds. */
function packed(red, green, blue) {
  return LITTLE_ENDIAN
    ? ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0
    : ((red << 24) | (green << 16) | (blue << 8) | 255) >>> 0;
}

/** The colour [r, g, b] of a value from -1 to 1 on evenly spaced stops. */
function colourAt(stops, unit) {
  const place = ((unit + 1) / 2) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(place));
  const part = place - low;
  return stops[low].map((value, channel) => Math.round(value + (stops[low + 1][channel] - value) * part));
}

/** Tables of a colour map: `heat` colours the heatmap, `strong` are the two colours laid over an X-ray. */
function colourTables(stops) {
  const heat = new Uint32Array(2 * STEPS + 1);
  for (let index = 0; index < heat.length; index++) {
    heat[index] = packed(...colourAt(stops, (index - ZERO) / STEPS));
  }
  return { heat, negative: colourAt(stops, -0.7), positive: colourAt(stops, 0.7), zero: colourAt(stops, 0) };
}

/**
 * What each relevance does to a shade of grey, in parts of 256: `(shade * keep + add) >> 8` is a channel of the overlay.
 * The square root lets weak relevance tint the X-ray visibly.
 */
function coverTables(opacity, threshold, { negative, positive }) {
  const size = 2 * STEPS + 1;
  const cover = { keep: new Int32Array(size), add: [0, 1, 2].map(() => new Int32Array(size)) };
  for (let index = 0; index < size; index++) {
    const strength = Math.abs(index - ZERO) / STEPS;
    const part = strength < threshold ? 0 : Math.round(256 * opacity * Math.sqrt(strength));
    const colour = index >= ZERO ? positive : negative;
    cover.keep[index] = 256 - part;
    cover.add.forEach((channel, k) => (channel[index] = colour[k] * part + 128));
  }
  return cover;
}

/** What each grey value looks like through a window: `centre` and `width` in grey values, as radiologists set them. */
function windowTable(centre, width, invert) {
  const table = new Uint8Array(256);
  for (let grey = 0; grey < 256; grey++) {
    const shown = Math.round(((grey - (centre - width / 2)) / width) * 255);
    const clipped = Math.max(0, Math.min(255, shown));
    table[grey] = invert ? 255 - clipped : clipped;
  }
  return table;
}

/** The percentile of sorted values, between neighbours as NumPy takes it. */
function percentileOf(sorted, percentile) {
  if (!sorted.length) return 0;
  const place = (percentile / 100) * (sorted.length - 1);
  const low = Math.floor(place);
  const high = Math.min(sorted.length - 1, low + 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - low);
}

/** A number as pages write it: two significant digits with its sign. */
function signed(value, digits = 2) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e-3 && size < 1e4 ? String(Number(size.toPrecision(digits))) : size.toExponential(digits - 1);
  return (value > 0 ? "+" : "−") + text;
}
