// What benchmarks/pages.py asks of a page; added to every page before it is loaded.
window.cxrPages = {
  took: null,
  picture: null,
  // Whether the script is through, and nothing is still to come.
  settled() {
    const app = document.querySelector("[data-testid=stApp]");
    return Boolean(app) && app.getAttribute("data-test-script-state") === "notRunning"
      && Boolean(document.querySelector("h1")) && !document.querySelector("[data-testid=stSkeleton]")
      && [...document.images].every((image) => image.complete);
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
  // Whether the browser holds the X-ray so many places from the one shown; true where it fetches none ahead.
  holds(by) {
    const {viewer} = this.viewer();
    return !viewer.found || Boolean(viewer.found({position: viewer.data.list.position + by}));
  },
  // From the user's next key or pointer to the end of the script that it starts, in `took`, in milliseconds; where a
  // viewer then shows another X-ray, to the frame in which it is drawn, in `picture`.
  listen() {
    const app = document.querySelector("[data-testid=stApp]");
    let began = null, ran = false;
    this.took = this.picture = null;
    const viewer = this.viewer();
    if (viewer) {
      const before = viewer.dataset.subject;
      const drawn = new MutationObserver(() => {
        if (viewer.dataset.subject === before) return;
        drawn.disconnect();
        // The viewer draws in the next frame; the message comes when that frame is done.
        requestAnimationFrame(() => {
          const {port1, port2} = new MessageChannel();
          port1.onmessage = () => { this.picture = performance.now() - began; };
          port2.postMessage(null);
        });
      });
      drawn.observe(viewer, {attributes: true, attributeFilter: ["data-subject"]});
    }
    const begin = () => { if (began === null) began = performance.now(); };
    addEventListener("pointerdown", begin, {capture: true, once: true});
    addEventListener("keydown", begin, {capture: true, once: true});
    const observer = new MutationObserver(() => {
      if (app.getAttribute("data-test-script-state") !== "notRunning") { ran = true; return; }
      if (!ran || began === null || this.took !== null || viewer?.viewer.isWaiting?.()) return;
      this.took = performance.now() - began;
      observer.disconnect();
    });
    observer.observe(app, {attributes: true, attributeFilter: ["data-test-script-state"]});
  },
};
