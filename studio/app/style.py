"""How the explorer's page looks: the system's own fonts, pictures in rows of four on a wide screen and of two on a narrow one."""

__all__ = ["CSS"]

CSS = """
.gradio-container { max-width: min(1500px, 100vw) !important; margin: 0 auto; padding: 0 8px !important; }
.gradio-container, .main, .main > .wrap, main.contain, .contain .column, .contain .row, .contain .tabs { min-width: 0; }
.gradio-container > .main { padding: 10px 24px !important; width: 100%; }
main.contain > .column { gap: 8px; }
.title h1 { font-size: 19px; margin: 2px 0 0; }
.about { font-size: 12.5px !important; }
.about .html-container { padding: 0 !important; }
.about p { margin: 0 !important; line-height: 1.4; }
.pixels { box-shadow: 0 0 0 1px rgb(128 128 128 / 35%); }
.pixels, .picker img, .new img { image-rendering: pixelated; }
.tiles { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 8px; }
.tile { margin: 0; }
.tile img { width: 100%; display: block; border-radius: 3px; }
.tile figcaption { font-size: 12px; line-height: 1.25; padding-top: 2px; min-height: 32px; }
.tile figcaption b { margin-right: 2px; }
.tile figcaption span { color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.foot { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 2px 16px; margin: 0 !important; font-size: 12px; }
.foot img { height: 9px; width: 121px; display: inline-block; vertical-align: middle; margin: 0 4px; }
.foot a { margin-left: 14px; color: var(--link-text-color); text-decoration: underline; }
.wide { overflow-x: auto; contain: inline-size; }
table.swaps, table.strips { border-collapse: separate; border-spacing: 5px; font-size: 12px; margin: 0 !important;
  border: 0 !important; }
.swaps caption, .strips caption { text-align: left; padding-bottom: 2px; color: var(--body-text-color-subdued); }
.swaps td, .swaps th, .strips td, .strips th { border: 0 !important; padding: 0 !important; }
table.swaps { table-layout: fixed; width: 100%; min-width: 520px; }
.swaps td, .swaps th { text-align: center; vertical-align: bottom; font-weight: 600; }
.swaps td { font-weight: 400; }
.swaps tbody th { vertical-align: top; }
.swaps img { width: 100%; display: block; border-radius: 3px; }
.swaps small, .strips small { display: block; font-weight: 400; color: var(--body-text-color-subdued); }
table.strips { width: 100%; max-width: 860px; }
.strips th { text-align: left; white-space: nowrap; width: 1%; padding-right: 8px !important; }
.strips td { text-align: right; width: 1%; }
.strips td:nth-of-type(2) { width: auto; }
.strips img { width: 100%; display: block; border-radius: 3px; }
.picker .grid-wrap { min-height: 0 !important; height: auto !important; padding: 4px !important; }
.picker .grid-container { gap: 4px !important; grid-template-columns: repeat(6, minmax(0, 1fr)) !important;
  grid-auto-rows: auto !important; grid-template-rows: none !important; }
#gallery-A, #gallery-B { border: 0 !important; border-radius: 0 !important; }
.new .grid-wrap { min-height: 0 !important; height: auto !important; }
.picker .gallery-item, .picker .thumbnail-item { border-radius: 3px; width: 100% !important; height: auto !important;
  aspect-ratio: 1; }
.picker .row { padding: 4px; }
.sliders { gap: 6px 10px !important; }
.sliders .block { padding: 2px 8px !important; }
.sliders .head { gap: 6px; }
.sliders .head label { margin-bottom: 0 !important; white-space: nowrap; }
.sliders input[type=number] { width: 62px; }
@media (max-width: 700px) {
  .gradio-container > .main { padding: 8px 4px !important; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .tabs button[role=tab] { padding: 4px 8px !important; }
}
"""
