// Selecting faces in a gallery: click, range, rectangle, keyboard. The server keeps the selection; here it is only shown
// ahead of the answer. `lookalike.gallery` is called by each gallery of the page once it appears.
(() => {
  const lookalike = (window.lookalike = window.lookalike || {});
  const galleries = new Map();
  const REPORT_MS = 120;
  const HEARD_MS = 1500;
  const DRAG_PX = 6;
  const EDGE_PX = 48;
  const ACTS = { Delete: "remove", Escape: "clear", i: "invert" };
  const GRID_ACTS = { Enter: "open", PageDown: "next", PageUp: "prev", e: "after", b: "before" };

  lookalike.gallery = (element, trigger, key, keyboard) => {
    const self = { element, anchor: null, focus: null, inside: false, timer: null, recent: null };
    const tiles = () => [...element.querySelectorAll("[data-name]")];
    const named = (name) => tiles().find((tile) => tile.dataset.name === name);
    const isOn = (tile) => tile.getAttribute("aria-pressed") === "true";
    const press = (tile, on) => tile.setAttribute("aria-pressed", on ? "true" : "false");

    function state() {
      const all = tiles();
      const names = all.filter(isOn).map((tile) => tile.dataset.name);
      return { shown: all.map((tile) => tile.dataset.name), names, at: self.focus || "" };
    }

    // Until the server has surely heard of it, a page that it drew before must not take a press back.
    function report() {
      clearTimeout(self.timer);
      self.recent = { until: Infinity, on: new Map(tiles().map((tile) => [tile.dataset.name, isOn(tile)])) };
      self.timer = setTimeout(() => {
        self.recent.until = Date.now() + HEARD_MS;
        trigger("select", state());
      }, REPORT_MS);
    }

    function pressAgain() {
      if (!self.recent || Date.now() > self.recent.until) return;
      for (const tile of tiles()) {
        const on = self.recent.on.get(tile.dataset.name);
        if (on !== undefined) press(tile, on);
      }
    }

    // What an action does is decided by the server; the selection of this page goes along, so that nothing is missed.
    self.act = (act, more = {}) => {
      clearTimeout(self.timer);
      self.recent = null;
      trigger("submit", { act, ...state(), ...more });
      self.foresee(act);
    };

    // Show at once what an action will select on this page, so that the next key counts from there.
    self.foresee = (act) => {
      const all = tiles();
      const place = all.indexOf(named(self.focus));
      const wanted = {
        clear: () => false,
        invert: (tile) => !isOn(tile),
        page: () => true,
        after: (tile, at) => isOn(tile) || (place >= 0 && at >= place),
        before: (tile, at) => isOn(tile) || at <= place,
      }[act];
      if (wanted) all.forEach((tile, at) => press(tile, wanted(tile, at)));
    };

    function range(from, to, on) {
      const all = tiles();
      const first = all.indexOf(from), last = all.indexOf(to);
      for (let at = Math.min(first, last); at <= Math.max(first, last); at++) press(all[at], on);
    }

    function focusOn(tile, scroll = true) {
      element.querySelectorAll('[data-name][tabindex="0"]').forEach((other) => other.setAttribute("tabindex", "-1"));
      tile.setAttribute("tabindex", "0");
      tile.focus({ preventScroll: true });
      if (scroll) tile.scrollIntoView({ block: "nearest" });
      self.focus = tile.dataset.name;
    }

    element.addEventListener("focusin", (event) => {
      const tile = event.target.closest("[data-name]");
      if (tile) { self.inside = true; self.focus = tile.dataset.name; self.place = tiles().indexOf(tile); }
    });
    element.addEventListener("focusout", (event) => { if (event.target.isConnected) self.inside = false; });

    element.addEventListener("click", (event) => {
      const tile = event.target.closest("[data-name]");
      if (!tile || self.dragged) return;
      const before = self.anchor && named(self.anchor);
      if (event.shiftKey && before) range(before, tile, isOn(before));
      else { press(tile, !isOn(tile)); self.anchor = tile.dataset.name; }
      focusOn(tile, false);
      report();
    });
    element.addEventListener("dblclick", (event) => {
      const tile = event.target.closest("[data-name]");
      if (tile && keyboard) self.act("open", { at: tile.dataset.name });
    });
    element.addEventListener("dragstart", (event) => event.preventDefault());
    rectangle(self, { tiles, isOn, press, report });

    // After the server drew the page anew: the keyboard goes on at the same face, or at the one in its place. Tiles may
    // have been made anew or may have got other names.
    let drawn = null;
    new MutationObserver(() => {
      const draw = element.querySelector(".lk-grid")?.dataset.draw;
      if (!draw || draw === drawn) return;
      drawn = draw;
      pressAgain();
      const all = tiles();
      const found = self.focus && named(self.focus);
      const at = found || all[Math.min(self.place ?? 0, all.length - 1)];
      if (self.inside && at) focusOn(at, false);
      else if (!found) self.focus = null;
    }).observe(element, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-draw"] });

    function move(to, extend) {
      const from = named(self.focus) || to;
      if (extend) {
        const start = named(self.anchor) || from;
        press(start, true);
        range(from, to, true);
        report();
      } else {
        self.anchor = to.dataset.name;
      }
      focusOn(to);
    }

    // Whether the key meant something here.
    self.key = (event, inGrid) => {
      const all = tiles();
      const at = named(self.focus) || all[0];
      const control = event.ctrlKey || event.metaKey;
      self.place = Math.max(0, all.indexOf(at));
      if (control && event.key.toLowerCase() === "z") { self.act("undo"); return true; }
      if (control && inGrid && event.key.toLowerCase() === "a") {
        all.forEach((tile) => press(tile, true));
        report();
        return true;
      }
      if (control || event.altKey) return false;
      if (event.key === "Escape" && closePanel()) return true;
      if (inGrid && at) {
        const step = steps(all, self.place)[event.key];
        if (step !== undefined) { move(all[step], event.shiftKey); return true; }
        if (event.key === " ") {
          press(at, !isOn(at));
          self.anchor = at.dataset.name;
          report();
          return true;
        }
      }
      const act = (inGrid && GRID_ACTS[event.key]) || ACTS[event.key];
      if (act) self.act(act);
      return Boolean(act);
    };

    if (keyboard) galleries.set(key, self);
    return self;
  };

  function steps(all, place) {
    const row = all.findIndex((tile) => tile.offsetTop !== all[0].offsetTop);
    const columns = row < 0 ? all.length : row;
    const last = all.length - 1;
    return {
      ArrowLeft: Math.max(0, place - 1),
      ArrowRight: Math.min(last, place + 1),
      ArrowUp: place - columns < 0 ? place : place - columns,
      ArrowDown: Math.min(last, place + columns),
      Home: 0,
      End: last,
    };
  }

  function closePanel() {
    const close = document.getElementById("sort-inspect-close");
    if (!close || !close.offsetParent) return false;
    close.click();
    return true;
  }

  // A rectangle drawn with the mouse selects what it touches; begun on a selected face it takes away.
  function rectangle(self, { tiles, isOn, press, report }) {
    const { element } = self;
    let begin = null, before = null, band = null, on = true, last = null, scrolling = 0;

    function draw() {
      const box = element.getBoundingClientRect();
      const x = Math.min(Math.max(last.clientX, box.left), box.right), y = Math.min(Math.max(last.clientY, box.top), box.bottom);
      const from = { x: begin.x + box.left, y: begin.y + box.top };
      const [left, right] = [Math.min(from.x, x), Math.max(from.x, x)];
      const [top, bottom] = [Math.min(from.y, y), Math.max(from.y, y)];
      Object.assign(band.style, {
        left: `${left - box.left}px`, top: `${top - box.top}px`, width: `${right - left}px`, height: `${bottom - top}px`,
      });
      for (const tile of tiles()) {
        const r = tile.getBoundingClientRect();
        const hit = r.left < right && r.right > left && r.top < bottom && r.bottom > top;
        press(tile, hit ? on : before.get(tile.dataset.name) === true);
      }
    }

    function scroll() {
      if (!band) return;
      const beyond = last.clientY < EDGE_PX + 60 ? -12 : last.clientY > window.innerHeight - EDGE_PX ? 12 : 0;
      if (beyond) { window.scrollBy(0, beyond); draw(); }
      scrolling = requestAnimationFrame(scroll);
    }

    function move(event) {
      last = event;
      const box = element.getBoundingClientRect();
      const far = Math.hypot(event.clientX - box.left - begin.x, event.clientY - box.top - begin.y) > DRAG_PX;
      if (!band && far) {
        before = new Map(tiles().map((tile) => [tile.dataset.name, isOn(tile)]));
        band = document.createElement("div");
        band.className = "lk-band";
        element.append(band);
        self.dragged = true;
        scrolling = requestAnimationFrame(scroll);
      }
      if (band) draw();
    }

    function end() {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      window.removeEventListener("pointercancel", end);
      cancelAnimationFrame(scrolling);
      if (band) { band.remove(); report(); }
      band = null;
      setTimeout(() => { self.dragged = false; });
    }

    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch" || !element.querySelector("[data-name]")) return;
      const box = element.getBoundingClientRect();
      const tile = event.target.closest("[data-name]");
      begin = { x: event.clientX - box.left, y: event.clientY - box.top };
      on = !(tile && isOn(tile));
      window.addEventListener("pointermove", move);
      window.addEventListener("pointerup", end);
      window.addEventListener("pointercancel", end);
    });
  }

  const BUTTONS = { clear: "clear", invert: "invert", "page-all": "page", all: "page", after: "after", before: "before" };
  document.addEventListener("click", (event) => {
    const id = event.target.closest?.("button[id]")?.id;
    for (const [key, gallery] of galleries) {
      if (id) gallery.recent = null;
      const act = id?.startsWith(`${key}-`) && BUTTONS[id.slice(key.length + 1)];
      if (act) gallery.foresee(act);
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.target.closest?.("input, textarea, select, [contenteditable=true], dialog, [data-own-keys]")) return;
    for (const gallery of galleries.values()) {
      if (!gallery.element.isConnected || !gallery.element.offsetParent) continue;
      const inGrid = gallery.element.contains(event.target);
      if (gallery.key(event, inGrid)) event.preventDefault();
    }
  });
})();
