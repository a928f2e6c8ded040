"use strict";
(() => {
  const root = document.documentElement;
  const bytesOf = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const palettes = {};
  for (const [name, given] of Object.entries(JSON.parse(document.body.dataset.palettes))) {
    palettes[name] = { rgba: bytesOf(given.rgba), neutral: Number(given.neutral) };
  }
  const maps = [...document.querySelectorAll("img.map")];
  const view = { show: "overlay", shared: false };

  // A map's pixels say where they lie on its own scale; its palette says in which colour. Recolouring a map means
  // writing another palette (PLTE) and other opacities (tRNS) into the PNG, whose pixels stay as they are.
  const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });
  const crc = (bytes, from, to) => {
    let value = 0xffffffff;
    for (let i = from; i < to; i++) value = crcTable[(value ^ bytes[i]) & 255] ^ (value >>> 8);
    return (value ^ 0xffffffff) >>> 0;
  };
  const recoloured = (png, colours) => {
    const data = new DataView(png.buffer);
    for (let at = 8; at < png.length; at += 12 + data.getUint32(at)) {
      const size = data.getUint32(at);
      const kind = String.fromCharCode(...png.subarray(at + 4, at + 8));
      if (kind === "PLTE") for (let i = 0; i < size; i++) png[at + 8 + i] = colours[4 * Math.floor(i / 3) + (i % 3)];
      if (kind === "tRNS") for (let i = 0; i < size; i++) png[at + 8 + i] = colours[4 * i + 3];
      if (kind === "PLTE" || kind === "tRNS") data.setUint32(at + 8 + size, crc(png, at + 4, at + 8 + size));
      if (kind === "IDAT") break;
    }
    let text = "";
    for (let i = 0; i < png.length; i += 8192) text += String.fromCharCode(...png.subarray(i, i + 8192));
    return "data:image/png;base64," + btoa(text);
  };
  const coloursFor = (own, scale, palette, solid) => {
    const colours = new Uint8Array(1024);
    const size = Math.max(Math.abs(scale.low), Math.abs(scale.high)) || 1;
    const span = scale.high / size - scale.low / size;
    for (let entry = 0; entry < 255; entry++) {
      const share = own.high === own.low ? 0 : entry / 254;
      const value = (own.low / size) * (1 - share) + (own.high / size) * share;
      const place = span ? Math.min(1, Math.max(0, (value - scale.low / size) / span)) : palette.neutral;
      const from = 4 * Math.round(place * 254);
      colours.set(palette.rgba.subarray(from, from + 4), 4 * entry);
      if (solid) colours[4 * entry + 3] = 255;
    }
    return colours;
  };

  const paint = (map) => {
    const bare = map.parentElement.classList.contains("bare");
    const state = (view.show === "map" || bare ? "solid" : "overlay") + (view.shared ? " shared" : "");
    if ((map.dataset.state || (bare ? "solid" : "overlay")) === state) return;
    map.dataset.state = state;
    map.original ??= map.src;
    const own = JSON.parse(map.dataset.own);
    const scale = view.shared ? JSON.parse(map.dataset.shared) : own;
    const png = bytesOf(map.original.slice(map.original.indexOf(",") + 1));
    map.src = recoloured(png, coloursFor(own, scale, palettes[map.dataset.bar], state.startsWith("solid")));
    const card = map.closest(".card");
    card.querySelector(".ticks").replaceChildren(...scale.ticks.map(([place, words]) => {
      const tick = document.createElement("span");
      tick.className = place === 0 ? "first" : place === 1 ? "last" : "middle";
      tick.style.left = `${100 * place}%`;
      tick.textContent = words;
      return tick;
    }));
    card.querySelector(".clipped").textContent = scale.note;
  };
  const visible = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) visible.delete(entry.target);
      else { visible.add(entry.target); paint(entry.target); }
    }
  }, { rootMargin: "400px" });
  maps.forEach((map) => watcher.observe(map));
  addEventListener("beforeprint", () => maps.forEach(paint));

  const toolbar = document.querySelector(".toolbar");
  toolbar.hidden = maps.length === 0;
  toolbar.addEventListener("input", () => {
    const field = (name) => toolbar.querySelector(`[name="${name}"]`);
    view.show = toolbar.querySelector("[name=show]:checked").value;
    view.shared = field("shared").checked;
    field("opacity").disabled = view.show !== "overlay";
    root.style.setProperty("--opacity", field("opacity").value / 100);
    root.classList.toggle("show-map", view.show === "map");
    root.classList.toggle("shared", view.shared);
    root.classList.toggle("show-picture", view.show === "picture");
    visible.forEach(paint);
  });

  for (const list of document.querySelectorAll("[role=tablist]")) {
    const tabs = [...list.querySelectorAll("[role=tab]")];
    const choose = (tab) => {
      for (const other of tabs) {
        const on = other === tab;
        other.setAttribute("aria-selected", on);
        other.tabIndex = on ? 0 : -1;
        document.getElementById(other.getAttribute("aria-controls")).hidden = !on;
      }
    };
    list.hidden = false;
    list.parentElement.classList.add("tabbed");
    choose(tabs[0]);
    list.addEventListener("click", (event) => {
      const tab = event.target.closest("[role=tab]");
      if (tab) choose(tab);
    });
    list.addEventListener("keydown", (event) => {
      const now = tabs.indexOf(document.activeElement);
      const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (now < 0 || to === undefined) return;
      event.preventDefault();
      const tab = tabs[(to + tabs.length) % tabs.length];
      choose(tab);
      tab.focus();
    });
  }

  const dialog = document.querySelector("dialog.large");
  const body = dialog.querySelector(".large-body");
  document.querySelector("main").addEventListener("click", (event) => {
    const stack = event.target.closest("button.stack");
    if (!stack) return;
    const card = stack.closest(".card").cloneNode(true);
    const large = document.createElement("div");
    large.className = stack.className;
    large.style.cssText = stack.style.cssText;
    large.append(...card.querySelector(".stack").childNodes);
    card.querySelector(".stack").replaceWith(large);
    body.replaceChildren(card);
    dialog.showModal();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
})();
