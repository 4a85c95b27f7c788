// Whatever scrolls sideways can be reached and scrolled with the keyboard.
addEventListener("load", () => {
  for (const part of document.querySelectorAll("article table, article .output, article .table-wrapper, article pre")) {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
  }
});
