// What benchmarks/pages.py asks of a page; added to every page before it is loaded.
window.cxrPages = {
  took: null,
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
  // From the user's next key or pointer to the end of the script that it starts, in `took`, in milliseconds.
  listen() {
    const app = document.querySelector("[data-testid=stApp]");
    let began = null, ran = false;
    this.took = null;
    const begin = () => { if (began === null) began = performance.now(); };
    addEventListener("pointerdown", begin, {capture: true, once: true});
    addEventListener("keydown", begin, {capture: true, once: true});
    const observer = new MutationObserver(() => {
      if (app.getAttribute("data-test-script-state") !== "notRunning") { ran = true; return; }
      if (!ran || began === null || this.took !== null) return;
      this.took = performance.now() - began;
      observer.disconnect();
    });
    observer.observe(app, {attributes: true, attributeFilter: ["data-test-script-state"]});
  },
};
