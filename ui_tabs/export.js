// The Export tab: format cards, rows of the queue, and results of which only what is different is drawn anew.
(() => {
  const lookalike = (window.lookalike = window.lookalike || {});

  // A group that is drawn anew keeps the keyboard's place.
  function keepFocus(element, nameOf) {
    let focused = null;
    const note = (event) => { focused = element.contains(event.target) ? nameOf(event.target) : null; };
    document.addEventListener("focusin", note);
    document.addEventListener("pointerdown", note);
    new MutationObserver(() => {
      if (!focused || document.activeElement !== document.body) return;
      const again = [...element.querySelectorAll("button")].find((button) => nameOf(button) === focused);
      again?.focus({ preventScroll: true });
    }).observe(element, { childList: true, subtree: true });
  }

  lookalike.exportCards = (element, trigger) => {
    keepFocus(element, (target) => target.closest?.("[data-card]")?.dataset.card || null);
    element.addEventListener("click", (event) => {
      const card = event.target.closest("[data-card]");
      if (card) trigger("select", { card: card.dataset.card });
      if (event.target.closest("[data-dfm]")) unfold(["train-care", "train-dfm-fold"], 20);
    });
  };

  // A tab and what is folded are put on the page only when they are opened, one after the other.
  function unfold(ids, tries) {
    const fold = document.getElementById(ids[0]);
    const label = fold?.offsetParent ? fold.querySelector(".label-wrap") : null;
    if (!label) {
      if (tries) window.setTimeout(() => unfold(ids, tries - 1), 200);
      return;
    }
    if (!label.classList.contains("open")) label.click();
    if (ids.length > 1) unfold(ids.slice(1), 20);
    else window.setTimeout(() => fold.scrollIntoView({ block: "center" }), 400);
  }

  // The name of a job opens it in the Queue tab.
  lookalike.exportRows = (element) => {
    element.addEventListener("click", (event) => {
      if (event.target.closest('[data-act="show"]')) window.setTimeout(() => document.getElementById("tab-queue-button")?.click(), 150);
    });
  };

  function part(name, markup) {
    const made = document.createElement("div");
    made.dataset.part = name;
    made.innerHTML = markup;
    return made;
  }

  // Moving a playing film on the page would stop it, so what stays is never moved: what is new goes before it.
  function show(list, state) {
    const wanted = new Map(state.cards.map((card) => [card.name, card]));
    const other = list.dataset.project !== state.project;
    list.dataset.project = state.project;
    for (const node of [...list.children]) if (other || !wanted.has(node.dataset.result)) node.remove();
    if (!state.cards.length) list.innerHTML = `<p class="lk-empty">${state.empty}</p>`;
    const order = [...list.children].filter((node) => wanted.has(node.dataset.result));
    let next = 0;
    for (const card of state.cards) {
      while (order[next]?.dataset.moved) next += 1;
      let node = order[next]?.dataset.result === card.name ? order[next] : null;
      if (node) next += 1;
      else {
        node = order.find((each) => each.dataset.result === card.name) || document.createElement("article");
        node.dataset.moved = "1";
        list.insertBefore(node, order[next] || null);
      }
      fill(node, card);
    }
    for (const node of list.children) delete node.dataset.moved;
  }

  function fill(node, card) {
    node.className = "lk-result";
    node.dataset.result = card.name;
    if (node.dataset.key !== card.key) {
      node.querySelector('[data-part="player"]')?.remove();
      node.prepend(part("player", card.player));
      node.dataset.key = card.key;
    }
    if (node.known === card.body) return;
    node.querySelector('[data-part="body"]')?.remove();
    node.append(part("body", card.body));
    node.known = card.body;
  }

  function unplayable(video) {
    const said = document.createElement("p");
    said.className = "lk-note";
    said.textContent = "This browser cannot play it. Download it to watch it.";
    video.replaceWith(said);
  }

  async function copy(button) {
    try {
      await navigator.clipboard.writeText(button.dataset.path);
      button.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(button.closest("[data-part]").querySelector(".lk-note"));
      window.getSelection().removeAllRanges();
      window.getSelection().addRange(range);
      button.textContent = "Selected, copy it by hand";
    }
  }

  function press(event, trigger) {
    const button = event.target.closest("[data-act]");
    if (!button) return;
    const card = button.closest("[data-result]"), act = button.dataset.act;
    const ask = card.querySelector('[data-act="ask"]'), sure = card.querySelector(".lk-sure");
    if (act === "copy") copy(button);
    else if (act === "delete" || act === "verify") {
      button.disabled = act === "delete";
      trigger("select", { act, name: card.dataset.result });
      if (act === "verify") document.getElementById("export-verify")?.scrollIntoView({ block: "center", behavior: "smooth" });
    } else {
      // Deleting takes two steps: the first button only shows the second.
      const asking = act === "ask";
      sure.hidden = !asking;
      ask.hidden = asking;
      (asking ? sure.querySelector('[data-act="keep"]') : ask).focus();
    }
  }

  lookalike.exportResults = (element, trigger, dataId) => {
    const list = element.querySelector("[data-results]");
    if (!list) {
      if (element.isConnected) window.setTimeout(() => lookalike.exportResults(element, trigger, dataId), 100);
      return;
    }
    element.addEventListener("click", (event) => press(event, trigger));
    element.addEventListener("error", (event) => { if (event.target.tagName === "VIDEO") unplayable(event.target); }, true);
    let known = "", source = null;
    const read = () => {
      const text = source?.querySelector("div[hidden]")?.textContent;
      if (!text || text === known) return;
      known = text;
      show(list, JSON.parse(text));
    };
    const observer = new MutationObserver(read);
    const again = window.setInterval(() => {
      if (!list.isConnected) { window.clearInterval(again); observer.disconnect(); return; }
      const now = document.getElementById(dataId);
      if (now && now !== source) { source = now; observer.observe(now, { childList: true, subtree: true, characterData: true }); }
      read();
    }, 300);
  };
})();
