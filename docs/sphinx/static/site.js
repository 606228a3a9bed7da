// What is wider than the page can be reached, and then scrolled, with the keyboard.
for (const region of document.querySelectorAll("pre, .math-display, .table-wrapper")) {
  if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
}
