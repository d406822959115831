// Links between tabs, and pictures opened large. Works for markup that is replaced at any time.
(() => {
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

  // The line between before and after stays where it was when a new picture comes.
  const root = document.documentElement;
  document.addEventListener("input", (event) => {
    if (event.target.matches?.("[data-cut]")) root.style.setProperty("--lk-cut", `${event.target.value}%`);
  });

  document.addEventListener("click", (event) => {
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
