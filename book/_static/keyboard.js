// Whatever scrolls sideways can be reached and scrolled with the keyboard, and fades out where it goes on.
addEventListener("load", () => {
  for (const part of document.querySelectorAll("article table, article .output, article .table-wrapper, article pre")) {
    if (part.scrollWidth <= part.clientWidth) continue;
    part.tabIndex = 0;
    const fade = () => part.classList.toggle("goes-on", part.scrollLeft + part.clientWidth < part.scrollWidth - 1);
    part.addEventListener("scroll", fade, { passive: true });
    fade();
  }
});

// The theme's buttons that unfold a part of the contents have no name.
addEventListener("load", () => {
  for (const toggle of document.querySelectorAll("nav summary:has(.toctree-toggle)")) {
    toggle.ariaLabel = `Pages of ${toggle.closest("li").querySelector("a").textContent}`;
  }
});
