// The merged frame: draws it before and after, lets the user zoom, compare and step through the clip with mouse, finger
// or keys, and asks the page for changes. Where it stands and the newest picture come as JSON in two other elements.
(() => {
  const lookalike = (window.lookalike = window.lookalike || {});
  const WAIT_MS = 20000;
  const SLIDE_MS = 120;
  const KEPT = 12; // decoded pictures: up to four of each render
  const GREEN = "#46e07c", AMBER = "#f1bd5b";
  const MODES = { Backquote: "original", Digit1: "overlay", Digit2: "hist-match", Digit3: "seamless", Digit4: "seamless-hist-match",
                  Digit5: "raw-rgb", Digit6: "raw-predict", Digit7: "hist-match-gray" };
  const STEPS = { KeyQ: ["hist_match_threshold", 1], KeyA: ["hist_match_threshold", -1], KeyW: ["erode_mask", 1], KeyS: ["erode_mask", -1],
                  KeyE: ["blur_mask", 1], KeyD: ["blur_mask", -1], KeyR: ["motion_blur", 1], KeyF: ["motion_blur", -1],
                  KeyT: ["super_resolution", 1], KeyG: ["super_resolution", -1], KeyY: ["sharpen_amount", 1], KeyH: ["sharpen_amount", -1],
                  KeyU: ["face_scale", 1], KeyJ: ["face_scale", -1], KeyI: ["denoise", 1], KeyK: ["denoise", -1],
                  KeyO: ["bicubic_degrade", 1], KeyL: ["bicubic_degrade", -1], KeyP: ["color_degrade", 1], Semicolon: ["color_degrade", -1] };
  const OTHERS = { KeyZ: { do: "toggle" }, KeyX: { do: "cycle", field: "mask_mode" }, KeyC: { do: "cycle", field: "color_transfer" },
                   KeyN: { do: "cycle", field: "sharpen_mode" } };
  const TEXT = "textarea, select, [contenteditable=true], input:not([type=range], [type=checkbox], [type=radio], [type=button])";
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

  // What the user looks at survives a reload, and the newest window's choice a restart.
  const memory = {
    name: (place) => `lookalike-merge-${place}`,
    get(place) {
      try { return JSON.parse(sessionStorage.getItem(this.name(place)) || localStorage.getItem(this.name(place)) || "{}"); }
      catch { return {}; }
    },
    set(place, what) {
      const text = JSON.stringify({ ...this.get(place), ...what });
      try { sessionStorage.setItem(this.name(place), text); localStorage.setItem(this.name(place), text); } catch { /* it is only a comfort */ }
    },
  };

  class Frame {
    constructor(root, trigger) {
      this.root = root;
      this.trigger = trigger;
      this.canvas = root.querySelector("[data-stage]");
      this.state = null;
      this.shot = null; // the newest answer of the child
      this.seen = null; // the one whose pictures are drawn
      this.images = null;
      this.loaded = new Map();
      this.turn = 0;
      this.view = "compare";
      this.faces = false;
      this.zoom = 0; // pixels of the screen per pixel of the frame; 0 fits
      this.centre = [0, 0];
      this.cut = 0.5;
      this.pointers = new Map();
      this.drag = null;
      this.waiting = [];
      this.sent = 0;
      this.asked = 0;
      this.wire();
    }

    part(name) { return this.root.querySelector(`[data-${name}]`); }

    // -- what the page says

    stand(state) {
      if (this.sent && state.answered !== this.asked) return; // the answer will show it
      const moved = !this.state || this.state.place !== state.place;
      this.state = state;
      this.sent = 0;
      this.going = undefined;
      this.part("empty").textContent = state.empty || "";
      this.part("empty").hidden = !state.empty;
      this.part("filled").hidden = Boolean(state.empty);
      if (state.empty) return;
      if (moved) this.recall();
      this.fields();
      this.strip();
      this.draw();
      this.next();
    }

    recall() {
      const kept = memory.get(this.state.place);
      if (this.seen?.place !== this.state.place) this.images = this.seen = null; // the picture may come first
      this.zoom = 0;
      if (kept.view) this.view = kept.view;
      this.faces = Boolean(kept.faces);
      if (kept.frame && kept.frame !== this.state.frame && kept.frame <= this.state.count) this.ask({ do: "go", frame: kept.frame });
    }

    async take(shot) {
      this.shot = shot;
      const turn = ++this.turn;
      if (!shot.error) {
        try {
          const [before, after, mask] = await Promise.all([shot.before, shot.after, shot.mask].map((url) => this.load(url)));
          if (turn !== this.turn) return;
          const other = !this.images || this.images.before.width !== before.width || this.images.before.height !== before.height;
          this.images = { before, after, mask };
          this.seen = shot;
          if (other) this.fit();
          await this.alpha();
        } catch {
          if (turn !== this.turn) return;
          shot.error = "The rendered picture could not be loaded.";
        }
      }
      this.say();
      this.draw();
    }

    async load(url) {
      const known = this.loaded.get(url);
      if (known) return known;
      const image = new Image();
      image.src = url;
      await image.decode();
      this.loaded.set(url, image);
      while (this.loaded.size > KEPT) this.loaded.delete(this.loaded.keys().next().value);
      return image;
    }

    // The picture over a checkerboard is only fetched when somebody looks at it.
    async alpha() {
      const { images, seen } = this;
      if (this.view !== "alpha" || !images || images.alpha) return;
      images.alpha = await this.load(seen.alpha).catch(() => null);
    }

    fields() {
      const { state } = this;
      const set = (name, key, value) => { const el = this.part(name); if (document.activeElement !== el || key === "max") el[key] = value; };
      for (const name of ["slider", "number"]) { set(name, "max", state.count); set(name, "value", state.frame); }
      if (!this.sliding) this.part("slider").value = state.frame;
      this.part("count").textContent = `of ${state.count.toLocaleString("en")} · ${state.stem}`;
      this.part("look").textContent = state.look;
      for (const [name, can] of Object.entries(state.able)) this.root.querySelector(`[data-do="${name}"]`).disabled = !can;
      this.looks();
      this.say();
    }

    looks() {
      for (const button of this.root.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === this.view));
      this.part("faces").setAttribute("aria-pressed", String(this.faces));
      this.part("cut-at").hidden = this.view !== "compare";
      this.part("zoom").textContent = this.zoom ? `${Math.round(this.zoom * (window.devicePixelRatio || 1) * 100)} %` : "fit";
    }

    say() {
      const { state, shot } = this;
      if (!state || state.empty) return;
      const due = this.sent > 0 || !shot || shot.want !== state.want;
      this.root.toggleAttribute("data-due", due);
      const problem = this.part("problem"), error = (state.failed && state.said) || (!due && shot.error) || "";
      problem.hidden = !error;
      if (problem.firstChild?.textContent !== error) {
        problem.replaceChildren(error);
        if (!state.failed) problem.append(" ", Object.assign(document.createElement("button"), { type: "button", className: "lk-link", textContent: "Try again" }));
        problem.querySelector("button")?.setAttribute("data-do", "again");
      }
      const told = this.seen && !due && !shot.error ? `Frame ${this.seen.frame.toLocaleString("en")}, rendered in ${this.seen.seconds.toFixed(2)} s.` : "";
      this.part("said").textContent = [!state.failed && state.said, told].filter(Boolean).join(" ") || "Rendering.";
    }

    strip() {
      const { state } = this, text = JSON.stringify(state.strip);
      if (this.striped !== text) {
        this.striped = text;
        this.part("strip").replaceChildren(...state.strip.map((item) => {
          const tile = document.createElement("button");
          tile.type = "button";
          tile.className = "lk-tile";
          tile.dataset.frame = item.frame;
          tile.title = `Frame ${item.frame.toLocaleString("en")}${item.key ? "; a look begins here or before the next picture" : ""}`;
          const image = document.createElement(item.url ? "img" : "span");
          if (item.url) { image.src = item.url; image.alt = ""; }
          const caption = document.createElement("span");
          caption.className = "lk-caption";
          caption.textContent = `${item.key ? "◆ " : ""}${item.frame.toLocaleString("en")}`;
          tile.append(image, caption);
          return tile;
        }));
      }
      const before = state.strip.findLast((item) => item.frame <= state.frame);
      for (const tile of this.part("strip").children) tile.toggleAttribute("aria-current", Number(tile.dataset.frame) === before?.frame);
      this.bar();
    }

    bar() {
      const { state } = this, part = (frame) => `${((frame - 1) / state.count) * 100}%`;
      const made = (cls, left, width, title) => {
        const el = document.createElement("span");
        el.className = cls;
        el.style.left = left;
        if (width) el.style.width = width;
        if (title) el.title = title;
        return el;
      };
      const text = JSON.stringify([state.runs, state.keys, state.count]);
      if (this.barred !== text) {
        this.barred = text;
        this.part("runs").replaceChildren(...state.runs.map(([first, last, what]) => made(`lk-merge-${what}`, part(first), `${((last - first + 1) / state.count) * 100}%`)));
        this.part("keys").replaceChildren(...state.keys.map((frame) => made("lk-merge-key", part(frame), "", `A look begins at frame ${frame.toLocaleString("en")}`)));
        const number = (what) => state.runs.reduce((sum, [first, last, which]) => sum + (which === what ? last - first + 1 : 0), 0);
        const [merged, stale] = [number("merged"), number("stale")];
        const words = [["lk-merge-merged", `${merged.toLocaleString("en")} merged`], ["lk-merge-stale", `${stale.toLocaleString("en")} out of date`], ["lk-merge-missing", `${(state.count - merged - stale).toLocaleString("en")} missing`]];
        if (state.keys.length) words.push(["lk-merge-key", `${state.keys.length} key frame${state.keys.length === 1 ? "" : "s"}`]);
        this.part("legend").replaceChildren(...words.map(([cls, word]) => {
          const item = document.createElement("span"), mark = document.createElement("i");
          mark.className = cls;
          item.append(mark, word);
          return item;
        }));
      }
      this.part("here").style.left = part(state.frame + 0.5);
    }

    // -- drawing

    get panels() {
      const { clientWidth: w, clientHeight: h } = this.canvas;
      if (this.view !== "side") return [{ x: 0, w, h }];
      return [{ x: 0, w: w / 2 - 2, h, what: "before" }, { x: w / 2 + 2, w: w / 2 - 2, h, what: "after" }];
    }

    get size() { return this.images ? [this.images.before.width, this.images.before.height] : [16, 9]; }
    get fitting() { const [{ w, h }] = this.panels, [iw, ih] = this.size; return Math.min(w / iw, h / ih); }
    get scale() { return this.zoom || this.fitting; }

    draw() {
      const { canvas, images } = this;
      if (!images || !canvas.clientWidth) return;
      const [iw, ih] = this.size, dpr = window.devicePixelRatio || 1;
      canvas.style.touchAction = this.zoom ? "none" : "pan-y";
      canvas.style.aspectRatio = `${this.view === "side" ? 2 * iw : iw} / ${ih}`;
      const [w, h] = [Math.round(canvas.clientWidth * dpr), Math.round(canvas.clientHeight * dpr)];
      if (canvas.width !== w) canvas.width = w;
      if (canvas.height !== h) canvas.height = h;
      const pen = canvas.getContext("2d");
      pen.setTransform(dpr, 0, 0, dpr, 0, 0);
      pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
      pen.imageSmoothingEnabled = this.scale * dpr < 3;
      pen.imageSmoothingQuality = "high";
      for (const panel of this.panels) this.panel(pen, panel);
    }

    panel(pen, panel) {
      const { images, scale } = this, [iw, ih] = this.size;
      const [x, y] = [panel.x + panel.w / 2 - this.centre[0] * scale, panel.h / 2 - this.centre[1] * scale];
      const paint = (image) => { // a raw prediction is a square of its own
        const share = Math.min(iw / image.width, ih / image.height) * scale, [w, h] = [image.width * share, image.height * share];
        pen.drawImage(image, x + (iw * scale - w) / 2, y + (ih * scale - h) / 2, w, h);
      };
      pen.save();
      pen.beginPath();
      pen.rect(panel.x, 0, panel.w, panel.h);
      pen.clip();
      if (panel.what) paint(images[panel.what]);
      else if (this.view === "mask") paint(images.mask);
      else if (this.view === "alpha") paint(images.alpha || images.after);
      else paint(images.after);
      if (this.view === "compare") this.compare(pen, panel, () => paint(images.before));
      if (this.faces && panel.what !== "before") this.outlines(pen, x, y);
      pen.restore();
    }

    compare(pen, panel, before) {
      const at = this.cut * panel.w;
      pen.save();
      pen.beginPath();
      pen.rect(0, 0, at, panel.h);
      pen.clip();
      before();
      pen.restore();
      pen.fillStyle = "#000";
      pen.fillRect(at - 2, 0, 4, panel.h);
      pen.fillStyle = "#fff";
      pen.fillRect(at - 1, 0, 2, panel.h);
    }

    outlines(pen, x, y) {
      pen.font = "12px system-ui, sans-serif";
      pen.textBaseline = "bottom";
      for (const face of this.seen?.faces || []) {
        const placed = (list) => list.map(([px, py]) => [x + px * this.scale, y + py * this.scale]);
        const points = placed(face.points);
        pen.strokeStyle = face.fine ? GREEN : AMBER;
        for (const [line, width] of [[points, 1.5], [placed(face.corners), 0.75]]) {
          pen.beginPath();
          line.forEach(([px, py], i) => (i ? pen.lineTo(px, py) : pen.moveTo(px, py)));
          pen.closePath();
          pen.lineWidth = width;
          pen.stroke();
        }
        const left = Math.max(Math.min(...points.map((p) => p[0])), 4), top = Math.max(Math.min(...points.map((p) => p[1])) - 4, 16);
        pen.lineWidth = 3;
        pen.strokeStyle = "#000";
        pen.strokeText(face.label, left, top);
        pen.fillStyle = face.fine ? GREEN : AMBER;
        pen.fillText(face.label, left, top);
      }
    }

    // -- zoom and pan

    fit() {
      this.zoom = 0;
      this.centre = this.size.map((v) => v / 2);
      this.looks();
      this.draw();
    }

    zoomTo(scale, at) {
      if (!this.images) return;
      const now = this.scale, wanted = clamp(scale, Math.min(this.fitting, 1) / 2, 40), around = at || this.centre;
      this.centre = this.centre.map((v, i) => around[i] - ((around[i] - v) * now) / wanted);
      this.zoom = wanted;
      this.looks();
      this.draw();
    }

    at(event) {
      const box = this.canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      const panel = this.panels.find((p) => x <= p.x + p.w) || this.panels.at(-1);
      return [this.centre[0] + (x - panel.x - panel.w / 2) / this.scale, this.centre[1] + (y - panel.h / 2) / this.scale];
    }

    // -- pointer

    down(event) {
      if (!this.images || event.button > 1) return;
      event.preventDefault();
      this.root.focus({ preventScroll: true });
      this.canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
      if (this.pointers.size === 2) { this.drag = { kind: "pinch" }; return; }
      const box = this.canvas.getBoundingClientRect(), reach = event.pointerType === "touch" ? 28 : 12;
      const near = Math.abs(event.clientX - box.left - this.cut * box.width) < reach;
      const [at] = this.at(event), inside = at >= 0 && at <= this.size[0];
      const cuts = this.view === "compare" && event.button === 0 && (near || (!this.zoom && inside));
      this.drag = cuts ? { kind: "cut" } : { kind: "pan", from: [event.clientX, event.clientY], centre: this.centre };
      if (cuts) this.cutAt((event.clientX - box.left) / box.width);
    }

    move(event) {
      const { drag } = this;
      if (!drag || !this.pointers.has(event.pointerId)) return;
      const box = this.canvas.getBoundingClientRect(), before = [...this.pointers.values()];
      this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
      if (drag.kind === "cut") this.cutAt((event.clientX - box.left) / box.width);
      if (drag.kind === "pan") {
        const by = [event.clientX - drag.from[0], event.clientY - drag.from[1]];
        if (!this.zoom) return; // the whole frame is there already
        this.centre = drag.centre.map((v, i) => v - by[i] / this.scale);
        this.draw();
      }
      if (drag.kind === "pinch" && before.length === 2) {
        const now = [...this.pointers.values()], gap = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
        const middle = { clientX: (now[0][0] + now[1][0]) / 2, clientY: (now[0][1] + now[1][1]) / 2 };
        this.zoomTo((this.scale * gap(now)) / gap(before), this.at(middle));
      }
    }

    up(event) {
      this.pointers.delete(event.pointerId);
      if (!this.pointers.size) this.drag = null;
    }

    cutAt(share) {
      this.cut = clamp(share, 0, 1);
      this.part("cut-at").value = Math.round(this.cut * 1000);
      this.draw();
    }

    wheel(event) {
      if (!this.images || !(event.ctrlKey || this.root.contains(document.activeElement))) return;
      event.preventDefault();
      this.zoomTo(this.scale * Math.exp(-event.deltaY * 0.0015), this.at(event));
    }

    // -- questions to the page: one at a time; of several frames only the last, steps of one setting as one

    ask(asked) {
      const last = this.waiting.at(-1);
      if (asked.do === "go") this.waiting = this.waiting.filter((other) => other.do !== "go");
      if (asked.do === "nudge" && last?.do === "nudge" && last.field === asked.field) last.by += asked.by;
      else this.waiting.push(asked);
      if (!this.sent) this.next();
    }

    next() {
      const asked = this.waiting.shift();
      if (!asked) return;
      const sent = (this.sent = Date.now());
      setTimeout(() => { if (this.sent === sent) { this.sent = 0; this.say(); this.next(); } }, WAIT_MS);
      this.asked += 1;
      this.going = asked.do === "go" ? asked.frame : undefined;
      this.trigger("select", { ...asked, ask: this.asked });
      this.root.setAttribute("data-due", "");
    }

    go(frame) {
      const { state } = this;
      if (!state || state.empty || !Number.isFinite(frame)) return;
      const wanted = clamp(Math.round(frame), 1, state.count);
      memory.set(state.place, { frame: wanted });
      this.ask({ do: "go", frame: wanted });
    }

    // What is typed as a number of a frame; the field shows what comes of it.
    type(field) {
      const wanted = field.value.trim() ? clamp(Math.round(field.valueAsNumber), 1, this.state.count) : this.state.frame;
      field.value = wanted;
      this.go(wanted);
    }

    // While the slider is dragged only a few frames are asked for, the last one in any case.
    slide(frame, last) {
      this.part("number").value = frame;
      clearTimeout(this.sliding);
      this.sliding = last ? 0 : setTimeout(() => this.go(frame), SLIDE_MS);
      if (last) this.go(frame);
    }

    // Where the next step begins: the frame that was asked for last, else the shown one.
    get heading() { return this.waiting.findLast((asked) => asked.do === "go")?.frame ?? this.going ?? this.state.frame; }

    look(view) {
      this.view = view;
      memory.set(this.state.place, { view });
      this.looks();
      this.draw();
      this.alpha().then(() => this.draw());
    }

    act(name) {
      const { state } = this;
      if (name === "help") { this.help(); return; }
      if (!state || state.empty || state.able[name] === false) return;
      const all = {
        first: () => this.go(1), prev: () => this.go(this.heading - 1), next: () => this.go(this.heading + 1), last: () => this.go(state.count),
        "change-prev": () => this.ask({ do: "change", step: -1 }), "change-next": () => this.ask({ do: "change", step: 1 }),
        "zoom-in": () => this.zoomTo(this.scale * 1.5), "zoom-out": () => this.zoomTo(this.scale / 1.5),
        fit: () => this.fit(), full: () => this.zoomTo(1 / (window.devicePixelRatio || 1)),
      };
      (all[name] || (() => this.ask({ do: name })))();
    }

    help() {
      const dialog = this.part("help");
      if (dialog.open) dialog.close();
      else dialog.showModal();
    }

    // -- keys, by their place on the keyboard

    key(event) {
      if (!this.state || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (!this.root.offsetParent || event.target.matches?.(TEXT)) return;
      if (event.code === "F1") { event.preventDefault(); this.help(); return; }
      if (this.state.empty || document.querySelector("dialog[open]")) return;
      if (!this.press(event.code, event.shiftKey, event.target)) return;
      event.preventDefault();
      event.stopPropagation();
    }

    press(code, shift, target) {
      if (MODES[code]) this.ask({ do: "mode", mode: MODES[code] });
      else if (STEPS[code]) this.ask({ do: "nudge", field: STEPS[code][0], by: STEPS[code][1] * (shift ? 5 : 1) });
      else if (OTHERS[code]) this.ask({ ...OTHERS[code] });
      else if (code === "KeyM") this.ask(shift ? { do: "before" } : { do: "copy", step: -1 });
      else if (code === "Slash") this.ask(shift ? { do: "after" } : { do: "copy", step: 1 });
      else if (code === "KeyV") this.look(this.view === "alpha" ? this.viewed || "compare" : ((this.viewed = this.view), "alpha"));
      else if (code.startsWith("Arrow")) {
        if (target !== this.root || !["ArrowLeft", "ArrowRight"].includes(code)) return false;
        this.act(code === "ArrowLeft" ? "prev" : "next");
      } else {
        const names = { Comma: shift ? "first" : "prev", Period: shift ? "last" : "next", BracketLeft: "change-prev", BracketRight: "change-next",
                        KeyB: "key", Minus: "zoom-out", Equal: "zoom-in", Digit9: "fit", Digit0: "full" };
        if (!names[code]) return false;
        this.act(names[code]);
      }
      return true;
    }

    // -- wiring

    wire() {
      const { root, canvas } = this;
      canvas.addEventListener("pointerdown", (event) => this.down(event));
      canvas.addEventListener("pointermove", (event) => this.move(event));
      for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.up(event));
      canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
      canvas.addEventListener("dblclick", () => (this.zoom ? this.fit() : this.act("full")));
      root.addEventListener("click", (event) => this.click(event));
      this.part("slider").addEventListener("input", (event) => this.slide(Number(event.target.value), false));
      this.part("slider").addEventListener("change", (event) => this.slide(Number(event.target.value), true));
      this.part("number").addEventListener("change", (event) => this.type(event.target));
      this.part("cut-at").addEventListener("input", (event) => this.cutAt(Number(event.target.value) / 1000));
      new ResizeObserver(() => this.draw()).observe(canvas);
      const key = (event) => (root.isConnected ? this.key(event) : document.removeEventListener("keydown", key));
      document.addEventListener("keydown", key);
    }

    click(event) {
      const button = event.target.closest("button");
      if (button?.dataset.do) this.act(button.dataset.do);
      else if (!this.state || this.state.empty) return;
      else if (button?.dataset.view) this.look(button.dataset.view);
      else if (button && "faces" in button.dataset) {
        this.faces = !this.faces;
        memory.set(this.state.place, { faces: this.faces });
        this.looks();
        this.draw();
      } else if (button?.dataset.frame) this.go(Number(button.dataset.frame));
      else if (event.target.closest("[data-bar]")) {
        const box = this.part("bar").getBoundingClientRect();
        this.go(1 + Math.floor(((event.clientX - box.left) / box.width) * this.state.count));
      }
    }
  }

  // Gradio puts the elements on the page, and makes them anew when their part of it is shown again.
  lookalike.merge = (element, trigger, standsId, shotId) => {
    if (!element.isConnected) return;
    const root = element.querySelector("[data-merge]");
    if (!root) { window.setTimeout(() => lookalike.merge(element, trigger, standsId, shotId), 100); return; }
    const frame = new Frame(root, trigger);
    lookalike.mergeGo = (number) => frame.go(number);
    const follow = (id, show) => {
      let source = null, known = "";
      const read = () => {
        const text = source?.querySelector("div[hidden]")?.textContent;
        if (!text || text === known) return;
        known = text;
        show(JSON.parse(text));
      };
      const observer = new MutationObserver(() => (root.isConnected ? read() : observer.disconnect()));
      const look = () => {
        const now = document.getElementById(id);
        if (now && now !== source) { source = now; observer.observe(source, { childList: true, subtree: true, characterData: true }); }
        read();
      };
      const again = window.setInterval(() => { if (root.isConnected) look(); else { window.clearInterval(again); observer.disconnect(); } }, 500);
      look();
    };
    follow(standsId, (state) => frame.stand(state));
    follow(shotId, (shot) => frame.take(shot));
  };
})();
