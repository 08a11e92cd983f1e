// X-rays in a grid; each is a button that opens it.

function drawGallery(root, { pictures, columns }, open) {
  const grid = document.createElement("div");
  grid.className = "gallery";
  grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  for (const { id, url, caption } of pictures) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = id;
    button.setAttribute("aria-label", `Open ${id}`);
    button.addEventListener("click", () => open(id));
    const image = document.createElement("img");
    Object.assign(image, { src: url, alt: id, loading: "lazy" });
    const words = document.createElement("span");
    words.textContent = caption.replaceAll(" %", "\u00a0%");
    button.append(image, words);
    grid.append(button);
  }
  root.querySelector(".gallery")?.remove();
  root.append(grid);
}

export default function ({ parentElement, data, setTriggerValue }) {
  drawGallery(parentElement, data, (id) => setTriggerValue("open", id));
}
