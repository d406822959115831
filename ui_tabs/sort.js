// The map of head poses: click or drag over cells, or use the arrow keys. And the switches of the inspector's layers.
(() => {
  const lookalike = (window.lookalike = window.lookalike || {});
  const COLUMNS = 15;
  const REPORT_MS = 250;
  const LAYERS = "lookalike-layers-off";

  lookalike.poseMap = (element, trigger) => {
    let paint = null, timer = null;
    const cellOf = (target) => target?.closest?.("[data-cell]");
    const isOn = (cell) => cell.getAttribute("aria-pressed") === "true";

    // A cell stands for the same pose on both maps.
    function press(number, on) {
      element.querySelectorAll(`[data-cell="${number}"]`).forEach((cell) => cell.setAttribute("aria-pressed", on ? "true" : "false"));
    }

    function report() {
      clearTimeout(timer);
      timer = setTimeout(() => {
        const on = element.querySelectorAll('[data-side="src"] [data-cell][aria-pressed="true"]');
        trigger("select", { cells: [...on].map((cell) => cell.dataset.cell) });
      }, REPORT_MS);
    }

    function spread(to) {
      const [a, b] = [Number(paint.from), Number(to.dataset.cell)];
      const [top, bottom] = [a, b].map((n) => Math.floor(n / COLUMNS)).sort((x, y) => x - y);
      const [left, right] = [a, b].map((n) => n % COLUMNS).sort((x, y) => x - y);
      element.querySelectorAll('[data-side="src"] [data-cell]').forEach((cell) => {
        const number = Number(cell.dataset.cell), row = Math.floor(number / COLUMNS), column = number % COLUMNS;
        const inside = row >= top && row <= bottom && column >= left && column <= right;
        press(number, inside ? paint.on : paint.before.has(cell.dataset.cell));
      });
    }

    element.addEventListener("pointerdown", (event) => {
      const cell = cellOf(event.target);
      if (!cell || event.button !== 0) return;
      const before = new Set([...element.querySelectorAll('[data-side="src"] [aria-pressed="true"]')].map((c) => c.dataset.cell));
      paint = { from: cell.dataset.cell, on: !isOn(cell), before };
      cell.releasePointerCapture?.(event.pointerId);
      spread(cell);
    });
    element.addEventListener("pointermove", (event) => {
      const cell = paint && cellOf(document.elementFromPoint(event.clientX, event.clientY));
      if (cell && element.contains(cell)) spread(cell);
    });
    window.addEventListener("pointerup", () => {
      if (paint && element.isConnected) report();
      paint = null;
    });

    element.addEventListener("keydown", (event) => {
      const cell = cellOf(event.target);
      if (!cell) return;
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -COLUMNS, ArrowDown: COLUMNS }[event.key];
      if (step) {
        const next = cell.parentElement.children[Number(cell.dataset.cell) + step];
        if (next) { cell.tabIndex = -1; next.tabIndex = 0; next.focus(); }
        event.preventDefault();
      } else if (event.key === " " || event.key === "Enter") {
        press(cell.dataset.cell, !isOn(cell));
        report();
        event.preventDefault();
      }
    });
  };

  // Open the Extract tab; side, part and frame are noted on the server. Kept in the browser for a reload, as a click is.
  lookalike.openFrame = () => {
    const side = [...document.querySelectorAll("#sort-side input")].findIndex((box) => box.checked);
    window.sessionStorage.setItem("lookalike-extract-side", String(side));
    window.sessionStorage.setItem("lookalike-extract-part", "1");
    document.getElementById("tab-extract-button")?.click();
  };

  // Which layers are off is kept in the browser, so that the next face shows the same.
  lookalike.layers = (element) => {
    const off = () => new Set((window.localStorage.getItem(LAYERS) ?? "hull").split(",").filter(Boolean));

    function show() {
      const hidden = off();
      element.querySelectorAll("[data-switch]").forEach((box) => { box.checked = !hidden.has(box.dataset.switch); });
      element.querySelectorAll("[data-layer]").forEach((layer) => { layer.style.display = hidden.has(layer.dataset.layer) ? "none" : ""; });
    }

    element.addEventListener("change", (event) => {
      const name = event.target.dataset?.switch;
      if (!name) return;
      const hidden = off();
      if (event.target.checked) hidden.delete(name);
      else hidden.add(name);
      window.localStorage.setItem(LAYERS, [...hidden].join(","));
      show();
    });
    new MutationObserver(show).observe(element, { childList: true, subtree: true });
    show();
  };
})();
