// Links between tabs, pictures opened large, and a reload that comes back to the same project and tab.
// Works for markup that is replaced at any time.
(() => {
  // Gradio keeps a loading status for every input of every event that ever ended, and at every step of every event it
  // looks up each of them in the tree of components: after a form with sixty fields was read once, a key press of the
  // viewers took 300 ms longer. No field of this page shows such a status, so an event has no inputs when it asks
  // whether a component is one. Where Gradio works otherwise this does nothing.
  for (const event of window.gradio_config?.dependencies || []) {
    Object.defineProperty(event.inputs, "includes", { value: () => false, configurable: true });
  }

  function openTab(name) {
    const button = document.getElementById(`tab-${name}-button`);
    if (button) button.click();
  }

  function closeLarge() {
    document.getElementById("lk-large")?.remove();
  }

  function openLarge(source) {
    closeLarge();
    const dialog = document.createElement("dialog");
    dialog.id = "lk-large";
    const image = document.createElement("img");
    image.src = source.dataset.full;
    image.alt = source.title || "";
    const caption = document.createElement("p");
    caption.textContent = source.title || "";
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    dialog.append(image, caption, close);
    dialog.addEventListener("click", closeLarge);
    dialog.addEventListener("close", closeLarge);
    document.body.append(dialog);
    dialog.showModal();
  }

  function keepProject() {
    const name = document.querySelector("#header-project input")?.value;
    const url = new URL(window.location.href);
    if (name && url.searchParams.get("project") !== name) {
      url.searchParams.set("project", name);
      window.history.replaceState(window.history.state, "", url);
    }
  }

  function returnToTab() {
    const name = window.sessionStorage.getItem("lookalike-tab");
    if (!name || name === "project") return;
    const found = document.getElementById(`tab-${name}-button`);
    if (found && document.querySelector("#header-facts .lk-head-fact")) found.click();
    else window.setTimeout(returnToTab, 150);
  }

  // A number typed at a slider counts once it lies in the slider's range, at the latest when the field is left: on the
  // way to 128 the 1 is no mistake, and what is shown afterwards is what the page has got.
  let held = "";
  function beyond(field) {
    if (!field.matches?.('[data-testid="number-input"][min][max]')) return null;
    const wanted = field.value === "" ? held : field.value;
    const within = String(Math.min(Math.max(Number(wanted), Number(field.min)), Number(field.max)));
    return field.value !== "" && Number(within) === Number(field.value) ? null : within;
  }
  document.addEventListener("focusin", (event) => { held = event.target.value; });
  document.addEventListener("input", (event) => { if (beyond(event.target) !== null) event.stopPropagation(); }, true);
  document.addEventListener("blur", (event) => {
    const within = beyond(event.target);
    if (within === null) return;
    event.target.value = within;
    event.target.dispatchEvent(new Event("input", { bubbles: true }));
  }, true);

  window.setInterval(keepProject, 1000);
  returnToTab();

  document.addEventListener("click", (event) => {
    const tab = event.target.closest?.("#tabs [role=tab][id^=tab-]");
    if (tab) window.sessionStorage.setItem("lookalike-tab", tab.id.slice(4, -7));
    const link = event.target.closest?.("[data-goto]");
    if (link) {
      event.preventDefault();
      openTab(link.dataset.goto);
      return;
    }
    const picture = event.target.closest?.("[data-full]");
    if (picture) {
      event.preventDefault();
      openLarge(picture);
    }
  });
})();
