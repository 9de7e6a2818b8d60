// What a page shows wrongly: wider than its window, or texts on top of each other.
(() => {
  const name = (element) => `${element.tagName}.${element.getAttribute("class") ?? ""} '${element.textContent.trim().slice(0, 40)}'`;
  const found = [];
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > wide) found.push(`the page is ${document.documentElement.scrollWidth} px wide`);
  const scrolls = (element) => element.closest(".table") !== null;
  for (const element of document.querySelectorAll("body *")) {
    const box = element.getBoundingClientRect();
    if (!scrolls(element) && box.width && (box.right > wide + 1 || box.left < -1)) {
      found.push(`${name(element)} reaches from ${box.left} to ${box.right} of ${wide} px`);
    }
  }
  const overlap = (one, other) => {
    const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
    const down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
    return across > 1 && down > 1;
  };
  const shown = (element) => element.getClientRects().length > 0;
  const compare = (elements) => {
    const boxes = [...elements].filter(shown).map((element) => [element, element.getBoundingClientRect()]);
    boxes.forEach(([one, box], place) => {
      for (const [other, next] of boxes.slice(place + 1)) {
        if (!one.contains(other) && !other.contains(one) && overlap(box, next)) {
          found.push(`${name(one)} lies on ${name(other)}`);
        }
      }
    });
  };
  compare(document.querySelectorAll("h1, h2, h3, h4, p:not(.tip p), figcaption, .plot, .legend, table, dl, .forest"));
  for (const svg of document.querySelectorAll(".plot svg, .forest")) compare(svg.querySelectorAll("text"));
  for (const list of document.querySelectorAll(".legend, .facts, .card")) compare(list.children);
  return found;
})()
