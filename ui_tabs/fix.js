// The frame viewer: shows a frame with its faces, lets the user change them with mouse, finger or keys, and asks the
// page to save each change. What is shown comes as JSON in another element, which the page replaces at any time.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const CHAINS = [[0, 17, 0], [17, 22, 0], [22, 27, 0], [27, 31, 0], [31, 36, 0], [36, 42, 1], [42, 48, 1], [48, 60, 1], [60, 68, 1]];
  const CLICKS = { three: ["one eye", "the other eye", "the middle of the mouth"],
                   five: ["one eye", "the other eye", "the tip of the nose", "one corner of the mouth", "the other corner of the mouth"] };
  const HINTS = { select: "", box: "Drag a box around the face, from the forehead to the chin." };
  const WAIT_MS = 20000;

  const plus = (a, b) => [a[0] + b[0], a[1] + b[1]];
  const minus = (a, b) => [a[0] - b[0], a[1] - b[1]];
  const far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
  const mean = (points) => points.reduce(plus, [0, 0]).map((v) => v / points.length);
  const round = (points) => points.map((p) => p.map((v) => Math.round(v * 100) / 100));

  function turned(points, centre, zoom, angle) {
    const cos = Math.cos(angle) * zoom, sin = Math.sin(angle) * zoom;
    return points.map((p) => { const [x, y] = minus(p, centre); return [centre[0] + cos * x - sin * y, centre[1] + sin * x + cos * y]; });
  }

  // The box around a face that stands as its eyes do: centre, corners, and the handle above it.
  function gripOf(points) {
    const eyes = minus(mean(points.slice(42, 48)), mean(points.slice(36, 42)));
    const angle = Math.atan2(eyes[1], eyes[0]);
    const level = turned(points, [0, 0], 1, -angle);
    const xs = level.map((p) => p[0]), ys = level.map((p) => p[1]);
    const [l, r, t, b] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const gap = 0.12 * Math.max(r - l, b - t);
    const back = (list) => turned(list, [0, 0], 1, angle);
    const [centre] = back([[(l + r) / 2, (t + b) / 2]]);
    const corners = back([[l - gap, t - gap], [r + gap, t - gap], [r + gap, b + gap], [l - gap, b + gap]]);
    const [above, handle] = back([[(l + r) / 2, t - gap], [(l + r) / 2, t - 3 * gap]]);
    return { centre, corners, above, handle, size: Math.max(r - l, b - t) };
  }

  function inside(p, polygon) {
    let within = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      const [a, b] = [polygon[i], polygon[j]];
      if (a[1] > p[1] !== b[1] > p[1] && p[0] < ((b[0] - a[0]) * (p[1] - a[1])) / (b[1] - a[1]) + a[0]) within = !within;
    }
    return within;
  }

  class Viewer {
    constructor(root, trigger) {
      this.root = root;
      this.trigger = trigger;
      this.svg = root.querySelector("[data-stage]");
      this.data = null;
      this.tool = "select";
      this.selected = "";
      this.clicks = [];
      this.drag = null;
      this.near = -1;
      this.waiting = [];
      this.sent = 0; // when the question was asked that waits for its answer
      this.asked = 0;
      this.nudging = 0;
      this.pointers = new Map();
      this.wire();
    }

    part(name) { return this.root.querySelector(`[data-${name}]`); }
    get face() { return this.data?.faces?.find((face) => face.name === this.selected); }
    get pixel() { return 1 / (this.svg.getScreenCTM()?.a || 1); } // frame pixels per pixel of the screen

    // -- what the page says

    show(data) {
      if (this.sent && data.answered !== this.asked) return; // the answer will show it
      if ((this.drag && this.drag.kind !== "pan") || this.nudging) { this.late = data; return; }
      const before = this.data;
      this.data = data;
      this.sent = 0;
      this.part("empty").textContent = data.empty || "";
      this.part("empty").hidden = !data.empty;
      this.part("filled").hidden = Boolean(data.empty);
      if (data.empty) return;
      const moved = !before || before.frame !== data.frame || before.place !== data.place;
      if (moved) { this.clicks = []; this.near = -1; this.selected = ""; }
      if (data.selected) this.selected = data.selected;
      if (!this.face) this.selected = "";
      if (!before || before.empty || before.width !== data.width || before.height !== data.height) this.fit();
      this.fields();
      this.strip();
      this.draw();
      this.next();
    }

    fields() {
      const data = this.data, busy = Boolean(data.busy);
      const set = (name, key, value) => { const el = this.part(name); if (document.activeElement !== el || key === "max") el[key] = value; };
      for (const name of ["slider", "number"]) { set(name, "max", data.count); set(name, "value", data.index + 1); }
      this.part("slider").value = data.index + 1;
      this.part("count").textContent = `of ${data.count.toLocaleString("en")} · ${data.frame}`;
      for (const option of this.part("kind").options) {
        option.dataset.words ||= option.textContent;
        option.textContent = `${option.dataset.words} (${data.counts[option.value].toLocaleString("en")})`;
      }
      set("kind", "value", data.kind);
      set("threshold", "value", data.threshold);
      this.part("threshold-field").hidden = data.kind !== "score";
      const refine = this.part("refine"), choices = JSON.stringify(data.choices);
      if (refine.dataset.choices !== choices) {
        refine.dataset.choices = choices;
        refine.replaceChildren(...data.choices.map((choice) => {
          const option = new Option(choice.why ? `${choice.words} (not here)` : choice.words, choice.value);
          option.disabled = Boolean(choice.why);
          option.title = choice.why;
          return option;
        }));
      }
      refine.value = data.refine;
      const chosen = Boolean(this.face);
      const able = { prev: data.index > 0, next: data.index < data.count - 1, refine: chosen && data.refine !== "none", delete: chosen,
                     "copy-prev": data.index > 0, "copy-next": data.index < data.count - 1, mark: chosen, between: chosen,
                     undo: data.undo, redo: data.redo, "jump-prev": data.counts[data.kind], "jump-next": data.counts[data.kind] };
      const edits = ["refine", "delete", "copy-prev", "copy-next", "between", "undo", "redo"];
      for (const [name, can] of Object.entries(able)) {
        const button = this.root.querySelector(`[data-do="${name}"]`);
        button.disabled = !can || (busy && edits.includes(name));
      }
      this.root.querySelector('[data-do="undo"]').textContent = data.undo ? `Undo: ${data.undo}` : "Undo";
      this.root.querySelector('[data-do="redo"]').textContent = data.redo ? `Redo: ${data.redo}` : "Redo";
      for (const button of this.root.querySelectorAll("[data-tool]")) {
        button.setAttribute("aria-pressed", String(button.dataset.tool === this.tool));
        button.disabled = busy && button.dataset.tool !== "select";
      }
      this.root.dataset.tool = this.tool;
      this.root.toggleAttribute("data-sent", this.sent > 0);
      this.say();
    }

    say() {
      const data = this.data, steps = CLICKS[this.tool];
      let hint = steps ? `Click ${steps[this.clicks.length]}${this.face ? " (replaces the selected face)" : ""}.` : HINTS[this.tool];
      if (data.busy) hint = `${data.busy} Wait for it or stop it to correct faces.`;
      const words = data.problem || (data.failed && data.said) || hint || data.said
        || (this.face ? `${this.face.label} is selected.` : data.faces.length ? "Click a face to select it." : "This frame has no face.");
      this.part("said").textContent = words;
      this.part("said").classList.toggle("lk-fix-failed", Boolean(data.problem || (data.failed && words === data.said)));
    }

    strip() {
      this.part("strip").replaceChildren(...this.data.strip.map((item) => {
        const tile = document.createElement("button");
        tile.type = "button";
        tile.className = "lk-tile";
        tile.dataset.index = item.index;
        if (item.index === this.data.index) tile.setAttribute("aria-current", "true");
        const image = document.createElement(item.url ? "img" : "span");
        if (item.url) { image.src = item.url; image.alt = ""; }
        const caption = document.createElement("span");
        caption.className = "lk-caption";
        const faces = item.faces === 0 ? "no face" : item.faces === 1 ? "1 face" : `${item.faces} faces`;
        caption.textContent = `${item.index + 1} · ${faces}${item.hand ? ", hand" : ""}`;
        caption.classList.toggle("lk-fix-none", item.faces === 0);
        tile.append(image, caption);
        return tile;
      }));
    }

    // -- drawing

    node(name, attributes, text) {
      const made = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      if (text) made.textContent = text;
      return made;
    }

    draw() {
      const { data, view } = this;
      if (!data || data.empty || !view) return;
      this.svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
      this.svg.style.aspectRatio = `${data.width} / ${data.height}`;
      let image = this.svg.querySelector("image");
      if (!image) this.svg.append((image = this.node("image", { x: 0, y: 0 })));
      if (image.getAttribute("href") !== data.url) image.setAttribute("href", data.url);
      image.setAttribute("width", data.width);
      image.setAttribute("height", data.height);
      this.svg.querySelector("g")?.remove();
      const layer = this.node("g", {});
      for (const face of data.faces) layer.append(this.drawn(face));
      const dot = this.pixel;
      for (const [x, y] of this.clicks) layer.append(this.node("circle", { cx: x, cy: y, r: 4 * dot, class: "lk-fix-click" }));
      if (this.drag?.kind === "box") {
        const [a, b] = [this.drag.from, this.drag.to];
        layer.append(this.node("rect", { x: Math.min(a[0], b[0]), y: Math.min(a[1], b[1]), width: Math.abs(a[0] - b[0]), height: Math.abs(a[1] - b[1]), class: "lk-fix-new" }));
      }
      this.svg.append(layer);
    }

    drawn(face) {
      const chosen = face.name === this.selected, dot = this.pixel;
      const points = chosen && this.drag?.points ? this.drag.points : face.points;
      const quad = chosen && this.drag?.quad ? this.drag.quad : face.quad;
      const group = this.node("g", { class: `lk-fix-face${chosen ? " lk-fix-chosen" : ""}`, "data-face": face.name, "data-origin": face.origin });
      if (quad.length) group.append(this.node("polygon", { points: quad.join(" "), class: "lk-fix-quad" }));
      const [l, t, r, b] = face.box;
      if (!(chosen && this.drag)) group.append(this.node("rect", { x: l, y: t, width: Math.max(r - l, 0), height: Math.max(b - t, 0), class: "lk-fix-rect" }));
      const lines = CHAINS.map(([from, to, closed]) => `M${points.slice(from, to).map((p) => p.join(" ")).join("L")}${closed ? "Z" : ""}`).join("");
      group.append(this.node("path", { d: lines, class: "lk-fix-lines" }));
      const grip = gripOf(points);
      if (chosen) {
        group.append(this.node("polygon", { points: grip.corners.join(" "), class: "lk-fix-grip" }));
        group.append(this.node("path", { d: `M${grip.above.join(" ")}L${grip.handle.join(" ")}`, class: "lk-fix-grip" }));
        points.forEach(([x, y], i) => group.append(this.node("circle", { cx: x, cy: y, r: i === this.near ? 4.5 * dot : Math.min(1.8 * dot, grip.size / 110), class: i === this.near ? "lk-fix-near" : "lk-fix-point" })));
        for (const [x, y] of grip.corners) group.append(this.node("rect", { x: x - 4 * dot, y: y - 4 * dot, width: 8 * dot, height: 8 * dot, class: "lk-fix-handle" }));
        group.append(this.node("circle", { cx: grip.handle[0], cy: grip.handle[1], r: 5 * dot, class: "lk-fix-handle" }));
      }
      const left = Math.min(...points.map((p) => p[0])), top = Math.min(...[...(chosen ? [grip.handle] : []), ...points].map((p) => p[1]));
      group.append(this.node("text", { x: left, y: top - 8 * dot, "font-size": 12 * dot }, `${face.label}${face.name === this.data.mark ? " (marked)" : ""}`));
      return group;
    }

    // -- zoom and pan

    fit() {
      this.view = { x: 0, y: 0, w: this.data.width, h: this.data.height };
      this.draw();
    }

    zoom(factor, at) {
      const { view, data } = this;
      const wanted = Math.min(Math.max(view.w / factor, data.width / 40), data.width * 2);
      const scale = wanted / view.w, centre = at || [view.x + view.w / 2, view.y + view.h / 2];
      this.view = { x: centre[0] - (centre[0] - view.x) * scale, y: centre[1] - (centre[1] - view.y) * scale, w: wanted, h: view.h * scale };
      this.draw();
    }

    at(event) {
      const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
      return [p.x, p.y];
    }

    // -- what lies under the pointer

    hit(p, touch) {
      const face = this.face, dot = this.pixel, reach = touch ? 2 : 1;
      if (face) {
        const grip = gripOf(face.points);
        if (far(p, grip.handle) < 9 * dot * reach) return { kind: "turn", grip };
        if (grip.corners.some((c) => far(p, c) < 8 * dot * reach)) return { kind: "scale", grip };
        const near = this.nearest(p, Math.min(7 * reach * dot, grip.size / 30));
        if (near >= 0) return { kind: "point", near };
        if (inside(p, grip.corners)) return { kind: "move" };
      }
      const others = this.data.faces.filter((other) => inside(p, gripOf(other.points).corners));
      others.sort((a, b) => far(p, mean(a.points)) - far(p, mean(b.points)));
      return others.length ? { kind: "select", name: others[0].name } : { kind: "pan" };
    }

    nearest(p, reach) {
      let best = -1, least = reach;
      this.face?.points.forEach((point, i) => { const d = far(p, point); if (d < least) { least = d; best = i; } });
      return best;
    }

    // -- pointer

    down(event) {
      if (!this.data || this.data.empty || !this.view) return;
      this.root.focus({ preventScroll: true });
      event.preventDefault();
      this.svg.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
      const p = this.at(event), screen = [event.clientX, event.clientY];
      if (this.pointers.size === 2) { this.pinch = null; this.drag = { kind: "pinch" }; return; }
      if (event.button === 1) { this.drag = { kind: "pan", screen, view: { ...this.view } }; return; }
      if (event.button !== 0) return;
      if (!this.data.busy && CLICKS[this.tool]) { this.click(p); return; }
      if (!this.data.busy && this.tool === "box") { this.drag = { kind: "box", from: p, to: p }; return; }
      const found = this.hit(p, event.pointerType === "touch");
      if (found.kind === "select") { this.choose(found.name); return; }
      if (found.kind === "pan" || this.data.busy) { this.drag = { kind: "pan", screen, view: { ...this.view } }; return; }
      this.drag = { ...found, from: p, points: this.face.points, quad: this.face.quad };
    }

    move(event) {
      if (!this.data || this.data.empty || !this.view) return;
      const p = this.at(event), drag = this.drag;
      if (this.pointers.has(event.pointerId)) this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
      if (!drag) { this.hover(p); return; }
      if (drag.kind === "pinch") { this.pinched(); return; }
      if (drag.kind === "pan") {
        drag.moved ||= far(drag.screen, [event.clientX, event.clientY]) > 4;
        this.view.x = drag.view.x - (event.clientX - drag.screen[0]) * this.pixel;
        this.view.y = drag.view.y - (event.clientY - drag.screen[1]) * this.pixel;
      } else if (drag.kind === "box") {
        drag.to = p;
      } else {
        this.bend(drag, p);
      }
      this.draw();
    }

    bend(drag, p) {
      const face = this.face;
      if (!face) return;
      if (drag.kind === "point") {
        drag.points = face.points.map((point, i) => (i === drag.near ? p : point));
        return;
      }
      let change = (points) => points.map((point) => plus(point, minus(p, drag.from)));
      if (drag.kind !== "move") {
        const { centre } = drag.grip, [a, b] = [minus(drag.from, centre), minus(p, centre)];
        const zoom = drag.kind === "scale" ? Math.max(Math.hypot(...b) / Math.hypot(...a), 0.05) : 1;
        const angle = drag.kind === "turn" ? Math.atan2(b[1], b[0]) - Math.atan2(a[1], a[0]) : 0;
        change = (points) => turned(points, centre, zoom, angle);
      }
      drag.points = change(face.points);
      drag.quad = change(face.quad);
    }

    up(event) {
      this.pointers.delete(event.pointerId);
      const drag = this.drag;
      this.drag = null;
      if (drag) this.finish(drag, event.type === "pointercancel");
      if (this.late) { const late = this.late; this.late = null; this.show(late); }
    }

    finish(drag, cancelled) {
      if (cancelled || drag.kind === "pinch") { this.draw(); return; }
      if (drag.kind === "pan") { if (!drag.moved && this.tool === "select") this.choose(""); return; }
      if (drag.kind === "box") {
        const [a, b] = [drag.from, drag.to];
        const box = round([[Math.min(a[0], b[0]), Math.min(a[1], b[1])], [Math.max(a[0], b[0]), Math.max(a[1], b[1])]]).flat();
        this.draw();
        if (Math.min(box[2] - box[0], box[3] - box[1]) < 4) return;
        this.pick("select");
        this.edit({ do: "place", box });
      } else if (drag.points !== this.face?.points && this.face) {
        this.save(drag.points, drag.quad);
      }
    }

    hover(p) {
      const near = this.tool === "select" && !this.data.busy && this.face ? this.hit(p, false) : { kind: "" };
      this.svg.style.cursor = { move: "move", scale: "nwse-resize", turn: "grab", point: "crosshair", select: "pointer", pan: "grab" }[near.kind] || "";
      const index = near.kind === "point" ? near.near : -1;
      if (index !== this.near) { this.near = index; this.draw(); }
    }

    pinched() {
      const [a, b] = [...this.pointers.values()];
      if (!a || !b) return;
      const now = { gap: far(a, b), mid: mean([a, b]) }, last = this.pinch;
      this.pinch = now;
      if (!last) return;
      this.view.x -= (now.mid[0] - last.mid[0]) * this.pixel;
      this.view.y -= (now.mid[1] - last.mid[1]) * this.pixel;
      this.zoom(now.gap / Math.max(last.gap, 1), this.at({ clientX: now.mid[0], clientY: now.mid[1] }));
    }

    // -- corrections

    click(p) {
      this.clicks.push(p);
      if (this.clicks.length === CLICKS[this.tool].length) {
        const points = round(this.clicks);
        this.pick("select");
        this.edit({ do: "place", points, ...this.target() });
      } else {
        this.say();
        this.draw();
      }
    }

    target() { return this.face ? { name: this.face.name, seen: this.face.seen } : {}; }

    save(points, quad) {
      const face = this.face, target = this.target();
      Object.assign(face, { points, quad, box: [0, 0, 0, 0] });
      this.draw();
      this.edit({ do: "place", landmarks: round(points), plain: true, ...target });
    }

    nudge(by) {
      if (!this.face || this.data.busy) return;
      const shift = (points) => points.map((p) => plus(p, by));
      Object.assign(this.face, { points: shift(this.face.points), quad: shift(this.face.quad) });
      this.draw();
      clearTimeout(this.nudging);
      this.nudging = setTimeout(() => this.nudged(), 350);
    }

    nudged() {
      clearTimeout(this.nudging);
      this.nudging = 0;
      this.late = null;
      if (this.face) this.save(this.face.points, this.face.quad);
    }

    edit(asked) {
      this.data.said = "";
      this.ask({ frame: this.data.frame, ...asked });
    }

    // One question at a time; of several looks at frames only the last one is asked.
    ask(asked) {
      if (this.nudging) this.nudged();
      const looks = ["go", "choose"];
      if (looks.includes(asked.do)) this.waiting = this.waiting.filter((other) => other.do !== asked.do || asked.do === "choose");
      this.waiting.push(asked);
      if (!this.sent) this.next();
      this.fields();
    }

    next() {
      const asked = this.waiting.shift();
      if (!asked) return;
      const sent = (this.sent = Date.now());
      setTimeout(() => { if (this.sent === sent) { this.sent = 0; this.fields(); this.next(); } }, asked.do === "between" ? 6 * WAIT_MS : WAIT_MS);
      this.asked += 1;
      this.trigger("select", { ...asked, ask: this.asked });
      this.root.toggleAttribute("data-sent", !["go", "jump", "choose", "mark"].includes(asked.do));
    }

    choose(name) {
      this.selected = name;
      this.near = -1;
      this.data.said = "";
      this.fields();
      this.draw();
    }

    pick(tool) {
      this.tool = tool;
      this.clicks = [];
      this.data.said = "";
      this.fields();
      this.draw();
    }

    go(index) {
      if (index >= 0 && index < this.data.count) this.ask({ do: "go", index });
    }

    act(name) {
      const data = this.data, button = this.root.querySelector(`[data-do="${name}"]`);
      if (!data || data.empty || button?.disabled) return;
      const all = {
        prev: () => this.go(data.index - 1), next: () => this.go(data.index + 1),
        "jump-prev": () => this.ask({ do: "jump", step: -1 }), "jump-next": () => this.ask({ do: "jump", step: 1 }),
        "zoom-in": () => this.zoom(1.5), "zoom-out": () => this.zoom(1 / 1.5), fit: () => this.fit(),
        refine: () => this.edit({ do: "place", landmarks: round(this.face.points), ...this.target() }),
        delete: () => this.edit({ do: "delete", name: this.face.name }),
        "copy-prev": () => this.edit({ do: "copy", step: -1, ...this.target() }),
        "copy-next": () => this.edit({ do: "copy", step: 1, ...this.target() }),
        mark: () => this.ask({ do: "mark", frame: data.frame, name: this.face.name }),
        between: () => this.edit({ do: "between", name: this.face.name }),
        undo: () => this.edit({ do: "undo" }), redo: () => this.edit({ do: "redo" }),
      };
      all[name]();
    }

    // -- keys and buttons

    key(event) {
      if (!this.data || this.data.empty || event.altKey || event.target.matches("input, select")) return;
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if ((event.ctrlKey || event.metaKey) && !["z", "y"].includes(key)) return;
      const step = event.shiftKey ? 10 : 1;
      const arrows = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
      const names = { ",": "prev", ".": "next", n: event.shiftKey ? "jump-prev" : "jump-next", r: "refine", Delete: "delete", Backspace: "delete",
                      c: "copy-prev", v: "copy-next", m: "mark", i: "between", z: event.shiftKey ? "redo" : "undo", y: "redo",
                      "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", 0: "fit" };
      const tools = { s: "select", b: "box", e: "three", p: "five" };
      if (arrows[key] && this.face) this.nudge(arrows[key]);
      else if (names[key]) this.act(names[key]);
      else if (tools[key] && (key === "s" || !this.data.busy)) this.pick(tools[key]);
      else if (key === "f") this.another();
      else if (key === "Escape") this.escape();
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    another() {
      const names = this.data.faces.map((face) => face.name);
      if (names.length) this.choose(names[(names.indexOf(this.selected) + 1) % names.length]);
    }

    escape() {
      if (this.drag) { this.drag = null; this.draw(); }
      else if (this.tool !== "select" || this.clicks.length) this.pick("select");
      else this.choose("");
    }

    wheel(event) {
      if (!this.view || !(event.ctrlKey || this.root.contains(document.activeElement))) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * 0.0015), this.at(event));
    }

    wire() {
      const { root, svg } = this;
      svg.addEventListener("pointerdown", (event) => this.down(event));
      svg.addEventListener("pointermove", (event) => this.move(event));
      svg.addEventListener("pointerup", (event) => this.up(event));
      svg.addEventListener("pointercancel", (event) => this.up(event));
      svg.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
      root.addEventListener("keydown", (event) => this.key(event));
      root.addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (!button || !this.data || this.data.empty) return;
        if (button.dataset.do) this.act(button.dataset.do);
        else if (button.dataset.tool) this.pick(button.dataset.tool);
        else if (button.dataset.index) this.go(Number(button.dataset.index));
        if (event.detail > 0) root.focus({ preventScroll: true });
      });
      this.part("slider").addEventListener("input", (event) => this.go(Number(event.target.value) - 1));
      this.part("number").addEventListener("change", (event) => this.go(Math.round(Number(event.target.value)) - 1));
      this.part("kind").addEventListener("change", (event) => this.ask({ do: "choose", kind: event.target.value }));
      this.part("threshold").addEventListener("change", (event) => this.ask({ do: "choose", threshold: Number(event.target.value) }));
      this.part("refine").addEventListener("change", (event) => this.ask({ do: "choose", refine: event.target.value }));
      new ResizeObserver(() => this.draw()).observe(svg);
    }
  }

  // Gradio puts both elements on the page; whichever comes first waits for the other.
  window.lookalikeFix = (element, trigger, dataId) => {
    const root = element.querySelector("[data-fix]");
    let source = document.getElementById(dataId);
    if (!element.isConnected) return;
    if (!source || !root) { window.setTimeout(() => window.lookalikeFix(element, trigger, dataId), 100); return; }
    const viewer = new Viewer(root, trigger);
    let draw = "";
    const read = () => {
      const text = source.querySelector("div[hidden]")?.textContent;
      if (!text || text === draw) return;
      draw = text;
      viewer.show(JSON.parse(text));
    };
    // The elements are made anew when the part of the page that they lie in is shown again.
    const observer = new MutationObserver(() => { if (root.isConnected) read(); else observer.disconnect(); });
    observer.observe(source, { childList: true, subtree: true, characterData: true });
    const again = window.setInterval(() => {
      if (!root.isConnected) { window.clearInterval(again); observer.disconnect(); return; }
      const now = document.getElementById(dataId);
      if (now && now !== source) { source = now; observer.observe(source, { childList: true, subtree: true, characterData: true }); read(); }
    }, 500);
    read();
  };
})();
