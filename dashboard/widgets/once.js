// What the browser does for every page, from the first page of a tab on.
(() => {
  if (window.cxrOncePerTab) return;
  window.cxrOncePerTab = true;

  // Back pressed twice before the page between has begun: Streamlit would enter that page again when it begins.
  let back = false;
  addEventListener("popstate", () => { back = true; }, true);
  addEventListener("pointerdown", () => { back = false; }, true);
  addEventListener("keydown", (event) => { if (!event.altKey) back = false; }, true);
  const push = history.pushState;
  history.pushState = function (state, title, url) {
    if (back && url && new URL(url, location.href).pathname !== location.pathname) return;
    return push.apply(this, arguments);
  };

  // The button of a command copies it; without a secure connection a browser copies only what is selected.
  addEventListener("click", async (event) => {
    const button = event.target instanceof Element ? event.target.closest(".code > button") : null;
    if (!button) return;
    const pre = button.parentElement.querySelector("pre");
    try {
      await navigator.clipboard.writeText(pre.textContent);
    } catch {
      getSelection().selectAllChildren(pre);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });

  // The first stop of the keyboard leads past the sidebar.
  const skip = document.createElement("button");
  skip.textContent = "Skip to the page";
  skip.style.cssText = "position: fixed; top: -9rem; left: 1rem; z-index: 999999; padding: .5rem 1rem; border-radius: .5rem;"
    + "border: 2px solid currentColor; background: Canvas; color: CanvasText; font: inherit";
  skip.addEventListener("focus", () => { skip.style.top = "1rem"; });
  skip.addEventListener("blur", () => { skip.style.top = "-9rem"; });
  skip.addEventListener("click", () => {
    const page = document.querySelector("[data-testid=stMain]");
    page.tabIndex = -1;
    page.style.outline = "none";
    page.focus();
  });
  document.body.prepend(skip);
})();
