/* A page that is opened from a folder may not fetch another: the search then lists what it finds
   without excerpts, and asks for nothing in vain. */
if (window.location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

/* Figures are drawn for the width of a desk; on a phone their letters are too small to read. Each
   gets a button that shows it alone, at its own size, to be scrolled and pinched. */
document.addEventListener("DOMContentLoaded", () => {
  const view = document.createElement("dialog");
  view.className = "figure-view";
  view.innerHTML =
    '<button type="button" class="figure-close" aria-label="Close the figure">&times;</button>' +
    '<div class="figure-room" tabindex="0"><img alt=""></div>';
  const [room, shown] = [view.querySelector(".figure-room"), view.querySelector("img")];
  document.body.append(view);

  const show = (picture) => {
    shown.src = picture.src;
    shown.alt = picture.alt;
    room.setAttribute("aria-label", picture.alt);
    document.documentElement.classList.add("figure-shown");
    view.showModal();
    // the middle of a figure that is wider than the screen is seldom where one starts to read
    room.scrollTo(0, 0);
    room.focus();
  };
  view.addEventListener("close", () => document.documentElement.classList.remove("figure-shown"));
  view.querySelector(".figure-close").addEventListener("click", () => view.close());
  // a browser closes a dialog on Escape by itself, but not under every embedding and automation
  view.addEventListener("keydown", (event) => event.key === "Escape" && view.close());
  room.addEventListener("click", (event) => event.target === room && view.close());

  for (const picture of document.querySelectorAll("figure img, .cell_output img")) {
    const frame = document.createElement("span");
    frame.className = "figure-frame";
    picture.replaceWith(frame);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "figure-enlarge";
    button.setAttribute("aria-label", "Enlarge the figure");
    button.title = "Enlarge";
    frame.append(picture, button);
    button.addEventListener("click", () => show(picture));
    picture.addEventListener("click", () => show(picture));
  }
});

/* A table that is wider than its room is scrolled, by the keyboard too. */
document.addEventListener("DOMContentLoaded", () => {
  for (const room of document.querySelectorAll(".pst-scrollable-table-container")) {
    if (room.scrollWidth > room.clientWidth) {
      room.tabIndex = 0;
      room.setAttribute("role", "region");
      room.setAttribute("aria-label", "Table, wider than the page: can be scrolled");
    }
  }
});
