// What speaks against a value, what has no effect and what a value comes to, beside the field it is about.
// The form says it in elements with data-at (ids of fields), data-in (ids of their closed groups), data-kind and
// data-say; fields in a closed group are not on the page until it is opened, so the group is marked as well.
(() => {
  const RANK = ["fault", "caution", "moot", "fact"];
  let due = false;

  function collect() {
    const fields = new Map();
    const groups = new Map();
    for (const said of document.querySelectorAll("[data-at]")) {
      const { kind, say } = said.dataset;
      for (const id of said.dataset.at.split(" ").filter(Boolean)) {
        if (!fields.has(id)) fields.set(id, []);
        fields.get(id).push({ kind, say });
      }
      if (kind === "moot" || kind === "fact") continue;
      for (const id of (said.dataset.in || "").split(" ").filter(Boolean)) {
        if (groups.get(id) !== "fault") groups.set(id, kind);
      }
    }
    return { fields, groups };
  }

  function write(field, lines) {
    lines.sort((one, other) => RANK.indexOf(one.kind) - RANK.indexOf(other.kind));
    const said = JSON.stringify(lines);
    let box = field.querySelector(":scope > .lk-at");
    if (!box) {
      box = document.createElement("div");
      box.className = "lk-at";
      field.append(box);
    }
    if (box.dataset.said !== said) {
      box.dataset.said = said;
      box.replaceChildren(...lines.map(({ kind, say }) => {
        const line = document.createElement("p");
        line.dataset.kind = kind;
        line.textContent = say;
        return line;
      }));
    }
    still(field, lines.some(({ kind }) => kind === "moot"));
  }

  // A field without effect is grey and cannot be reached; its reason stays readable.
  function still(field, moot) {
    if (moot) field.dataset.moot = "";
    else delete field.dataset.moot;
    for (const part of field.children) {
      if (!part.classList.contains("lk-at")) part.inert = moot;
    }
  }

  function place() {
    due = false;
    const { fields, groups } = collect();
    for (const box of document.querySelectorAll(".lk-at")) {
      const field = box.parentElement;
      if (fields.has(field.id)) continue;
      box.remove();
      still(field, false);
    }
    for (const [id, lines] of fields) {
      const field = document.getElementById(id);
      if (field) write(field, lines);
    }
    for (const marked of document.querySelectorAll("[data-marked]")) {
      if (!groups.has(marked.id)) delete marked.dataset.marked;
    }
    for (const [id, kind] of groups) {
      const group = document.getElementById(id);
      if (group && group.dataset.marked !== kind) group.dataset.marked = kind;
    }
  }

  function later() {
    if (due) return;
    due = true;
    window.requestAnimationFrame(place);
  }

  function begin() {
    new MutationObserver(later).observe(document.body, { childList: true, subtree: true });
    later();
  }

  if (document.body) begin();
  else document.addEventListener("DOMContentLoaded", begin);
})();
