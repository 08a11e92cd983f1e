// The panes as one picture with their legend: PNG for the clipboard, SVG as a file.

const GAP = 12;
const PAPER = { page: "#ffffff", ink: "#16191d" };

/** Lines of at most `most` letters, broken between words. */
function brokenLines(text, most) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length + 1 > most) lines.push(word);
    else lines[lines.length - 1] = `${lines.at(-1)} ${word}`.trim();
  }
  return lines;
}

function figureOf(panes, legend, columns) {
  const ratio = panes[0].ratio;
  const width = panes[0].width / ratio;
  const height = panes[0].height / ratio;
  const across = Math.min(columns, panes.length);
  const rows = Math.ceil(panes.length / across);
  const total = across * width + (across + 1) * GAP;
  const lines = legend.flatMap((line) => brokenLines(line, Math.floor((total - 2 * GAP) / 6.4)));
  return {
    ratio, width, height, lines,
    total,
    tall: rows * (height + 20) + (rows + 1) * GAP + lines.length * 16 + GAP,
    foot: rows * (height + 20 + GAP) + GAP,
    places: panes.map((pane, k) => ({
      pane,
      x: GAP + (k % across) * (width + GAP),
      y: GAP + Math.floor(k / across) * (height + 20 + GAP),
    })),
  };
}

function pngOf(panes, legend, columns) {
  const figure = figureOf(panes, legend, columns);
  const canvas = make("canvas", {});
  const ratio = Math.max(2, figure.ratio);
  canvas.width = Math.ceil(figure.total * ratio);
  canvas.height = Math.ceil(figure.tall * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.fillStyle = PAPER.page;
  pen.fillRect(0, 0, figure.total, figure.tall);
  pen.fillStyle = PAPER.ink;
  pen.font = "13px sans-serif";
  for (const { pane, x, y } of figure.places) {
    pen.fillText(pane.spec.title, x, y + 13, figure.width);
    pen.drawImage(pane.image, x, y + 20, figure.width, figure.height);
    pen.drawImage(pane.marks, x, y + 20, figure.width, figure.height);
  }
  pen.font = "12px sans-serif";
  figure.lines.forEach((line, k) => pen.fillText(line, GAP, figure.foot + 14 + 16 * k));
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function escaped(text) {
  return text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);
}

function svgOf(panes, legend, columns) {
  const figure = figureOf(panes, legend, columns);
  const text = (line, x, y, size) => `<text x="${x}" y="${y}" font-size="${size}">${escaped(line)}</text>`;
  const parts = figure.places.flatMap(({ pane, x, y }) => [
    text(pane.spec.title, x, y + 13, 13),
    ...[pane.image, pane.marks].map(
      (canvas) =>
        `<image x="${x}" y="${y + 20}" width="${figure.width}" height="${figure.height}" ` +
        `href="${canvas.toDataURL("image/png")}"/>`,
    ),
  ]);
  const lines = figure.lines.map((line, k) => text(line, GAP, figure.foot + 14 + 16 * k, 12));
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${figure.total}" height="${figure.tall}" ` +
    `viewBox="0 0 ${figure.total} ${figure.tall}" font-family="sans-serif" fill="${PAPER.ink}">` +
    `<rect width="100%" height="100%" fill="${PAPER.page}"/>${parts.join("")}${lines.join("")}</svg>`
  );
}

function download(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Copy a picture; where the browser does not allow it, save it. Returns what was done, in words. */
async function copyPng(blob, name) {
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    return "Copied as PNG with its legend.";
  } catch {
    download(blob, `${name}.png`);
    return "This browser does not let pages copy pictures: saved as PNG.";
  }
}
