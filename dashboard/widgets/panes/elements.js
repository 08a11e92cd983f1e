// The elements of a viewer. A method of Viewer.

const ELEMENTS = {
  build() {
    const group = (label, ...children) => make("div", { class: "group", role: "group", "aria-label": label }, ...children);
    this.tools = {
      pan: button("pan", "Move", "v", () => this.choose("pan")),
      window: button("window", "Window and level", "w", () => this.choose("window")),
      box: button("box", "Box: predict without it", "b", () => this.choose("box")),
      lasso: button("lasso", "Lasso: predict without it", "l", () => this.choose("lasso")),
      measure: button("measure", "Measure", "m", () => this.choose("measure")),
    };
    press(this.tools.pan, true);
    this.kinds = {
      xray: toggle("X-ray", "X-ray (1)", () => this.turnKind("xray")),
      heatmap: toggle("Heatmap", "Heatmap (2)", () => this.turnKind("heatmap")),
      overlay: toggle("Overlay", "Overlay (3)", () => this.turnKind("overlay")),
    };
    this.invert = button("invert", "Invert", "i", () => this.change({ invert: !this.look.invert }));
    this.zoomed = make("span", { class: "number" });
    this.previous = button("previous", "Previous X-ray", "←", () => this.step(-1));
    this.next = button("next", "Next X-ray", "→", () => this.step(1));
    this.position = make("span", { class: "number" });
    this.steps = group("X-rays", this.previous, this.position, this.next);
    this.opacity = slider("Opacity", 0, 1, 0.05, (n) => n.toFixed(2), (opacity) => this.change({ opacity }));
    const cut = (n) => `${Math.round(100 * n)} %`;
    this.threshold = slider("Threshold", 0, 0.95, 0.05, cut, (threshold) => this.change({ threshold }));
    this.percentile = slider("Percentile", 95, 100, 0.1, (n) => n.toFixed(1), (percentile) => this.change({ percentile }));
    this.percentile.root.title = "Relevance of this percentile of its size gets full colour.";
    this.threshold.root.title = "Relevance below this share of the scale is not shown.";
    this.colours = choice("Colours", [], (colours) => this.change({ colours }));
    const scales = [["row", "shared scale"], ["image", "scale per map"], ["fixed", "fixed scale"]];
    this.scale = choice("Scale", scales, (scale) => this.turnScale(scale));
    this.fixed = make("input", { type: "number", min: 0, step: "any", "aria-label": "Relevance at full colour" });
    this.fixed.addEventListener("input", () => {
      const fixed = Number(this.fixed.value);
      if (fixed > 0) this.change({ fixed });
    });
    this.extras = make("span", { class: "group" });
    this.outlineButtons = group("Outlines");
    this.prediction = make("div", { class: "prediction", "aria-label": "Prediction", role: "group" });
    this.grid = make("div", { class: "grid" });
    this.stage = make("div", { class: "stage" }, this.prediction, this.grid);
    this.readout = make("span", { class: "readout" });
    this.message = make("span", { class: "message", role: "status" });
    this.sentence = make("p", { class: "sentence" });
    this.region = make("section", { class: "region", "aria-label": "Prediction without the region", hidden: "" });
    this.strip = make("div", { class: "strip", role: "group", "aria-label": "Neighbouring X-rays" });
    this.help = helpDialog();
    this.head = make(
      "div",
      { class: "head" },
      make(
        "div",
        { class: "bar" },
        this.steps,
        group("Tools", ...Object.values(this.tools)),
        group("Panes", ...Object.values(this.kinds), this.extras),
        group(
          "Enlargement",
          button("less", "Reduce", "−", () => this.zoomBy(0.8)),
          this.zoomed,
          button("more", "Enlarge", "+", () => this.zoomBy(1.25)),
          button("fit", "Whole X-ray", "0", () => this.fit()),
          this.invert,
        ),
        group(
          "Pictures",
          button("copy", "Copy as PNG with legend", "", () => this.copy()),
          button("save", "Save as SVG with legend", "", () => this.save()),
          button("full", "Full screen", "f", () => this.full()),
          button("present", "Presentation", "t", () => this.present()),
          button("help", "Keys and mouse", "?", () => this.help.showModal()),
        ),
      ),
      make(
        "div",
        { class: "bar look" },
        this.opacity.root,
        this.threshold.root,
        this.percentile.root,
        this.colours.root,
        this.scale.root,
        this.fixed,
        this.outlineButtons,
      ),
    );
    this.foot = make("div", { class: "foot" }, this.readout, this.message);
    this.root = make(
      "div",
      { class: "viewer", tabindex: "0", role: "group", "aria-label": "Viewer of X-ray and relevance" },
      this.head, this.stage, this.sentence, this.foot, this.region, this.strip, this.help,
    );
    this.grid.addEventListener("pointerdown", (event) => this.pointerDown(event));
    this.grid.addEventListener("pointermove", (event) => this.pointerMove(event));
    for (const name of ["pointerup", "pointercancel"]) {
      this.grid.addEventListener(name, (event) => this.pointerUp(event));
    }
    this.grid.addEventListener("pointerleave", () => this.leave());
    this.grid.addEventListener("contextmenu", (event) => event.preventDefault());
    this.grid.addEventListener("dblclick", () => this.fit());
    this.grid.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  },
};
