"""How the explorer's HTML looks: one style sheet, every rule under ``.koa-ex`` so that no page around it changes."""

from koa_kit.style import ACCENT, FAINT, INK, PAPER

THUMB = 112
"""CSS pixels and pixels of a thumbnail's longest side."""

GALLERY_HEIGHT = 516
"""CSS pixels of three rows of knees and the legend, whatever is chosen."""

FULL_SHADE, REST = "#2f639f", "#c3cbd3"
CARD = 216

STYLE = f"""<style>
.koa-ex{{font:13px/1.4 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;color:{INK};
 background:{PAPER};padding:2px;max-width:960px;box-sizing:border-box}}
.koa-ex *{{box-sizing:border-box}}
.koa-ex .koa-top{{display:flex;gap:28px;align-items:flex-start;margin:0 0 14px}}
.koa-ex table.koa-cm{{border-collapse:separate;border-spacing:2px;margin:0;font:inherit;
 width:auto;color:inherit;border:0}}
.koa-ex .koa-cm th{{font-weight:400;padding:2px 8px;white-space:nowrap;text-align:right;background:none;border:0}}
.koa-ex .koa-cm thead th{{text-align:center;color:{INK}b0}}
.koa-ex .koa-cm td{{width:54px;height:34px;padding:0;text-align:center;font-variant-numeric:tabular-nums;border:0}}
.koa-ex .koa-cm td.koa-on{{outline:3px solid {ACCENT};outline-offset:-1px;font-weight:700}}
.koa-ex .koa-cm th.koa-on{{color:{ACCENT};font-weight:700}}
.koa-ex .koa-say{{font-size:17px;line-height:1.35;margin:0 0 6px;font-weight:600}}
.koa-ex .koa-soft{{color:{INK}b8;margin:0 0 4px}}
.koa-ex .koa-top>div{{flex:1 1 0;min-width:0}}
.koa-ex .koa-head{{margin-top:16px}}
.koa-ex .koa-words{{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;font-size:12.5px}}
.koa-ex .koa-words b{{display:inline-block;width:34px}}
.koa-ex .koa-legend{{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:12px;color:{INK}c8;
 border-top:1px solid {FAINT};padding:7px 0 9px}}
.koa-ex .koa-legend i{{display:inline-block;width:18px;height:8px;margin-right:6px}}
.koa-ex .koa-legend i.koa-mark{{width:2px;height:12px;margin:0 8px;vertical-align:-2px;background:{INK}}}
.koa-ex .koa-grid{{display:grid;grid-template-columns:repeat(auto-fill,minmax({CARD}px,1fr));gap:14px 16px}}
.koa-ex .koa-grid.koa-pairs{{grid-template-columns:repeat(auto-fill,minmax({2 * CARD + 16}px,1fr))}}
.koa-ex .koa-card{{margin:0;min-width:0;display:flex;gap:16px}}
.koa-ex .koa-name{{display:flex;align-items:baseline;gap:6px;font-size:12px;height:20px;
 white-space:nowrap;overflow:hidden}}
.koa-ex .koa-name b{{overflow:hidden;text-overflow:ellipsis}}
.koa-ex .koa-name span{{margin-left:auto;font-weight:600}}
.koa-ex .koa-view{{flex:1 1 0;min-width:0}}
.koa-ex .koa-row{{display:flex;gap:8px}}
.koa-ex .koa-row img{{width:{THUMB}px;height:{THUMB}px;flex:none;object-fit:contain;background:#000;margin:0;
 border-radius:3px}}
.koa-ex .koa-row img.koa-mirror{{transform:scaleX(-1)}}
.koa-ex .koa-bars{{flex:1 1 0;min-width:0;padding-top:1px}}
.koa-ex .koa-bar{{display:grid;grid-template-columns:9px 1fr 26px;gap:5px;align-items:center;height:22px;font-size:11px;
 font-variant-numeric:tabular-nums;color:{INK}b8;cursor:help}}
.koa-ex .koa-bar u{{position:relative;display:block;height:10px;background:{FAINT}66;text-decoration:none}}
.koa-ex .koa-bar u i{{position:absolute;left:0;top:0;bottom:0;background:{REST}}}
.koa-ex .koa-bar u s{{position:absolute;top:-3px;bottom:-3px;width:2px;background:{INK}}}
.koa-ex .koa-bar u s.koa-wins{{width:4px;top:-5px;bottom:-5px;background:{ACCENT};
 border:1px solid {PAPER};border-width:0 1px}}
.koa-ex .koa-bar em{{font-style:normal;text-align:right}}
.koa-ex .koa-true u i,.koa-ex .koa-legend i.koa-true{{background:{INK}}}
.koa-ex .koa-pred u i,.koa-ex .koa-legend i.koa-pred{{background:{ACCENT}}}
.koa-ex .koa-true,.koa-ex .koa-pred{{color:{INK};font-weight:700}}
.koa-ex .koa-empty{{padding:44px 20px;text-align:center;font-size:15px;color:{INK}c8}}
.koa-ex .koa-error{{border-left:4px solid {ACCENT};padding:6px 12px;white-space:pre-wrap}}
.koa-ex .koa-dot{{display:inline-block;width:9px;height:9px;border-radius:50%;margin-right:6px}}
</style>"""
