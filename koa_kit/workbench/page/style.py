"""How the workbench's HTML looks: one style sheet, every rule under ``.koa-ex`` so that no page around it changes."""

from koa_kit.style import ACCENT, FAINT, INK, PAPER

THUMB = 112
"""CSS pixels and pixels of a thumbnail's longest side."""

LARGE = 300
"""CSS pixels of a large radiograph's longer side."""

SMALL = 88
"""CSS pixels of a knee beside the large one."""

FULL_SHADE, REST = "#2f639f", "#c3cbd3"
CARD = 216

STYLE = f"""<style>
.koa-ex{{font:13px/1.4 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;color:{INK};
 background:{PAPER};padding:2px;max-width:960px;box-sizing:border-box}}
.koa-ex *{{box-sizing:border-box}}
.koa-ex table.koa-cm{{border-collapse:separate;border-spacing:2px;margin:0;font:inherit;
 width:auto;color:inherit;border:0}}
.koa-ex .koa-cm th{{font-weight:400;padding:2px 8px;white-space:nowrap;text-align:right;background:none;border:0}}
.koa-ex .koa-cm thead th{{text-align:center;color:{INK}b0}}
.koa-ex .koa-cm td{{width:54px;height:34px;padding:0;text-align:center;vertical-align:middle;
 font-variant-numeric:tabular-nums;border:0}}
.koa-ex .koa-say{{font-size:17px;line-height:1.35;margin:0 0 6px;font-weight:600}}
.koa-ex .koa-soft{{color:{INK}b8;margin:0 0 4px}}
.koa-ex .koa-legend{{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:12px;color:{INK}c8;
 border-top:1px solid {FAINT};padding:7px 0 9px}}
.koa-ex .koa-legend i{{display:inline-block;width:18px;height:8px;margin-right:6px}}
.koa-ex .koa-legend i.koa-mark{{width:2px;height:12px;margin:0 8px;vertical-align:-2px;background:{INK}}}
.koa-ex .koa-grid{{display:grid;grid-template-columns:repeat(auto-fill,minmax({CARD}px,1fr));gap:14px 16px}}
.koa-ex .koa-card{{margin:0;min-width:0;display:flex;gap:16px}}
.koa-ex .koa-name{{display:flex;align-items:baseline;gap:6px;font-size:12px;height:20px;
 white-space:nowrap;overflow:hidden}}
.koa-ex .koa-name b{{overflow:hidden;text-overflow:ellipsis}}
.koa-ex .koa-name span{{margin-left:auto;font-weight:600}}
.koa-ex .koa-view{{flex:1 1 0;min-width:0}}
.koa-ex .koa-row{{display:flex;gap:8px}}
.koa-ex .koa-row img{{width:{THUMB}px;height:{THUMB}px;flex:none;object-fit:contain;background:#000;margin:0;
 border-radius:3px}}
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
.koa-ex .koa-pair{{display:flex;gap:18px}}
.koa-ex .koa-large{{flex:0 0 {LARGE}px;width:{LARGE}px}}
.koa-ex .koa-large img,.koa-ex .koa-nopicture{{display:block;width:{LARGE}px;height:{LARGE}px;object-fit:contain;
 background:#000;border-radius:3px;margin:0 0 8px}}
.koa-ex .koa-nopicture{{background:{FAINT}66;color:{INK}c8;text-align:center;line-height:{LARGE}px}}
.koa-ex .koa-visit{{display:inline-block;border-bottom:3px solid;padding:0 6px;margin:0 3px;white-space:nowrap}}
.koa-ex .koa-smalls{{display:flex;flex-wrap:wrap;gap:10px}}
.koa-ex .koa-small{{margin:0;width:{SMALL}px;font-size:11px;line-height:1.3}}
.koa-ex .koa-small img{{width:{SMALL}px;height:{SMALL}px;object-fit:contain;background:#000;border-radius:3px;margin:0}}
.koa-ex .koa-scores{{display:flex;gap:22px;align-items:flex-start;border-top:1px solid {FAINT};padding-top:8px}}
.koa-ex .koa-score b{{display:block;font-size:22px;line-height:1.2;font-variant-numeric:tabular-nums}}
.koa-ex .koa-score span{{display:block;font-size:12px}}
.koa-ex .koa-score i,.koa-ex .koa-whose i{{font-style:normal;font-size:11.5px;color:{INK}b8;white-space:nowrap}}
.koa-ex .koa-whose{{margin-left:auto;text-align:right;font-size:12px;max-width:330px}}
.koa-ex .koa-cm small{{color:{INK}b8}}
.koa-ex .koa-lead{{margin:8px 0 2px;font-weight:600}}
.koa-ex .koa-chip{{display:inline-block;background:{FAINT}88;border-radius:10px;padding:1px 10px;margin:2px 6px 2px 0;
 font-size:12px}}
.koa-ex .koa-line{{padding:3px 6px;border-bottom:1px solid {FAINT};font-size:12.5px}}
.koa-ex .koa-line i{{font-style:normal;color:{INK}b8;float:right}}
.koa-ex table.koa-table{{border-collapse:collapse;margin:6px 0 12px;font:inherit;border:0}}
.koa-ex .koa-table th,.koa-ex .koa-table td{{padding:3px 10px;text-align:right;border:0;border-bottom:1px solid {FAINT};
 background:none;font-variant-numeric:tabular-nums}}
.koa-ex .koa-table th{{font-weight:600}}
.koa-ex .koa-plot{{display:block;max-width:100%;height:auto}}
.koa-ex [data-pick]{{cursor:pointer;border-radius:3px}}
.koa-ex [data-pick]:hover{{outline:2px solid {FAINT}}}
.koa-ex [data-pick]:focus-visible{{outline:2px solid {INK};outline-offset:2px}}
.koa-ex [data-pick].koa-chosen{{outline:3px solid {ACCENT};outline-offset:1px}}
</style>"""
