// The side and the part of the Extract tab that are open stay open when the page is loaded again.
(() => {
  const names = ["extract-side", "extract-part"];
  const key = (name) => `lookalike-${name}`;

  function choose(name) {
    const wanted = window.sessionStorage.getItem(key(name));
    const input = wanted === null ? null : document.querySelectorAll(`#${name} input`)[Number(wanted)];
    if (input && !input.checked) input.click();
  }

  // The page has been filled once its header names the disk.
  function returnTo() {
    if (!document.querySelector("#header-facts .lk-head-fact") || !document.querySelector("#extract-side input")) {
      window.setTimeout(returnTo, 150);
      return;
    }
    names.forEach(choose);
  }

  document.addEventListener("change", (event) => {
    const name = names.find((each) => event.target.closest?.(`#${each}`));
    if (!name) return;
    const inputs = [...document.querySelectorAll(`#${name} input`)];
    window.sessionStorage.setItem(key(name), String(inputs.indexOf(event.target)));
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#tab-extract [data-frame]")) window.sessionStorage.setItem(key("extract-part"), "1");
  });
  returnTo();
})();
