// What is stored, shown before the page has followed: X-rays and classes that a click or key leads to. Methods of Viewer.
//
// The server gives what is stored of a wish without running the page (frames.py). The neighbours and what the pointer
// rests on are asked for ahead. Each step has a number. What the page sends carries the number of the last step that it
// had heard of: what was made before is passed over, so that the viewer never goes back to what was left.

const MOST_AHEAD = 10;
const ASK_AFTER_MS = 150; // after the page stands: whoever goes on at once is not kept waiting
const REST_MS = 40; // a pointer on its way asks for nothing
const TELL_PAGE_AFTER_MS = 60; // the page need not wait longer for what is stored
const AGAIN_AFTER_MS = 3000; // a step that the page did not hear of, since its connection was cut
const GIVE_UP_AFTER_MS = 400; // what a picker led to and the page does not show
const PICKER_FOLLOWS_MS = 100; // the picker itself hears of a key or click after the viewer has
const OF_ANOTHER = "data-of-another-xray";
const STAYS = "data-viewer-stays";
const COVERED = "data-viewer-leads";
const WORDS = { id: "image", to: "at", name: "target", classes: "classes" }; // of what a page is told, as a wish
const PICKERS = { "st-key-pick-image": "xray", "st-key-pick-target": "class", "st-key-pick-composite": "composite" };
const OUTSIDE = ["pointerover", "pointerup", "keydown", "keyup"];

const AHEAD = {
  /** Whether the viewer waits for the page: it shows something else than the page, or asked for it. */
  isWaiting() {
    return Boolean(this.leading);
  },

  /** Whether the page runs; null where that cannot be seen. */
  pageRuns() {
    const state = this.app?.getAttribute("data-test-script-state");
    return state ? state !== "notRunning" : null;
  },

  watchPage() {
    this.frames = new Map(); // what was asked for, by page and wish
    this.askedAhead = new Set();
    this.onPicker = (event) => this.hearPicker(event);
    for (const type of OUTSIDE) document.addEventListener(type, this.onPicker, true); // a list is gone once it was used
    for (const part of [this.strip, this.prediction]) {
      for (const type of ["pointerover", "focusin"]) part.addEventListener(type, (event) => this.expect(event));
    }
    this.app = document.querySelector("[data-test-script-state]");
    if (!this.app) return;
    this.pageWatcher = new MutationObserver(() => this.pageChanged());
    this.pageWatcher.observe(this.app, { attributes: true, attributeFilter: ["data-test-script-state"] });
  },

  leavePage() {
    for (const type of OUTSIDE) document.removeEventListener(type, this.onPicker, true);
    this.pageWatcher?.disconnect();
    for (const timer of [this.asking, this.again, this.resting]) clearTimeout(timer);
    this.leading = null;
    this.markOthers(false);
  },

  pageChanged() {
    clearTimeout(this.asking);
    clearTimeout(this.again);
    if (this.pageRuns()) return;
    if (this.leading?.picked) this.again = setTimeout(() => this.showPage(), GIVE_UP_AFTER_MS);
    else if (this.isWaiting()) this.again = setTimeout(() => this.sendStep(), AGAIN_AFTER_MS);
    else {
      this.markOthers(false);
      this.asking = setTimeout(() => this.askAhead(), ASK_AFTER_MS);
    }
  },

  // --- fetching ----------------------------------------------------------------------------------------------------

  /** Ask for the neighbours that are not held, the one in the direction of the last step first. */
  async askAhead() {
    const way = this.way ?? 1;
    for (const by of [way, -way, 2 * way]) {
      if (!this.data?.frames || this.data.region || this.isWaiting() || this.pageRuns() || document.hidden) return;
      if (this.pointers.size) {
        this.asking = setTimeout(() => this.askAhead(), ASK_AFTER_MS);
        return;
      }
      const { list } = this.data;
      const position = list.position + by;
      const inside = position >= 1 && position <= list.total;
      if (!inside || this.found({ position }) || this.askedAhead.has(position)) continue;
      this.askedAhead.add(position);
      const entry = await this.ask(this.wish(this.placeOf(position))).promise;
      for (const thumb of entry?.data.strip ?? []) new Image().src = thumb.url;
    }
  },

  /** Ask for what a button leads to, once the pointer rests on it or it has the focus. */
  expect(event) {
    clearTimeout(this.resting);
    const button = event.target.closest?.("[data-goal]");
    if (!button || button.ariaPressed === "true" || button.ariaCurrent === "true") return;
    this.rest(() => this.wish(JSON.parse(button.dataset.goal)));
  },

  rest(wish) {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      if (this.data?.frames && !this.data.region && !this.isWaiting()) this.ask(wish());
    }, REST_MS);
  },

  /** What to ask the server for so that the viewer gets to a goal from where it has asked to be. */
  wish(goal) {
    const words = Object.fromEntries(Object.entries(goal).map(([name, value]) => [WORDS[name] ?? name, String(value)]));
    const before = { ...this.leading?.wish };
    const places = ["image", "at", "xray"];
    if (places.some((place) => place in words)) places.forEach((place) => delete before[place]);
    const wish = { ...before, ...words };
    return places.some((place) => place in wish) ? wish : { image: this.idOf(this.page), ...wish };
  },

  /** What is known of a wish: its `entry` where it has come, and a `promise` of it, of null where it is not stored. */
  ask(wish) {
    const { context, frames } = this.page;
    const key = JSON.stringify([context, Object.entries(wish).sort()]);
    const known = this.frames.get(key);
    this.frames.delete(key);
    const asked = known ?? { entry: null };
    this.frames.set(key, asked);
    asked.promise ??= this.receive(frames, context, wish)
      .catch(() => null) // the page tells what is wrong
      .then((entry) => {
        if (!entry && this.frames.get(key) === asked) this.frames.delete(key);
        return (asked.entry = entry);
      });
    this.holdFew();
    return asked;
  },

  async receive(frames, context, wish) {
    const query = new URLSearchParams({ ...wish, context });
    for (const { url } of this.data.images) if (pictures.has(url)) query.append("held", url);
    const answer = await fetch(`${frames}?${query}`);
    if (answer.status !== 200) return null;
    const bytes = await answer.arrayBuffer();
    const length = new DataView(bytes).getUint32(0, true);
    const { data, files } = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
    const given = new Map();
    let at = 4 + length;
    for (const { url, size } of files) given.set(url, bytes.slice(at, (at += size)));
    const loaded = await this.load(data, given);
    return { context: data.context, position: data.list.position, data, loaded };
  },

  holdFew() {
    for (const oldest of [...this.frames.keys()].slice(0, -MOST_AHEAD)) this.frames.delete(oldest);
  },

  /** What is held of a place in the list, or of an X-ray of it. */
  found({ position, id }) {
    const fits = (entry) =>
      entry?.context === this.data.context && (id === undefined ? entry.position === position : this.idOf(entry.data) === id);
    return [...this.frames.values()].map(({ entry }) => entry).find(fits);
  },

  idOf(data) {
    return data.strip.find((xray) => xray.here)?.id;
  },

  /** A place in the list as a goal. */
  placeOf(position) {
    const { list, strip } = this.data;
    const there = strip[strip.findIndex((xray) => xray.here) + position - list.position];
    return there ? { id: there.id } : { to: position };
  },

  // --- steps -------------------------------------------------------------------------------------------------------

  step(by, repeated = false) {
    if (!this.data) return;
    const { position, total } = this.data.list;
    const goal = this.goal ?? position;
    if (repeated && goal !== position) return; // a held key waits for the X-ray that it has asked for
    const to = Math.max(1, Math.min(total, goal + by));
    if (to !== goal) this.lead(this.placeOf(to), to);
  },

  go(id) {
    const { list, strip } = this.data;
    if (id === this.idOf(this.data) && !this.isWaiting()) return;
    const places = strip.map((xray) => xray.id);
    this.lead({ id }, list.position + places.indexOf(id) - places.indexOf(this.idOf(this.data)));
  },

  explain(name) {
    if (this.data.frames) this.lead({ name });
    else this.act({ what: "explain", name });
  },

  /** Tell the page where to go; show what is stored of it before the page has followed. */
  async lead(goal, position = this.goal ?? this.data.list.position) {
    this.way = position < this.data.list.position ? -1 : 1;
    this.goal = position;
    this.number += 1;
    this.later = null;
    const wish = this.wish(goal);
    const act = { ...this.leading?.act };
    if ("id" in goal || "to" in goal) {
      delete act.id;
      delete act.to;
    }
    const leading = (this.leading = { wish, act: { ...act, ...goal }, context: this.page.context });
    this.begin();
    if (!this.page.frames || this.data.region) {
      this.sendStep();
      return;
    }
    const places = Object.keys(wish).length === 1 && this.page.context === this.data.context;
    const entry = places ? this.found({ id: wish.image, position: Number(wish.at) }) : null;
    const asked = entry ? { entry } : this.ask(wish);
    if (!asked.entry) {
      const late = setTimeout(() => this.leading === leading && this.sendStep(), TELL_PAGE_AFTER_MS);
      await asked.promise;
      if (this.leading !== leading) return;
      if (!asked.entry) {
        clearTimeout(late);
        if (!leading.sent) this.sendStep();
        return;
      }
      clearTimeout(late);
    }
    this.show(asked.entry);
    if (leading.sent) return;
    // After the frame: the page's own work would keep it waiting.
    this.sending ??= requestAnimationFrame(() => setTimeout(() => {
      this.sending = null;
      this.sendStep();
    }));
  },

  begin() {
    this.root.dataset.busy = "true";
    this.askedAt = performance.now();
    this.leads = false;
    clearTimeout(this.asking);
    clearTimeout(this.again);
    clearTimeout(this.resting);
  },

  show({ data, loaded }) {
    const { arrival, look } = this.data;
    this.turn = (this.turn ?? 0) + 1; // what is being loaded is of what was left
    this.leads = true;
    this.apply({ ...data, arrival, look }, ...loaded);
    this.markOthers(true);
  },

  sendStep() {
    const { leading } = this;
    if (!leading || leading.picked || !this.trigger) return;
    leading.sent = true;
    const { act, context } = leading;
    this.trigger("act", { what: "show", ...act, number: this.number, context, subject: this.data.subject });
  },

  /** Whether what the page sends is what the viewer waits for, or newer. */
  isFollowedBy(data) {
    const { leading } = this;
    if (!leading) return true;
    if (leading.picked) return data.subject === leading.subject && data.context === leading.context;
    return data.heard >= this.number;
  },

  /** The page shows what the viewer asked for last, or nothing was asked. */
  confirmed(loaded) {
    this.goal = null;
    this.leading = null;
    this.leads = false;
    this.number = this.data.heard;
    this.root.dataset.busy = "false";
    const { context, list, region, frames } = this.data;
    if (frames && !region) {
      const entry = { context, position: list.position, data: this.data, loaded };
      const key = JSON.stringify([context, [["image", this.idOf(this.data)]]]);
      this.frames.delete(key);
      this.frames.set(key, { entry, promise: Promise.resolve(entry) });
      this.holdFew();
    }
    const later = this.later;
    this.later = null;
    if (later && later.subject === this.data.subject) this.act(later);
    if (!this.pageRuns()) this.pageChanged();
  },

  // --- pickers of the page -------------------------------------------------------------------------------------------

  /** The option of a picker that an event is about, which the page is told of by the picker itself. */
  optionOf(event) {
    const typed = event.type.startsWith("key");
    const id = typed ? event.target.getAttribute?.("aria-activedescendant") : null;
    const option = typed ? id && document.getElementById(id) : event.target.closest?.("[role=option]");
    const list = option?.closest("[role=listbox]");
    const input = list?.id && document.querySelector(`input[aria-controls="${CSS.escape(list.id)}"]`);
    const picker = input && Object.keys(PICKERS).find((name) => input.closest(`.${name}`));
    return picker ? { input, label: option.textContent, wish: { [PICKERS[picker]]: option.textContent } } : null;
  },

  hearPicker(event) {
    if (!this.data?.frames || this.data.region || (event.type === "keydown" && event.key !== "Enter")) return;
    const option = this.optionOf(event);
    if (!option) return;
    if (event.type === "pointerup" || event.type === "keydown") this.pick(option);
    else this.rest(() => this.wish(option.wish));
  },

  /** Show what is stored of what was picked, unless the page is faster. */
  async pick({ input, label, wish }) {
    if (this.isWaiting()) {
      this.sendStep(); // the page hears of it before
      return;
    }
    const { updates } = this;
    const before = this.data;
    const asked = this.wish(wish);
    this.begin();
    const entry = await this.ask(asked).promise;
    const late = performance.now() + PICKER_FOLLOWS_MS;
    while (entry && input.value !== label && performance.now() < late) await new Promise(requestAnimationFrame);
    const same = entry?.data.subject === before.subject && entry?.context === before.context;
    if (!entry || same || this.updates !== updates || this.isWaiting() || input.value !== label) {
      if (!this.isWaiting()) this.root.dataset.busy = "false";
      return;
    }
    this.leading = { picked: true, wish: asked, act: {}, subject: entry.data.subject, context: entry.context };
    this.show(entry);
  },

  /** The page has come to rest and shows something else than what was picked: an error, or another choice since. */
  showPage() {
    if (!this.leading?.picked) return;
    this.leading = null;
    this.take(this.page);
  },

  // --- the rest of the page ------------------------------------------------------------------------------------------

  /** Streamlit fades what it is about to send again; the picture does not, while it will be the same. */
  stays(on) {
    this.root.getRootNode().host?.closest("[data-testid=stElementContainer]")?.toggleAttribute(STAYS, on);
  },

  /** Dim the rest of the page while it is of what was shown before: one cover is drawn faster than each part paler. */
  markOthers(on) {
    this.stays(on);
    const page = this.root.getRootNode().host?.closest("[data-testid=stMainBlockContainer]");
    page?.toggleAttribute(COVERED, on);
    for (const element of document.querySelectorAll(`[${OF_ANOTHER}]`)) element.removeAttribute(OF_ANOTHER);
    if (!on || !page) return;
    page.style.setProperty("--cxr-ground", getComputedStyle(document.querySelector("[data-testid=stApp]")).backgroundColor);
    let here = this.root.getRootNode().host;
    while (here !== page) {
      for (const other of here.parentElement.children) {
        if (other !== here && !other.querySelector("h1")) other.setAttribute(OF_ANOTHER, "");
      }
      here = here.parentElement;
    }
  },
};

if (!document.getElementById("cxr-of-another")) {
  const rules = `
    [${COVERED}] { position: relative; }
    [${COVERED}]::after { content: ""; position: absolute; inset: 0; z-index: 1; opacity: 0.7; pointer-events: none;
      background: var(--cxr-ground); }
    [${COVERED}] :is([${STAYS}], [data-testid=stElementContainer]:has(h1)) { position: relative; z-index: 2; }
    [${STAYS}] { opacity: 1 !important; }`;
  document.head.append(make("style", { id: "cxr-of-another" }, rules));
}
