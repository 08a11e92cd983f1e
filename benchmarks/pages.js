// What benchmarks/pages.py and people.py ask of a page; added to every page before it is loaded.
window.cxrPages = {
  took: null,
  ended: 0,
  picture: null,
  // Whether the script is through, and nothing is still to come.
  settled() {
    return this.through() && Boolean(document.querySelector("h1")) && !document.querySelector("[data-testid=stSkeleton]")
      && [...document.images].every((image) => image.complete);
  },
  through() {
    const app = document.querySelector("[data-testid=stApp]");
    return Boolean(app) && app.getAttribute("data-test-script-state") === "notRunning";
  },
  // Milliseconds from the opening to the first text or picture.
  paint() {
    const entry = performance.getEntriesByName("first-contentful-paint")[0];
    return entry ? entry.startTime : null;
  },
  // The viewer of X-rays, which stands in a shadow tree; null on a page without one.
  viewer() {
    const host = [...document.querySelectorAll("*")].find((element) => element.shadowRoot?.querySelector(".viewer"));
    return host ? host.shadowRoot.querySelector(".viewer") : null;
  },
  // The X-ray that the viewer shows, and the one that the address names; null on a page without a viewer.
  shownAndNamed() {
    const viewer = this.viewer()?.viewer;
    if (!viewer?.data) return null;
    return [viewer.data.strip.find((xray) => xray.here)?.id, new URLSearchParams(location.search).get("image")];
  },
  // Whether the browser holds the X-ray so many places from the one shown; true where it fetches none ahead.
  holds(by) {
    const viewer = this.viewer()?.viewer;
    if (!viewer?.data) return false;
    return !viewer.found || Boolean(viewer.found({position: viewer.data.list.position + by}));
  },
  // From the user's next key or pointer to the end of the script that it starts, as the page shows it, in `took`, in
  // milliseconds. A script may be so short that the page never says it runs: its end is seen in the server's message.
  // Where a viewer then shows another X-ray or map, to the frame in which that is drawn, in `picture`.
  listen() {
    const endedBefore = this.ended;
    let began = null, frames = 0;
    this.took = this.picture = null;
    const viewer = this.viewer();
    if (viewer) {
      const shown = () => viewer.viewer.data?.panes.map(({title}) => title) + viewer.dataset.subject
        + viewer.viewer.data?.maps.map(({url}) => url);
      const before = shown();
      const drawn = new MutationObserver(() => {
        if (shown() === before) return;
        drawn.disconnect();
        // The viewer draws in the next frame; the message comes when that frame is done.
        requestAnimationFrame(() => {
          const {port1, port2} = new MessageChannel();
          port1.onmessage = () => { this.picture = performance.now() - began; };
          port2.postMessage(null);
        });
      });
      drawn.observe(viewer, {attributes: true, attributeFilter: ["data-subject", "data-context"]});
    }
    const look = () => {
      frames = this.ended > endedBefore && this.through() && !viewer?.viewer.isWaiting?.() ? frames + 1 : 0;
      if (frames === 2) this.took = performance.now() - began;  // the first may not show yet what has come
      else requestAnimationFrame(look);
    };
    const begin = () => {
      if (began !== null) return;
      began = performance.now();
      requestAnimationFrame(look);
    };
    addEventListener("pointerdown", begin, {capture: true, once: true});
    addEventListener("keydown", begin, {capture: true, once: true});
  },
  // Whether a message says that a script has ended, and not to begin again: its field 6, which then stands last.
  saysEnd(data) {
    if (!(data instanceof ArrayBuffer) || data.byteLength < 2) return false;
    const [tag, status] = new Uint8Array(data).slice(-2);
    return data.byteLength < 100 && tag === 6 << 3 && status !== 2;
  },
};
window.WebSocket = class extends WebSocket {
  constructor(...where) {
    super(...where);
    this.addEventListener("message", (message) => { cxrPages.ended += cxrPages.saysEnd(message.data); });
  }
};
