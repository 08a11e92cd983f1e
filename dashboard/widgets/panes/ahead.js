// X-rays fetched before they are asked for, and steps that show them before the page has followed. Methods of Viewer.
//
// Each step has a number. What the page sends carries the number of the last step that it had heard of: what was made
// before is passed over, so that the viewer never goes back to an X-ray that was left.

const MOST_AHEAD = 6;
const ASK_AFTER_MS = 150; // after the page stands: whoever goes on at once is not kept waiting
const AGAIN_AFTER_MS = 3000; // a step that the page did not hear of, since its connection was cut
const OF_ANOTHER = "data-of-another-xray";
const STAYS = "data-viewer-stays";

const AHEAD = {
  /** Whether the viewer waits for the page: it shows another X-ray than the page, or asked for another. */
  isWaiting() {
    return Boolean(this.leading);
  },

  /** Whether the page runs; null where that cannot be seen. */
  pageRuns() {
    const state = this.app?.getAttribute("data-test-script-state");
    return state ? state !== "notRunning" : null;
  },

  watchPage() {
    this.app = document.querySelector("[data-test-script-state]");
    if (!this.app) return;
    this.pageWatcher = new MutationObserver(() => this.pageChanged());
    this.pageWatcher.observe(this.app, { attributes: true, attributeFilter: ["data-test-script-state"] });
  },

  pageChanged() {
    clearTimeout(this.asking);
    clearTimeout(this.again);
    if (this.pageRuns()) return;
    if (this.isWaiting()) this.again = setTimeout(() => this.sendStep(), AGAIN_AFTER_MS);
    else {
      this.markOthers(false);
      this.asking = setTimeout(() => this.askAhead(), ASK_AFTER_MS);
    }
  },

  // --- fetching ----------------------------------------------------------------------------------------------------

  /** Ask for one neighbour that is not held, the one in the direction of the last step first. */
  askAhead() {
    const { context, list, region } = this.data ?? {};
    if (!context || region || this.isWaiting() || this.pageRuns() || document.hidden) return;
    if (this.pointers.size) {
      this.asking = setTimeout(() => this.askAhead(), ASK_AFTER_MS);
      return;
    }
    const way = this.way ?? 1;
    for (const by of [way, -way, 2 * way]) {
      const position = list.position + by;
      const inside = position >= 1 && position <= list.total;
      if (!inside || this.found({ position }) || this.askedAhead.has(position)) continue;
      this.askedAhead.add(position);
      this.stays(true);
      this.trigger("ahead", { context, position });
      return;
    }
  },

  /** Load what the page answered; it is shown only when all of it is there. */
  async take({ context, position, data: given }) {
    if (!given) return;
    const { ahead, ...data } = given;
    try {
      const loaded = await this.load(data);
      for (const thumb of data.strip) new Image().src = thumb.url;
      this.hold({ context, position, data, loaded });
    } catch {
      // it is loaded again when somebody goes there
    }
  },

  hold(entry) {
    const others = this.ahead.filter(({ context, position }) => context !== entry.context || position !== entry.position);
    this.ahead = [...others, entry].slice(-MOST_AHEAD);
  },

  /** What is held of a place in the list, or of an X-ray of it. */
  found({ position, id }) {
    const isHere = (thumb) => thumb.here && thumb.id === id;
    return this.ahead.find(
      (entry) =>
        entry.context === this.data.context &&
        (id === undefined ? entry.position === position : entry.data.strip.some(isHere)),
    );
  },

  // --- steps -------------------------------------------------------------------------------------------------------

  step(by, repeated = false) {
    if (!this.data) return;
    const { position, total } = this.data.list;
    const goal = this.goal ?? position;
    if (repeated && goal !== position) return; // a held key waits for the X-ray that it has asked for
    const to = Math.max(1, Math.min(total, goal + by));
    if (to !== goal) this.lead({ what: "step", to }, this.found({ position: to }), to);
  },

  go(id) {
    if (id === this.data.strip.find((xray) => xray.here)?.id && !this.isWaiting()) return;
    const entry = this.found({ id });
    this.lead({ what: "go", id }, entry, entry?.position ?? null);
  },

  /** Tell the page where to go; show what is held of it before the page has followed. */
  lead(what, entry, position) {
    this.way = position !== null && position < this.data.list.position ? -1 : 1;
    this.goal = position;
    this.number += 1;
    this.later = null;
    this.leading = { ...what, number: this.number, context: this.data.context };
    this.root.dataset.busy = "true";
    this.askedAt = performance.now();
    clearTimeout(this.asking);
    if (!entry) {
      this.sendStep();
      return;
    }
    const { arrival, look } = this.data;
    this.turn = (this.turn ?? 0) + 1; // what is being loaded is of an X-ray that was left
    this.apply({ ...entry.data, arrival, look }, ...entry.loaded);
    this.markOthers(true);
    // After the frame: the page's own work would keep it waiting.
    this.sending ??= requestAnimationFrame(() => setTimeout(() => {
      this.sending = null;
      this.sendStep();
    }));
  },

  sendStep() {
    if (this.leading && this.trigger) this.trigger("act", { ...this.leading, subject: this.data.subject });
  },

  /** The page shows what the viewer asked for last, or nothing was asked. */
  confirmed(loaded) {
    this.goal = null;
    this.leading = null;
    this.number = this.data.heard;
    this.root.dataset.busy = "false";
    const { context, list, region } = this.data;
    if (context && !region) this.hold({ context, position: list.position, data: this.data, loaded });
    const later = this.later;
    this.later = null;
    if (later && later.subject === this.data.subject) this.act(later);
    if (!this.pageRuns()) this.pageChanged();
  },

  /** Streamlit fades what it is about to send again; the picture does not, while it will be the same. */
  stays(on) {
    this.root.getRootNode().host?.closest("[data-testid=stElementContainer]")?.toggleAttribute(STAYS, on);
  },

  /** Dim the rest of the page while it is of the X-ray before. */
  markOthers(on) {
    this.stays(on);
    for (const element of document.querySelectorAll(`[${OF_ANOTHER}]`)) element.removeAttribute(OF_ANOTHER);
    if (!on) return;
    let here = this.root.getRootNode().host;
    while (here?.parentElement && !here.matches("[data-testid=stMain]")) {
      for (const other of here.parentElement.children) {
        if (other !== here && !other.querySelector("h1")) other.setAttribute(OF_ANOTHER, "");
      }
      here = here.parentElement;
    }
  },
};

if (!document.getElementById("cxr-of-another")) {
  const rules = `[${OF_ANOTHER}] { opacity: 0.3; } [${STAYS}] { opacity: 1 !important; }`;
  document.head.append(make("style", { id: "cxr-of-another" }, rules));
}
